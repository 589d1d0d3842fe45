"""A Hugging Face hub for tests: its cache on disk, and servers that answer as it does, to questions and to uploads."""

import base64
import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from helpers.tiny_models import ROOT

BASE = ROOT / "backtranslation" / "miniature" / "base"
COMMIT = "0" * 40
TOKEN = "hf_of_the_tests"
LARGE = 4096  # bytes; the real hub stores files of more than 10 MB, and all weights and tables, apart from its commits

Answer = tuple[int, str, Any]  # status, error code of the hub, body
Answers = Mapping[str, Answer]  # by path
NOT_FOUND: Answer = (404, "RepoNotFound", {"error": "no such repository"})


def cache_model(cache: Path, name: str, source: Path = BASE) -> Path:
    """Put a model where `huggingface_hub` keeps what it has downloaded; returns its folder."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return shutil.copytree(source, repository / "snapshots" / COMMIT)


class _Handler(BaseHTTPRequestHandler):
    """Sends answers as the hub does."""

    def send_answer(self, answer: Answer) -> None:
        status, code, body = answer
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if code:
            self.send_header("X-Error-Code", code)
        if status == 401 and not code:
            self.send_header("X-Error-Message", "Invalid credentials in Authorization header")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _serve(handler: type[_Handler]) -> Iterator[str]:
    """The address of a server on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def serve_hub(answers: Answers) -> Iterator[str]:
    """The address of a server that gives these answers."""

    class Handler(_Handler):
        def do_GET(self) -> None:
            self.send_answer(answers.get(self.path, NOT_FOUND))

    with _serve(Handler) as address:
        yield address


@dataclass
class Repository:
    """What was committed, by path: the bytes of small files, the SHA-256 of those that are stored apart."""

    private: bool
    small: dict[str, bytes] = field(default_factory=dict)
    large: dict[str, str] = field(default_factory=dict)

    def state(self, path: str) -> str | None:
        """What the hub calls the content of a file that it has: the SHA-1 of git, or the SHA-256 of a large one."""
        if path in self.small:
            content = self.small[path]
            return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        return self.large.get(path)


@dataclass
class UploadHub:
    """A hub that takes uploads: `repositories` by type and name (`models/owner/name`), large files by SHA-256.

    Answers every request with the status `refusal` if there is one. Large files come by the LFS protocol, or as chunks
    into the folder `chunks`, where `hf_xet` writes them by itself. Of the file `stalled` the last byte never arrives.
    """

    chunks: Path
    refusal: int | None = None
    stalled: str | None = None
    repositories: dict[str, Repository] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, Authorization
    created: list[dict[str, Any]] = field(default_factory=list)
    address: str = ""

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """What the hub says to a request."""
        if self.refusal:
            return self.refusal, "", {"error": "refused"}
        if method == "PUT":
            return self._store(path.removeprefix("/large/"), body)
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._validate_card(json.loads(body)["content"])
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._offer(json.loads(body)["objects"])
        kind, owner, name, *rest = [*path.removeprefix("/api/").split("/"), "", ""]
        repository = self.repositories.get(f"{kind}/{owner}/{name}")
        if repository is None:
            return NOT_FOUND
        match [word for word in rest if word]:
            case ["preupload", "main"]:
                return self._choose_modes(repository, json.loads(body)["files"])
            case ["tree", "main"]:
                names = [*repository.small, *repository.large]
                return 200, "", [{"type": "file", "path": name, "size": 0, "oid": COMMIT} for name in names]
            case ["xet-write-token", "main"]:
                token = {"casUrl": f"local://{self.chunks}", "accessToken": "chunks", "exp": int(time.time()) + 900}
                return 200, "", token
            case ["commit", "main"]:
                self._commit(repository, [json.loads(line) for line in body.splitlines()])
                page = f"{self.address}/{'' if kind == 'models' else f'{kind}/'}{owner}/{name}"
                return 200, "", {"commitUrl": f"{page}/commit/{COMMIT}", "commitOid": COMMIT}
        return 200, "", {"id": f"{owner}/{name}", "private": repository.private, "sha": COMMIT, "siblings": []}

    def _create(self, wanted: dict[str, Any]) -> Answer:
        self.created.append(wanted)
        private = wanted.get("visibility") == "private" or wanted.get("private") is True
        kind = f"{wanted.get('type', 'model')}s"
        name = f"{wanted['organization']}/{wanted['name']}"
        self.repositories[f"{kind}/{name}"] = Repository(private)
        return 200, "", {"url": f"{self.address}/{'' if kind == 'models' else f'{kind}/'}{name}"}

    def _validate_card(self, content: str) -> Answer:
        try:
            yaml.safe_load(content.split("---")[1])
        except (yaml.YAMLError, IndexError) as error:
            message = str(error).splitlines()[0]
            return 400, "", {"error": "invalid", "errors": [{"message": message}], "warnings": []}
        return 200, "", {"errors": [], "warnings": []}

    def _choose_modes(self, repository: Repository, files: list[dict[str, Any]]) -> Answer:
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["size"] > LARGE else "regular",
                "shouldIgnore": False,
                "oid": repository.state(file["path"]),
            }
            for file in files
        ]
        return 200, "", {"files": modes}

    def _offer(self, objects: list[dict[str, Any]]) -> Answer:
        """Where to send large files; nowhere for those that are here."""
        offers = []
        for wanted in objects:
            upload = {"upload": {"href": f"{self.address}/large/{wanted['oid']}"}}
            offers.append(wanted | ({} if wanted["oid"] in self.stored else {"actions": upload}))
        return 200, "", {"transfer": "basic", "objects": offers}

    def _store(self, digest: str, content: bytes) -> Answer:
        if hashlib.sha256(content).hexdigest() != digest:
            return 400, "", {"error": "other content"}
        self.stored[digest] = content
        return 200, "", {}

    def _commit(self, repository: Repository, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "file":
                    repository.small[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    repository.large[value["path"]] = value["oid"]
                case "deletedFile":
                    repository.small.pop(value["path"], None)
                    repository.large.pop(value["path"], None)


@contextmanager
def serve_uploads(hub: UploadHub) -> Iterator[None]:
    """Let a hub answer at its address."""

    class Handler(_Handler):
        def do_POST(self) -> None:
            path = self.path.partition("?")[0]
            hub.requests.append((self.command, path, self.headers["Authorization"]))
            length = int(self.headers["Content-Length"] or 0)
            if hub.stalled and path.endswith(hub.stalled):
                self.rfile.read(length - 1)
                threading.Event().wait()
            self.send_answer(hub.answer(self.command, path, self.rfile.read(length)))

        def do_GET(self) -> None:
            self.do_POST()

        def do_PUT(self) -> None:
            self.do_POST()

    with _serve(Handler) as hub.address:
        yield
