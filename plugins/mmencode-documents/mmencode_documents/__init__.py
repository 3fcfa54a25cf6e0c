"""Pages of PDF documents, and images of pages, as a modality of mmencode.

Declaring it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mmencode import EncoderSpec, ModalitySpec, hookimpl

if TYPE_CHECKING:
    from .joining import join_pages as join_pages

__version__ = "0.1.0"
__all__ = ["join_pages"]

FAMILY = "page/image/*"


@hookimpl
def mmencode_modalities() -> Iterator[ModalitySpec]:
    """Declare the modality of pages."""
    yield ModalitySpec(
        name="page",
        reader="mmencode_documents.items:read",
        value="PIL.Image:Image",
        limits=(("pages", 20_000), ("pixels", 2**28), ("seconds", 30.0)),
        endings=(".pdf",),
        part="page",
        count="mmencode_documents.items:count",
        probes="mmencode_documents.drawing:probes",
        samples="mmencode_documents.drawing:samples",
        shows="picture",
        prompt="a document about {label}",
        description="a page of a PDF document, report.pdf#page=3, or an image of a page",
    )


@hookimpl
def mmencode_encoders() -> Iterator[EncoderSpec]:
    """Declare that any image encoder also takes pages."""
    for outputs, name in (("one", FAMILY), ("many", "page/late/*")):
        yield EncoderSpec(
            name=name,
            modality="page",
            target=f"mmencode_documents.encoders:{outputs}",
            outputs=outputs,
            requires=("pypdfium2>=5",),
            install="pip install mmencode-documents",
            prompt="a document about {label}",
            description=f"pages by an image encoder of {outputs} vectors for each: {name[:-1]}<its name>",
            licence="each encoder its own",
        )


def __getattr__(name: str) -> object:
    if name == "join_pages":
        from .joining import join_pages

        return join_pages
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
