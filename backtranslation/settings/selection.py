"""Settings of step 5: which candidates become training data."""

from typing import Annotated, Literal

from pydantic import Field

from backtranslation.settings.slices import PositiveInt, Slice


class Selection(Slice):
    """Step 5, continued: which candidates become training data."""

    by: Literal["parsed", "expected"] = Field(
        "parsed",
        description="parsed: the score in the text; expected: the mean of the scores 1 to 5, by their probability",
    )
    threshold: Annotated[float, Field(ge=1, le=5)] = Field(4.5, description="lowest score that is kept")
    top_n: PositiveInt | None = Field(
        None, description="keep at most so many, the highest scores first; null: no limit"
    )
