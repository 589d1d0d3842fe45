"""The default run's world: pages and pairs before the first step, the truth about them after the last.

Gives: <results>/miniature/. The truth is read by measure_truth alone; no step of the method sees it.
"""

WORLD = miniature_files(settings.results, settings.miniature.warc_files)


rule generate_miniature_world:
    """Write the pages, the pairs, and the truth about them."""
    output:
        pages=WORLD.pages,
        seed=WORLD.seed,
        held_out=WORLD.held_out,
        truth=WORLD.truth,
    log:
        "<results>/logs/generate_miniature_world.log",
    localrule: True
    params:
        spec=spec(miniature=settings.miniature),
        code=code("generate_miniature_world"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/generate_miniature_world.py --spec {params.spec:q} --store {STORE:q}"
        " --pages {output.pages:q}"
        " --seed {output.seed:q} --held-out {output.held_out:q} --truth {output.truth:q} 2>&1 | tee {log:q}"


rule measure_truth:
    """Compare what the models did with what is true in the world."""
    input:
        truth=WORLD.truth,
        candidates=expand("<results>/candidates/{shard}.jsonl.zst", shard=SHARDS) if ITERATIONS else [],
        curated=expand("<results>/iterations/{iteration}/curated.jsonl.zst", iteration=ITERATIONS),
        answers=expand("<results>/evaluation/{model}/answers.jsonl.zst", model=MODELS),
    output:
        report="<results>/miniature/truth_report.json",
    log:
        "<results>/logs/measure_truth.log",
    localrule: True
    params:
        spec=spec(models=MODELS, random_seed=settings.random_seed),
        code=code("measure_truth"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/measure_truth.py --spec {params.spec:q} --store {STORE:q}"
        " --truth {input.truth:q} --candidates {input.candidates:q}"
        " --curated {input.curated:q} --answers {input.answers:q} --output {output.report:q} 2>&1 | tee {log:q}"
