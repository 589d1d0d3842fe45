"""What the Hugging Face hub, or its cache on this machine, has of a model or a data set.

The cache is looked at first; the hub is asked with a short time limit, and not at all in offline mode (HF_HUB_OFFLINE).
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backtranslation.settings.seed import HubDataset

SECONDS = 5.0


@dataclass(frozen=True)
class HubModel:
    """The names of the files of a model on the hub, and the number of its parameters where the hub knows it."""

    files: list[str]
    parameters: int | None


def cached_model(name: str, revision: str | None) -> Path | None:
    """The folder of a model in the cache, which may lack files; None if there is none."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def ask_for_model(name: str, revision: str | None) -> HubModel | str:
    """What the hub has of a model, or what is wrong and what to do."""
    from huggingface_hub import HfApi, constants

    found = _ask(
        HfApi().model_info, "model", name, revision,
        missing=f"{name} is no folder here and not in the cache ({constants.HF_HUB_CACHE})",
        remedy=f"`hf download {name}` where there is a network fills the cache",
    )  # fmt: skip
    if isinstance(found, str):
        return found
    files = [file.rfilename for file in found.siblings or []]
    return HubModel(files, found.safetensors.total if found.safetensors else None)


def dataset_fault(dataset: HubDataset) -> str | None:
    """What is wrong with a data set and what to do; None if it is in the cache of `datasets`, or on the hub."""
    if find_spec("datasets") is None:
        return "needs the package datasets: pip install 'backtranslation[datasets]'"
    from datasets.config import HF_DATASETS_CACHE
    from datasets.naming import camelcase_to_snakecase
    from huggingface_hub import HfApi

    *owner, name = dataset.name.split("/")
    if (Path(HF_DATASETS_CACHE) / "___".join([*owner, camelcase_to_snakecase(name)])).is_dir():
        return None
    found = _ask(
        HfApi().dataset_info, "dataset", dataset.name, dataset.revision,
        missing=f"{dataset.name} is not in the cache ({HF_DATASETS_CACHE})",
        remedy=f"`load_dataset({dataset.name!r})` of the package datasets, where there is a network, fills the cache",
    )  # fmt: skip
    return found if isinstance(found, str) else None


def _ask(info: Callable[..., Any], kind: str, name: str, revision: str | None, missing: str, remedy: str) -> Any:
    """What the hub says of a repository, or a text that says why it cannot be had."""
    from huggingface_hub import HfApi, constants, errors

    if constants.HF_HUB_OFFLINE:
        return f"{missing}, and HF_HUB_OFFLINE keeps this machine from asking the hub: {remedy}"
    try:
        found = info(name, revision=revision, timeout=SECONDS)
        if found.gated:
            HfApi().auth_check(name, repo_type=kind)
        return found
    except errors.HFValidationError:
        return f"{name} is no folder here, and no name on the hub (owner/name)"
    except errors.GatedRepoError:
        page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{name}"
        return f"{name} asks for consent: give it at {page}, then `hf auth login`"
    except errors.RevisionNotFoundError:
        return f"{name} has no revision {revision!r}: name a branch, tag or commit that it has"
    except errors.RepositoryNotFoundError:
        return (
            f"{missing}, and the hub has no such {kind} that you may see: check the name; for a private one,"
            " `hf auth login`"
        )
    except Exception as error:  # what the client below raises differs between releases
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"{missing}, and the hub cannot be reached ({reason}): check the network; {remedy}"
