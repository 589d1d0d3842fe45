"""What the card of each data set says in words: how it was made, from what, and what it is not."""

from collections.abc import Sequence

from backtranslation.export.card import About
from backtranslation.settings.base_model import public_name
from backtranslation.settings.prompts import Tags
from backtranslation.settings.run import Settings
from backtranslation.settings.selection import Selection
from backtranslation.settings.training import Training

PASSAGES_ARE_REPLIES = (
    "The replies are passages of web pages, as they stand there: they may be wrong, out of date, biased, or somebody's"
    " property. The instructions were written by a model to fit them."
)
SCORED_BY_A_MODEL = "The scores are those of a model, not of people; what it prefers need not be what is better."


def about_curated(settings: Settings, iteration: int, selection: Selection) -> About:
    """The pairs that were selected in an iteration."""
    return About(
        title=f"Curated pairs of iteration {iteration}",
        summary="Passages of web pages, each with an instruction that a model wrote for it, of which another model"
        " selected the best: augmented training data by instruction backtranslation.",
        made=[*_augmentation(settings), _scoring(iteration, settings.scoring.method), _selection(selection)],
        limits=[PASSAGES_ARE_REPLIES, SCORED_BY_A_MODEL],
        languages=settings.corpus.filters.languages,
    )


def about_candidates(settings: Settings, iteration: int, selection: Selection) -> About:
    """All pairs that were scored in an iteration."""
    return About(
        title=f"Scored candidates of iteration {iteration}",
        summary="Passages of web pages, each with an instruction that a model wrote for it and the score that another"
        " model gave the two: selected pairs, and those that were not.",
        made=[*_augmentation(settings), _scoring(iteration, settings.scoring.method), _selection(selection)],
        limits=["This is not training data as it is: most rows may be pairs that were not selected.",
                PASSAGES_ARE_REPLIES, SCORED_BY_A_MODEL],
        languages=settings.corpus.filters.languages,
    )  # fmt: skip


def about_training(settings: Settings, model: str, training: Training, tags: Tags) -> About:
    """What a model learnt from."""
    is_backward = model == "backward"
    learnt = (
        "The backward model is asked with the reply of a human-written pair, and learns to write its instruction."
        if is_backward
        else "The user's turn is what the model was shown: the instruction with the tag sentence of its kind (seed:"
        f' "{tags.seed_tag}", augmented: "{tags.augmented_tag}").'
    )
    return About(
        title=f"Training data of {model}",
        summary=f"What {model} was trained on, pair by pair, as it was shown to it.",
        made=[
            f"{model} is {public_name(settings.base_model.path)}, fine-tuned on these pairs and no others.",
            learnt,
            *([] if is_backward or model == "M0" else _augmentation(settings)),
        ],
        limits=[
            "Pairs from which nothing can be learnt (no reply, or a reply that is too long) are not here, as they were"
            " not in the training.",
            f"Of a pair of more than {training.max_length:,} tokens the model saw less: the question was cut, never the"
            " reply. Here it is whole.",
            "Seed pairs carry no source: their license is that of the data set they were taken from.",
            *([] if is_backward or model == "M0" else [PASSAGES_ARE_REPLIES]),
        ],
        languages=settings.corpus.filters.languages,
    )


def about_answers(settings: Settings, models: Sequence[str]) -> About:
    """The answers of all models to the held-out instructions."""
    sampling = settings.evaluation.sampling
    return About(
        title="Answers to held-out instructions",
        summary=f"What {_listed(models)} answered to the same instructions, one file for each model, in the format of"
        " AlpacaEval's outputs.",
        made=[
            "No model was trained on these instructions, and passages that overlap with them were dropped.",
            f"Sampled with temperature {sampling.temperature:g}, top_p {sampling.top_p:g}, at most"
            f" {sampling.max_new_tokens} tokens.",
        ],
        limits=["An instruction that is too long for a model has an empty answer."],
    )


def about_judgements(judge: str) -> About:
    """Which of two answers is better."""
    return About(
        title="Judgements of answers to held-out instructions",
        summary="Which of two models answered better, one file for each comparison, in the format of AlpacaEval's"
        " annotations.",
        made=[
            f"{judge} was asked about every pair of answers in both orders; `preference` is 1 plus the mean of its"
            " probabilities that the second model's answer is the better one.",
        ],
        limits=["A model is no measure of quality: a small judge says more about length and style than about truth."],
    )


def _augmentation(settings: Settings) -> list[str]:
    sources = [source.name for source in settings.corpus.sources]
    return [
        f"Passages of {settings.corpus.segments.min_chars:,} to {settings.corpus.segments.max_chars:,} characters were"
        f" cut out of the pages of {_listed(sources)}, filtered, and cleared of copies and of what is held out.",
        f"A backward model ({public_name(settings.base_model.path)}, fine-tuned on the seed pairs reversed) wrote one"
        " instruction for each; unusable ones were dropped.",
    ]


def _scoring(iteration: int, method: str) -> str:
    by_rubric = "by a rubric from 1 to 5"
    by_likelihood = "by how much likelier the question makes the reply and, to the backward model, the reply it"
    how = {"likelihood": by_likelihood, "combined": f"{by_rubric} and {by_likelihood}"}.get(method, by_rubric)
    return f"M{iteration - 1} scored every pair {how} (iteration {iteration})."


def _selection(selection: Selection) -> str:
    score = f"{'an' if selection.by == 'expected' else 'a'} {selection.by} score"
    limits = []
    if selection.threshold is not None:
        limits.append(f"{score} of {selection.threshold:g} or more")
    if selection.quantile is not None:
        limits.append(f"{score} above the quantile {selection.quantile:g}")
    which = f"those with {' and '.join(limits)}" if limits else f"the pairs with the highest {selection.by} scores"
    at_most = f", at most {selection.top_n:,} of them, the highest first" if selection.top_n else ""
    return f"Selected were {which}{at_most}."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
