"""Settings of the scores that a model gives the candidates."""

from pydantic import Field

from backtranslation.settings.generation import Sampling
from backtranslation.settings.slices import Share, Slice


class Scoring(Slice):
    """Model M(t-1) scores every candidate (paper, section 2.3)."""

    sampling: Sampling = Sampling(max_new_tokens=256)
    max_unparsable_share: Share = Field(
        0.2, description="of a shard; beyond it, and beyond chance, the run stops with examples"
    )
