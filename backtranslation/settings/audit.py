"""Settings of the audit of scorers, part of step 5: pairs that need no labels, and further scorers to try on them."""

from typing import Literal

from pydantic import Field, field_validator

from backtranslation.settings.slices import Name, PositiveInt, Slice

OWN = "own"  # the scorer of the run itself


class AuditScorer(Slice):
    """A scorer that is audited and scores no candidate."""

    method: Literal["direct", "reasoned"] = Field(
        "direct",
        description="direct: the probabilities of the scores right after the prompt; reasoned: the model writes a text "
        "that ends in its score",
    )
    rubric: str | None = Field(None, description="template that asks for the score; null: prompts.score")


class Audit(Slice):
    """Step 5, beside it: can the scorer tell held-out pairs from wrong ones that are made of them?"""

    max_pairs: PositiveInt = Field(
        100, description="held-out pairs that are audited, drawn by hash; each is scored with up to four wrong ones"
    )
    scorers: dict[Name, AuditScorer] = Field(
        {}, description="further scorers to audit beside that of the run, by name: method and rubric of each"
    )

    @field_validator("scorers")
    @classmethod
    def _keep_the_own_name(cls, scorers: dict[str, AuditScorer]) -> dict[str, AuditScorer]:
        if OWN in scorers:
            raise ValueError(f"{OWN!r} is the name of the run's own scorer, which is always audited: take another")
        return scorers
