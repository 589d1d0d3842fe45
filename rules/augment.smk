"""Step 4: segments -> candidates; the backward model writes one instruction for every segment.

Needs: <results>/segments/{shard}.jsonl.zst, <results>/models/backward. Gives: <results>/candidates/{shard}.jsonl.zst.
"""


rule generate_instructions:
    """Sample one instruction for every segment of a shard."""
    input:
        segments="<results>/segments/{shard}.jsonl.zst",
        model="<results>/models/backward",
        prompt=settings.prompts.backward,
    output:
        instructions="<results>/instructions/{shard}.jsonl.zst",
    log:
        "<results>/logs/generate_instructions/{shard}.log",
    threads: settings.resources.generation_threads
    resources:
        gpu=gpus(settings.generation.gpus),
    params:
        spec=spec(
            loading=settings.base_model.loading(),
            sampling=settings.augmentation.sampling,
            generation=settings.generation,
            random_seed=settings.random_seed,
        ),
        execution=settings.generation.execution(),
        outside=outside(settings.prompts.backward),
        code=code("generate_instructions"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/generate_instructions.py --spec {params.spec:q} --store {STORE:q} --threads {threads}"
        " --gpus {resources.gpu}"
        " --segments {input.segments:q} --model {input.model:q} --prompt {input.prompt:q}"
        " --execution {params.execution:q} --instructions {output.instructions:q} 2>&1 | tee {log:q}"


rule filter_instructions:
    """Pair segments with their instructions; mark what cannot be used, with the reason."""
    input:
        segments="<results>/segments/{shard}.jsonl.zst",
        instructions="<results>/instructions/{shard}.jsonl.zst",
        prompt=settings.prompts.backward,
    output:
        candidates="<results>/candidates/{shard}.jsonl.zst",
    log:
        "<results>/logs/filter_instructions/{shard}.log",
    localrule: True
    params:
        spec=spec(filters=settings.augmentation.filters),
        outside=outside(settings.prompts.backward),
        code=code("filter_instructions"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/filter_instructions.py --spec {params.spec:q} --store {STORE:q}"
        " --segments {input.segments:q}"
        " --instructions {input.instructions:q} --prompt {input.prompt:q}"
        " --candidates {output.candidates:q} 2>&1 | tee {log:q}"
