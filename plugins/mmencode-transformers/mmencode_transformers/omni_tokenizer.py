"""A fast tokenizer in the place of a processor's own, in a form that threads can share."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer
from tokenizers.normalizers import Lowercase, Sequence

from mmencode.encoder import Notice


class SharedTokenizer:
    """A fast tokenizer that threads share, in the place of a processor's own, which they can't.

    `most` is the largest number of tokens; None for no limit.
    """

    def __init__(self, plain: Any, most: int | None, lower: bool) -> None:
        self.plain, self.most = plain, most
        self._whole = Tokenizer.from_str(plain.backend_tokenizer.to_str())
        self._whole.no_padding()
        self._whole.no_truncation()
        if lower:
            own = self._whole.normalizer
            self._whole.normalizer = Lowercase() if own is None else Sequence([Lowercase(), own])
        self.content = self._whole.to_str()
        self._cut = Tokenizer.from_str(self.content)
        if most:
            self._cut.enable_truncation(most, direction=plain.truncation_side)
        self._too_long = Notice(f"a text is longer than {most} tokens, and the rest is left out; said once")

    def __getattr__(self, name: str) -> Any:
        if name == "plain":  # while it is copied
            raise AttributeError(name)
        return getattr(self.plain, name)

    def __call__(self, text: str | list[str], **options: Any) -> dict[str, Any]:
        """Tokenize whole texts, as the processor asks for it; their masks are all ones."""
        special = options.get("add_special_tokens", True)
        texts = [text] if isinstance(text, str) else text
        rows = [self._whole.encode(each, add_special_tokens=special).ids for each in texts]
        return {"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]}

    def cut(self, text: str, special: bool) -> Any:
        """Tokenize a text, cut to the limit with one warning."""
        found = self._cut.encode(text, add_special_tokens=special)
        if found.overflowing:
            self._too_long.give()
        return found

    def whole(self, text: str, special: bool) -> list[int]:
        """Tokenize a text without cutting it."""
        ids: list[int] = self._whole.encode(text, add_special_tokens=special).ids
        return ids
