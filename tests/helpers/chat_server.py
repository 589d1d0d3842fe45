"""An OpenAI-compatible API with chat completions alone, whose replies a test makes up."""

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str], Any]


def reply(said: str | None, probabilities: Mapping[str, float] | None = None, place: int = 0) -> dict[str, Any]:
    """A chat completion; `probabilities` are those of the token at a place of the reply, in words."""
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
    if said and probabilities:
        tokens = [{"token": word, "logprob": -0.1, "top_logprobs": []} for word in said.split(" ")]
        top = [{"token": token, "logprob": math.log(chance)} for token, chance in probabilities.items()]
        tokens[place] |= {"logprob": math.log(probabilities.get(said.split(" ")[place], 0.1)), "top_logprobs": top}
        choice["logprobs"] = {"content": tokens}
    return {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 2}}


class ChatServer(ThreadingHTTPServer):
    """`answer` gives, for what the user says, a reply or an HTTP status; `requests` are for a test to look at."""

    daemon_threads = True

    def __init__(self, answer: Answer, key: str | None, takes_logprobs: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.key, self.takes_logprobs = answer, key, takes_logprobs
        self.requests: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def asked(self, word: str = "") -> list[str]:
        """What users said with a word in it, plain questions of the client left out."""
        said = [request["messages"][0]["content"] for request in self.requests]
        return [text for text in said if "<instruction>" in text and word in text]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ChatServer

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send(404, {"error": "no such page"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server, sent = self.server, self.headers["Authorization"]
        server.requests.append(body)
        if server.key and sent != f"Bearer {server.key}":
            self._send(401, {"error": f"wrong key {sent}"})
        elif self.path != "/v1/chat/completions":
            self._send(404, {"error": "no such path"})
        elif "logprobs" in body and not server.takes_logprobs:
            self._send(400, {"error": "logprobs are not supported"})
        else:
            self._answer(server.answer(body["messages"][0]["content"]), "logprobs" in body)

    def _answer(self, answer: Any, with_logprobs: bool) -> None:
        if isinstance(answer, int):
            self._send(answer, {"error": f"fault {answer}"})
            return
        for choice in answer["choices"]:
            if not with_logprobs:
                choice.pop("logprobs", None)
        self._send(200, answer)

    def _send(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serve_chat(answer: Answer, key: str | None = None, takes_logprobs: bool = True) -> Iterator[ChatServer]:
    """The server, in a thread of this process."""
    server = ChatServer(answer, key, takes_logprobs)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
