"""The default run's world: pages and pairs before the first step, the truth about them after the last.

Gives: the pages, the pairs and the truth. The truth is read by measure_truth alone; no step of the method sees it.
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
        layout.log_of("generate_miniature_world"),
    localrule: True
    params:
        spec=spec(miniature=settings.miniature),
        code=code_digest("generate_miniature_world"),
        call=call("generate_miniature_world"),
    shell:
        STAGE


rule measure_truth:
    """Compare what the models did with what is true in the world."""
    input:
        truth=WORLD.truth,
        candidates=expand(layout.CANDIDATES, shard=SHARDS) if ITERATIONS else [],
        curated=expand(layout.CURATED, iteration=ITERATIONS),
        answers=expand(layout.ANSWERS, model=MODELS),
    output:
        measures=layout.TRUTH_MEASURES,
    log:
        layout.log_of("measure_truth"),
    localrule: True
    params:
        spec=spec(models=MODELS, random_seed=settings.random_seed),
        code=code_digest("measure_truth"),
        call=call("measure_truth"),
    shell:
        STAGE
