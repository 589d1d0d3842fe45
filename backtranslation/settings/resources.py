"""Settings of what a job may use."""

from pydantic import Field

from backtranslation.settings.slices import PositiveInt, Slice


class Resources(Slice):
    """What a job may use. Never part of a result's identity."""

    training_threads: PositiveInt = Field(8, description="processor threads of a training, at most --cores")
    generation_threads: PositiveInt = Field(
        1, description="of a job that generates; two jobs beat one with two threads"
    )
