"""The built-in encoders, declared by the same hook as any plugin; each library has its own module."""

from __future__ import annotations

from collections.abc import Iterator

from ..hookspecs import hookimpl
from ..spec import IMAGE, EncoderSpec


@hookimpl
def mmencode_encoders() -> Iterator[EncoderSpec]:
    """Declare the families of checkpoints that the libraries below mmencode provide."""
    yield EncoderSpec(
        name="timm/*",
        modality=IMAGE,
        target="mmencode.encoders.timm:build",
        description="any timm architecture, features before the classifier",
        licence="each checkpoint its own",
        source="https://github.com/huggingface/pytorch-image-models",
    )
