"""Videos as a modality of mmencode, and encoders of them.

Declaring them imports nothing heavy; the README has the table of names.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

from mmencode import EncoderSpec, ModalitySpec, hookimpl

if TYPE_CHECKING:
    from .joining import join_video as join_video
    from .video import Frames as Frames
    from .video import Video as Video

__version__ = "0.1.0"
__all__ = ["Frames", "Video", "join_video"]

_LAZY = {"Frames": "video", "Video": "video", "join_video": "joining"}
_PROMPT = "a video of {label}"
_REQUIRES = ("transformers>=5.23,<6",)
_INSTALL = "pip install 'mmencode-video[transformers]'"
_SOURCE = "https://github.com/huggingface/transformers"

LIMITS = (
    ("seconds", 7200),  # from the first frame to the end of the last
    ("frames", 1_000_000),  # in the whole video
    ("chosen", 2048),  # that an encoder looks at
    ("pixels", 2**25),  # of one frame: 8K
    ("kept", 2**28),  # pixels of all the frames that are held at once
)


@hookimpl
def mmencode_modalities() -> Iterator[ModalitySpec]:
    """Declare videos: how they are read, found in folders, probed and shown."""
    yield ModalitySpec(
        name="video",
        reader="mmencode_video.items:read",
        value="mmencode_video.video:Video",
        limits=LIMITS,
        # Not .ts, which in most folders is TypeScript.
        endings=(
            *(".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".wmv", ".asf", ".flv", ".f4v"),
            *(".mpg", ".mpeg", ".m2v", ".m2ts", ".mts", ".vob", ".3gp", ".3g2", ".ogv", ".mxf", ".dv"),
            *(".y4m", ".ivf"),
        ),
        probes="mmencode_video.probes:probes",
        samples="mmencode_video.probes:samples",
        shows="picture",
        preview="mmencode_video.items:preview",
        prompt=_PROMPT,
        description="a video, of which each encoder says which frames it looks at",
    )


@hookimpl
def mmencode_encoders() -> Iterator[EncoderSpec]:
    """Declare the families: image towers over frames, and video models from folders."""
    for name, what in (("mean", "the mean"), ("attention", "an attention-weighted mean")):
        yield EncoderSpec(
            name=f"video/{name}/*",
            modality="video",
            target=f"mmencode_video.pooled:{name}",
            prompt=_PROMPT,
            description=f"{what} of frames in any space with images: video/{name}/[frames or rate:]<space>",
            licence="that of the image encoder",
        )
    for modality in ("video", "text"):
        prompt = _PROMPT if modality == "video" else "{label}"
        for family, what in (("xclip", "X-CLIP"), ("videoprism", "VideoPrism with texts")):
            yield EncoderSpec(
                name=f"video/{family}-{modality}/*",
                modality=modality,
                target=f"mmencode_video.{family}:towers",
                space=f"video/{family}/*",
                prompt=prompt,
                shared=True,
                description=f"{what}: video/{family}/<folder>",
                licence="each checkpoint its own",
                requires=_REQUIRES,
                install=_INSTALL,
                source=_SOURCE,
            )
    for family, module, what in (
        ("vjepa2", "vjepa2", "V-JEPA 2"),
        ("videoprism-vision", "videoprism", "VideoPrism without texts"),
    ):
        yield EncoderSpec(
            name=f"video/{family}/*",
            modality="video",
            target=f"mmencode_video.{module}:build",
            prompt=_PROMPT,
            description=f"{what}, the mean over patches: video/{family}/<folder>",
            licence="each checkpoint its own",
            requires=_REQUIRES,
            install=_INSTALL,
            source=_SOURCE,
        )


if not TYPE_CHECKING:  # a type checker would take any name for one that is there

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module 'mmencode_video' has no attribute {name!r}")
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
