"""Step 8: everything -> one page that opens offline.

Needs: the results of every other step. Gives: <results>/report/index.html, <results>/settings.json.
"""


rule write_settings:
    """Keep the settings of the run beside its results, defaults included."""
    output:
        settings="<results>/settings.json",
    log:
        "<results>/logs/write_settings.log",
    localrule: True
    params:
        settings=settings.model_dump_json(indent=2),
    shell:
        "printf '%s\\n' {params.settings:q} > {output.settings:q} 2> {log:q}"


rule build_report:
    """Draw the figures and tables, and join them with samples to one self-contained page."""
    input:
        template=Path(workflow.basedir) / "backtranslation/report/page.html.jinja",
        funnel="<results>/segments/funnel.tsv",
        segments=expand("<results>/segments/{shard}.jsonl.zst", shard=SHARDS) if ITERATIONS else [],
        seed="<results>/seed/train.jsonl.zst",
        held_out="<results>/seed/held_out.jsonl.zst",
        candidates=expand("<results>/candidates/{shard}.jsonl.zst", shard=SHARDS) if ITERATIONS else [],
        scores=expand("<results>/iterations/{iteration}/scores.parquet", iteration=ITERATIONS),
        last_scores=expand(
            "<results>/iterations/{iteration}/scores/{shard}.jsonl.zst", iteration=ITERATIONS[-1:], shard=SHARDS
        ),
        curated=expand("<results>/iterations/{iteration}/curated.jsonl.zst", iteration=ITERATIONS),
        training=expand("<results>/training/{model}.tsv", model=MODELS),
        backward_training="<results>/training/backward.tsv" if ITERATIONS else [],
        losses=expand("<results>/evaluation/{model}/loss.json", model=MODELS),
        answers=expand("<results>/evaluation/{model}/answers.jsonl.zst", model=MODELS),
        judgements=[f"<results>/evaluation/judgements/{first}-vs-{second}.jsonl.zst" for first, second in COMPARISONS],
        truth="<results>/miniature/truth_report.json" if settings.miniature else [],
    output:
        page=report("<results>/report/index.html", category="Report"),
    log:
        "<results>/logs/build_report.log",
    localrule: True
    params:
        spec=spec(settings=settings, models=MODELS, comparisons=COMPARISONS, random_seed=settings.random_seed),
        code=code("build_report"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/build_report.py --spec {params.spec:q} --store {STORE:q}"
        " --template {input.template:q}"
        " --funnel {input.funnel:q} --segments {input.segments:q} --seed-train {input.seed:q}"
        " --held-out {input.held_out:q} --candidates {input.candidates:q} --scores {input.scores:q}"
        " --last-scores {input.last_scores:q}"
        " --curated {input.curated:q} --training-logs {input.training:q}"
        " --backward-log {input.backward_training:q} --losses {input.losses:q} --answers {input.answers:q}"
        " --judgements {input.judgements:q} --truth {input.truth:q} --page {output.page:q} 2>&1 | tee {log:q}"
