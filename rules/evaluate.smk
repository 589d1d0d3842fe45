"""Step 7: models -> held-out loss, answers, and pairwise judgements in both orders.

Needs: <results>/models/, <results>/seed/held_out.jsonl.zst. Gives: <results>/evaluation/.
"""

# Every model against the one before it; the last one also against M0 and against the control.
COMPARISONS = list(
    dict.fromkeys(
        [(f"M{iteration}", f"M{iteration - 1}") for iteration in ITERATIONS]
        + [(f"M{settings.iterations}", other) for other in ("M0", "unselected") if other in MODELS and ITERATIONS]
    )
)


rule evaluate_model:
    """Measure the loss on the held-out pairs, and answer their instructions."""
    input:
        model="<results>/models/{model}",
        held_out="<results>/seed/held_out.jsonl.zst",
        prompt=settings.prompts.forward,
    output:
        loss="<results>/evaluation/{model}/loss.json",
        answers="<results>/evaluation/{model}/answers.jsonl.zst",
    log:
        "<results>/logs/evaluate_model/{model}.log",
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
            random_seed=settings.random_seed,
        ),
        execution=settings.generation.execution(),
        outside=outside(settings.prompts.forward),
        code=code("evaluate_model"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/evaluate_model.py --spec {params.spec:q} --store {STORE:q} --threads {threads}"
        " --gpus {resources.gpu}"
        " --model {input.model:q} --held-out {input.held_out:q} --prompt {input.prompt:q}"
        " --execution {params.execution:q} --loss {output.loss:q}"
        " --answers {output.answers:q} 2>&1 | tee {log:q}"


rule judge_answers:
    """Let one model say which of two answers is better, in both orders."""
    input:
        judge=model_input(settings.evaluation.judge) if settings.evaluation.judge else "<results>/models/M0",
        first="<results>/evaluation/{first}/answers.jsonl.zst",
        second="<results>/evaluation/{second}/answers.jsonl.zst",
        prompt=settings.prompts.judge,
        chat_template=settings.prompts.chat_template,
    output:
        judgements="<results>/evaluation/judgements/{first}-vs-{second}.jsonl.zst",
    log:
        "<results>/logs/judge_answers/{first}-vs-{second}.log",
    threads: settings.resources.generation_threads
    resources:
        gpu=gpus(settings.generation.gpus),
    params:
        spec=spec(
            loading=settings.base_model.loading(),
            judge=hub_name(settings.evaluation.judge),
            generation=settings.generation,
        ),
        execution=settings.generation.execution(),
        outside=outside(settings.prompts.judge, settings.prompts.chat_template, settings.evaluation.judge),
        code=code("judge_answers"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/judge_answers.py --spec {params.spec:q} --store {STORE:q} --threads {threads}"
        " --gpus {resources.gpu}"
        " --judge {input.judge:q} --first {input.first:q} --second {input.second:q}"
        " --prompt {input.prompt:q} --chat-template {input.chat_template:q} --execution {params.execution:q}"
        " --judgements {output.judgements:q} 2>&1 | tee {log:q}"
