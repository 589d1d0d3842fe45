"""Step 2: human-written pairs -> seed and held-out part.

Needs: seed.path, and held_out.pairs.path where it is given. Gives: <results>/seed/{train,held_out}.jsonl.zst.
"""


rule prepare_seed:
    """Read the pairs and set the held-out part aside before anything else uses them."""
    input:
        pairs=settings.seed.path,
        held_out=settings.held_out.pairs.path if settings.held_out.pairs else [],
    output:
        train="<results>/seed/train.jsonl.zst",
        held_out="<results>/seed/held_out.jsonl.zst",
    log:
        "<results>/logs/prepare_seed.log",
    localrule: True
    params:
        spec=spec(
            seed=settings.seed.without("path", "size"),
            size=settings.seed.size,
            held_out=settings.held_out.pairs.without("path") if settings.held_out.pairs else None,
            held_out_size=settings.held_out.size,
            random_seed=settings.random_seed,
        ),
        outside=outside(settings.seed.path, settings.held_out.pairs and settings.held_out.pairs.path),
        code=code("prepare_seed"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/prepare_seed.py --spec {params.spec:q} --store {STORE:q}"
        " --seed-pairs {input.pairs:q}"
        " --held-out-pairs {input.held_out:q} --train {output.train:q} --held-out {output.held_out:q} 2>&1 | tee {log:q}"
