"""Step 5: candidates -> curated pairs; in iteration t, model M(t-1) scores every candidate anew.

Needs: the candidates, and the model of the iteration before. Gives: what the scorer wrote, its scores, the curated
pairs and a table of all scores.
"""


rule score_candidates:
    """Let the model of the iteration before judge the candidates of a shard by the rubric."""
    input:
        candidates=layout.CANDIDATES,
        model=lambda wildcards: expand(layout.TRAINED_MODEL, model=f"M{int(wildcards.iteration) - 1}"),
        prompt=template("score"),
    output:
        judgements=layout.SCORER_TEXTS,
    log:
        layout.log_of("score_candidates", "{iteration}", "{shard}"),
    threads: settings.resources.generation_threads
    resources:
        gpu=gpus(settings.generation.gpus),
    params:
        spec=spec(
            loading=settings.base_model.loading(),
            sampling=settings.scoring.sampling,
            generation=settings.generation,
            limits=settings.limits,
            random_seed=settings.random_seed,
        ),
        sources=source_state(template("score")),
        code=code_digest("score_candidates", settings.generation),
        call=call("score_candidates", generation=settings.generation, limits=settings.limits),
    shell:
        STAGE


rule parse_scores:
    """Read the scores out of the model's texts; stop if too many cannot be read."""
    input:
        judgements=layout.SCORER_TEXTS,
        prompt=template("score"),
    output:
        scores=layout.SCORES,
    log:
        layout.log_of("parse_scores", "{iteration}", "{shard}"),
    localrule: True
    params:
        spec=spec(max_unparsable_share=settings.scoring.max_unparsable_share),
        sources=source_state(template("score")),
        code=code_digest("parse_scores"),
        call=call("parse_scores"),
    shell:
        STAGE


rule select_candidates:
    """Keep the candidates with high scores."""
    input:
        candidates=expand(layout.CANDIDATES, shard=SHARDS),
        scores=expand(layout.SCORES, shard=SHARDS, allow_missing=True),
    output:
        curated=layout.CURATED,
        table=layout.SCORE_TABLE,
    log:
        layout.log_of("select_candidates", "{iteration}"),
    localrule: True
    params:
        spec=spec(selection=settings.selection),
        code=code_digest("select_candidates"),
        call=call("select_candidates"),
    shell:
        STAGE
