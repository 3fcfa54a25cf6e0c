"""A transformer encoder written from scratch, and how it is trained to reach a shared space.

Declaring it imports nothing heavy; `transformer.py` is the one to read.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmencode import EncoderSpec, hookimpl

__version__ = "0.1.0"


@hookimpl
def mmencode_encoders() -> Iterator[EncoderSpec]:
    """Declare the family of encoders in folders that `ScratchText.save` wrote."""
    yield EncoderSpec(
        name="scratch/*",
        modality="text",
        target="mmencode_scratch.text:encoder",
        requires=("tokenizers>=0.20",),
        install="pip install mmencode-scratch",
        bf16_cosine=0.99,
        description="a small transformer of your own: scratch/<folder>, written by mmencode_scratch.train",
        licence="each folder its own",
    )
