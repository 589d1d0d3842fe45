"""Step 5: candidates -> curated pairs; in iteration t, model M(t-1) scores every candidate anew.

Needs: the candidates, the backward model, and the model of the iteration before. Gives: what is known of every
candidate by `scoring.method`, its scores, the curated pairs and a table of all scores.
"""

ASKED = [layout.SCORER_TEXTS] if settings.scoring.asks_for_scores else []
MEASURED = [layout.LIKELIHOODS] if settings.scoring.measures_likelihood else []
MEASURED_BACKWARD = [layout.BACKWARD_LIKELIHOODS] if settings.scoring.measures_likelihood else []
WEIGHED = [layout.COMBINED_WEIGHTS] if settings.scoring.method == "combined" else []
SCORING_PARTS = ASKED + MEASURED + MEASURED_BACKWARD


def scorer(wildcards):
    """The model that scores: that of the iteration before."""
    return expand(layout.TRAINED_MODEL, model=f"M{int(wildcards.iteration) - 1}")


def asking_spec(asking):
    """Settings that what a scorer says depends on."""
    return spec(
        loading=settings.base_model.loading(),
        generation=settings.generation,
        limits=settings.limits,
        random_seed=settings.random_seed,
        **asking,
    )


def likelihood_spec(task):
    """Settings that the likelihood of replies depends on; the backward model is shown no tag sentences."""
    return spec(
        loading=settings.base_model.loading(),
        task=task,
        tags=settings.prompts.only("seed_tag") if task == "forward" else {},
        generation=settings.generation,
        limits=settings.limits,
    )


def scores_spec(method, max_unparsable_share):
    """Settings that the scores of a method depend on."""
    return spec(
        reasoned=method == "reasoned",
        min_label_mass=settings.scoring.min_label_mass,
        checked=COLUMNS[settings.selection.by],
        max_unparsable_share=max_unparsable_share,
    )


rule score_candidates:
    """Let the model of the iteration before judge the candidates of a shard by the rubric."""
    input:
        candidates=layout.CANDIDATES,
        model=scorer,
        prompt=template("score"),
    output:
        judgements=layout.SCORER_TEXTS,
    log:
        layout.log_of("score_candidates", "{iteration}", "{shard}"),
    threads: settings.resources.generation_threads
    resources:
        gpu=gpus(settings.generation.gpus),
    params:
        spec=asking_spec(settings.scoring.asking(settings.scoring.method)),
        sources=source_state(template("score")),
        code=code_digest("score_candidates", settings.generation),
        call=call("score_candidates", generation=settings.generation, limits=settings.limits),
    shell:
        STAGE


rule measure_likelihood:
    """Measure how much likelier the instruction of every candidate of a shard makes its response."""
    input:
        candidates=layout.CANDIDATES,
        model=scorer,
        prompt=template("forward"),
    output:
        likelihoods=layout.LIKELIHOODS,
    log:
        layout.log_of("measure_likelihood", "{iteration}", "{shard}"),
    threads: settings.resources.generation_threads
    resources:
        gpu=gpus(settings.generation.gpus),
    params:
        spec=likelihood_spec("forward"),
        sources=source_state(template("forward")),
        code=code_digest("measure_likelihood", settings.generation),
        call=call("measure_likelihood", generation=settings.generation, limits=settings.limits),
    shell:
        STAGE


use rule measure_likelihood as measure_backward_likelihood with:
    input:
        candidates=layout.CANDIDATES,
        model=expand(layout.TRAINED_MODEL, model="backward"),
        prompt=template("backward"),
    output:
        likelihoods=layout.BACKWARD_LIKELIHOODS,
    log:
        layout.log_of("measure_backward_likelihood", "{shard}"),
    params:
        spec=likelihood_spec("backward"),
        sources=source_state(template("backward")),
        code=code_digest("measure_likelihood", settings.generation),
        call=call("measure_likelihood", generation=settings.generation, limits=settings.limits),


rule compute_scores:
    """Put the scores of the candidates of a shard together; stop if too many have none."""
    input:
        candidates=layout.CANDIDATES,
        judgements=ASKED,
        likelihoods=MEASURED,
        backward_likelihoods=MEASURED_BACKWARD,
        weights=WEIGHED,
        prompt=template("score"),
    output:
        scores=layout.SCORES,
    log:
        layout.log_of("compute_scores", "{iteration}", "{shard}"),
    localrule: True
    params:
        spec=scores_spec(settings.scoring.method, settings.scoring.max_unparsable_share),
        sources=source_state(template("score")),
        code=code_digest("compute_scores"),
        call=call("compute_scores"),
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
