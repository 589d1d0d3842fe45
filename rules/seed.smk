"""Step 2: human-written pairs -> seed and held-out part.

Needs: the pairs of seed, and those of held_out.pairs where they are given. Gives: the pairs to train on, and those to measure on.
"""


rule prepare_seed:
    """Read the pairs and set the held-out part aside before anything else uses them."""
    input:
        seed_pairs=settings.seed.path or [],
        held_out_pairs=(settings.held_out.pairs and settings.held_out.pairs.path) or [],
    output:
        train=layout.SEED,
        held_out=layout.HELD_OUT,
    log:
        layout.log_of("prepare_seed"),
    localrule: True
    params:
        spec=spec(
            seed=settings.seed.without("path", "size"),
            size=settings.seed.size,
            held_out=settings.held_out.pairs.without("path") if settings.held_out.pairs else None,
            held_out_size=settings.held_out.size,
            random_seed=settings.random_seed,
        ),
        sources=source_state(settings.seed.path, settings.held_out.pairs and settings.held_out.pairs.path),
        code=code_digest("prepare_seed"),
        call=call("prepare_seed", limits=settings.limits),
    shell:
        STAGE
