"""A server that answers as vLLM, SGLang, llama.cpp's or `transformers serve` do, with a model that is made up, and
commits faults.

    python faulty_server.py FOLDER PORT WHAT

FOLDER holds a tokenizer; WHAT is JSON, the fields of `Behaviour`. What each server answers was written down from the
real ones. In a test, `serve` runs it in a thread.
"""

import json
import math
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

PATHS = {
    "vllm": "/v1/completions",
    "sglang": "/generate",
    "llama.cpp": "/completion",
    "transformers": "/v1/completions",
}
WAIT = 3600.0


@dataclass
class Behaviour:
    """How the server answers; `faults` are, by a word in a prompt, what becomes of one request with it after another.

    A fault is an HTTP status; or break (the connection), hang, die, empty (no results), short (half of the tokens), no
    JSON, or fine. The last one goes on for ever. `state` is a folder that counts them, across restarts too.
    """

    kind: str = "vllm"
    version: str = "1.0"
    positions: int = 512
    tokenizer: str = "own"
    ignored: list[str] = field(default_factory=list)  # fields of requests
    models: list[str] | None = None
    key: str | None = None
    faults: dict[str, list[str]] = field(default_factory=dict)
    retry_after: int | None = None
    added: list[int] = field(default_factory=list)  # tokens that it puts in front of every prompt
    probability: float | None = None  # of every token, in place of its own
    seconds: float = 0.0  # that a reply takes
    start_seconds: float = 0.0
    fails_to_start: bool = False
    state: str = ""


# The model


class MadeUpModel:
    """Probabilities of the next token that follow from the last two, and from nothing else."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.size = self.tokenizer.get_vocab_size()
        self._known: dict[tuple[int, ...], list[float]] = {}

    def log_probabilities(self, ids: list[int]) -> list[float]:
        """Of every token after the ids, in nats."""
        last = tuple(ids[-2:])
        if last not in self._known:
            generator = random.Random(repr(last))
            scores = [2 * generator.gauss() for _ in range(self.size)]
            total = math.log(sum(map(math.exp, scores)))
            self._known[last] = [score - total for score in scores]
        return self._known[last]

    def write(
        self, ids: list[int], ends: set[int], limit: int, temperature: float, top_p: float, seed: int
    ) -> list[int]:
        """A reply, with the token that ends it."""
        generator, written = random.Random(seed), list[int]()
        while len(written) < limit and not ends & set(written[-1:]):
            likely = self.log_probabilities(ids + written)
            ranked = sorted(range(self.size), key=lambda token: -likely[token])
            if temperature:
                weights = [math.exp(likely[token] / temperature) for token in ranked]
                left, kept = top_p * sum(weights), 0
                while left > 0 and kept < self.size:
                    left, kept = left - weights[kept], kept + 1
                written += generator.choices(ranked[:kept], weights[:kept])
            else:
                written.append(ranked[0])
        return written


# The server


class FaultyServer(ThreadingHTTPServer):
    """The server; `most_in_flight` and `requests` are for a test to look at."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, folder: Path, port: int, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.folder, self.behaviour, self.model = folder, behaviour, MadeUpModel(folder)
        self.lock, self.in_flight, self.most_in_flight, self.requests = threading.Lock(), 0, 0, list[Any]()
        self.state = Path(behaviour.state) if behaviour.state else None
        self.counts: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def next_fault(self, text: str) -> str:
        """What becomes of a request with this prompt."""
        for word, faults in self.behaviour.faults.items():
            if word in text:
                with self.lock:
                    return faults[min(self._count(word), len(faults) - 1)]
        return "fine"

    def _count(self, word: str) -> int:
        """How often there was such a prompt before."""
        if self.state is None:
            self.counts[word] = self.counts.get(word, -1) + 1
            return self.counts[word]
        file = self.state / word
        count = int(file.read_text()) + 1 if file.exists() else 0
        file.write_text(str(count))
        return count

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Broken connections are part of the game."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        if not self._has_key():
            return
        behaviour, folder = self.server.behaviour, str(self.server.folder)
        models = behaviour.models or [folder]
        listed = {"data": [{"id": name, "max_model_len": behaviour.positions} for name in models]}
        version = {"version": behaviour.version}
        props = {"build_info": behaviour.version, "default_generation_settings": {"n_ctx": behaviour.positions}}
        pages: dict[str, dict[str, Any]] = {
            "vllm": {"/version": version, "/v1/models": listed},
            "sglang": {"/server_info": version, "/v1/models": listed},
            "llama.cpp": {"/props": props},
            "transformers": {},
        }
        if self.path == "/health":
            self._answer(200, {})
        elif self.path in pages[behaviour.kind]:
            self._answer(200, pages[behaviour.kind][self.path])
        else:
            self._answer(404, {"error": "not found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server, kind = self.server, self.server.behaviour.kind
        if not self._has_key():
            return
        for name in server.behaviour.ignored:
            body.pop(name, None)
            body.get("sampling_params", {}).pop(name, None)
        if self.path == "/tokenize" and kind != "transformers":
            text = body["content" if kind == "llama.cpp" else "prompt"]
            ids = server.model.tokenizer.encode(text, add_special_tokens=False).ids
            self._answer(200, {"tokens": ids if server.behaviour.tokenizer == "own" else ids[::-1]})
        elif self.path == PATHS[kind]:
            with server.lock:
                server.requests.append(body)
                server.in_flight += 1
                server.most_in_flight = max(server.most_in_flight, server.in_flight)
            try:
                self._complete(kind, body)
            finally:
                with server.lock:
                    server.in_flight -= 1
        else:
            self._answer(404, {"error": "not found"})

    def _complete(self, kind: str, body: dict[str, Any]) -> None:
        """Answer a prompt, or commit the fault that is next."""
        ids = self._prompt(kind, body)
        fault = self.server.next_fault(self.server.model.tokenizer.decode(ids, skip_special_tokens=False))
        time.sleep(self.server.behaviour.seconds)
        if fault.isdigit():
            self._answer(int(fault), {"error": f"fault {fault}"})
        elif fault == "break":
            self.close_connection = True
            self.connection.close()
        elif fault == "hang":
            time.sleep(WAIT)
        elif fault == "die":
            print("the server dies of a fault", flush=True)
            os._exit(3)
        elif fault == "no JSON":
            self._answer(200, "<html>")
        elif len(ids) > self.server.behaviour.positions:
            self._answer(400, {"error": f"{len(ids)} tokens are too many"})
        else:
            reply = getattr(self, f"_as_{kind.replace('.', '_')}")(body, ids, fault)
            if fault == "empty":
                reply |= {"choices": [], "meta_info": {}, "tokens": None}
            self._answer(200, reply)

    def _prompt(self, kind: str, body: dict[str, Any]) -> list[int]:
        if kind == "transformers":
            return list(self.server.model.tokenizer.encode(body["prompt"]).ids)
        return [*self.server.behaviour.added, *body["input_ids" if kind == "sglang" else "prompt"]]

    def _write(self, ids: list[int], fault: str, ends: list[int], limit: int, given: dict[str, Any]) -> list[int]:
        """A reply by the sampling settings of a request."""
        temperature, seed = given.get("temperature", 0.0), given.get("seed", given.get("sampling_seed", 0))
        limit = limit // 2 if fault == "short" else limit
        return self.server.model.write(ids, set(ends), limit, temperature, given.get("top_p", 1.0), seed)

    def _likely(self, ids: list[int]) -> list[float]:
        if self.server.behaviour.probability is not None:
            return [math.log(self.server.behaviour.probability)] * self.server.model.size
        return self.server.model.log_probabilities(ids)

    def _most_likely(self, ids: list[int], count: int) -> list[int]:
        likely = self._likely(ids)
        return sorted(range(len(likely)), key=lambda token: -likely[token])[:count]

    def _decode(self, ids: list[int]) -> str:
        return str(self.server.model.tokenizer.decode(ids, skip_special_tokens=True))

    def _as_vllm(self, body: dict[str, Any], ids: list[int], fault: str) -> dict[str, Any]:
        written = self._write(ids, fault, body.get("stop_token_ids", []), body["max_tokens"], body)
        ended = written[-1] in body.get("stop_token_ids", [])
        choice: dict[str, Any] = {"text": self._decode(written), "finish_reason": "stop" if ended else "length"}
        if body.get("return_token_ids"):
            choice["token_ids"] = written
        if "logprobs" in body:
            tokens = body.get("logprob_token_ids") or self._most_likely(ids, body["logprobs"])
            likely = self._likely(ids)
            choice["logprobs"] = {"top_logprobs": [{f"token_id:{one}": likely[one] for one in [*tokens, written[0]]}]}
        if "prompt_logprobs" in body:
            told = [{str(ids[at]): {"logprob": self._likely(ids[:at])[ids[at]]}} for at in range(1, len(ids))]
            choice["prompt_logprobs"] = [None, *told]
        return {"choices": [choice], "usage": {"prompt_tokens": len(ids), "completion_tokens": len(written)}}

    def _as_sglang(self, body: dict[str, Any], ids: list[int], fault: str) -> dict[str, Any]:
        given = body["sampling_params"]
        written = self._write(ids, fault, given.get("stop_token_ids", []), given["max_new_tokens"], given)
        ended = written[-1:] and written[-1] in given.get("stop_token_ids", [])
        told: dict[str, Any] = {"finish_reason": {"type": "stop" if ended else "length"}}
        told |= {"prompt_tokens": len(ids), "completion_tokens": len(written)}
        if "token_ids_logprob" in body:
            likely = self._likely(ids)
            told["output_token_ids_logprobs"] = [[[likely[one], one, None] for one in body["token_ids_logprob"]]]
        if body.get("return_logprob"):
            start = body.get("logprob_start_len", len(ids))
            places = range(start + 1, len(ids))
            told["input_token_logprobs"] = [[None, ids[start], None]] if start < len(ids) else []
            told["input_token_logprobs"] += [[self._likely(ids[:at])[ids[at]], ids[at], None] for at in places]
        return {"text": self._decode(written), "output_ids": written, "meta_info": told}

    def _as_llama_cpp(self, body: dict[str, Any], ids: list[int], fault: str) -> dict[str, Any]:
        end = 0
        written = self._write(ids, fault, [end], body["n_predict"], body)
        ended = written[-1] == end
        reply = {
            "content": self._decode(written), "tokens": written[:-1] if ended else written,
            "stop_type": "eos" if ended else "limit", "tokens_predicted": len(written), "tokens_evaluated": len(ids),
        }  # fmt: skip
        if "n_probs" in body:
            likely = self._likely(ids)
            forced = [token for token, _ in body.get("logit_bias", [])]
            top = [{"id": one, "logprob": likely[one]} for one in self._most_likely(ids, min(10, body["n_probs"]))]
            chosen = forced[0] if forced else written[0]
            reply["completion_probabilities"] = [{"id": chosen, "logprob": likely[chosen], "top_logprobs": top}]
        return reply

    def _as_transformers(self, body: dict[str, Any], ids: list[int], fault: str) -> dict[str, Any]:
        config = json.loads(body["generation_config"])
        given = {**config, "seed": body.get("seed", 0)} if config["do_sample"] else {}
        written = self._write(ids, fault, config["eos_token_id"], config["max_new_tokens"], given)
        ended = len(written) < config["max_new_tokens"] and fault != "short"
        choice = {"text": self._decode(written), "finish_reason": "stop" if ended else "length"}
        return {"choices": [choice], "usage": {"prompt_tokens": len(ids), "completion_tokens": len(written)}}

    def _has_key(self) -> bool:
        key = self.server.behaviour.key
        if key is None or self.headers["Authorization"] == f"Bearer {key}":
            return True
        self._answer(401, {"error": f"the key {self.headers['Authorization']} is wrong"})
        return False

    def _answer(self, status: int, reply: Any) -> None:
        content = reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if status == 429 and self.server.behaviour.retry_after is not None:
            self.send_header("Retry-After", str(self.server.behaviour.retry_after))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serve(folder: Path, behaviour: Behaviour) -> Iterator[FaultyServer]:
    """The server, in a thread of this process."""
    server = FaultyServer(folder, 0, behaviour)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def command(behaviour: Behaviour) -> str:
    """The command that starts the server, for `generation.server.command`."""
    what = json.dumps(asdict(behaviour))
    return f"{sys.executable} {Path(__file__)} {{model}} {{port}} '{what}'"


def main() -> None:
    behaviour = Behaviour(**json.loads(sys.argv[3]))
    if behaviour.fails_to_start:
        sys.exit("CUDA out of memory: no GPU is large enough")
    if os.fork() == 0:  # as some servers do, a child of its own, which no signal to the parent reaches
        os.setsid()
        with suppress(KeyboardInterrupt):
            time.sleep(WAIT)
        os._exit(0)
    time.sleep(behaviour.start_seconds)
    FaultyServer(Path(sys.argv[1]), int(sys.argv[2]), behaviour).serve_forever()


if __name__ == "__main__":
    main()
