"""Step 5, beside it: held-out pairs, right and spoilt, tell whether the scorer of an iteration can tell right from wrong.

Needs: the held-out pairs, and a sample of what extraction dropped. Gives: the pairs to score, and how well every scorer
tells them apart.
"""


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
