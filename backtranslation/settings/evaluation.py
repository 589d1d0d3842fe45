"""Settings of step 7: what is measured on the held-out pairs."""

from typing import Literal, get_args

from pydantic import Field, model_validator

from backtranslation.settings.base_model import public_name
from backtranslation.settings.generation import Sampling
from backtranslation.settings.judge_server import JudgeServer
from backtranslation.settings.slices import PositiveInt, Slice

Control = Literal["untouched", "random", "unselected"]
CONTROLS: tuple[Control, ...] = get_args(Control)


class Evaluation(Slice):
    """Step 7: loss, answers and pairwise judgements of every model on the held-out pairs."""

    sampling: Sampling = Field(Sampling(max_new_tokens=512), description="How the answers are sampled.")
    judge: str | None = Field(
        None, description="the model that compares two answers: a folder, or a name on the Hugging Face hub; null: M0"
    )
    judge_server: JudgeServer | None = Field(
        None, description="a stronger model behind an API as the judge (docs/servers.md), in place of judge"
    )
    controls: list[Control] = Field(
        [],
        description="models to compare the last one with: untouched, the base model as it is; random, trained on the "
        "seed and as many candidates as the last iteration selects, drawn by chance; unselected, on the seed and all "
        "candidates",
    )
    backward_pairs: PositiveInt = Field(
        60,
        description="held-out responses for which the backward model writes an instruction; each instruction is then "
        "to find its response among 20, by their likelihood under M0 (round trip)",
    )
    max_answers: PositiveInt | None = Field(
        None, description="answer and judge only so many held-out instructions; null: all"
    )

    @model_validator(mode="after")
    def _has_one_judge(self) -> "Evaluation":
        if self.judge is not None and self.judge_server is not None:
            raise ValueError("give either judge or judge_server")
        return self

    def judge_name(self) -> str:
        """What others call the judge."""
        return self.judge_server.model if self.judge_server else public_name(self.judge or "M0")
