"""A server of object storage on loopback, as S3 answers, whose requests a test may watch and let fail."""

from __future__ import annotations

import functools
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

WHY = "moto: .ci/run hosts installs it"
_ANSWER = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
_CODES = {503: "SlowDown", 412: "PreconditionFailed", 403: "AccessDenied"}


@dataclass
class Fault:
    """Answers of one status to the first `times` requests of a method whose path has these words."""

    status: int
    method: str
    words: str
    times: int
    before: Callable[[], None] = lambda: None
    seen: int = 0


@dataclass
class Objects:
    """The server, with the requests that it got, and the faults that it still has."""

    url: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    app: Any = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        with self.lock:
            self.requests.append((method, path))
            fault = next((each for each in self.faults if self._meets(each, method, path)), None)
            if fault is not None:
                fault.seen += 1
        if fault is None:
            return self.app(environ, start)
        fault.before()
        length = int(environ.get("CONTENT_LENGTH") or 0)
        environ["wsgi.input"].read(length)
        body = _ANSWER.format(code=_CODES[fault.status]).encode()
        start(
            f"{fault.status} Fault", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
        )
        return [body]

    @staticmethod
    def _meets(fault: Fault, method: str, path: str) -> bool:
        return fault.seen < fault.times and method == fault.method and fault.words in path

    @contextmanager
    def failing(
        self, status: int, method: str, words: str, times: int = 10**9, **more: Any
    ) -> Iterator[Fault]:
        """Let requests fail within the block."""
        fault = Fault(status, method, words, times, **more)
        self.faults.append(fault)
        try:
            yield fault
        finally:
            self.faults.remove(fault)


@functools.cache
def serve() -> Objects:
    """Start the server, once in a process, which it ends with."""
    server = pytest.importorskip("moto.server", reason=WHY)
    serving = pytest.importorskip("werkzeug.serving", reason=WHY)
    pytest.importorskip("s3fs", reason=WHY)

    class Quiet(serving.WSGIRequestHandler):  # type: ignore[name-defined,misc]
        def log(self, *given: Any, **named: Any) -> None:
            pass

    found = Objects(app=server.DomainDispatcherApplication(server.create_backend_app))
    listening = serving.make_server("127.0.0.1", 0, found, threaded=True, request_handler=Quiet)
    found.url = f"http://127.0.0.1:{listening.port}"
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    return found


def connect_environment(monkeypatch: pytest.MonkeyPatch, objects: Objects) -> None:
    """Let boto, s3fs and Lance find the server, here and in processes that are started."""
    import s3fs

    said = {
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": objects.url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nowhere/config",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere/credentials",
        "AWS_MAX_ATTEMPTS": "2",
    }
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()


def make_bucket() -> tuple[str, Any]:
    """Make an empty bucket, and give its name and a file system that reads and writes there."""
    import s3fs

    name = f"bucket-{uuid.uuid4().hex[:12]}"
    files = s3fs.S3FileSystem()
    files.mkdir(name)
    return name, files
