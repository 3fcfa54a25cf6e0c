"""The processes that render pages: as many as threads ask at once, each killed where its document hangs."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .worker import ACKNOWLEDGED

MOST = max(16, 2 * (os.cpu_count() or 1))  # processes at once
_LINE = 2**16  # bytes of an answer's first line
_BEAT = 0.25  # seconds between two looks at the clock


class Crashed(Exception):
    """A process ended in the middle of a document; `signal` is its exit code."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Late(Exception):
    """A document took longer than its time, and its process was killed."""


class Busy(Exception):
    """No process was free for too long."""


class NoRenderer(Exception):
    """A process for documents can't be started."""


class Renderer:
    """One process, asked by one thread at a time; `path` is the document that it holds open."""

    def __init__(self, memory: int) -> None:
        self.memory, self.path = memory, None
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(Path(__file__).with_name("worker.py")), _places(), str(memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        except (OSError, ValueError) as cause:
            raise NoRenderer(str(cause)) from cause
        self._killed = False

    @property
    def alive(self) -> bool:
        """Whether the process is there still; it ends by itself when nobody asks it."""
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], content: bytes, seconds: float) -> tuple[dict[str, Any], bytes]:
        """Send a request, and wait for the answer; raises Late or Crashed, and ConnectionError for a process
        that had ended before it took the request."""
        self.path = request["path"]
        with self._killing_after(seconds):
            try:
                self._send(json.dumps(request).encode() + b"\n")
                self._send(content)
                taken = self._receive(1)
            except OSError:
                taken = b""
            if taken != ACKNOWLEDGED:
                if self._killed:
                    raise Late
                raise ConnectionError
            return self._receive_answer()

    def _receive_answer(self) -> tuple[dict[str, Any], bytes]:
        line = bytearray()
        while not line.endswith(b"\n"):
            piece = self._receive(1)
            if not piece or len(line) > _LINE:
                self._fail()
            line += piece
        said: dict[str, Any] = json.loads(line)
        size = said.get("bytes", 0)
        pixels = self._receive(size)
        if len(pixels) < size:
            self._fail()
        return said, pixels

    def _fail(self) -> None:
        """Raise what the end of the process means."""
        self.end()
        raise Late if self._killed else Crashed(self._process.returncode)

    def _send(self, content: bytes) -> None:
        assert self._process.stdin is not None
        left = memoryview(content)
        while left:
            left = left[self._process.stdin.write(left) :]

    def _receive(self, size: int) -> bytes:
        """Receive so many bytes, or fewer where the process ends."""
        assert self._process.stdout is not None
        found = bytearray()
        while len(found) < size and (piece := self._process.stdout.read(min(size - len(found), 2**20))):
            found += piece
        return bytes(found)

    @contextmanager
    def _killing_after(self, seconds: float) -> Iterator[None]:
        """Kill the process unless the block ends within so many seconds in which this process ran."""
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(done, seconds), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()

    def _watch(self, done: threading.Event, seconds: float) -> None:
        left, before = seconds, time.monotonic()
        while not done.wait(max(0.0, min(_BEAT, left))):
            now = time.monotonic()
            left -= min(now - before, 2 * _BEAT)  # a process that was stopped had no time to wait
            before = now
            if left <= 0 and not done.is_set():
                self._killed = True
                with suppress(OSError):
                    self._process.kill()
                return

    def end(self) -> None:
        """End the process, whatever it does."""
        with suppress(OSError):
            self._process.kill()
        self.let_go()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)

    def let_go(self) -> None:
        """Close this side of the pipes, by which a process that has nothing to do ends."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                assert pipe is not None
                pipe.close()


class Renderers:
    """The processes of this one, which live as long as they are asked."""

    def __init__(self) -> None:
        self._inherited: list[Renderer] = []
        self._renew()

    def _renew(self) -> None:
        self._room = threading.BoundedSemaphore(MOST)
        self._lock = threading.Lock()
        self._idle: list[Renderer] = []

    def after_fork(self) -> None:
        """Leave the parent's processes to the parent."""
        self._inherited += self._idle  # kept, since Python would wait for them when they are collected
        for each in self._inherited:
            each.let_go()
        self._renew()

    def ask(
        self, request: dict[str, Any], content: bytes, *, seconds: float, memory: int
    ) -> tuple[dict[str, Any], bytes]:
        """Have a process answer a request, within so many seconds; raises Late, Crashed, Busy, NoRenderer."""
        if not self._room.acquire(timeout=min(seconds, threading.TIMEOUT_MAX)):
            raise Busy
        try:
            for attempt in range(3):
                renderer = self._take(request["path"], memory, fresh=attempt == 2)
                try:
                    answer = renderer.ask(request, content, seconds)
                except ConnectionError:  # it had nothing to do for long, and ended just before
                    renderer.end()
                    continue
                except BaseException:
                    renderer.end()
                    raise
                with self._lock:
                    self._idle.append(renderer)
                return answer
            raise NoRenderer("it ends at once")
        finally:
            self._room.release()

    def _take(self, path: str | None, memory: int, *, fresh: bool) -> Renderer:
        """Take an idle process, rather one that has the document open, or start another."""
        with self._lock:
            for each in [each for each in self._idle if not each.alive]:
                self._idle.remove(each)
                each.let_go()
            fitting = [] if fresh else [each for each in self._idle if each.memory == memory]
            best = next((each for each in fitting if path is not None and each.path == path), None)
            chosen = best or (fitting[-1] if fitting else None)
            if chosen is not None:
                self._idle.remove(chosen)
                return chosen
        return Renderer(memory)

    def close(self) -> None:
        """End all processes that nobody asks."""
        with self._lock:
            idle, self._idle = self._idle, []
        for each in idle:
            each.end()

    def count(self) -> int:
        """Count the processes that are there and idle."""
        with self._lock:
            return sum(each.alive for each in self._idle)


@cache
def renderers() -> Renderers:
    """The processes of this one; `renderers.cache_clear` forgets them."""
    found = Renderers()
    atexit.register(found.close)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=found.after_fork)
    return found


@cache
def _places() -> str:
    """The folders, as JSON, that a process imports PDFium's binding from."""
    found = [find_spec(name) for name in ("pypdfium2", "pypdfium2_raw")]
    return json.dumps(
        sorted({str(Path(spec.origin).parents[1]) for spec in found if spec is not None and spec.origin})
    )
