"""Encoders of a fourth modality, clips, which are lists of texts; they join the space of the fakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import mmencode
from mmencode import EncoderSpec, IdentityProjection, Projection, Space
from mmencode.encoder import Tensors, identify
from mmencode.engine.runtime import Runtime
from mmencode.testing import FakeText, fake_specs

WORDS = ("sea", "rain", "a dog barks", "old tree", "red car", "night", "snow falls", "two birds", "a river")
TEXTS = tuple(f"{word} {number}" for word in WORDS for number in range(6))
CLIPS = [[text, text] for text in TEXTS]
PAIRS = list(zip(CLIPS, TEXTS, strict=True))


class Clips(FakeText):
    """The mean of the vectors of a clip's texts, which is what a clip of one text's own vector is."""

    preprocessing = "characters of each text"
    forward_tokens = mmencode.Encoder.forward_tokens  # of a clip there are none

    def preprocess(self, item: list[str]) -> Tensors:
        if not item:
            raise ValueError("a clip without texts")
        rows = [super(Clips, self).preprocess(text)["hidden"].mean(dim=0) for text in item]
        return {"mean": torch.stack(rows).mean(dim=0)}

    def collate(self, items: list[Tensors]) -> Tensors:
        return {"mean": torch.stack([item["mean"] for item in items])}

    def forward(self, tensors: Tensors) -> Tensor:
        return tensors["mean"]


class First(Clips):
    """The vector of a clip's first text: another tower, and for most clips another vector."""

    preprocessing = "characters of the first text"

    def preprocess(self, item: list[str]) -> Tensors:
        return super().preprocess(item[:1])


class Asked(FakeText):
    """The queries' side of texts: a question is looked at without the words before it."""

    preprocessing = "characters behind the words of a question"

    def preprocess(self, item: str) -> Tensors:
        return super().preprocess(item.removeprefix("where is "))


class Broken(Clips):
    """An encoder that can't be built."""

    def __init__(self) -> None:
        raise RuntimeError("no such thing")


def frame(**fields: object) -> tuple[EncoderSpec, ...]:
    """The three fakes with their identities, as a distribution declares them."""
    from mmencode.testing import FakeAudio, FakeImage

    kinds = {"text": FakeText, "image": FakeImage, "audio": FakeAudio}
    return tuple(
        replace(spec, identity=identify(kinds[spec.modality]()), **fields) for spec in fake_specs("words")
    )


def on_cpu(name: str = "words", specs: tuple[EncoderSpec, ...] = ()) -> Space:
    return Space(name, specs or frame(), runtime=Runtime("cpu", "float32"))


def asking(folder: Path, package: str, **fields: object) -> EncoderSpec:
    """The declaration of a queries' side for texts, which joins the fakes; its package is in a folder."""
    bare = EncoderSpec(name="bare/asked", modality="text", role="query", target="joining:Asked", dim=8)
    pairs = [(f"where is {text}", text) for text in TEXTS]
    with on_cpu() as space:
        fit = mmencode.align(bare, space, pairs, method=IdentityProjection())
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text("")
    mmencode.save_projection(fit, folder / package / "fit.safetensors")
    declared = {
        "name": f"{package}/asked",
        "joins": "words",
        "projection": f"{package}:fit.safetensors",
        "identity": identify(Asked(), fit),
    }
    return replace(bare, **{**declared, **fields})


def measured(target: str = "Clips", space: Space | None = None) -> Projection:
    """The projection of an encoder whose features are in the space already, measured on all pairs."""
    spec = EncoderSpec(name="bare/clips", modality="clip", target=f"joining:{target}", dim=8)
    return mmencode.align(spec, space or on_cpu(), PAIRS, method=IdentityProjection())


def joiner(
    folder: Path, package: str, target: str = "Clips", fit: Projection | None = None, **fields: object
) -> EncoderSpec:
    """The declaration of an encoder that joins the fakes; its package is in a folder."""
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text("")
    fit = measured("Clips" if target == "Broken" else target) if fit is None else fit
    mmencode.save_projection(fit, folder / package / "fit.safetensors")
    kind = {"Clips": Clips, "First": First, "Broken": Clips}[target]
    declared = {
        "name": f"{package}/clips",
        "modality": "clip",
        "target": f"joining:{target}",
        "dim": 8,
        "joins": "words",
        "projection": f"{package}:fit.safetensors",
        "identity": identify(kind(), fit),
    }
    return EncoderSpec(**{**declared, **fields})  # type: ignore[arg-type]
