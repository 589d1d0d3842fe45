"""Step 5: candidates -> curated pairs; in iteration t, model M(t-1) scores every candidate anew.

Needs: <results>/candidates/, <results>/models/M(t-1). Gives: <results>/iterations/{t}/curated.jsonl.zst and
<results>/iterations/{t}/scores.parquet.
"""


rule score_candidates:
    """Let the model of the iteration before judge the candidates of a shard by the rubric."""
    input:
        candidates="<results>/candidates/{shard}.jsonl.zst",
        model=lambda wildcards: f"<results>/models/M{int(wildcards.iteration) - 1}",
        prompt=settings.prompts.score,
    output:
        judgements="<results>/iterations/{iteration}/judgements/{shard}.jsonl.zst",
    log:
        "<results>/logs/score_candidates/{iteration}/{shard}.log",
    threads: settings.resources.generation_threads
    resources:
        gpu=gpus(settings.generation.gpus),
    params:
        spec=spec(
            loading=settings.base_model.loading(),
            sampling=settings.scoring.sampling,
            generation=settings.generation,
            random_seed=settings.random_seed,
        ),
        execution=settings.generation.execution(),
        outside=outside(settings.prompts.score),
        code=code("score_candidates"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/score_candidates.py --spec {params.spec:q} --store {STORE:q} --threads {threads}"
        " --gpus {resources.gpu}"
        " --candidates {input.candidates:q} --model {input.model:q} --prompt {input.prompt:q}"
        " --execution {params.execution:q} --judgements {output.judgements:q} 2>&1 | tee {log:q}"


rule parse_scores:
    """Read the scores out of the model's texts; stop if too many cannot be read."""
    input:
        judgements="<results>/iterations/{iteration}/judgements/{shard}.jsonl.zst",
        prompt=settings.prompts.score,
    output:
        scores="<results>/iterations/{iteration}/scores/{shard}.jsonl.zst",
    log:
        "<results>/logs/parse_scores/{iteration}/{shard}.log",
    localrule: True
    params:
        spec=spec(max_unparsable_share=settings.scoring.max_unparsable_share),
        outside=outside(settings.prompts.score),
        code=code("parse_scores"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/parse_scores.py --spec {params.spec:q} --store {STORE:q}"
        " --judgements {input.judgements:q} --prompt {input.prompt:q}"
        " --scores {output.scores:q} 2>&1 | tee {log:q}"


rule select_candidates:
    """Keep the candidates with high scores."""
    input:
        candidates=expand("<results>/candidates/{shard}.jsonl.zst", shard=SHARDS),
        scores=expand("<results>/iterations/{{iteration}}/scores/{shard}.jsonl.zst", shard=SHARDS),
    output:
        curated="<results>/iterations/{iteration}/curated.jsonl.zst",
        table="<results>/iterations/{iteration}/scores.parquet",
    log:
        "<results>/logs/select_candidates/{iteration}.log",
    localrule: True
    params:
        spec=spec(selection=settings.selection),
        code=code("select_candidates"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/select_candidates.py --spec {params.spec:q} --store {STORE:q}"
        " --candidates {input.candidates:q}"
        " --scores {input.scores:q} --curated {output.curated:q} --table {output.table:q} 2>&1 | tee {log:q}"
