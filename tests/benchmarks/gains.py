"""What each optimisation is worth: with it against without it, on the same weights and items, in turn.

The weights are random, of CLIP ViT-B/32. Text and images have the dtype that is said; what isn't said to be
left out is as it always is.

python tests/benchmarks/gains.py [--rounds 5] [--only packing ...]
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import timm
import weights
from common import captions, machine, photographs, ratios, table
from safetensors.torch import save_file

import mmencode
from mmencode.encoders.openclip import image as openclip_image
from mmencode.encoders.openclip import text as openclip_text

Load = Callable[..., mmencode.Space]


class Case:
    """The items of each modality, and spaces of the same weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _, path = weights.clip(folder)
        self._name = f"openclip/{weights.ARCHITECTURE}/{path}"
        self.items = {
            "text": captions(192),
            "image": photographs(folder / "small", 24),
            "large": photographs(folder / "large", 6, (4000, 3000)),
        }

    def space(self, modality: str, *left_out: Any, dtype: str = "float32", **options: Any) -> mmencode.Space:
        """A loaded space, made while `left_out` are patched."""
        found = mmencode.load(self._name, device="cpu", dtype=dtype, **options)
        with _all(left_out):
            found.tower(modality)
        return found

    def gain(
        self, what: str, without: mmencode.Space, rounds: int, whole: mmencode.Space | None = None
    ) -> float:
        """How many times as fast `whole`, by default a space with everything, is as the other one."""
        modality = "image" if what == "large" else what
        whole = whole or self.space(modality)
        sides = [partial(space.encode, modality, self.items[what]) for space in (without, whole)]
        return ratios(dict(zip(("without", "with"), sides, strict=True)), rounds)["with"]


@contextmanager
def _all(patches: tuple[Any, ...]) -> Iterator[None]:
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def packing(case: Case, rounds: int) -> Iterator[tuple[str, float]]:
    """mmencode/packing.py."""
    for dtype in ("float32", "bfloat16"):
        for what in ("text", "image"):
            without = case.space(what, mock.patch("mmencode.engine.towers.pack"), dtype=dtype)
            yield (
                f"linear layers packed once: {what}, {dtype}",
                case.gain(what, without, rounds, case.space(what, dtype=dtype)),
            )


def folding(case: Case, rounds: int) -> Iterator[tuple[str, float]]:
    """mmencode/engine/folding.py, on the default space's network and on timm's ResNet-18."""
    path = case.folder / "resnet18.safetensors"
    save_file(timm.create_model("resnet18").state_dict(), path)
    for what, name in (("EfficientNet-Lite0", "default"), ("ResNet-18", f"timm/resnet18/{path}")):
        whole, without = (mmencode.load(name, device="cpu", dtype="float32") for _ in range(2))
        with mock.patch("mmencode.engine.towers.fold", lambda encoder, modality: encoder):
            without.tower("image")
        yield f"batch norms and activations folded: {what}", case.gain("image", without, rounds, whole)


def attention(case: Case, rounds: int) -> Iterator[tuple[str, float]]:
    """Attention and outputs_at in mmencode/encoders/openclip/blocks.py."""
    for what, module in (("text", openclip_text), ("image", openclip_image)):
        usual = mock.patch.object(module, "quicken")
        yield (
            f"attention of packed layers, last block at one token: {what}",
            case.gain(what, case.space(what, usual), rounds),
        )
        last = mock.patch.object(module, "is_quick", return_value=False)
        yield f"last block at one token: {what}", case.gain(what, case.space(what, last), rounds)


def padding(case: Case, rounds: int) -> Iterator[tuple[str, float]]:
    """What isn't computed: tokens after the end, and padding up to longer texts."""
    uncut = case.space("text")
    encoder: Any = uncut.tower("text").encoder
    encoder._kind = replace(encoder._kind, needed=openclip_text._to_context)
    yield "text cut after its end token", case.gain("text", uncut, rounds)
    unsorted = case.space("text")
    unsorted.tower("text").encoder.cost = lambda tensors: 1
    yield "texts of like length in one batch", case.gain("text", unsorted, rounds)


def batches(case: Case, rounds: int) -> Iterator[tuple[str, float]]:
    """The automatic batch against fixed ones."""
    for what, size in (("text", 8), ("text", 64), ("image", 1), ("image", 24)):
        fixed = case.space(what, batch_size=size)
        yield f"batch size found, not {size}: {what}", case.gain(what, fixed, rounds)


def threads(case: Case, rounds: int) -> Iterator[tuple[str, float]]:
    """Reading in as many threads as there are cores."""
    for what in ("image", "large"):
        yield (
            f"a reading thread for each core, not one: {what}",
            case.gain(what, case.space("image", workers=1), rounds),
        )


def precision(case: Case, rounds: int) -> Iterator[tuple[str, float]]:
    """bfloat16 weights."""
    for what in ("text", "image"):
        half = case.space(what, dtype="bfloat16")
        yield f"bfloat16, not float32: {what}", case.gain(what, case.space(what), rounds, half)


def draft(case: Case, rounds: int) -> Iterator[tuple[str, float]]:
    """fast=True."""
    fast = case.space("image", fast=True)
    yield "fast=True: 12-megapixel JPEGs", case.gain("large", case.space("image"), rounds, fast)


def compiling(case: Case, rounds: int) -> Iterator[tuple[str, float]]:
    """compile=True, which can't have packed layers."""
    for what in ("text", "image"):
        compiled = case.space(what, compile=True)
        yield f"compile=True, not packed layers: {what}", case.gain(what, case.space(what), rounds, compiled)


PARTS = (packing, folding, attention, padding, batches, threads, precision, draft, compiling)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=[part.__name__ for part in PARTS])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine("torch", "open-clip-torch", "mmencode"))
    rows: list[tuple[str, ...]] = [("what", "times as fast as without it")]
    with tempfile.TemporaryDirectory() as name:
        case = Case(Path(name))
        for part in PARTS:
            if options.only is None or part.__name__ in options.only:
                rows += [(what, f"{gain:.2f}") for what, gain in part(case, options.rounds)]
    table("Gains: ViT-B/32", rows)


if __name__ == "__main__":
    main()
