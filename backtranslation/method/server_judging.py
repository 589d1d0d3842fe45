"""A judge at a server: a stronger model behind an OpenAI-compatible API says which of two answers is better.

A question is one message of a chat, without a system prompt. The probabilities of "1" and "2" are read where the reply
names one of them; where the API tells none, the reply alone counts.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from backtranslation.files import Row
from backtranslation.jobs.journal import complete_journal
from backtranslation.jobs.progress import Progress, log
from backtranslation.method.judging import Verdict, answered_questions, join_orders
from backtranslation.models.choices import judgement_message
from backtranslation.models.engine import EngineError
from backtranslation.models.engines.server_connection import Call, Connection, RowFailedError
from backtranslation.models.prompts import PromptSet
from backtranslation.settings.judge_server import JudgeServer
from backtranslation.settings.limits import Limits
from backtranslation.tally import Tally

REPLY_TOKENS = 16  # one is enough, but some models repeat the label
TOP_TOKENS = 5  # that every API gives; the two numbers, with and without a space, are four
CHARACTERS_PER_TOKEN = 4
MILLION = 1_000_000
SHOWN = 80  # characters of a reply in a message
NAMES_NEITHER = "judge_names_neither"  # or both
NUMBER = re.compile(r"(?<!\d)[12](?!\d)")
PLAIN_QUESTION = "Reply with one number, 1 or 2."  # tries the API; no result depends on it


def judge_with_server(
    server: JudgeServer,
    prompts: PromptSet,
    first_answers: Sequence[Row],
    second_answers: Sequence[Row],
    work: Path,
    limits: Limits,
) -> list[Row]:
    """Rows as of `join_orders`, from the model at a server. Texts are never cut: what the API refuses is counted.

    `work` is a folder from which a killed process continues; no reply is paid for twice, but for those in flight.
    Raises DataError as `answered_questions` does, and when clearly more questions have no verdict than may be unusable;
    EngineError when the server does not answer.
    """
    questions = answered_questions(first_answers, second_answers)
    forward = {f"{row_id} forward": judgement_message(prompts, question) for row_id, question in questions.items()}
    swapped = {
        f"{row_id} reversed": judgement_message(prompts, question.reversed()) for row_id, question in questions.items()
    }
    verdicts = ServerJudge(server, work).ask_all(forward | swapped, work / "verdicts.jsonl", limits)
    orders = ({row_id: verdicts[f"{row_id} {order}"] for row_id in questions} for order in ("forward", "reversed"))
    return join_orders([row["id"] for row in first_answers], *orders)


class ServerJudge:
    """The model at a server. It is asked for probabilities, unless it refuses a plain question that asks for them."""

    def __init__(self, server: JudgeServer, work: Path) -> None:
        self.server = server
        self.with_probabilities = True
        self.connection = Connection(server, server.model, 0, work, partial(self._call, PLAIN_QUESTION), self._prove)

    def ask_all(self, messages: Mapping[str, str], journal: Path, limits: Limits) -> dict[str, Verdict]:
        """Verdicts by the ids of messages; what the journal holds is not asked for again.

        A reply that names neither answer is in the journal too: it was paid for, and would be the same again. Raises
        DataError if clearly more messages have no verdict than may be unusable.
        """
        failed: dict[str, Verdict] = {}
        tally = Tally()

        def ask_missing(there: dict[str, Row]) -> Iterator[Row]:
            for row in there.values():
                if row["failure"]:
                    tally.refuse(row["failure"], f"{row['id']}, asked before")
            tally.check(len(there), "questions", limits.max_unusable_share)
            missing = {name: text for name, text in messages.items() if name not in there}
            if not missing:
                return
            self._tell_estimate(missing.values())
            progress = Progress(len(messages), "questions", already=len(there))
            for asked, (name, verdict, said) in enumerate(self.connection.answer_all(missing.items(), self._ask), 1):
                if verdict.failure:
                    tally.refuse(verdict.failure, f"{name}: {said}")
                if verdict.failure in (None, NAMES_NEITHER):
                    yield {"id": name, **asdict(verdict)}
                else:
                    failed[name] = verdict
                progress.add()
                tally.check(len(there) + asked, "questions", limits.max_unusable_share)
            progress.tell()

        rows = complete_journal(journal, ask_missing)
        verdicts = {name: Verdict(**{key: row[key] for key in row if key != "id"}) for name, row in rows.items()}
        self._tell_usage(verdicts.values())
        return verdicts | failed

    async def _ask(self, question: tuple[str, str]) -> tuple[str, Verdict, str]:
        """The verdict on a message with an id, and what the server said."""
        name, text = question
        try:
            verdict, said = await self.connection.ask(self._call(text), read_reply)
        except RowFailedError as error:
            return name, Verdict(None, None, error.reason), str(error)
        return name, verdict, said

    def _call(self, text: str) -> Call:
        body: dict[str, Any] = {
            "model": self.server.model, "messages": [{"role": "user", "content": text}],
            "max_tokens": REPLY_TOKENS, "temperature": 0,
        }  # fmt: skip
        if self.with_probabilities:
            body |= {"logprobs": True, "top_logprobs": TOP_TOKENS}
        return Call("/v1/chat/completions", body)

    async def _prove(self) -> None:
        """Find out whether the API takes requests for probabilities. Raises EngineError if it takes none at all."""
        for self.with_probabilities in (True, False):
            try:
                await self.connection.ask(self._call(PLAIN_QUESTION), lambda reply: reply, may_restart=False)
                return
            except RowFailedError as error:
                refusal = error
        raise EngineError(f"{self.server.model} at {self.server.url} refuses a plain question: {refusal}")

    def _tell_estimate(self, messages: Iterable[str]) -> None:
        """Log what is going to be asked, and what that may cost."""
        lengths = [len(text) for text in messages]
        read, written = sum(lengths) // CHARACTERS_PER_TOKEN, len(lengths) * REPLY_TOKENS
        log.info(
            f"{len(lengths):,} requests to {self.server.model} at {self.server.url}: about {read:,} tokens to read (a"
            f" rough estimate: characters / {CHARACTERS_PER_TOKEN}), at most {written:,} to write"
            f"{self._price(read, written)}"
        )

    def _tell_usage(self, verdicts: Iterable[Verdict]) -> None:
        """Log what was used, by the server's own count, and where it told no probabilities."""
        told = list(verdicts)
        read, written = (
            sum(getattr(verdict, name) or 0 for verdict in told) for name in ("input_tokens", "output_tokens")
        )
        log.info(f"{self.server.model} read {read:,} tokens and wrote {written:,}{self._price(read, written)}")
        by_text = sum(verdict.failure is None and verdict.mass is None for verdict in told)
        if by_text:
            log.warning(f"{by_text:,} of {len(told):,} replies came without probabilities, and count as 1 or 0")

    def _price(self, read: int, written: int) -> str:
        if self.server.input_price is None or self.server.output_price is None:
            return ""
        price = (read * self.server.input_price + written * self.server.output_price) / MILLION
        return f", {price:,.2f} by input_price and output_price"


def read_reply(reply: Any) -> tuple[Verdict, str]:
    """What a reply says of the answer shown first, and the beginning of the reply.

    Its first line must name one of 1 and 2, and only one; else it is a failure. What a reply lacks shows as a KeyError,
    an IndexError or a TypeError.
    """
    choice, usage = reply["choices"][0], reply.get("usage") or {}
    line = (choice["message"].get("content") or "").strip().partition("\n")[0]
    named = set(NUMBER.findall(line))
    if len(named) == 1:
        verdict = _read_probabilities(choice, named) or Verdict(float("1" in named), None)
    else:
        verdict = Verdict(None, None, NAMES_NEITHER)
    counted = replace(verdict, input_tokens=usage.get("prompt_tokens"), output_tokens=usage.get("completion_tokens"))
    return counted, f"it wrote {line[:SHOWN]!r}"


def _read_probabilities(choice: Any, named: Set[str]) -> Verdict | None:
    """The shares of "1" and "2" at the token with the named number; None where no probabilities are told."""
    for place in (choice.get("logprobs") or {}).get("content") or []:
        if place["token"].strip() in named and place.get("top_logprobs"):
            # The token that was written is among the most probable ones, or beside them.
            logprobs = {other["token"]: other["logprob"] for other in [*place["top_logprobs"], place]}
            chances = {"1": 0.0, "2": 0.0}
            for token, logprob in logprobs.items():
                if token.strip() in chances:
                    chances[token.strip()] += math.exp(logprob)
            mass = sum(chances.values())
            return Verdict(chances["1"] / mass, min(mass, 1.0)) if mass else None
    return None
