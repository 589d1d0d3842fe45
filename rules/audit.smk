"""Step 5, beside it: held-out pairs, right and spoilt, tell whether the scorer of an iteration can tell right from wrong.

Needs: the held-out pairs, and a sample of what extraction dropped. Gives: the pairs to score, and how well every scorer
tells them apart.
"""

from backtranslation.settings.audit import OWN

AUDITED_SCORERS = [OWN, *settings.audit.scorers]


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
