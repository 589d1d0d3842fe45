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


PROMPTS_OF_TASK = {"backward": ["backward"], "forward": ["forward", "seed_tag", "augmented_tag"]}


def training_spec(wildcards):
    """Settings that one model depends on."""
    task = "backward" if wildcards.model == "backward" else "forward"
    return spec(
        task=task,
        base_model=settings.base_model,
        prompts=settings.prompts.only("chat_template", *PROMPTS_OF_TASK[task]),
        training=getattr(settings.training, task),
        random_seed=settings.random_seed,
    )


rule train_model:
    """Fine-tune the base model on the seed (reversed for the backward model) and the selected pairs."""
    input:
        base=model_input(settings.base_model.path),
        seed="<results>/seed/train.jsonl.zst",
        augmented=augmented_pairs,
        prompt=lambda wildcards: (
            settings.prompts.backward if wildcards.model == "backward" else settings.prompts.forward
        ),
        chat_template=settings.prompts.chat_template,
    output:
        model=directory("<results>/models/{model}"),
        losses="<results>/training/{model}.tsv",
    log:
        "<results>/logs/train_model/{model}.log",
    threads: settings.resources.training_threads
    params:
        spec=training_spec,
        work=f"{settings.results}/work/train_model/{{model}}",
    shell:
        "{PYTHON:q} {SCRIPTS:q}/train_model.py --spec {params.spec:q} --threads {threads}"
        " --seed {input.seed:q} --augmented {input.augmented:q} --work {params.work:q}"
        " --model-folder {output.model:q} --log {output.losses:q} 2>&1 | tee {log:q}"
