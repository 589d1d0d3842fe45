"""Settings of step 5: which candidates become training data."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from backtranslation.score_names import GAINS, RATED, ScoreName
from backtranslation.settings.slices import PositiveInt, Slice

MAX_GAIN = 3  # nats per token


class Selection(Slice):
    """Step 5, continued: which candidates become training data."""

    by: ScoreName = Field(
        "parsed",
        description="parsed: the score in the text; expected: the mean of the scores 1 to 5, by their probability; "
        "likelihood: nats per token that the instruction adds to the response; backward_likelihood: that the response "
        "adds to the instruction; combined: all of them, weighed, from 0 to 1 (docs/selection.md)",
    )
    threshold: float | None = Field(
        4.5, description="lowest score that is kept; null: no limit, as by default where by is no score from 1 to 5"
    )
    quantile: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="keep the candidates above this quantile: 0.75 keeps the best quarter; null: no limit"
    )
    top_n: PositiveInt | None = Field(
        None, description="keep at most so many, the highest scores first; null: no limit"
    )

    @model_validator(mode="before")
    @classmethod
    def _default_threshold(cls, given: Any) -> Any:
        """A threshold of 4.5 means nothing for other scores, nor where a share of the candidates is asked for."""
        if not isinstance(given, dict) or "threshold" in given:
            return given
        rated = given.get("by", "parsed") in RATED
        return given if rated and given.get("quantile") is None else given | {"threshold": None}

    @model_validator(mode="after")
    def _chooses(self) -> "Selection":
        if self.threshold is None and self.quantile is None and self.top_n is None:
            raise ValueError("give a threshold, a quantile or top_n: else every candidate is kept")
        if self.threshold is not None and self.by in RATED and not 1 <= self.threshold <= 5:
            raise ValueError(f"threshold: {self.by} scores lie between 1 and 5 (found: {self.threshold:g})")
        if self.threshold is not None and self.by == "combined" and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold: combined scores lie between 0 and 1 (found: {self.threshold:g})")
        if self.threshold is not None and self.by in GAINS and self.threshold > MAX_GAIN:
            raise ValueError(
                f"threshold: {self.by} scores are nats per token, seldom more than {MAX_GAIN} (found:"
                f" {self.threshold:g}); null sets no limit"
            )
        return self
