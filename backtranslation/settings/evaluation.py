"""Settings of step 7: what is measured on the held-out pairs."""

from pydantic import Field

from backtranslation.settings.generation import Sampling
from backtranslation.settings.slices import PositiveInt, Slice


class Evaluation(Slice):
    """Step 7: loss, answers and pairwise judgements of every model on the held-out pairs."""

    sampling: Sampling = Field(Sampling(max_new_tokens=512), description="How the answers are sampled.")
    judge: str | None = Field(
        None, description="the model that compares two answers: a folder, or a name on the Hugging Face hub; null: M0"
    )
    unselected_control: bool = Field(
        False, description="also train a model on the seed and all candidates, to show what the selection is worth"
    )
    max_answers: PositiveInt | None = Field(
        None, description="answer and judge only so many held-out instructions; null: all"
    )
