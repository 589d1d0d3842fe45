"""Step 4: segments -> candidates; the backward model writes one instruction for every segment.

Needs: the segments of every shard, the backward model, and the held-out pairs, whose instructions are not to be
repeated. Gives: the candidates of every shard.
"""


rule generate_instructions:
    """Sample one instruction for every segment of a shard."""
    input:
        segments=layout.SEGMENTS,
        model=expand(layout.TRAINED_MODEL, model="backward"),
        prompt=template("backward"),
    output:
        instructions=layout.INSTRUCTIONS,
    log:
        layout.log_of("generate_instructions", "{shard}"),
    threads: settings.resources.generation_threads
    resources:
        gpu=gpus(settings.generation.gpus),
    params:
        spec=spec(
            loading=settings.base_model.loading(),
            sampling=settings.augmentation.sampling,
            generation=settings.generation,
            limits=settings.limits,
            random_seed=settings.random_seed,
        ),
        sources=source_state(template("backward")),
        code=code_digest("generate_instructions", settings.generation),
        call=call("generate_instructions", generation=settings.generation, limits=settings.limits),
    shell:
        STAGE


rule filter_instructions:
    """Pair segments with their instructions; mark what cannot be used, with the reason."""
    input:
        segments=layout.SEGMENTS,
        instructions=layout.INSTRUCTIONS,
        held_out=layout.HELD_OUT,
        prompt=template("backward"),
    output:
        candidates=layout.CANDIDATES,
    log:
        layout.log_of("filter_instructions", "{shard}"),
    localrule: True
    params:
        spec=spec(filters=settings.augmentation.filters, decontamination=settings.corpus.decontamination),
        sources=source_state(template("backward")),
        code=code_digest("filter_instructions"),
        call=call("filter_instructions"),
    shell:
        STAGE
