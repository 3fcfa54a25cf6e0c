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
    from .embeddings import Embeddings as Embeddings
    from .embeddings import search as search
    from .embeddings import similarity as similarity
    from .encoder import Encoder as Encoder
    from .inputs import Limits as Limits
    from .inputs import Waveform as Waveform
    from .projection import IdentityProjection as IdentityProjection
    from .projection import LabelAnchored as LabelAnchored
    from .projection import Projection as Projection
    from .runtime import Runtime as Runtime
    from .space import Space as Space
    from .space import encode as encode
    from .space import load as load
    from .tokens import Tokens as Tokens

_LAZY = {
    "Embeddings": "embeddings",
    "Encoder": "encoder",
    "IdentityProjection": "projection",
    "LabelAnchored": "projection",
    "Limits": "inputs",
    "Projection": "projection",
    "Runtime": "runtime",
    "Space": "space",
    "Tokens": "tokens",
    "Waveform": "inputs",
    "encode": "space",
    "load": "space",
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
