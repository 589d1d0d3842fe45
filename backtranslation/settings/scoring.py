"""Settings of step 5: the scores that candidates are given."""

from typing import Literal, Self

from pydantic import Field, model_validator

from backtranslation.settings.generation import Sampling
from backtranslation.settings.slices import PositiveInt, Share, Slice


class Scoring(Slice):
    """Step 5: in iteration t, model M(t-1) scores every candidate (paper, section 2.3)."""

    method: Literal["reasoned", "direct", "likelihood", "combined"] = Field(
        "reasoned",
        description="reasoned: the model explains its score by the rubric, then writes it, as in the paper; direct: "
        "its probabilities of the scores 1 to 5 are read right after the rubric, and nothing is written; likelihood: "
        "no rubric, but how much likelier the instruction makes the response, and the response the instruction; "
        "combined: direct and likelihood together, weighted by what tells right pairs from wrong ones in the audit",
    )
    samples: PositiveInt = Field(1, description="reasoned: texts for each candidate; their mean is its score")
    sampling: Sampling = Field(Sampling(max_new_tokens=256), description="How the texts of reasoned are sampled.")
    min_label_mass: Share = Field(
        0.05,
        description="an expected score counts only where the scores 1 to 5 together have at least this probability",
    )
    max_unparsable_share: Share = Field(
        0.2, description="the run stops, and shows examples, if clearly more of a shard's candidates have no score"
    )

    @model_validator(mode="after")
    def _samples_differ(self) -> Self:
        if self.samples > 1 and self.method != "reasoned":
            raise ValueError(f"samples: {self.method} gives the same score every time; only reasoned has samples")
        if self.samples > 1 and self.sampling.temperature == 0:
            raise ValueError("samples: at temperature 0 all samples are the same text")
        return self

    @property
    def asks_for_scores(self) -> bool:
        """Whether a model is asked by the rubric."""
        return self.method != "likelihood"

    @property
    def measures_likelihood(self) -> bool:
        """Whether the likelihood of responses and instructions is measured."""
        return self.method in ("likelihood", "combined")

    def said(self) -> dict[str, object]:
        """What of the scoring belongs to a model that was made by it: sampling only where something was written."""
        names = ("method", "samples", "sampling") if self.method == "reasoned" else ("method",)
        return self.only(*names, "min_label_mass")

    def asking(self, method: str) -> dict[str, object]:
        """How a model is asked by a rubric; nothing is sampled where it only names its score."""
        if method == "reasoned":
            return {"sampling": self.sampling.identity(), "samples": self.samples}
        return {"sampling": None, "samples": 1}
