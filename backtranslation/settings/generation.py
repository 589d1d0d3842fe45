"""Settings of how text is generated, in every step."""

from typing import Annotated, NamedTuple

from pydantic import Field, ValidationInfo, field_validator

from backtranslation.settings.server import MEASURING, Server
from backtranslation.settings.slices import Count, PositiveInt, Slice, did_you_mean


class EngineChoice(NamedTuple):
    """An engine that can be chosen: its module, and the package that it needs, both untouched unless it is chosen."""

    module: str
    package: str


# The registry of engines. A module offers `load_engine`, as backtranslation/models/engine.py says.
ENGINES = {
    "transformers": EngineChoice("backtranslation.models.engines.transformers_engine", package="transformers"),
    "server": EngineChoice("backtranslation.models.engines.server_engine", package="httpx2"),
}


class Sampling(Slice):
    """Nucleus sampling. Random numbers belong to rows: they follow from random_seed, stage and row id."""

    temperature: Annotated[float, Field(ge=0)] = Field(0.7, description="0 takes the most probable token")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(0.9, description="probability mass that is sampled from")
    max_new_tokens: PositiveInt = Field(512, description="longer texts are cut and count as unfinished")


class Generation(Slice):
    """How text is generated, for all stages alike."""

    execution_keys = ("batch_tokens", "gpus")

    engine: str = Field(
        "transformers", description="what runs the model", json_schema_extra={"enum": [*sorted(ENGINES)]}
    )
    gpus: Count = Field(
        1, description="GPUs of a job, on a machine that has any; several hold a model too large for one"
    )
    batch_tokens: PositiveInt | None = Field(
        None, description="tokens (prompts and room for answers) in a batch; null: by the memory at hand"
    )

    server: Server | None = Field(
        None,
        validate_default=True,
        description="the server, where engine is server (docs/servers.md); without effect with another engine",
    )

    @field_validator("engine")
    @classmethod
    def _is_registered(cls, engine: str) -> str:
        if engine not in ENGINES:
            raise ValueError(
                f"there is no such engine; there are {', '.join(sorted(ENGINES))}{did_you_mean(engine, ENGINES)}"
            )
        return engine

    @field_validator("server")
    @classmethod
    def _goes_with_engine(cls, server: Server | None, info: ValidationInfo) -> Server | None:
        if info.data.get("engine") != "server":
            return None
        if server is None:
            raise ValueError("server must be given where engine is server")
        return server

    def modules(self) -> tuple[str, ...]:
        """The module of the engine, then that of the engine which does what a server of its kind cannot."""
        chosen = (ENGINES[self.engine].module,)
        if self.server and self.server.preset not in MEASURING:
            return (*chosen, ENGINES["transformers"].module)
        return chosen
