"""Raw items become safe values here and nowhere else, by the reader that each modality declares.

The modality is always said by the caller; nothing is guessed from endings, and a string is never a URL.
"""

from __future__ import annotations

from .limits import Limits
from .parts import list_parts, split_part
from .reading import Reader, reader
from .source import open_source, read_bytes
from .waveform import Waveform

__all__ = ["Limits", "Reader", "Waveform", "list_parts", "open_source", "read_bytes", "reader", "split_part"]
