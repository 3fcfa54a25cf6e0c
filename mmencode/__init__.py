"""Multimodal encoder plugins behind one call, `encode(modality, batch)`, in a shared embedding space.

What needs torch is loaded when it is first used: `import mmencode` costs milliseconds and never imports it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from . import errors as errors
from ._version import __version__ as __version__
from .card import SpaceCard as SpaceCard
from .hookspecs import hookimpl as hookimpl
from .registry import Registry as Registry
from .registry import registry as registry  # from here on the name is the function, not the module
from .spec import EncoderSpec as EncoderSpec
from .spec import Identity as Identity

if TYPE_CHECKING:
    from . import pooling as pooling
    from .alignment import Report as Report
    from .alignment import align as align
    from .bridging import bridge as bridge
    from .composition import compose as compose
    from .embeddings import Embeddings as Embeddings
    from .embeddings import search as search
    from .embeddings import similarity as similarity
    from .encoder import Encoder as Encoder
    from .index import Index as Index
    from .inputs import Limits as Limits
    from .inputs import Waveform as Waveform
    from .loading import encode as encode
    from .loading import load as load
    from .projection import Autoencoder as Autoencoder
    from .projection import Chain as Chain
    from .projection import IdentityProjection as IdentityProjection
    from .projection import LabelAnchored as LabelAnchored
    from .projection import Linear as Linear
    from .projection import Perceptron as Perceptron
    from .projection import Projection as Projection
    from .projection import Truncation as Truncation
    from .projection import autoencode as autoencode
    from .projection import load_projection as load_projection
    from .projection import save_projection as save_projection
    from .quantised import Quantised as Quantised
    from .quantised import Ranges as Ranges
    from .runtime import Runtime as Runtime
    from .space import Space as Space
    from .tokens import Tokens as Tokens
    from .verification import Verification as Verification

_LAZY = {
    "Autoencoder": "projection",
    "Chain": "projection",
    "Embeddings": "embeddings",
    "Encoder": "encoder",
    "IdentityProjection": "projection",
    "Index": "index",
    "LabelAnchored": "projection",
    "Limits": "inputs",
    "Linear": "projection",
    "Perceptron": "projection",
    "Projection": "projection",
    "Quantised": "quantised",
    "Ranges": "quantised",
    "Report": "alignment",
    "Runtime": "runtime",
    "Space": "space",
    "Tokens": "tokens",
    "Truncation": "projection",
    "Verification": "verification",
    "Waveform": "inputs",
    "align": "alignment",
    "autoencode": "projection",
    "bridge": "bridging",
    "compose": "composition",
    "encode": "loading",
    "load": "loading",
    "load_projection": "projection",
    "save_projection": "projection",
    "search": "embeddings",
    "similarity": "embeddings",
}


def __getattr__(name: str) -> object:
    if name == "pooling":
        return import_module(".pooling", __name__)
    if name not in _LAZY:
        raise AttributeError(f"module 'mmencode' has no attribute {name!r}")
    value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, "pooling"})
