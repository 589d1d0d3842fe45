"""Settings of how much may be wrong before a run stops."""

from pydantic import Field

from backtranslation.settings.slices import Share, Slice


class Limits(Slice):
    """What a run puts up with; no result depends on it."""

    execution_keys = ("max_unusable_share",)

    max_unusable_share: Share = Field(
        0.25,
        description="a job stops, with counts and three examples, if clearly more of its records or rows cannot be "
        "used: damaged, no text, too long for the model; fewer are counted",
    )
