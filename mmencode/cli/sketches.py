"""The encoders that `mmencode new-plugin` has templates of, and the words by which their projects differ."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..plugins.spec import AUDIO, IMAGE, TEXT

VIDEO = "video"


class Kind(StrEnum):
    """The kinds of encoders that templates make: with single vectors, late interaction, or omni."""

    single = "single"
    late = "late"
    omni = "omni"


class SketchModality(StrEnum):
    """The modalities for which there is a template of an encoder."""

    text = TEXT
    image = IMAGE
    audio = AUDIO
    video = VIDEO


@dataclass(frozen=True)
class Sketch:
    """A small encoder that a template has: `source` names the template, `usage` is how a space is used."""

    source: str
    encoder: str
    dim: int
    description: str
    usage: str
    modality: str = ""
    what: str = "An encoder"
    computes: str = "forward"
    outputs: str = ""
    declaration: str = "declaration"
    conformance: str = "conformance"
    keywords: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()

    def words(self) -> dict[str, str]:
        """The words that the templates leave open."""
        return {
            "source": self.source,
            "modality": self.modality,
            "encoder": self.encoder,
            "dim": str(self.dim),
            "description": self.description,
            "usage": self.usage,
            "what": self.what,
            "computes": self.computes,
            "outputs": f'\n        outputs="{self.outputs}",' if self.outputs else "",
            "declaration": self.declaration,
            "conformance": self.conformance,
            "keywords": ", ".join(f'"{word}"' for word in self.keywords),
            "dependencies": "".join(f', "{line}"' for line in self.dependencies),
        }


def _single(
    modality: str, encoder: str, dim: int, description: str, dependencies: tuple[str, ...] = ()
) -> Sketch:
    return Sketch(
        source=modality,
        encoder=encoder,
        dim=dim,
        description=description,
        usage=f'encode("{modality}", [...])',
        modality=modality,
        keywords=(modality,),
        dependencies=dependencies,
    )


def _late(modality: str, encoder: str, dim: int, description: str) -> Sketch:
    return Sketch(
        source=f"late-{modality}",
        encoder=encoder,
        dim=dim,
        description=description,
        usage=f'encode_multi("{modality}", [...])',
        modality=modality,
        computes="forward_tokens",
        outputs="many",
        keywords=(modality, "late-interaction"),
    )


OMNI = Sketch(
    source="omni",
    encoder="build",
    dim=51,
    description="the colours of texts, of images and of both at once",
    usage='encode("image+text", [("photo.jpg", "the same in red")])',
    what="Encoders",
    declaration="declaration-omni",
    conformance="conformance-omni",
    keywords=(TEXT, IMAGE, "multimodal"),
)
SKETCHES: dict[Kind, dict[str, Sketch]] = {
    Kind.single: {
        TEXT: _single(TEXT, "HashedTrigrams", 512, "how a text is spelt"),
        IMAGE: _single(IMAGE, "ColourGrid", 48, "the mean colours of a 4 x 4 grid"),
        AUDIO: _single(AUDIO, "EnergyBands", 24, "the mean energy in 24 bands"),
        VIDEO: _single(
            VIDEO, "ColourCourse", 12, "the mean colours of four moments", ("mmencode-video>=0.1,<0.2",)
        ),
    },
    Kind.late: {
        TEXT: _late(TEXT, "SpeltWords", 256, "how each word of a text is spelt"),
        IMAGE: _late(IMAGE, "ColourPatches", 3, "the mean colours of an 8 x 8 grid, a vector for each"),
    },
    Kind.omni: {"": OMNI},
}
