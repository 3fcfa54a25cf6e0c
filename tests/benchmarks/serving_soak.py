"""The default space's server under mixed load for minutes: nothing crashes, leaks, or answers another vector.

Beside good texts, images and recordings there are malformed requests, decompression bombs, cut-off files,
wrong types, clients that send slowly and clients that leave. Each good answer is compared with the library's,
both in float32. It fails where one differs, where a request gets another status than it should, where the
server ends or is unhealthy, and where it grows by more than --growth MiB after the first third.

python tests/benchmarks/serving_soak.py [--minutes 10] [--clients 8] [--growth 64]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import random
import tempfile
import time
import wave
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from common import captions, machine, photographs, table
from load import Connection, answer_of, ours, post, resident, serving, vectors_in

import mmencode

PATH = "/v1/embeddings"
CLOSE = 1e-4  # of a vector's numbers, whatever shared its batch


@dataclass(frozen=True)
class Kind:
    """One kind of request: those of it, the statuses that are right, and the vectors of good ones."""

    name: str
    requests: Sequence[bytes]
    statuses: frozenset[int]
    vectors: Sequence[np.ndarray] = ()


@dataclass
class Seen:
    """What came back."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    farthest: float = 0.0


def body(items: Sequence[object], modality: str = "") -> bytes:
    """A request for the vectors of some items."""
    extra = {"modality": modality} if modality else {}
    return post(PATH, {"input": list(items), "encoding_format": "base64", **extra})


def data_uri(content: bytes, media: str) -> str:
    """Bytes as a data: URI."""
    return f"data:{media};base64,{base64.b64encode(content).decode()}"


def sound(seconds: float, seed: int) -> bytes:
    """A WAV file of noise."""
    samples = (np.random.default_rng(seed).normal(0, 3000, int(16000 * seconds))).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """A small PNG that says it has side x side pixels, all black."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")
        )

    header = side.to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0))
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + 3 * side)) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def kinds(space: mmencode.Space, folder: Path) -> list[Kind]:
    """All kinds of requests, those of the good ones with the library's vectors."""
    texts, photos = captions(200), [path.read_bytes() for path in photographs(folder, 24)]
    sounds = [sound(0.5 + number / 4, number) for number in range(8)]
    good, bad = frozenset([200]), frozenset([400, 413, 415, 422])
    uris = [data_uri(each, "image/jpeg") for each in photos]
    many = [texts[start : start + 20] for start in range(0, 200, 20)]
    single = space.encode("text", texts).vectors
    return [
        Kind("a text", [body([text]) for text in texts], good, list(single[:, None])),
        Kind("20 texts", [body(each) for each in many], good, list(single.reshape(10, 20, -1))),
        Kind(
            "an image",
            [body([each], "image") for each in uris],
            good,
            list(space.encode("image", photos).vectors[:, None]),
        ),
        Kind(
            "a recording",
            [body([data_uri(each, "audio/wav")], "audio") for each in sounds],
            good,
            list(space.encode("audio", sounds).vectors[:, None]),
        ),
        Kind("no JSON", [post(PATH, b"{'input': 1"), post(PATH, b"\xff\x00"), post(PATH, b"")], bad),
        Kind(
            "wrong types",
            [post(PATH, {"input": value}) for value in (None, 3.5, {"a": 1}, [[["a"]]], [True], [None], [])],
            bad,
        ),
        Kind("an empty text", [body([""]), body(["a dog", "  "])], bad),
        Kind("a text without end", [body(["a" * 200_000])], bad),
        Kind(
            "a bomb", [body([data_uri(bomb(side), "image/png")], "image") for side in (12_000, 30_000)], bad
        ),
        Kind(
            "a cut-off image",
            [body([data_uri(each[: len(each) // 3], "image/jpeg")], "image") for each in photos[:4]],
            frozenset([200, 422]),
        ),
        Kind(
            "noise for an image",
            [body([data_uri(random.Random(0).randbytes(5000), "image/png")], "image")],
            bad,
        ),
        Kind("bad base64", [body(["data:image/png;base64,!!!!"], "image")], bad),
        Kind("a path", [body(["/etc/passwd"], "image"), body(["file:///etc/passwd"], "image")], bad),
        Kind("an unknown modality", [body(["a"], "smell")], bad),
    ]


async def send(kind: Kind, connection: Connection, seen: Seen, draw: random.Random) -> None:
    """Send one request of a kind, and judge its answer."""
    place = draw.randrange(len(kind.requests))
    begun = time.perf_counter()
    status, answer = await connection.send(kind.requests[place])
    seen.seconds.setdefault(kind.name, []).append(time.perf_counter() - begun)
    seen.statuses[kind.name, status] += 1
    if status not in kind.statuses:
        seen.faults.append(f"{kind.name}: {status}, {answer[:300]!r}")
    if status == 200 and kind.vectors:
        apart = float(np.abs(vectors_in(answer) - kind.vectors[place]).max())
        seen.farthest = max(seen.farthest, apart)
        if apart > CLOSE:
            seen.faults.append(f"{kind.name} {place}: a vector is {apart:.2g} from the library's")


async def send_slowly(port: int, request: bytes, seen: Seen) -> None:
    """Send a request in small pieces, and read what comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    step = max(1, len(request) // 20)
    for start in range(0, len(request), step):
        writer.write(request[start : start + step])
        await writer.drain()
        await asyncio.sleep(0.05)
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(None, 2)[1])
    seen.statuses["a slow client", status] += 1
    if status != 200:
        seen.faults.append(f"a slow client: {status}")
    writer.close()


async def leave(port: int, request: bytes, seen: Seen, draw: random.Random) -> None:
    """Send a request or a part of it, and leave."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request[: draw.choice((10, len(request) // 2, len(request)))])
    await writer.drain()
    await asyncio.sleep(draw.random() * 0.02)
    writer.transport.abort()
    seen.statuses["a client that leaves", 0] += 1


async def soak(
    port: int, pid: int, found: Sequence[Kind], asked: argparse.Namespace
) -> tuple[Seen, list[float]]:
    """Run all clients, and measure the server's memory meanwhile, ten times a minute, or 12 times in all."""
    seen, memory = Seen(), list[float]()
    end = time.monotonic() + 60 * asked.minutes
    good = [kind for kind in found if kind.vectors]

    async def client(number: int) -> None:
        draw, connection = random.Random(number), Connection(port)
        while time.monotonic() < end:
            match number % 4, draw.random():
                case (0, chance) if chance < 0.3:
                    await leave(port, draw.choice(draw.choice(good).requests), seen, draw)
                case (1, chance) if chance < 0.1:
                    await send_slowly(port, draw.choice(draw.choice(good).requests), seen)
                case (2, chance) if chance < 0.6:
                    await send(draw.choice(found), connection, seen, draw)
                case _:
                    await send(draw.choice(good), connection, seen, draw)
        connection.close()

    async def watch() -> None:
        pause = min(6.0, 5 * asked.minutes)
        while time.monotonic() < end:
            memory.append(resident(pid))
            await asyncio.sleep(pause)

    await asyncio.gather(watch(), *(client(number) for number in range(asked.clients)))
    memory.append(resident(pid))
    return seen, memory


def wait_until_loaded(port: int, request: bytes, wait: float = 300.0) -> None:
    """Ask until the encoder of a request is loaded."""
    deadline = time.monotonic() + wait
    while answer_of(port, request)[0] == 503:
        if time.monotonic() > deadline:
            raise SystemExit("an encoder wasn't loaded in time")
        time.sleep(0.3)


def main() -> None:
    """Print what was asked and answered, and the memory over time; stop with what went wrong, if anything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument(
        "--growth", type=float, default=64.0, help="MiB that are allowed after the first third"
    )
    asked = parser.parse_args()
    print(machine("torch", "fastapi", "uvicorn", "mmencode"))
    with (
        tempfile.TemporaryDirectory() as name,
        mmencode.load("default", device="cpu", dtype="float32") as space,
    ):
        found = kinds(space, Path(name))
        with serving(ours("default", "float32"), found[0].requests[0]) as (port, pid):
            for kind in found:
                wait_until_loaded(port, kind.requests[0])
            seen, memory = asyncio.run(soak(port, pid, found, asked))
            health = answer_of(port, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            last = answer_of(port, found[0].requests[0])
    rows = [("request", "times", "statuses", "p50 in ms", "p99 in ms", "longest in ms")]
    for kind in dict.fromkeys(kind for kind, _ in seen.statuses):
        statuses = {status: count for (each, status), count in sorted(seen.statuses.items()) if each == kind}
        said = ", ".join(f"{status}: {count}" for status, count in statuses.items() if status)
        waits = (
            [f"{1000 * np.percentile(seen.seconds[kind], each):.0f}" for each in (50, 99, 100)]
            if kind in seen.seconds
            else ["", "", ""]
        )
        rows.append((kind, str(sum(statuses.values())), said, *waits))
    table(f"{asked.minutes:g} minutes of mixed load by {asked.clients} clients", rows)
    third = memory[len(memory) // 3 :]
    growth = max(third[len(third) // 2 :]) - max(third[: len(third) // 2 or 1])
    table(
        "the server",
        [
            ("", ""),
            (
                "resident memory at the start, a third, and the end",
                f"{memory[0]:.0f}, {third[0]:.0f} and {memory[-1]:.0f} MiB",
            ),
            ("largest in the last third less that in the second", f"{growth:+.0f} MiB"),
            ("farthest number of a vector from the library's", f"{seen.farthest:.1e}"),
            ("state at the end", "ok" if (health[0], last[0]) == (200, 200) else f"{health[0]}, {last[0]}"),
        ],
    )
    faults = (
        seen.faults
        + [f"health: {health}"] * (health[0] != 200)
        + [f"the last text: {last}"] * (last[0] != 200)
    )
    if growth > asked.growth:
        faults.append(f"the server grew by {growth:.0f} MiB")
    if faults:
        raise SystemExit("\n".join(faults[:20]))


if __name__ == "__main__":
    main()
