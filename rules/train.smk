"""Step 3 and 6: pairs -> backward model, M0, and after each curation M1, M2, ...; every one from the base again.

Needs: the base model, the seed, and the curated pairs of the iteration. Gives: a folder for every model, and a table of
its training.
"""


def augmented_pairs(wildcards):
    """What a model learns from besides the seed: nothing, its iteration's selection, random or all candidates."""
    if wildcards.model == "unselected":
        return expand(layout.CANDIDATES, shard=SHARDS)
    if wildcards.model == "random":
        return layout.RANDOM_CANDIDATES
    if wildcards.model in ("backward", "M0"):
        return []
    return expand(layout.CURATED, iteration=wildcards.model[1:])


def task(wildcards):
    """What a model is trained for."""
    return "backward" if wildcards.model == "backward" else "forward"


def training(wildcards):
    """The settings of a model's training."""
    return getattr(settings.training, task(wildcards))


def tracked_run(wildcards):
    """How trackers call a model's training; no result depends on it."""
    return TrackedRun(
        project=Path(settings.results).absolute().name,
        model=wildcards.model,
        tensorboard=str(layout.locate(settings.results, layout.TENSORBOARD)),
    )


def training_spec(wildcards):
    """Settings that one model depends on."""
    return spec(
        task=task(wildcards),
        loading=settings.base_model.loading(),
        hub_name=settings.base_model.on_hub(),
        tags=settings.prompts.only("seed_tag", "augmented_tag") if task(wildcards) == "forward" else {},
        training=training(wildcards),
        limits=settings.limits,
        random_seed=settings.random_seed,
    )


rule draw_random_candidates:
    """Draw as many candidates by chance as the last iteration selects, for the control that learns from them."""
    input:
        candidates=expand(layout.CANDIDATES, shard=SHARDS),
        curated=expand(layout.CURATED, iteration=ITERATIONS[-1:]),
    output:
        drawn=layout.RANDOM_CANDIDATES,
    log:
        layout.log_of("draw_random_candidates"),
    localrule: True
    params:
        spec=spec(random_seed=settings.random_seed),
        code=code_digest("draw_random_candidates"),
        call=call("draw_random_candidates"),
    shell:
        STAGE


rule train_model:
    """Fine-tune the base model on the seed (reversed for the backward model) and the selected pairs."""
    input:
        base=model_input(settings.base_model.path),
        seed=layout.SEED,
        augmented=augmented_pairs,
        prompt=lambda wildcards: template(task(wildcards)),
        chat_template=template("chat_template"),
    output:
        model=directory(layout.TRAINED_MODEL),
        losses=layout.TRAINING_LOG,
        pairs=layout.TRAINING_PAIRS,
    log:
        layout.log_of("train_model", "{model}"),
    priority: 1  # nearly every other job waits for a model
    threads: settings.resources.training_threads
    resources:
        gpu=lambda wildcards: gpus(training(wildcards).processes),
    params:
        spec=training_spec,
        sources=lambda wildcards: source_state(
            find_file(settings.base_model.path), template(task(wildcards)), template("chat_template")
        ),
        code=code_digest("train_model"),
        call=call("train_model", training=training, tracked_run=tracked_run, limits=settings.limits),
    shell:
        STAGE
