"""Multimodal encoder plugins behind one call, `encode(modality, batch)`, in a shared embedding space.

What needs torch is loaded when it is first used: `import mmencode` costs milliseconds and never imports it.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING

from . import errors as errors
from ._version import __version__ as __version__
from .card import SpaceCard as SpaceCard
from .plugins.hookspecs import hookimpl as hookimpl
from .plugins.modality import ModalitySpec as ModalitySpec
from .plugins.registry import Registry as Registry
from .plugins.registry import registry as registry
from .plugins.spec import EncoderSpec as EncoderSpec
from .plugins.spec import Identity as Identity
from .plugins.spec import Scoring as Scoring

if TYPE_CHECKING:
    from . import pooling as pooling
    from .embeddings.codes import Ranges as Ranges
    from .embeddings.embeddings import Embeddings as Embeddings
    from .embeddings.embeddings import Quantised as Quantised
    from .embeddings.multi import MultiEmbeddings as MultiEmbeddings
    from .embeddings.multi import MultiQuantised as MultiQuantised
    from .embeddings.search import Matches as Matches
    from .embeddings.search import search as search
    from .embeddings.search import similarity as similarity
    from .embeddings.tokens import Tokens as Tokens
    from .encoder import Encoder as Encoder
    from .encoder import MultiEncoder as MultiEncoder
    from .encoder import Tensors as Tensors
    from .engine.runtime import Runtime as Runtime
    from .index import Index as Index
    from .inputs import Limits as Limits
    from .inputs import Waveform as Waveform
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
    from .spaces.alignment import AlignmentReport as AlignmentReport
    from .spaces.alignment import AlignmentReport as Report  # noqa: F401
    from .spaces.alignment import align as align
    from .spaces.bridging import bridge as bridge
    from .spaces.composition import compose as compose
    from .spaces.loading import encode as encode
    from .spaces.loading import load as load
    from .spaces.loading import load_base as load_base
    from .spaces.modules import EncoderModule as EncoderModule
    from .spaces.recall import Recall as Recall
    from .spaces.space import Space as Space
    from .spaces.verification import Verification as Verification
    from .zeroshot import Classification as Classification
    from .zeroshot import Classifier as Classifier

__all__ = [
    "AlignmentReport",
    "Autoencoder",
    "Chain",
    "Classification",
    "Classifier",
    "Embeddings",
    "Encoder",
    "EncoderModule",
    "EncoderSpec",
    "Identity",
    "IdentityProjection",
    "Index",
    "LabelAnchored",
    "Limits",
    "Linear",
    "Matches",
    "ModalitySpec",
    "MultiEmbeddings",
    "MultiEncoder",
    "MultiQuantised",
    "Perceptron",
    "Projection",
    "Quantised",
    "Ranges",
    "Recall",
    "Registry",
    "Runtime",
    "Scoring",
    "Space",
    "SpaceCard",
    "Tensors",
    "Tokens",
    "Truncation",
    "Verification",
    "Waveform",
    "__version__",
    "align",
    "autoencode",
    "bridge",
    "compose",
    "encode",
    "errors",
    "hookimpl",
    "load",
    "load_base",
    "load_projection",
    "pooling",
    "registry",
    "save_projection",
    "search",
    "similarity",
]

_LAZY = {
    "AlignmentReport": "spaces.alignment",
    "Autoencoder": "projection",
    "Chain": "projection",
    "Classification": "zeroshot",
    "Classifier": "zeroshot",
    "Embeddings": "embeddings.embeddings",
    "Encoder": "encoder",
    "EncoderModule": "spaces.modules",
    "IdentityProjection": "projection",
    "Index": "index",
    "LabelAnchored": "projection",
    "Limits": "inputs",
    "Linear": "projection",
    "Matches": "embeddings.search",
    "MultiEmbeddings": "embeddings.multi",
    "MultiEncoder": "encoder",
    "MultiQuantised": "embeddings.multi",
    "Perceptron": "projection",
    "Projection": "projection",
    "Quantised": "embeddings.embeddings",
    "Ranges": "embeddings.codes",
    "Recall": "spaces.recall",
    "Runtime": "engine.runtime",
    "Space": "spaces.space",
    "Tensors": "encoder",
    "Tokens": "embeddings.tokens",
    "Truncation": "projection",
    "Verification": "spaces.verification",
    "Waveform": "inputs",
    "align": "spaces.alignment",
    "autoencode": "projection",
    "bridge": "spaces.bridging",
    "compose": "spaces.composition",
    "encode": "spaces.loading",
    "load": "spaces.loading",
    "load_base": "spaces.loading",
    "load_projection": "projection",
    "save_projection": "projection",
    "search": "embeddings.search",
    "similarity": "embeddings.search",
}

# Former names, each for one release after its renaming.
_RENAMED = {"Report": "AlignmentReport"}


if not TYPE_CHECKING:  # a type checker would take any name for one that is there

    def __getattr__(name: str) -> object:
        if name in _RENAMED:
            new = _RENAMED[name]
            message = f"mmencode.{name} is called mmencode.{new} now; the old name goes in a later release"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return __getattr__(new)
        if name == "pooling":
            return import_module(".pooling", __name__)
        if name not in _LAZY:
            raise AttributeError(f"module 'mmencode' has no attribute {name!r}")
        value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
