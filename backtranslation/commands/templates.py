"""A look at the prompt templates before the first job: a fault must not wait for the stage that reads them."""

from backtranslation.models.prompts import PromptSet
from backtranslation.settings.prompts import PROMPT_FILES, Prompts
from backtranslation.shipped import find_file


def check_templates(settings: Prompts) -> None:
    """Read every template of a run, which may be one that ships. Raises PromptError as `PromptSet` does."""
    files = {name: find_file(getattr(settings, name)) for name in PROMPT_FILES}
    prompts = PromptSet(settings.model_copy(update=files))
    for name in (*PROMPT_FILES, "score_label", "judge_label"):
        getattr(prompts, name)
