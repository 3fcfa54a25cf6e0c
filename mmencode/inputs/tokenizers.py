"""Tokenizer files are checked before a library reads them: regular files, no settings that blow texts up."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from ..errors import WeightsError
from ..errors.causes import describe_error
from .settings import require_file

FILE = "tokenizer.json"
_OTHERS = (
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt"),
    *("merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "chat_template.jinja"),
)
_LARGEST = 2**28  # bytes; real ones have some tens of millions
_GROWTH, _WORD = 2**10, 2**10  # characters; real ones have below 10, and 100
_MAPPED = 2**7  # bytes of a replacement; Unicode's longest, an Arabic ligature's, has 33


def require_tokenizer(folder: Path, remedy: str = "put the checkpoint's own tokenizer.json there") -> None:
    """Raise WeightsError for tokenizer files in a folder that aren't regular, are too large, or are bombs.

    A normalizer may replace a character by a million, several times over, and WordPiece splits a word in
    time cubic in its length.
    """
    for name in (FILE, *_OTHERS):
        if (folder / name).exists():
            require_file(folder / name, remedy, _LARGEST)
    path = folder / FILE
    if path.exists():
        content = _read(path, remedy)
        growth, longest = _growth(content.get("normalizer")), _longest_word(content.get("model"))
        if growth > _GROWTH or longest > _WORD:
            raise WeightsError(
                f"{str(path)!r} lets its normalizer turn one character into {growth}, and splits words of up "
                f"to {longest} characters",
                remedy=f"{remedy}; {_GROWTH} and {_WORD} are the most",
            )


def _read(path: Path, remedy: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError, RecursionError) as cause:
        raise WeightsError(f"{str(path)!r} can't be read: {describe_error(cause)}", remedy=remedy) from cause


def _growth(normalizer: Any) -> int:
    """The number of characters that a normalizer's replacements together can make of one."""
    grown, waiting = 1, [normalizer]
    while waiting and grown <= _GROWTH:
        found = waiting.pop()
        waiting += found if isinstance(found, list) else []
        if isinstance(found, dict):
            waiting += [found.get("normalizers")]
            grown *= max(1, len(str(found.get("content") or "")))
            grown += len(str(found.get("prepend") or ""))
            grown *= 1 + _longest_mapped(found.get("precompiled_charsmap")) // _MAPPED
    return grown


def _longest_mapped(charsmap: Any) -> int:
    """The length in bytes of the longest replacement in a precompiled charsmap of SentencePiece."""
    try:
        content = base64.b64decode(charsmap) if isinstance(charsmap, str) else b""
    except ValueError:
        return 0  # the library says what is wrong
    table = int.from_bytes(content[:4], "little")
    return max(map(len, content[4 + table :].split(b"\0")), default=0)


def _longest_word(model: Any) -> int:
    found = model.get("max_input_chars_per_word") if isinstance(model, dict) else 0
    return found if type(found) is int else 0
