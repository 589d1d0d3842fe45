"""Settings of step 5: the scores that a model gives the candidates."""

from pydantic import Field

from backtranslation.settings.generation import Sampling
from backtranslation.settings.slices import Share, Slice


class Scoring(Slice):
    """Step 5: in iteration t, model M(t-1) scores every candidate (paper, section 2.3)."""

    sampling: Sampling = Field(Sampling(max_new_tokens=256), description="How the scores are sampled.")
    max_unparsable_share: Share = Field(
        0.2, description="the run stops, and shows examples, if clearly more of a shard's scores cannot be read"
    )
