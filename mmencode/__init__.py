"""Multimodal encoder plugins behind one call, `encode(modality, batch)`, in a shared embedding space.

Every public name is loaded when it is first used, so `import mmencode` costs milliseconds and never
imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .card import SpaceCard as SpaceCard
    from .embeddings import Embeddings as Embeddings
    from .embeddings import search as search
    from .embeddings import similarity as similarity
    from .encoder import Encoder as Encoder
    from .hookspecs import hookimpl as hookimpl
    from .inputs import Limits as Limits
    from .inputs import Waveform as Waveform
    from .projection import IdentityProjection as IdentityProjection
    from .projection import LabelAnchored as LabelAnchored
    from .projection import Projection as Projection
    from .registry import Registry as Registry
    from .registry import registry as registry
    from .runtime import Runtime as Runtime
    from .space import Space as Space
    from .space import encode as encode
    from .space import load as load
    from .spec import EncoderSpec as EncoderSpec
    from .spec import Identity as Identity

__version__ = "0.1.0"

_HOMES = {
    "Embeddings": "embeddings",
    "Encoder": "encoder",
    "EncoderSpec": "spec",
    "Identity": "spec",
    "IdentityProjection": "projection",
    "LabelAnchored": "projection",
    "Limits": "inputs",
    "Projection": "projection",
    "Registry": "registry",
    "Runtime": "runtime",
    "Space": "space",
    "SpaceCard": "card",
    "Waveform": "inputs",
    "encode": "space",
    "hookimpl": "hookspecs",
    "load": "space",
    "registry": "registry",
    "search": "embeddings",
    "similarity": "embeddings",
}
_MODULES = {"errors", "pooling"}

__all__ = ["__version__", *sorted(_HOMES), *sorted(_MODULES)]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module 'mmencode' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
