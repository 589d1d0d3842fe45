"""Settings of a judge at a server: a model behind an API, in place of a local one."""

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from backtranslation.settings.server import Address, KeyVariable
from backtranslation.settings.slices import PositiveInt, Slice

Price = Annotated[float, Field(ge=0)]


class JudgeServer(Slice):
    """A stronger model behind an OpenAI-compatible API, which judges in place of a local model (docs/servers.md)."""

    section: ClassVar[str] = "evaluation.judge_server"
    execution_keys = ("key_variable", "concurrency", "request_seconds", "input_price", "output_price")

    url: Address = Field(description="where the API is, such as https://api.example.org/v1")
    model: Annotated[str, Field(min_length=1)] = Field(description="name of the model there")
    key_variable: KeyVariable | None = Field(
        None, description="name of the environment variable that holds the key that the API asks for"
    )
    concurrency: PositiveInt = Field(16, description="requests in flight at once")
    request_seconds: PositiveInt = Field(120, description="a request that takes longer is sent again")
    input_price: Price | None = Field(
        None, description="price of a million tokens that the model reads, for the estimate in the log"
    )
    output_price: Price | None = Field(None, description="price of a million tokens that it writes")

    @model_validator(mode="after")
    def _has_both_prices(self) -> "JudgeServer":
        if (self.input_price is None) != (self.output_price is None):
            raise ValueError("give both input_price and output_price, or neither")
        return self

    def modules(self) -> tuple[str, ...]:
        """The module that asks such a judge."""
        return ("backtranslation.method.server_judging",)
