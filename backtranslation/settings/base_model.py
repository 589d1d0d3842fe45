"""Settings of the model that every training starts from, and how models are loaded."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from backtranslation.settings.slices import Slice
from backtranslation.shipped import find_file


class ModelLoading(Slice):
    """How models are loaded."""

    trust_remote_code: bool = Field(False, description="true runs Python code that comes with the model")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="number type of the weights in memory; auto: float32 for a full training, else bfloat16 if the "
        "GPU has it",
    )


class BaseModelSettings(ModelLoading):
    """The model that every training starts from."""

    path: str = Field(description="a folder, or a name on the Hugging Face hub (owner/name)")
    revision: str | None = Field(None, description="on the hub: branch, tag or commit; null: the main branch")

    def loading(self) -> ModelLoading:
        """The settings that also apply to the models that are trained from it."""
        return ModelLoading(trust_remote_code=self.trust_remote_code, dtype=self.dtype)

    def on_hub(self) -> "HubName | None":
        """What names it on the hub; None for a folder."""
        return HubName(path=self.path, revision=self.revision) if name_on_hub(self.path) else None


class HubName(Slice):
    """A model on the Hugging Face hub. Only the hash of a commit always names the same weights."""

    path: str
    revision: str | None


def name_on_hub(path: str | None) -> str | None:
    """A model's name on the hub; None for a folder, which is identified by its content."""
    return None if path is None or looks_like_folder(path) else path


def public_name(path: str) -> str:
    """A model as others know it: by its name on the hub or that of its folder, which may lie anywhere."""
    return Path(path).absolute().name if looks_like_folder(path) else path


def looks_like_folder(path: str) -> bool:
    """Whether a model is named by a folder rather than by a hub name (owner/name)."""
    return Path(find_file(path)).exists() or path.startswith((".", "/", "~")) or path.count("/") > 1
