"""Readers of checkpoints that nobody vouches for: for authors of plugins, as the built-in families use them.

Everything here refuses what it can't trust by a WeightsError that names the file. No code in a file runs, and
nothing takes more memory than the file's own size justifies.
"""

from __future__ import annotations

from ._atomic import folder_aside
from .errors.causes import describe_error
from .inputs.building import Bounded, sketch
from .inputs.settings import matters, read_object, read_settings, require_file, settings_digest
from .inputs.text import require_tokens
from .inputs.tokenizers import require_tokenizer
from .inputs.weights import Shapes, StateDict, fill, read_state, shapes_of
from .isolation.copying import structural_copy

__all__ = [
    "Bounded",
    "Shapes",
    "StateDict",
    "describe_error",
    "fill",
    "folder_aside",
    "matters",
    "read_object",
    "read_settings",
    "read_state",
    "require_file",
    "require_tokenizer",
    "require_tokens",
    "settings_digest",
    "shapes_of",
    "sketch",
    "structural_copy",
]
