"""Settings of which candidates become training data."""

from typing import Annotated, Literal

from pydantic import Field

from backtranslation.settings.slices import PositiveInt, Slice


class Selection(Slice):
    """Which candidates become training data."""

    by: Literal["parsed", "expected"] = Field(
        "parsed", description="the score in the text, or its expectation over the digits 1..5"
    )
    threshold: Annotated[float, Field(ge=1, le=5)] = Field(4.5, description="keep scores from here on")
    top_n: PositiveInt | None = Field(None, description="keep at most so many, the highest scores first")
