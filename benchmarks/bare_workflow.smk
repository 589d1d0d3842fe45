"""The jobs and files of this project's workflow, and nothing else: what Snakemake itself costs; see many_shards.py."""


configfile: "config.yaml"


SHARDS, ITERATIONS = config["shards"], range(1, config["iterations"] + 1)
LAST = f"M{config['iterations']}"
MODELS = ["M0", *(f"M{iteration}" for iteration in ITERATIONS)]
COMPARISONS = dict.fromkeys([*((f"M{iteration}", f"M{iteration - 1}") for iteration in ITERATIONS), (LAST, "M0")])


wildcard_constraints:
    iteration=r"[1-9]\d*",
    model=r"backward|M\d+",


def training_pairs(wildcards):
    """What a model learns from besides the seed."""
    if wildcards.model in ("backward", "M0"):
        return []
    return f"results/iterations/{wildcards.model[1:]}/curated.jsonl.zst"


def measures(wildcards):
    """What was measured of a model."""
    compared = [pair for pair in COMPARISONS if wildcards.model in pair]
    return [
        *expand("results/evaluation/losses/{model}.json", model={wildcards.model}.intersection(MODELS)),
        *expand("results/evaluation/{model}/answers.jsonl.zst", model=dict.fromkeys(sum(compared, ()))),
        *[f"results/evaluation/judgements/{first}-vs-{second}.jsonl.zst" for first, second in compared],
    ]


rule all:
    input:
        "results/report/index.html",
        "results/settings.json",
        "results/README.md",
        expand("results/models/{model}", model=["backward", *MODELS]),


rule extract_segments:
    input:
        "pages/{shard}.jsonl",
    output:
        "results/extraction/{shard}.jsonl.zst",
        "results/extraction/{shard}.funnel.json",
        "results/extraction/{shard}.dropped.jsonl.zst",
    shell:
        "touch {output}"


rule prepare_seed:
    input:
        "seed.jsonl",
    output:
        "results/seed/train.jsonl.zst",
        "results/seed/held_out.jsonl.zst",
    shell:
        "touch {output}"


rule deduplicate_segments:
    input:
        expand("results/extraction/{shard}.jsonl.zst", shard=SHARDS),
        expand("results/extraction/{shard}.funnel.json", shard=SHARDS),
        "results/seed/held_out.jsonl.zst",
    output:
        expand("results/segments/{shard}.jsonl.zst", shard=SHARDS),
        "results/extraction/funnel.tsv",
    shell:
        "touch {output}"


rule train_model:
    input:
        "base",
        "results/seed/train.jsonl.zst",
        training_pairs,
        "prompt.jinja",
    output:
        directory("results/trained/{model}"),
        "results/training/{model}.tsv",
        "results/training/{model}.pairs.json",
    shell:
        "mkdir -p {output[0]} && touch {output[0]}/config.json {output[1]} {output[2]}"


rule generate_instructions:
    input:
        "results/segments/{shard}.jsonl.zst",
        "results/trained/backward",
        "prompt.jinja",
    output:
        "results/instructions/{shard}.jsonl.zst",
    shell:
        "touch {output}"


rule filter_instructions:
    input:
        "results/segments/{shard}.jsonl.zst",
        "results/instructions/{shard}.jsonl.zst",
        "results/seed/held_out.jsonl.zst",
        "prompt.jinja",
    output:
        "results/candidates/{shard}.jsonl.zst",
    shell:
        "touch {output}"


rule score_candidates:
    input:
        "results/candidates/{shard}.jsonl.zst",
        lambda wildcards: f"results/trained/M{int(wildcards.iteration) - 1}",
        "prompt.jinja",
    output:
        "results/iterations/{iteration}/judgements/{shard}.jsonl.zst",
    shell:
        "touch {output}"


rule compute_scores:
    input:
        "results/iterations/{iteration}/judgements/{shard}.jsonl.zst",
    output:
        "results/iterations/{iteration}/scores/{shard}.jsonl.zst",
    shell:
        "touch {output}"


rule select_candidates:
    input:
        expand("results/candidates/{shard}.jsonl.zst", shard=SHARDS),
        expand("results/iterations/{{iteration}}/scores/{shard}.jsonl.zst", shard=SHARDS),
    output:
        "results/iterations/{iteration}/curated.jsonl.zst",
        "results/iterations/{iteration}/scores.parquet",
    shell:
        "touch {output}"


rule make_audit_pairs:
    input:
        "results/seed/held_out.jsonl.zst",
        expand("results/extraction/{shard}.dropped.jsonl.zst", shard=SHARDS),
    output:
        "results/audit/pairs.jsonl.zst",
    shell:
        "touch {output}"


rule score_audit_pairs:
    input:
        "results/audit/pairs.jsonl.zst",
        lambda wildcards: f"results/trained/M{int(wildcards.iteration) - 1}",
        "prompt.jinja",
    output:
        "results/iterations/{iteration}/audit/own/judgements.jsonl.zst",
    shell:
        "touch {output}"


rule compute_audit_scores:
    input:
        "results/audit/pairs.jsonl.zst",
        "results/iterations/{iteration}/audit/own/judgements.jsonl.zst",
        "prompt.jinja",
    output:
        "results/iterations/{iteration}/audit/own/scores.jsonl.zst",
    shell:
        "touch {output}"


rule measure_audit:
    input:
        "results/audit/pairs.jsonl.zst",
        "results/iterations/{iteration}/audit/own/scores.jsonl.zst",
    output:
        "results/iterations/{iteration}/audit/measures.json",
    shell:
        "touch {output}"


rule evaluate_model:
    input:
        "results/trained/{model}",
        "results/seed/held_out.jsonl.zst",
        "prompt.jinja",
    output:
        "results/evaluation/losses/{model}.json",
        "results/evaluation/{model}/answers.jsonl.zst",
    shell:
        "touch {output}"


rule evaluate_backward_model:
    input:
        "results/trained/backward",
        "results/seed/held_out.jsonl.zst",
        "prompt.jinja",
    output:
        "results/evaluation/backward/loss.json",
        "results/evaluation/backward/instructions.jsonl.zst",
    shell:
        "touch {output}"


rule measure_round_trip:
    input:
        "results/trained/M0",
        "results/evaluation/backward/instructions.jsonl.zst",
        "results/seed/held_out.jsonl.zst",
        "prompt.jinja",
    output:
        "results/evaluation/backward/round_trip.json",
    shell:
        "touch {output}"


rule judge_answers:
    input:
        "results/trained/M0",
        "results/evaluation/{first}/answers.jsonl.zst",
        "results/evaluation/{second}/answers.jsonl.zst",
        "prompt.jinja",
    output:
        "results/evaluation/judgements/{first}-vs-{second}.jsonl.zst",
    shell:
        "touch {output}"


rule package_model:
    input:
        "results/trained/{model}",
        "base",
        "prompt.jinja",
        "results/training/{model}.pairs.json",
        training_pairs,
        expand("results/segments/{shard}.jsonl.zst", shard=SHARDS),
        measures,
    output:
        directory("results/models/{model}"),
    shell:
        "mkdir -p {output} && touch {output}/config.json"


rule build_report:
    input:
        "results/extraction/funnel.tsv",
        "results/seed/train.jsonl.zst",
        "results/seed/held_out.jsonl.zst",
        "results/training/backward.tsv",
        expand("results/segments/{shard}.jsonl.zst", shard=SHARDS),
        expand("results/candidates/{shard}.jsonl.zst", shard=SHARDS),
        expand("results/iterations/{iteration}/scores.parquet", iteration=ITERATIONS),
        expand("results/iterations/{iteration}/scores/{shard}.jsonl.zst", iteration=ITERATIONS[-1:], shard=SHARDS),
        expand("results/iterations/{iteration}/curated.jsonl.zst", iteration=ITERATIONS),
        expand("results/iterations/{iteration}/audit/measures.json", iteration=ITERATIONS),
        expand("results/training/{model}.tsv", model=MODELS),
        expand("results/training/{model}.pairs.json", model=["backward", *MODELS]),
        expand("results/evaluation/losses/{model}.json", model=MODELS),
        "results/evaluation/backward/loss.json",
        "results/evaluation/backward/round_trip.json",
        expand("results/evaluation/{model}/answers.jsonl.zst", model=MODELS),
        [f"results/evaluation/judgements/{first}-vs-{second}.jsonl.zst" for first, second in COMPARISONS],
        "results/costs.json",
    output:
        "results/report/index.html",
    shell:
        "touch {output}"


rule write_costs:
    input:
        expand("results/extraction/{shard}.jsonl.zst", shard=SHARDS),
        "results/extraction/funnel.tsv",
        "results/seed/train.jsonl.zst",
        expand("results/training/{model}.tsv", model=["backward", *MODELS]),
        expand("results/instructions/{shard}.jsonl.zst", shard=SHARDS),
        expand("results/candidates/{shard}.jsonl.zst", shard=SHARDS),
        expand("results/iterations/{iteration}/judgements/{shard}.jsonl.zst", iteration=ITERATIONS, shard=SHARDS),
        expand("results/iterations/{iteration}/scores/{shard}.jsonl.zst", iteration=ITERATIONS, shard=SHARDS),
        expand("results/iterations/{iteration}/curated.jsonl.zst", iteration=ITERATIONS),
        expand("results/iterations/{iteration}/audit/measures.json", iteration=ITERATIONS),
        expand("results/evaluation/losses/{model}.json", model=MODELS),
        "results/evaluation/backward/loss.json",
        "results/evaluation/backward/round_trip.json",
        [f"results/evaluation/judgements/{first}-vs-{second}.jsonl.zst" for first, second in COMPARISONS],
        expand("results/models/{model}", model=["backward", *MODELS]),
    output:
        "results/costs.json",
    shell:
        "touch {output}"


rule write_settings:
    output:
        "results/settings.json",
    shell:
        "touch {output}"


rule write_results_card:
    output:
        "results/README.md",
    shell:
        "touch {output}"
