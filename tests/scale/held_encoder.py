"""An encoder whose items say when it stops, so that tests kill it, or what is around it, at that moment.

An item is words, or `hold FOLDER`: the first process that gets it leaves its number in FOLDER/pid and
waits until it is killed, or until FOLDER/go is there; later ones encode it as any other. `hold-saving FOLDER`
does so in the moment after the failures of its unit were written, before its vectors. `die` ends the process.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import torch

import mmencode.scale.storage as storage
from mmencode.encoder import Encoder
from mmencode.plugins.spec import EncoderSpec

DIM = 8
_held_later: list[Path] = []


def spec(space="held"):
    return EncoderSpec(
        name=f"{space}/text", modality="text", target="held_encoder:HeldEncoder", space=space, dim=DIM
    )


class HeldEncoder(Encoder):
    width = DIM
    preprocessing = "a hash"
    tokenizer = "none"

    def __init__(self):
        super().__init__()
        # A node with other weights than those of the test's process.
        self.gain = torch.nn.Parameter(torch.full((DIM,), float(os.environ.get("HELD_GAIN", "1"))))

    def preprocess(self, item):
        word, _, place = item.partition(" ")
        if word == "die":
            os._exit(1)
        if word == "hold":
            hold(Path(place))
        if word == "hold-saving":
            _held_later.append(Path(place))
        digest = hashlib.sha256(item.encode()).digest()[:DIM]
        return {"row": torch.tensor([byte / 255 + 0.01 for byte in digest])}

    def forward(self, tensors):
        return tensors["row"] * self.gain


def hold(folder: Path) -> None:
    """Wait in the folder for whoever kills this process, unless another one was here."""
    try:
        folder.mkdir()
    except FileExistsError:
        return
    (folder / "threads").write_text(str(torch.get_num_threads()))
    (folder / "aside").write_text(str(os.getpid()))
    (folder / "aside").rename(folder / "pid")
    end = time.monotonic() + 300
    while not (folder / "go").exists() and time.monotonic() < end:
        time.sleep(0.02)


def holding(write):
    """Wait where an item asked for that, once vectors are to be written."""

    def wrapped(self, path, content):
        while _held_later and os.path.basename(os.path.dirname(path)) == "vectors":
            hold(_held_later.pop())
        write(self, path, content)

    return wrapped


storage.Disk.write = holding(storage.Disk.write)
