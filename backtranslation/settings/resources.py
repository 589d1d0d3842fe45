"""Settings of what a job may use of the machine."""

from pydantic import Field

from backtranslation.settings.slices import PositiveInt, Slice


class Resources(Slice):
    """What a job may use of the machine; no result depends on it."""

    training_threads: PositiveInt = Field(8, description="processor threads of a training, at most --cores")
    generation_threads: PositiveInt = Field(
        1, description="processor threads of a job that generates; two jobs are faster than one with two threads"
    )
