"""Settings of a server that generates text."""

import re
import shlex
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from backtranslation.settings.slices import Count, PositiveInt, Slice, did_you_mean

Preset = Literal["vllm", "sglang", "llama.cpp", "transformers"]
# Those that tell how probable given tokens are; what a preset cannot, the job does itself (Generation.modules).
MEASURING: tuple[Preset, ...] = ("vllm", "sglang")

PLACES = ("model", "port", "gpus")


def _check_address(url: str) -> str:
    if not re.match(r"https?://[^/\s]", url):
        raise ValueError("must begin with http:// or https://")
    return url.rstrip("/").removesuffix("/v1")


Address = Annotated[str, AfterValidator(_check_address)]
KeyVariable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Server(Slice):
    """The server that runs the model, where engine is server (docs/servers.md): its command, or the URL of one."""

    section: ClassVar[str] = "generation.server"
    execution_keys = ("url", "key_variable", "concurrency", "request_seconds", "start_seconds", "restarts")

    preset: Preset = Field(description="what kind of server it is: vllm, sglang, llama.cpp or transformers")
    version: Annotated[str, Field(min_length=1)] = Field(
        description="version that the server reports; a server that reports another is refused"
    )
    command: str | None = Field(
        None,
        description="starts the server for one job, which ends it; {model}, {port} and {gpus} (at least 1) are filled "
        "in; null: one that runs already, at url",
    )
    url: Address | None = Field(
        None, description="a server that runs already, such as http://127.0.0.1:8000; null: command starts one"
    )
    key_variable: KeyVariable | None = Field(
        None, description="name of the environment variable that holds the key that the server asks for"
    )
    concurrency: PositiveInt = Field(64, description="requests in flight at once")
    request_seconds: PositiveInt = Field(600, description="a request that takes longer is sent again")
    start_seconds: PositiveInt = Field(900, description="time that the command may take until the server answers")
    restarts: Count = Field(3, description="how often a job starts its server again when that dies or hangs")

    @field_validator("command")
    @classmethod
    def _has_places(cls, command: str | None) -> str | None:
        if command is None:
            return None
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise ValueError(f"cannot be split into words: {error}") from None
        named = re.findall(r"\{(\w+)\}", command)
        for name in named:
            if name not in PLACES:
                raise ValueError(f"there is no {{{name}}} to fill in{did_you_mean(name, PLACES)}")
        for name in ("model", "port"):
            if name not in named:
                raise ValueError(f"must say where {{{name}}} goes")
        if any(re.match(r"--?api[-_]key\b", word) for word in words):
            raise ValueError(
                "holds a key, which results and logs would keep: let the server read it from its environment"
            )
        return command

    @model_validator(mode="after")
    def _is_one_server(self) -> "Server":
        if self.url is not None and self.command is not None:
            raise ValueError("give either url or command")
        return self
