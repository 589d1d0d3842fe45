"""Step 3 and 6: pairs -> backward model, M0, and after each curation M1, M2, ...; every one from the base again.

Needs: the base model, the seed, and the curated pairs of the iteration. Gives: <results>/models/{model}/ and
<results>/training/{model}.tsv.
"""


def augmented_pairs(wildcards):
    """What a model learns from besides the seed: nothing, its iteration's selection, or every candidate."""
    if wildcards.model == "unselected":
        return expand("<results>/candidates/{shard}.jsonl.zst", shard=SHARDS)
    if wildcards.model in ("backward", "M0"):
        return []
    return f"<results>/iterations/{wildcards.model[1:]}/curated.jsonl.zst"


def task(wildcards):
    """What a model is trained for."""
    return "backward" if wildcards.model == "backward" else "forward"


def training_prompt(wildcards):
    """The template that its examples are told with."""
    return getattr(settings.prompts, task(wildcards))


def training_spec(wildcards):
    """Settings that one model depends on."""
    return spec(
        task=task(wildcards),
        loading=settings.base_model.loading(),
        hub_name=settings.base_model.hub_name(),
        tags=settings.prompts.only("seed_tag", "augmented_tag") if task(wildcards) == "forward" else {},
        training=getattr(settings.training, task(wildcards)),
        random_seed=settings.random_seed,
    )


rule train_model:
    """Fine-tune the base model on the seed (reversed for the backward model) and the selected pairs."""
    input:
        base=model_input(settings.base_model.path),
        seed="<results>/seed/train.jsonl.zst",
        augmented=augmented_pairs,
        prompt=training_prompt,
        chat_template=settings.prompts.chat_template,
    output:
        model=directory("<results>/models/{model}"),
        losses="<results>/training/{model}.tsv",
    log:
        "<results>/logs/train_model/{model}.log",
    threads: settings.resources.training_threads
    resources:
        gpu=lambda wildcards: gpus(getattr(settings.training, task(wildcards)).processes),
    params:
        spec=training_spec,
        execution=lambda wildcards: getattr(settings.training, task(wildcards)).execution(),
        outside=lambda wildcards: outside(
            settings.base_model.path, training_prompt(wildcards), settings.prompts.chat_template
        ),
        code=code("train_model"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/train_model.py --spec {params.spec:q} --store {STORE:q} --threads {threads}"
        " --gpus {resources.gpu}"
        " --execution {params.execution:q} --base {input.base:q} --prompt {input.prompt:q}"
        " --chat-template {input.chat_template:q} --seed {input.seed:q} --augmented {input.augmented:q}"
        " --model {output.model:q} --log {output.losses:q} 2>&1 | tee {log:q}"
