"""Step 1: web pages -> segments.

Needs: the files of corpus.sources. Gives: <results>/segments/{shard}.jsonl.zst, <results>/segments/funnel.tsv.
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
    )


rule extract_segments:
    """Cut the passages under headers out of the pages of one shard, and drop what is no good passage."""
    input:
        pages=lambda wildcards: SHARDS[wildcards.shard].files(),
    output:
        segments="<results>/segments/extracted/{shard}.jsonl.zst",
        funnel="<results>/segments/extracted/{shard}.funnel.json",
    log:
        "<results>/logs/extract_segments/{shard}.log",
    params:
        spec=extraction_spec,
        path=lambda wildcards: SHARDS[wildcards.shard].path,
        outside=lambda wildcards: outside(SHARDS[wildcards.shard].path),
        code=code("extract_segments"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/extract_segments.py --spec {params.spec:q} --store {STORE:q}"
        " --input {params.path:q}"
        " --segments {output.segments:q} --funnel {output.funnel:q} 2>&1 | tee {log:q}"


rule deduplicate_segments:
    """Drop repeated segments, earlier shards first, and those that overlap with the held-out pairs."""
    input:
        extracted=expand("<results>/segments/extracted/{shard}.jsonl.zst", shard=SHARDS),
        funnels=expand("<results>/segments/extracted/{shard}.funnel.json", shard=SHARDS),
        held_out="<results>/seed/held_out.jsonl.zst",
    output:
        segments=expand("<results>/segments/{shard}.jsonl.zst", shard=SHARDS),
        funnel="<results>/segments/funnel.tsv",
    log:
        "<results>/logs/deduplicate_segments.log",
    params:
        spec=spec(deduplication=settings.corpus.deduplication, decontamination=settings.corpus.decontamination),
        code=code("deduplicate_segments"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/deduplicate_segments.py --spec {params.spec:q} --store {STORE:q}"
        " --extracted {input.extracted:q}"
        " --funnels {input.funnels:q} --held-out {input.held_out:q} --segments {output.segments:q}"
        " --funnel {output.funnel:q} 2>&1 | tee {log:q}"
