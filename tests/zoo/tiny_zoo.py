"""A zoo of tiny models for tests, and a web server that can be made to misbehave."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
import yaml

from daezoo.models import VanillaDAE
from daezoo.zoo.entry import Entry, parse
from daezoo.zoo.golden import golden
from daezoo.zoo.loading import to_bytes

NAME = "vanilla.tiny"


def model_of(seed: int = 0, hidden: int = 4) -> VanillaDAE:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return VanillaDAE([1, 8, 8], hidden=[hidden], activation="relu").eval()


def fields_of(name: str, model: VanillaDAE, content: bytes, dtype: str = "float32") -> dict[str, Any]:
    """An entry as plain data, to be spoilt before it is written."""
    return {
        "schema": 1,
        "name": name,
        "status": "released",
        "description": "A tiny model.",
        "model": {
            "class_path": "daezoo.models.VanillaDAE",
            "init_args": {"shape": [1, 8, 8], "hidden": list(model.hparams["hidden"]), "activation": "relu"},
        },
        "data": {"class_path": "daezoo.data.DigitsData", "init_args": {"batch_size": 32}},
        "input": {"shape": [1, 8, 8], "low": 0.0, "high": 1.0},
        "weights": weights_of(name, content, dtype, sum(parameter.numel() for parameter in model.parameters())),
        "urls": [],
        "training": {
            "command": "daezoo fit --config configs/trainer.yaml",
            "commit": None,
            "seed": 0,
            "epochs": 1,
            "steps": 39,
            "seconds": 1.0,
            "hardware": "none",
            "precision": "32-true",
            "versions": {},
        },
        "metrics": [],
        "golden": golden(model).model_dump(),
        "licence": {"code": "MIT", "weights": "MIT", "data": "none"},
    }


def weights_of(name: str, content: bytes, dtype: str = "float32", parameters: int = 1) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    file = f"{name}.safetensors"
    return {"file": file, "bytes": len(content), "sha256": digest, "dtype": dtype, "parameters": parameters}


def error_of(protocol: str, corruption: dict[str, Any]) -> dict[str, Any]:
    """A mean squared error as an entry records it."""
    number = {"protocol": protocol, "name": "mse", "value": 0.1, "tolerance": 0.001, "baselines": {}}
    return {**number, "corruption": corruption, "samples": 1, "hardware": "", "threads": 1}


def put(folder: Path, fields: dict[str, Any], content: bytes) -> Entry:
    """Write an entry, whatever it says, beside a file, whatever it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    name = fields["name"]
    (folder / f"{name}.safetensors").write_bytes(content)
    text = yaml.safe_dump(fields, sort_keys=False)
    (folder / f"{name}.yaml").write_text(text)
    return parse(text, name)


def tiny(folder: Path, name: str = NAME, seed: int = 0, hidden: int = 4, **changes: Any) -> Entry:
    """A good model in a folder, that of `model_of(seed, hidden)`."""
    model = model_of(seed, hidden)
    content = to_bytes(model.state_dict(), torch.float32, {})
    return put(folder, fields_of(name, model, content) | changes, content)


class Server:
    """An HTTP server whose answers a test decides.

    Attributes:
        asked: Path and Range of every request so far.
    """

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.asked: list[tuple[str, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.asked.append((self.path, self.headers.get("Range")))
                self.close_connection = True
                try:
                    answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client has had enough

            do_POST = do_GET

            def log_message(self, *args: Any) -> None:
                """Nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Server]:
    server = Server(answer)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


def send(handler: BaseHTTPRequestHandler, content: bytes, status: int = 200, **headers: str) -> None:
    """One whole answer."""
    handler.send_response(status)
    handler.send_header("Content-Length", headers.pop("Content_Length", str(len(content))))
    handler.send_header("Connection", "close")
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def files_of(folder: Path) -> Callable[[BaseHTTPRequestHandler], None]:
    """The files of a folder, with ranges."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        path = folder / handler.path.lstrip("/")
        if not path.is_file():
            return send(handler, b"no", 404)
        content = path.read_bytes()
        wanted = handler.headers.get("Range")
        if not wanted:
            return send(handler, content)
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(content):
            return send(handler, b"", 416)
        return send(handler, content[start:], 206, Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")

    return answer
