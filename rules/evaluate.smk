"""Step 7: models -> held-out loss, answers, and pairwise judgements in both orders.

Needs: the models and the held-out pairs. Gives: losses and answers of every model, judgements of every comparison; loss
and instructions of the backward model, and whether these lead back to their responses.
"""


def evaluated_model(wildcards):
    """A model as training left it, or the base model as it is."""
    return model_input(settings.base_model.path) if wildcards.model == "untouched" else layout.TRAINED_MODEL


def evaluation_spec(wildcards):
    """Settings that the measures of a model depend on; the base model may have a name on the hub."""
    return spec(
        loading=settings.base_model.loading(),
        hub_name=settings.base_model.on_hub() if wildcards.model == "untouched" else None,
        tags=settings.prompts.only("seed_tag", "augmented_tag", "answer_tag"),
        sampling=settings.evaluation.sampling,
        max_answers=settings.evaluation.max_answers,
        generation=settings.generation,
        limits=settings.limits,
        random_seed=settings.random_seed,
    )


def evaluation_sources(wildcards):
    """What no rule makes of all that a model is measured with."""
    untouched = [settings.base_model.path, template("chat_template")] if wildcards.model == "untouched" else []
    return source_state(template("forward"), *map(find_file, untouched))


rule evaluate_model:
    """Measure the loss on the held-out pairs, and answer their instructions."""
    input:
        model=evaluated_model,
        held_out=layout.HELD_OUT,
        prompt=template("forward"),
        chat_template=lambda wildcards: template("chat_template") if wildcards.model == "untouched" else [],
    output:
        loss=layout.HELD_OUT_LOSS,
        answers=layout.ANSWERS,
    log:
        layout.log_of("evaluate_model", "{model}"),
    threads: settings.resources.generation_threads
    resources:
        gpu=gpus(settings.generation.gpus),
    params:
        spec=evaluation_spec,
        sources=evaluation_sources,
        code=code_digest("evaluate_model", settings.generation),
        call=call("evaluate_model", generation=settings.generation, limits=settings.limits),
    shell:
        STAGE


rule evaluate_backward_model:
    """Measure the loss of the backward model on the held-out pairs, and let it write instructions for some of them."""
    input:
        model=expand(layout.TRAINED_MODEL, model="backward"),
        held_out=layout.HELD_OUT,
        prompt=template("backward"),
    output:
        loss=layout.BACKWARD_LOSS,
        instructions=layout.BACKWARD_INSTRUCTIONS,
    log:
        layout.log_of("evaluate_backward_model"),
    threads: settings.resources.generation_threads
    resources:
        gpu=gpus(settings.generation.gpus),
    params:
        spec=spec(
            loading=settings.base_model.loading(),
            sampling=settings.augmentation.sampling,
            filters=settings.augmentation.filters,
            generation=settings.generation,
            limits=settings.limits,
            backward_pairs=settings.evaluation.backward_pairs,
            random_seed=settings.random_seed,
        ),
        sources=source_state(template("backward")),
        code=code_digest("evaluate_backward_model", settings.generation),
        call=call("evaluate_backward_model", generation=settings.generation, limits=settings.limits),
    shell:
        STAGE


rule measure_round_trip:
    """Measure whether these instructions lead back to their responses, by the likelihood of M0."""
    input:
        model=expand(layout.TRAINED_MODEL, model="M0"),
        instructions=layout.BACKWARD_INSTRUCTIONS,
        held_out=layout.HELD_OUT,
        prompt=template("forward"),
    output:
        round_trip=layout.ROUND_TRIP,
    log:
        layout.log_of("measure_round_trip"),
    threads: settings.resources.generation_threads
    resources:
        gpu=gpus(settings.generation.gpus),
    params:
        spec=spec(
            loading=settings.base_model.loading(),
            tags=settings.prompts.only("seed_tag"),
            generation=settings.generation,
            limits=settings.limits,
            random_seed=settings.random_seed,
        ),
        sources=source_state(template("forward")),
        code=code_digest("measure_round_trip", settings.generation),
        call=call("measure_round_trip", generation=settings.generation, limits=settings.limits),
    shell:
        STAGE


JUDGE_SERVER = settings.evaluation.judge_server


def judge_model():
    """The model that judges in the job: M0 if no other is named, and none where a server does."""
    if JUDGE_SERVER:
        return []
    judge = settings.evaluation.judge
    return model_input(judge) if judge else expand(layout.TRAINED_MODEL, model="M0")


def judge_settings():
    """How the judge is asked: where a server judges, nothing of the engine counts."""
    how = {"judge_server": JUDGE_SERVER} if JUDGE_SERVER else {"generation": settings.generation}
    return how | {"limits": settings.limits}


rule judge_answers:
    """Let one model say which of two answers is better, in both orders."""
    input:
        judge=judge_model(),
        first=expand(layout.ANSWERS, model="{first}"),
        second=expand(layout.ANSWERS, model="{second}"),
        prompt=template("judge"),
        chat_template=[] if JUDGE_SERVER else template("chat_template"),
    output:
        judgements=layout.JUDGEMENTS,
    log:
        layout.log_of("judge_answers", "{first}-vs-{second}"),
    threads: 1 if JUDGE_SERVER else settings.resources.generation_threads
    resources:
        gpu=0 if JUDGE_SERVER else gpus(settings.generation.gpus),
    params:
        spec=spec(
            loading=None if JUDGE_SERVER else settings.base_model.loading(),
            judge=name_on_hub(settings.evaluation.judge),
            **judge_settings(),
        ),
        sources=source_state(
            template("judge"),
            None if JUDGE_SERVER else template("chat_template"),
            settings.evaluation.judge and find_file(settings.evaluation.judge),
        ),
        code=code_digest("judge_answers", *judge_settings().values()),
        call=call("judge_answers", **judge_settings()),
    shell:
        STAGE
