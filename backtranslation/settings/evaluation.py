"""Settings of what is measured on the held-out pairs."""

from pydantic import Field

from backtranslation.settings.generation import Sampling
from backtranslation.settings.slices import PositiveInt, Slice


class Evaluation(Slice):
    """Held-out loss, answers, and pairwise judgements of every model."""

    sampling: Sampling = Sampling(max_new_tokens=512)
    judge: str | None = Field(None, description="a model folder or hub name; null: M0")
    unselected_control: bool = Field(
        False, description="also train a model on seed + all candidates, to show what the selection is worth"
    )
    max_answers: PositiveInt | None = Field(None, description="answer and judge only so many held-out instructions")
