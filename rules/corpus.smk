"""Step 1: web pages -> segments.

Needs: the files of corpus.sources. Gives: the segments of every shard, the funnel that counts what was left out, and a
sample of it.
"""


def extraction_spec(wildcards):
    """Settings that one shard's segments depend on."""
    shard = SHARDS[wildcards.shard]
    source = next(source for source in settings.corpus.sources if source.name == shard.source)
    return spec(
        shard=shard.without_path(),
        fields=source.fields(),
        segments=settings.corpus.segments,
        filters=settings.corpus.filters,
        limits=settings.limits,
    )


rule extract_segments:
    """Cut the passages under headers out of the pages of one shard, and drop what is no good passage."""
    input:
        pages=lambda wildcards: SHARDS[wildcards.shard].path,
    output:
        segments=layout.EXTRACTED_SEGMENTS,
        funnel=layout.EXTRACTION_FUNNEL,
        dropped=layout.DROPPED_SEGMENTS,
    log:
        layout.log_of("extract_segments", "{shard}"),
    params:
        spec=extraction_spec,
        sources=lambda wildcards: source_state(SHARDS[wildcards.shard].path),
        code=code_digest("extract_segments"),
        call=call("extract_segments", limits=settings.limits),
    shell:
        STAGE


rule deduplicate_segments:
    """Drop repeated segments, earlier shards first, and those that overlap with the held-out pairs."""
    input:
        extracted=expand(layout.EXTRACTED_SEGMENTS, shard=SHARDS),
        funnels=expand(layout.EXTRACTION_FUNNEL, shard=SHARDS),
        held_out=layout.HELD_OUT,
    output:
        funnel=layout.FUNNEL,
        segments=expand(layout.SEGMENTS, shard=SHARDS),
    log:
        layout.log_of("deduplicate_segments"),
    params:
        spec=spec(deduplication=settings.corpus.deduplication, decontamination=settings.corpus.decontamination),
        code=code_digest("deduplicate_segments"),
        call=call("deduplicate_segments"),
    shell:
        STAGE
