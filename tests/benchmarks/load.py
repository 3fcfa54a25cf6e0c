"""Clients of a server under load: kept connections that send prepared requests, and what they measure."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmencode.engine.waiting import SPIN_COUNT, SPINS

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Measured:
    """What clients saw: the seconds of each request, all seconds, and the server's own on the processor."""

    seconds: list[float] = field(default_factory=list)
    wall: float = 0.0
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Items each second."""
        return len(self.seconds) / self.wall

    @property
    def cost(self) -> float:
        """The server's milliseconds on the processor for each item."""
        return 1000 * self.cpu / max(1, len(self.seconds))

    def percentile(self, percent: float) -> float:
        """Milliseconds within which so many percent of the requests were answered."""
        return 1000 * float(np.percentile(self.seconds, percent)) if self.seconds else float("nan")


class Connection:
    """One connection that is kept, and sends one request after the other."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Send a request, and read its status and body; again where a kept connection was closed by now."""
        is_kept = self._writer is not None
        try:
            return await self._send(request)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.close()
            if not is_kept:
                raise
        return await self._send(request)

    async def _send(self, request: bytes) -> tuple[int, bytes]:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
        assert self._reader is not None
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        _, found, rest = head.partition(b"content-length:")
        length = int(rest.split(b"\r\n", 1)[0]) if found else 0
        body = await self._reader.readexactly(length)
        if b"connection: close" in head:
            self.close()
        return int(head.split(None, 2)[1]), body

    def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None


def post(path: str, body: object) -> bytes:
    """The bytes of a request."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    ).encode() + content


def uri(path: Path, media: str = "image/jpeg") -> str:
    """A file as a data: URI."""
    return f"data:{media};base64,{base64.b64encode(path.read_bytes()).decode()}"


def vectors_in(body: bytes) -> np.ndarray:
    """The vectors of an answer in OpenAI's form, from base64 or numbers."""
    rows = [each["embedding"] for each in json.loads(body)["data"]]
    return np.stack(
        [
            np.frombuffer(base64.b64decode(row), "<f4") if isinstance(row, str) else np.array(row)
            for row in rows
        ]
    ).astype(np.float32)


def press(
    port: int, pid: int, requests: Sequence[bytes], clients: int, seconds: float, *, beside: bytes = b""
) -> Measured:
    """Have clients send requests, each one after the other, for so many seconds.

    Another client sends the request `beside` them again and again, and isn't measured.
    """
    return asyncio.run(_press(port, pid, requests, clients, seconds, beside))


async def _press(
    port: int, pid: int, requests: Sequence[bytes], clients: int, seconds: float, other: bytes
) -> Measured:
    found = Measured()
    connections = [Connection(port) for _ in range(clients)]
    await asyncio.gather(*(each.send(requests[0]) for each in connections))
    before, start = cpu_seconds(pid), time.perf_counter()
    end = start + seconds

    async def run(number: int) -> None:
        while time.perf_counter() < end:
            request = requests[number % len(requests)]
            number += clients
            begun = time.perf_counter()
            status, body = await connections[number % clients].send(request)
            if status != 200:
                raise SystemExit(f"a server answered {status}: {body[:500]!r}")
            found.seconds.append(time.perf_counter() - begun)

    async def send_other() -> None:
        connection = Connection(port)
        try:
            while True:
                await connection.send(other)
        finally:
            connection.close()

    task = asyncio.create_task(send_other()) if other else None
    if task is not None:
        await asyncio.sleep(0.2)
    await asyncio.gather(*(run(number) for number in range(clients)))
    if task is not None:
        if task.done():
            task.result()
        task.cancel()
    found.wall, found.cpu = time.perf_counter() - start, cpu_seconds(pid) - before
    for each in connections:
        each.close()
    return found


def cpu_seconds(pid: int) -> float:
    """The seconds that a process has used on the processor, with its children's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / TICKS
    return own + sum(map(cpu_seconds, _children(pid)))


def resident(pid: int) -> float:
    """The MiB of a process in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # a kernel without that file
        return []


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def serving(
    command: Callable[[int], list[str]], request: bytes, wait: float = 300.0
) -> Iterator[tuple[int, int]]:
    """A server in a process of its own, and the port and id of it, once it answers a request by 200."""
    port = free_port()
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_"))
    }
    environment = {**kept, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    environment[SPINS] = SPIN_COUNT  # for all sides what the command line sets for itself
    log = subprocess.DEVNULL if "LOAD_LOG" not in os.environ else None
    child = subprocess.Popen(command(port), env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + wait
        while not _answers(port, request):
            if child.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"a server didn't start: {' '.join(child.args)}")
            time.sleep(0.3)
        yield port, child.pid
    finally:
        child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _answers(port: int, request: bytes) -> bool:
    async def ask() -> bool:
        connection = Connection(port)
        try:
            return (await asyncio.wait_for(connection.send(request), 60))[0] == 200
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            return False
        finally:
            connection.close()

    return asyncio.run(ask())


OURS = """
import sys
from mmencode.engine.waiting import choose_waiting
choose_waiting()  # as the command line does
import mmencode
from mmencode.serving.app import make_app
from mmencode.serving.running import Running, bind, spare_what_is_loaded
from mmencode.serving.service import Service, Services
with mmencode.load(sys.argv[2], device="cpu", dtype=sys.argv[3]) as space:
    app = make_app(Services({space.name: Service(space)}), on_ready=spare_what_is_loaded)
    with bind("127.0.0.1", int(sys.argv[1])) as bound:
        Running(app, bound, grace=30).run()
"""


def ours(space: str, dtype: str = "auto") -> Callable[[int], list[str]]:
    """The command that serves a space as `mmencode serve` does, in a dtype."""
    return lambda port: [sys.executable, "-c", OURS, str(port), space, dtype]


def answer_of(port: int, request: bytes) -> tuple[int, Any]:
    """The status and the body of one request."""

    async def ask() -> tuple[int, Any]:
        connection = Connection(port)
        try:
            return await connection.send(request)
        finally:
            connection.close()

    return asyncio.run(ask())
