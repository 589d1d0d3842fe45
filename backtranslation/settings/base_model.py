"""Settings of the model that every training starts from, and how models are loaded."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from backtranslation.settings.slices import Slice
from backtranslation.shipped import find_file


class ModelLoading(Slice):
    """How any model is loaded."""

    trust_remote_code: bool = Field(False, description="run Python code that comes with the model")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the weights in memory; auto: bfloat16 on a GPU that has it, else float32"
    )


class BaseModelSettings(ModelLoading):
    """The model that every training starts from."""

    path: str = Field(description="a folder, or a name on the Hugging Face hub")
    revision: str | None = Field(None, description="branch, tag or commit on the hub")

    def loading(self) -> ModelLoading:
        """What also holds for the models that are trained from it."""
        return ModelLoading(trust_remote_code=self.trust_remote_code, dtype=self.dtype)

    def hub_name(self) -> "HubName | None":
        """Its name on the hub; None for a folder, of which the content counts and not the path."""
        return HubName(path=self.path, revision=self.revision) if hub_name(self.path) else None


class HubName(Slice):
    """A model on the Hugging Face hub. Only a fixed revision names the same weights for ever."""

    path: str
    revision: str | None


def hub_name(path: str | None) -> str | None:
    """A model's name on the hub; None for a folder, of which the content counts and not the path."""
    return None if path is None or looks_like_folder(path) else path


def looks_like_folder(path: str) -> bool:
    """Whether a model is named by a folder rather than by a hub name (owner/name)."""
    return Path(find_file(path)).exists() or path.startswith((".", "/", "~")) or path.count("/") > 1
