"""Step 7: models -> held-out loss, answers, and pairwise judgements in both orders.

Needs: the models and the held-out pairs. Gives: losses and answers of every model, judgements of every comparison.
"""


rule evaluate_model:
    """Measure the loss on the held-out pairs, and answer their instructions."""
    input:
        model=layout.TRAINED_MODEL,
        held_out=layout.HELD_OUT,
        prompt=template("forward"),
    output:
        loss=layout.HELD_OUT_LOSS,
        answers=layout.ANSWERS,
    log:
        layout.log_of("evaluate_model", "{model}"),
    threads: settings.resources.generation_threads
    resources:
        gpu=gpus(settings.generation.gpus),
    params:
        spec=spec(
            loading=settings.base_model.loading(),
            tags=settings.prompts.only("seed_tag", "augmented_tag", "answer_tag"),
            sampling=settings.evaluation.sampling,
            max_answers=settings.evaluation.max_answers,
            generation=settings.generation,
            limits=settings.limits,
            random_seed=settings.random_seed,
        ),
        sources=source_state(template("forward")),
        code=code_digest("evaluate_model", settings.generation),
        call=call("evaluate_model", generation=settings.generation, limits=settings.limits),
    shell:
        STAGE


rule judge_answers:
    """Let one model say which of two answers is better, in both orders."""
    input:
        judge=(
            model_input(settings.evaluation.judge)
            if settings.evaluation.judge
            else expand(layout.TRAINED_MODEL, model="M0")
        ),
        first=expand(layout.ANSWERS, model="{first}"),
        second=expand(layout.ANSWERS, model="{second}"),
        prompt=template("judge"),
        chat_template=template("chat_template"),
    output:
        judgements=layout.JUDGEMENTS,
    log:
        layout.log_of("judge_answers", "{first}-vs-{second}"),
    threads: settings.resources.generation_threads
    resources:
        gpu=gpus(settings.generation.gpus),
    params:
        spec=spec(
            loading=settings.base_model.loading(),
            judge=name_on_hub(settings.evaluation.judge),
            generation=settings.generation,
            limits=settings.limits,
        ),
        sources=source_state(
            template("judge"),
            template("chat_template"),
            settings.evaluation.judge and find_file(settings.evaluation.judge),
        ),
        code=code_digest("judge_answers", settings.generation),
        call=call("judge_answers", generation=settings.generation, limits=settings.limits),
    shell:
        STAGE
