"""Checkpoints that unpack to far more than they are."""

from __future__ import annotations

import zipfile

import torch


def bomb(path, size):
    """A checkpoint whose tensor is compressed: it unpacks to `size` bytes, and is a thousandth of that."""
    torch.save({"w": torch.zeros(4)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    storage = next(name for name in entries if "/data/" in name)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            with archive.open(name, "w", force_zip64=True) as file:
                piece = bytes(2**20)
                for _ in range(size // 2**20 if name == storage else 0):
                    file.write(piece)
                if name != storage:
                    file.write(content)
