"""A Hugging Face hub for tests: its cache on disk, and a server that answers as it does."""

import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from helpers.tiny_models import ROOT

BASE = ROOT / "backtranslation" / "miniature" / "base"
COMMIT = "0" * 40

Answers = Mapping[str, tuple[int, str, Any]]  # by path: status, error code of the hub, body


def cache_model(cache: Path, name: str, source: Path = BASE) -> Path:
    """Put a model where `huggingface_hub` keeps what it has downloaded; returns its folder."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return shutil.copytree(source, repository / "snapshots" / COMMIT)


@contextmanager
def serve_hub(answers: Answers) -> Iterator[str]:
    """The address of a server that gives these answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, code, body = answers.get(self.path, (404, "RepoNotFound", {"error": "no such repository"}))
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
