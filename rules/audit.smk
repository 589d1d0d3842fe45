"""Step 5, beside it: held-out pairs, right and spoilt, tell whether the scorer of an iteration can tell right from wrong.

Needs: the held-out pairs, a sample of what extraction dropped, and the models that score. Gives: the pairs to score,
their scores by every scorer as candidates are scored, how well these tell them apart, and the weights of the combined
score.
"""

from backtranslation.settings.audit import OWN

AUDITED_SCORERS = [OWN, *settings.audit.scorers]

# Rows of the audit that are too long for a model are counted; the run does not depend on them.
AUDIT_LIMITS = settings.limits.model_copy(update={"max_unusable_share": 1.0})


rule make_audit_pairs:
    """Make right and wrong pairs of the held-out ones."""
    input:
        held_out=layout.HELD_OUT,
        dropped=expand(layout.DROPPED_SEGMENTS, shard=SHARDS),
    output:
        pairs=layout.AUDIT_PAIRS,
    log:
        layout.log_of("make_audit_pairs"),
    localrule: True
    params:
        spec=spec(max_pairs=settings.audit.max_pairs, random_seed=settings.random_seed),
        code=code_digest("make_audit_pairs"),
        call=call("make_audit_pairs"),
    shell:
        STAGE


def audited_method(wildcards):
    """How a scorer scores: that of the run, or one to compare with it."""
    return settings.scoring.method if wildcards.scorer == OWN else settings.audit.scorers[wildcards.scorer].method


def audited_rubric(wildcards):
    """The rubric of a scorer."""
    other = None if wildcards.scorer == OWN else settings.audit.scorers[wildcards.scorer].rubric
    return find_file(other) if other else template("score")


def audit_parts():
    """What the audit of an iteration leaves besides its measures: pattern by pattern, of every scorer."""
    methods = {OWN: settings.scoring.method} | {name: other.method for name, other in settings.audit.scorers.items()}
    asked = [name for name, method in methods.items() if method != "likelihood"]
    parts = expand(layout.AUDIT_TEXTS, scorer=asked, allow_missing=True)
    parts += expand(layout.AUDIT_SCORES, scorer=AUDITED_SCORERS, allow_missing=True)
    return parts + expand(layout.AUDIT_LIKELIHOODS if MEASURED else [], scorer=OWN, allow_missing=True) + WEIGHED


def of_own(parts):
    """Files that the scorer of the run alone has, whether an iteration is named or not."""
    return lambda wildcards: parts if wildcards.scorer == OWN else []


use rule score_candidates as score_audit_pairs with:
    input:
        candidates=layout.AUDIT_PAIRS,
        model=scorer,
        prompt=audited_rubric,
    output:
        judgements=layout.AUDIT_TEXTS,
    log:
        layout.log_of("score_audit_pairs", "{iteration}", "{scorer}"),
    params:
        spec=lambda wildcards: asking_spec(settings.scoring.asking(audited_method(wildcards))),
        sources=lambda wildcards: source_state(audited_rubric(wildcards)),
        code=code_digest("score_candidates", settings.generation),
        call=call("score_candidates", generation=settings.generation, limits=AUDIT_LIMITS),


use rule measure_likelihood as measure_audit_likelihood with:
    input:
        candidates=layout.AUDIT_PAIRS,
        model=scorer,
        prompt=template("forward"),
    output:
        likelihoods=layout.AUDIT_LIKELIHOODS,
    log:
        layout.log_of("measure_audit_likelihood", "{iteration}", "{scorer}"),
    params:
        spec=likelihood_spec("forward"),
        sources=source_state(template("forward")),
        code=code_digest("measure_likelihood", settings.generation),
        call=call("measure_likelihood", generation=settings.generation, limits=AUDIT_LIMITS),


use rule measure_backward_likelihood as measure_audit_backward_likelihood with:
    input:
        candidates=layout.AUDIT_PAIRS,
        model=expand(layout.TRAINED_MODEL, model="backward"),
        prompt=template("backward"),
    output:
        likelihoods=layout.AUDIT_BACKWARD_LIKELIHOODS,
    log:
        layout.log_of("measure_audit_backward_likelihood", "{scorer}"),
    params:
        spec=likelihood_spec("backward"),
        sources=source_state(template("backward")),
        code=code_digest("measure_likelihood", settings.generation),
        call=call("measure_likelihood", generation=settings.generation, limits=AUDIT_LIMITS),


rule fit_combined_score:
    """Weigh rubric and likelihoods by what tells right pairs from wrong ones."""
    input:
        candidates=layout.AUDIT_PAIRS,
        judgements=expand(layout.AUDIT_TEXTS, scorer=OWN, allow_missing=True),
        likelihoods=expand(layout.AUDIT_LIKELIHOODS, scorer=OWN, allow_missing=True),
        backward_likelihoods=expand(layout.AUDIT_BACKWARD_LIKELIHOODS, scorer=OWN),
    output:
        weights=layout.COMBINED_WEIGHTS,
    log:
        layout.log_of("fit_combined_score", "{iteration}"),
    localrule: True
    params:
        spec=spec(random_seed=settings.random_seed),
        code=code_digest("fit_combined_score"),
        call=call("fit_combined_score"),
    shell:
        STAGE


use rule compute_scores as compute_audit_scores with:
    input:
        candidates=layout.AUDIT_PAIRS,
        judgements=lambda wildcards: [] if audited_method(wildcards) == "likelihood" else layout.AUDIT_TEXTS,
        likelihoods=of_own([layout.AUDIT_LIKELIHOODS] if MEASURED else []),
        backward_likelihoods=of_own([layout.AUDIT_BACKWARD_LIKELIHOODS] if MEASURED else []),
        weights=of_own(WEIGHED),
        prompt=audited_rubric,
    output:
        scores=layout.AUDIT_SCORES,
    log:
        layout.log_of("compute_audit_scores", "{iteration}", "{scorer}"),
    # Not taken over from compute_scores: `with` resets it.
    localrule: True
    params:
        spec=lambda wildcards: scores_spec(audited_method(wildcards), max_unparsable_share=1.0),
        sources=lambda wildcards: source_state(audited_rubric(wildcards)),
        code=code_digest("compute_scores"),
        call=call("compute_scores"),


rule measure_audit:
    """Measure how well the scorers of an iteration tell right pairs from wrong ones."""
    input:
        pairs=layout.AUDIT_PAIRS,
        scores=expand(layout.AUDIT_SCORES, scorer=AUDITED_SCORERS, allow_missing=True),
    output:
        measures=layout.AUDIT_MEASURES,
    log:
        layout.log_of("measure_audit", "{iteration}"),
    localrule: True
    params:
        spec=lambda wildcards: spec(
            iteration=int(wildcards.iteration),
            scorers=AUDITED_SCORERS,
            selected_by=settings.selection.by,
            random_seed=settings.random_seed,
        ),
        code=code_digest("measure_audit"),
        call=call("measure_audit"),
    shell:
        STAGE
