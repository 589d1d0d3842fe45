"""Step 9: everything -> one page that opens offline.

Needs: the results of every other step. Gives: the report; beside the results, their costs, the settings and a card.
"""


rule write_settings:
    """Keep the settings of the run beside its results, defaults included."""
    output:
        settings=layout.SETTINGS,
    log:
        layout.log_of("write_settings"),
    localrule: True
    params:
        settings=lambda wildcards: settings.model_dump_json(indent=2),  # in a text, {model} would be a wildcard
    shell:
        "printf '%s\\n' {params.settings:q} > {output.settings:q} 2> {log:q}"


rule write_results_card:
    """Say what lies where in the results folder, in the form from which `datasets` reads it."""
    output:
        card=layout.RESULTS_CARD,
    log:
        layout.log_of("write_results_card"),
    localrule: True
    params:
        card=results_card(
            Path(settings.results).name, ITERATIONS, MODELS, COMPARISONS, settings.scoring.asks_for_scores
        ),
    shell:
        "printf '%s' {params.card:q} > {output.card:q} 2> {log:q}"


def write_costs_call(wildcards, output):
    """How the ledger is written; made from the output, so that the interpreter's place makes nothing stale."""
    ledger = [sys.executable, "-P", "-m", "backtranslation.jobs.costs"]
    return shlex.join([*ledger, f"--store={STORE}", f"--costs={output.costs}"])


rule write_costs:
    """Add up what the results of every other step cost when they were made, in this run or an earlier one."""
    input:
        ledger=PACKAGE / "jobs/costs.py",
        results=[
            layout.MINIATURE_SEED if settings.miniature else [],
            expand(layout.EXTRACTED_SEGMENTS, shard=SHARDS),
            layout.FUNNEL,
            layout.SEED,
            expand(layout.TRAINING_LOG, model=TRAINED_MODELS),
            expand([layout.INSTRUCTIONS, layout.CANDIDATES], shard=SHARDS) if ITERATIONS else [],
            layout.RANDOM_CANDIDATES if "random" in MODELS else [],
            expand([*SCORING_PARTS, layout.SCORES], iteration=ITERATIONS, shard=SHARDS),
            expand(layout.CURATED, iteration=ITERATIONS),
            layout.AUDIT_PAIRS if ITERATIONS else [],
            expand(layout.AUDIT_BACKWARD_LIKELIHOODS, scorer=OWN) if ITERATIONS and MEASURED_BACKWARD else [],
            expand([*audit_parts(), layout.AUDIT_MEASURES], iteration=ITERATIONS),
            expand(layout.HELD_OUT_LOSS, model=MODELS),
            [layout.BACKWARD_LOSS, layout.ROUND_TRIP] if ITERATIONS else [],
            [layout.JUDGEMENTS.format(first=first, second=second) for first, second in COMPARISONS],
            layout.TRUTH_MEASURES if settings.miniature else [],
            PACKAGED_MODELS,
        ],
    output:
        costs=layout.COSTS,
    log:
        layout.log_of("write_costs"),
    localrule: True
    params:
        call=write_costs_call,
    shell:
        "printf '%s\\n' {input.results:q} | {params.call} > {log:q} 2>&1"


rule build_report:
    """Draw the figures and tables, and join them with samples to one self-contained page."""
    input:
        template=PACKAGE / "report/page.html.jinja",
        seed_train=layout.SEED,
        held_out=layout.HELD_OUT,
        candidates=expand(layout.CANDIDATES, shard=SHARDS) if ITERATIONS else [],
        segments=expand(layout.SEGMENTS, shard=SHARDS) if ITERATIONS else [],
        funnel=layout.FUNNEL,
        scores=expand(layout.SCORE_TABLE, iteration=ITERATIONS),
        last_scores=expand(layout.SCORES, iteration=ITERATIONS[-1:], shard=SHARDS),
        curated=expand(layout.CURATED, iteration=ITERATIONS),
        audits=expand(layout.AUDIT_MEASURES, iteration=ITERATIONS),
        training_logs=expand(layout.TRAINING_LOG, model=TRAINED_MODELS),
        training_pairs=expand(layout.TRAINING_PAIRS, model=TRAINED_MODELS),
        losses=expand(layout.HELD_OUT_LOSS, model=MODELS),
        backward_loss=layout.BACKWARD_LOSS if ITERATIONS else [],
        backward_instructions=layout.BACKWARD_INSTRUCTIONS if ITERATIONS else [],
        round_trip=layout.ROUND_TRIP if ITERATIONS else [],
        answers=expand(layout.ANSWERS, model=MODELS),
        judgements=[layout.JUDGEMENTS.format(first=first, second=second) for first, second in COMPARISONS],
        truth=layout.TRUTH_MEASURES if settings.miniature else [],
        costs=layout.COSTS,
    output:
        page=report(layout.REPORT, category="Report"),
    log:
        layout.log_of("build_report"),
    localrule: True
    params:
        spec=spec(
            settings=settings,
            models=MODELS,
            trained_models=TRAINED_MODELS,
            comparisons=COMPARISONS,
            judge=settings.evaluation.judge_name(),
            random_seed=settings.random_seed,
        ),
        code=code_digest("build_report"),
        call=call("build_report"),
    shell:
        STAGE
