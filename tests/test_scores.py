"""All scores of a candidate: from texts, from probabilities, from likelihoods, and weighed together."""

import json
import random
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers.scores import judged, not_judged, reasons
from sklearn.metrics import roc_auc_score

from backtranslation.errors import DataError
from backtranslation.files import Row
from backtranslation.method.combination import Weights, combined_score, features_of, fit_weights
from backtranslation.method.gains import likelihood_gain
from backtranslation.method.likelihood import condense, measure_likelihoods
from backtranslation.method.scores import Findings, check_unscored, score_candidate
from backtranslation.models.engine import Choice, Completion, ReplyLikelihood, Request
from backtranslation.models.pairs import EncodedPair, PairError
from backtranslation.settings.generation import Sampling
from backtranslation.settings.limits import Limits

LABEL = "Score:"


def score(judgement: Row, label: str | None = LABEL, min_label_mass: float = 0.05) -> Row:
    return score_candidate("a", Findings(judgement, None, None), label, min_label_mass)


def likelihood(given: float, alone: float, tokens: int = 9) -> Row:
    """A row as measure_likelihood writes it, the same in all parts of the reply."""
    parts = ("mean", "begin", "tail", "end")
    return {
        "id": "a", "failure": None,
        "given": {"tokens": tokens, **dict.fromkeys(parts, given)},
        "alone": {"tokens": tokens, **dict.fromkeys(parts, alone)},
    }  # fmt: skip


def test_written_and_expected_score_stand_side_by_side() -> None:
    row = score(judged("a", "Fine.\nScore: 4", [0, 0, 0, 0.5, 0.5], mass=0.75))
    assert (row["score"], row["expected_score"], row["label_mass"]) == (4, 4.5, 0.75)
    assert (row["texts"], row["finished"], reasons(row)) == (["Fine.\nScore: 4"], True, {})
    assert (row["likelihood"], row["backward_likelihood"], row["combined"]) == (None, None, None)


def test_a_text_without_a_score_still_has_an_expectation() -> None:
    row = score(judged("a", "no idea"))
    assert (row["score"], reasons(row)) == (None, {"score": "no_score"})
    assert row["expected_score"] == pytest.approx(3)


def test_without_label_mass_there_is_no_expected_score_in_silence() -> None:
    """The shares of five digits sum to 1 however improbable all five are."""
    row = score(judged("a", "Score: 4", mass=0.049), min_label_mass=0.05)
    assert (row["score"], row["expected_score"], row["label_mass"]) == (4, None, 0.049)
    assert reasons(row) == {"expected_score": "low_label_mass"}
    assert reasons(score(judged("a", "Score: 4", mass=0.05), min_label_mass=0.05)) == {}


def test_scores_of_samples_are_means_over_those_that_have_one() -> None:
    samples = [
        *judged("a", "Score: 4", [0, 0, 0, 1, 0])["samples"],
        *judged("a", "Score: 1", [1, 0, 0, 0, 0], mass=0.01)["samples"],
        *judged("a", "what?", [0, 0, 0, 0, 1])["samples"],
    ]
    row = score({"id": "a", "samples": samples, "failure": None})
    assert (row["score"], row["expected_score"]) == (2.5, 4.5)
    assert row["texts"] == ["Score: 4", "Score: 1", "what?"]
    unread = [{**sample, "text": "what?", "finished": number > 0} for number, sample in enumerate(samples)]
    row = score({"id": "a", "samples": unread, "failure": None})
    assert (row["score"], reasons(row), row["finished"]) == (None, {"score": "no_score"}, False)


def test_a_score_that_was_not_written_is_not_missed() -> None:
    sample = {"text": None, "finished": None, "label_probabilities": [0, 0, 1, 0, 0], "label_mass": 0.5}
    row = score({"id": "a", "samples": [sample], "failure": None}, label=None)
    assert (row["expected_score"], row["score"], row["texts"], reasons(row)) == (3, None, None, {})
    assert reasons(score(not_judged("a"), label=None)) == {"expected_score": "prompt_too_long"}
    assert set(reasons(score(not_judged("a")))) == {"expected_score", "score"}


def test_likelihoods_are_gains_and_a_reply_that_does_not_fit_has_none() -> None:
    too_long = {"id": "a", "given": None, "alone": None, "failure": "target_too_long"}
    row = score_candidate("a", Findings(None, likelihood(-1.5, -2.75), too_long), None, 0)
    assert (row["likelihood"], row["backward_likelihood"]) == (1.25, None)
    assert reasons(row) == {"backward_likelihood": "target_too_long"}


def test_too_many_rows_without_a_score_stop_the_run() -> None:
    good = score(judged("g", "Score: 4"))
    bad = [{**score(judged("b", f"text {n}", mass=0.01)), "id": f"b{n}"} for n in range(40)]
    check_unscored([good] * 10 + bad[:2], "score", 0.2)
    with pytest.raises(DataError, match=r"40 of 50 candidates have no score \(40 no_score\)") as error:
        check_unscored([good] * 10 + bad, "score", 0.5)
    assert [f"b{n} (no_score): 'text {n}'" in str(error.value) for n in range(4)] == [True, True, True, False]
    with pytest.raises(DataError, match=r"40 low_label_mass"):
        check_unscored([good] * 10 + bad, "expected_score", 0.5)


def test_a_small_shard_is_not_stopped_by_chance() -> None:
    good, bad = score(judged("g", "Score: 4")), score(judged("b", "?"))
    check_unscored([good, good, bad], "score", 0.2)
    check_unscored([], "score", 0.2)
    with pytest.raises(DataError):
        check_unscored([good, good, bad] * 50, "score", 0.2)


# Likelihood


def test_condensed_likelihoods_hold_begin_tail_and_end_apart() -> None:
    values = [-1.0] * 16 + [-2.0] * 16 + [-3.0] * 16 + [-7.0]
    assert condense(ReplyLikelihood("a", values)) == {"tokens": 48, "mean": -2, "begin": -1, "tail": -3, "end": -7}
    assert condense(ReplyLikelihood("a", [-1.0, -3.0, -9.0])) == {
        "tokens": 2, "mean": -2, "begin": -2, "tail": -2, "end": -9,
    }  # fmt: skip


class Counting:
    """An engine to which a reply is as likely as its prompt is long, and which notes what it measures."""

    def __init__(self) -> None:
        self.measured: list[tuple[int, ...]] = []

    def room(self, prompt: str) -> int:
        return 100

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        raise NotImplementedError

    def choose(self, prompts: Sequence[tuple[str, str]], choices: Sequence[str]) -> Iterator[Choice]:
        raise NotImplementedError

    def measure(self, pairs: Sequence[EncodedPair]) -> Iterator[ReplyLikelihood]:
        for pair in reversed(pairs):
            self.measured.append(tuple(pair.ids))
            yield ReplyLikelihood(pair.id, [float(pair.prompt_tokens)] * (len(pair.ids) - pair.prompt_tokens))


def encode_characters(shown: str, measured: str, row: Row) -> EncodedPair:
    """The characters of a pair as its tokens."""
    if len(row[measured]) > 20:
        raise PairError("target_too_long", row["id"])
    prompt, reply = ([ord(character) for character in row[side]] for side in (shown, measured))
    return EncodedPair(row["id"], array("i", [1, *prompt, *reply, 2]), 1 + len(prompt))


@pytest.mark.parametrize(("task", "shown", "measured"), [("forward", "instruction", "response"),
                                                         ("backward", "response", "instruction")])  # fmt: skip
def test_a_reply_is_measured_alone_once(task: str, shown: str, measured: str, tmp_path: Path) -> None:
    rows = [
        {"id": "a", shown: "why", measured: "rain"},
        {"id": "b", shown: "how so", measured: "rain"},
        {"id": "long", shown: "why", measured: "x" * 21},
        {"id": "c", shown: "why", measured: "snow"},
    ]
    engine = Counting()

    def measure(engine: Counting) -> list[Row]:
        encode = lambda row: encode_characters(shown, measured, row)  # noqa: E731
        lenient = Limits(max_unusable_share=1)
        return list(measure_likelihoods(engine, encode, rows, task, tmp_path, lenient))  # type: ignore[arg-type]

    found = measure(engine)
    alone = [ids for ids in engine.measured if len(ids) == 6]  # begin, four letters, end
    assert len(engine.measured) == 5 and len(alone) == len(set(alone)) == 2
    assert [row["id"] for row in found] == ["a", "b", "long", "c"]
    assert [None if row["failure"] else likelihood_gain(row) for row in found] == [3, 6, None, 3]
    assert found[2] == {"id": "long", "given": None, "alone": None, "failure": "target_too_long"}
    assert measure(idle := Counting()) == found and idle.measured == [], "all of it is in the journals"


# The combined score


def audit(pairs: int, noise: float) -> tuple[list[Row], dict[str, Findings]]:
    """Rows of an audit in which the gain of the response tells one kind of wrong, and the end of it the other."""
    draw = random.Random(5)
    rows, found = [], {}
    for number in range(pairs):
        for kind in ("right", "other_instruction", "cut_in_half"):
            row = {"id": f"{number}/{kind}", "pair": str(number), "kind": kind}
            forward = likelihood(-2 + (kind != "other_instruction") + noise * draw.gauss(0, 1), -2)
            forward["given"]["end"] = -1.0 - 3 * (kind == "cut_in_half") + noise * draw.gauss(0, 1)
            rows.append(row)
            found[row["id"]] = Findings(judged(row["id"], "", mass=0.9), forward, likelihood(-2 + draw.gauss(0, 1), -2))
    return rows, found


def test_the_combined_score_weighs_what_tells_right_from_wrong() -> None:
    rows, found = audit(60, noise=0.3)
    features = {row_id: values for row_id, one in found.items() if (values := features_of(one))}
    weights = Weights.model_validate_json(json.dumps(fit_weights(rows, features, 1).model_dump()))
    scores = [combined_score(row["id"], found[row["id"]], weights) for row in rows]
    assert all(value is not None and 0 < value < 1 for value in scores)
    assert roc_auc_score([row["kind"] == "right" for row in rows], scores) > 0.95
    new = Findings(judged("new", ""), likelihood(-1, -2), likelihood(-2, -2))
    wrong = Findings(judged("new", ""), likelihood(-2, -2), likelihood(-2, -2))
    assert (combined_score("new", new, weights) or 0) > (combined_score("new", wrong, weights) or 1)


def test_no_row_of_the_audit_is_scored_by_a_fit_that_it_took_part_in() -> None:
    """What tells nothing must look like nothing: the fit on all rows, asked about the same rows, flatters itself."""
    draw = np.random.default_rng(3)
    rows, found = audit(25, noise=0)
    features = {row["id"]: dict.fromkeys(features_of(found[row["id"]]) or {}, 0.0) for row in rows}
    features = {row_id: {name: draw.normal() for name in values} for row_id, values in features.items()}
    weights = fit_weights(rows, features, 1)
    right = [row["kind"] == "right" for row in rows]
    honest = roc_auc_score(right, [weights.score(row["id"], features[row["id"]]) for row in rows])
    flattering = roc_auc_score(right, [weights.score("new", features[row["id"]]) for row in rows])
    assert honest < 0.65 < flattering
    halves = {row["pair"]: weights.half_of[row["id"]] for row in rows}
    assert all(halves[row["pair"]] == weights.half_of[row["id"]] for row in rows), "a pair lies in one half whole"
    assert sorted(set(halves.values())) == [0, 1]


def test_too_few_audited_pairs_are_an_error_that_says_what_to_do() -> None:
    rows, _ = audit(19, noise=0)
    with pytest.raises(DataError, match=r"at least 20 pairs of the audit, and 19 can be used: raise held_out\.size"):
        fit_weights(rows, {row["id"]: {"one": 1.0} for row in rows}, 1)


def test_what_could_not_be_measured_has_no_combined_score() -> None:
    rows, found = audit(20, noise=0.1)
    weights = fit_weights(rows, {row_id: features_of(one) or {} for row_id, one in found.items()}, 1)
    failed = Findings(not_judged("new"), likelihood(-1, -2), likelihood(-1, -2))
    assert combined_score("new", failed, weights) is None
