"""Step 8: trained models, and what is known of them -> the model folders that people take.

Needs: a trained model, what it learnt from, and what was measured of it. Gives: a folder of its own with a card.
"""

PACKAGED_MODELS = expand(layout.MODEL, model=TRAINED_MODELS)


def compared(model):
    """The comparisons that a model is part of."""
    return [pair for pair in COMPARISONS if model in pair]


def answering(model):
    """The models of these comparisons."""
    return list(dict.fromkeys(name for pair in compared(model) for name in pair))


def judgements_of(wildcards):
    """Judgements of a model's comparisons."""
    return [layout.JUDGEMENTS.format(first=first, second=second) for first, second in compared(wildcards.model)]


def card_settings(wildcards):
    """The settings that made a model and, where it was measured, its measures."""
    sections = {"training": training(wildcards).identity(), "random_seed": settings.random_seed}
    if wildcards.model != "M0":
        sections["augmentation"] = settings.augmentation.only("sampling")
    if wildcards.model not in ("backward", "M0", *CONTROLS):
        sections |= {"scoring": settings.scoring.said(), "selection": settings.selection.identity()}
    if task(wildcards) == "forward":
        sections |= {"prompts": prompt_tags(), "evaluation": settings.evaluation.only("sampling")}
    return sections


def prompt_tags():
    """The tag sentences, and which of them are shown with a question."""
    return settings.prompts.only("seed_tag", "augmented_tag", "answer_tag")


def package_spec(wildcards):
    """What the folder of a model says, and how it samples."""
    sampling = settings.augmentation.sampling if task(wildcards) == "backward" else settings.evaluation.sampling
    return spec(
        model=wildcards.model,
        task=task(wildcards),
        base_path=settings.base_model.path,
        base_name=public_name(settings.base_model.path),
        hub_name=settings.base_model.on_hub(),
        tags=prompt_tags(),
        sampling=sampling,
        languages=settings.corpus.filters.languages,
        datasets=[settings.seed.dataset] if settings.seed.dataset else [],
        judge=settings.evaluation.judge_name(),
        judge_is_served=settings.evaluation.judge_server is not None,
        comparisons=compared(wildcards.model),
        answering=answering(wildcards.model),
        settings=card_settings(wildcards),
        random_seed=settings.random_seed,
    )


rule package_model:
    """Set up the folder of a model: plain use is the use that was evaluated, and a card describes it."""
    input:
        trained=layout.TRAINED_MODEL,
        base=model_input(settings.base_model.path),
        prompt=lambda wildcards: template(task(wildcards)),
        card=PACKAGE / "report/model_card.md.jinja",
        pairs=layout.TRAINING_PAIRS,
        augmented=augmented_pairs,
        segments=lambda wildcards: expand(layout.SEGMENTS, shard=SHARDS) if augmented_pairs(wildcards) else [],
        loss=lambda wildcards: layout.HELD_OUT_LOSS if task(wildcards) == "forward" else [],
        answers=lambda wildcards: expand(layout.ANSWERS, model=answering(wildcards.model)),
        judgements=judgements_of,
        truth=lambda wildcards: layout.TRUTH_MEASURES if settings.miniature and wildcards.model in MODELS else [],
    output:
        model=directory(layout.MODEL),
    log:
        layout.log_of("package_model", "{model}"),
    localrule: True
    params:
        spec=package_spec,
        sources=lambda wildcards: source_state(find_file(settings.base_model.path), template(task(wildcards))),
        code=code_digest("package_model"),
        call=call("package_model"),
    shell:
        STAGE
