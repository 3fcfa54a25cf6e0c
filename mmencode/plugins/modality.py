"""The declaration of a modality by a plugin, as plain data: how items are read, found, probed and shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any, Literal

from ..arguments.brief import Brief
from ..errors import SpecError
from ..errors.causes import quote
from .composites import INTERLEAVED

LONGEST = 4096  # characters of a field
MOST = 200  # entries of a field

_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_ENDING = re.compile(r"\.[a-z0-9_+-]{1,20}")
_MODULE = re.compile(r"[A-Za-z_]\w*")  # without a dot, since looking for a module in a package imports that
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHOWS = ("words", "picture", "sound")
_TARGETS = ("reader", "value", "count", "probes", "samples", "preview", "single")
_FLAGS = ("inline", "scales")


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class ModalitySpec(Brief):
    """One kind of item, as a plugin declares it; its targets are strings, so that declaring imports nothing.

    name         one word of small letters, digits and _: "molecule". It belongs to the distribution
                 `mmencode-molecule` or `molecule` where that is installed, else to the only one with it
    reader       "package.module:function", called with an untrusted item and the Limits; it makes the safe
                 value that `Encoder.preprocess` takes, or raises InputError. Threads call it, several at once
    value        "package.module:Class" of these values: to give anything else is an error of the reader.
                 "" only forbids None
    inline       a str is an item itself, as a text is; False: it is the path of a file
    scales       the reader takes `least`, too: the pixels that the shorter side of a picture must keep,
                 above which it may decode at a smaller scale
    limits       its own limits and their defaults, (("atoms", 1000),): the reader finds them in
                 `Limits.declared`, and users raise them there, both by the name "molecule.atoms"
    endings      of the files that folders are searched for, in small letters: (".smi",). Those of text, image
                 and audio belong to these
    optional     endings that can be read once another package is installed, each with the module that is
                 looked for and its name for pip: ((".cdx", "chem_extra", "chem-extra"),)
    part         the word that numbers the items of a file which holds several: with "page" they are called
                 report.pdf#page=1, report.pdf#page=2 and so on, in folders, indexes and by the reader
    count        "package.module:function", called with the path of a file and the Limits, which counts its
                 items: 0 where the file is a single one, whose name is its path alone
    probes       "package.module:function" without arguments, which gives a list of 3 to 64 different items,
                 as callers pass them, the same on every machine: saved spaces are verified by them, encoders
                 that fail are tried on them, and the conformance suite runs on them. "" is for none
    samples      "package.module:function", called with a number, which gives so many items for the
                 conformance suite; "" stands for the probes
    shows        "words", "picture" or "sound": how pages and the command line show an item
    preview      "package.module:function", called with an item and the Limits, which gives the words (a
                 str), picture (a PIL.Image) or sound (bytes of a wav, flac, ogg or mp3 file). "" shows the
                 item itself: a str as words, and as a picture the value that the reader gives
    single       "package.module:function", called with what a caller passed as a batch; where that is one
                 item it gives what it is and what to pass instead, two strs, and None otherwise
    prompt       how a label reads as a text about this modality, for encoders that declare no prompt
    description  one line about it

    Raises SpecError when a field is malformed.
    """

    name: str
    reader: str
    value: str = ""
    inline: bool = False
    scales: bool = False
    limits: tuple[tuple[str, int | float], ...] = ()
    endings: tuple[str, ...] = ()
    optional: tuple[tuple[str, str, str], ...] = ()
    part: str = ""
    count: str = ""
    probes: str = ""
    samples: str = ""
    shows: Literal["words", "picture", "sound"] = "words"
    preview: str = ""
    single: str = ""
    prompt: str = "{label}"
    description: str = ""

    def __post_init__(self) -> None:
        _check_types(self)
        _require(_WORD.fullmatch(self.name), self, "name", "one word of small letters, digits and _")
        _require(self.name != INTERLEAVED, self, "name", "another word: it stands for items of several parts")
        for field in _TARGETS:
            target = getattr(self, field)
            optional = field != "reader" and not target
            _require(optional or _TARGET.fullmatch(target), self, field, '"package.module:name"')
        _require(self.shows in _SHOWS, self, "shows", f"one of {', '.join(_SHOWS)}")
        _require(self.preview or self.shows != "sound", self, "preview", "the function that gives the sound")
        _require("{label}" in self.prompt, self, "prompt", 'a text with "{label}" in it')
        _require(all(map(_is_limit, self.limits)), self, "limits", 'pairs such as ("atoms", 1000), above 0')
        _require(all(map(_ENDING.fullmatch, self.endings)), self, "endings", 'small letters: (".smi",)')
        known = '(ending, module, package) each: ((".cdx", "chem_extra", "chem-extra"),)'
        _require(all(map(_is_optional, self.optional)), self, "optional", known)
        every = [*self.endings, *(ending for ending, _, _ in self.optional)]
        _require(
            len({*every}) == len(every), self, "endings", "different endings, none of them optional, too"
        )
        _require(not (self.inline and every), self, "endings", "() where a str is the item itself")
        _require(not self.part or _WORD.fullmatch(self.part), self, "part", 'a word such as "page"')
        both = bool(self.part) == bool(self.count) and not (self.part and self.inline)
        _require(both, self, "count", "the function that counts a file's parts, where they have a name")

    @property
    def names_files(self) -> bool:
        """Whether a str stands for a file: its path."""
        return not self.inline

    @property
    def defaults(self) -> dict[str, int | float]:
        """The limits that it declares, by the names that users give them, such as "molecule.atoms"."""
        return {f"{self.name}.{limit}": default for limit, default in self.limits}


def _check_types(spec: ModalitySpec) -> None:
    """Raise SpecError for a field of another type or of insane size."""
    for field in fields(spec):
        name, value = field.name, getattr(spec, field.name)
        if name in _FLAGS:
            _require(type(value) is bool, spec, name, "True or False")
        elif name in ("limits", "optional", "endings"):
            _require(type(value) is tuple and len(value) <= MOST, spec, name, f"a tuple of at most {MOST}")
            entries = (str,) if name == "endings" else (tuple,)
            _require(
                all(type(entry) in entries for entry in value), spec, name, f"{entries[0].__name__}s in it"
            )
        else:
            _require(type(value) is str and len(value) <= LONGEST, spec, name, f"a str of at most {LONGEST}")


def _is_limit(entry: tuple[Any, ...]) -> bool:
    if len(entry) != 2:
        return False
    name, default = entry
    return type(name) is str and bool(_WORD.fullmatch(name)) and type(default) in (int, float) and default > 0


def _is_optional(entry: tuple[Any, ...]) -> bool:
    shapes = (_ENDING, _MODULE, _PACKAGE)
    return len(entry) == 3 and all(
        type(part) is str and len(part) <= LONGEST and shape.fullmatch(part)
        for part, shape in zip(entry, shapes, strict=True)
    )


def _require(valid: Any, spec: ModalitySpec, field: str, expected: str) -> None:
    if not valid:
        raise SpecError(
            f"ModalitySpec.{field} is {quote(getattr(spec, field), 100)}",
            culprit=f"the declaration of modality {quote(spec.name, 100)}",
            remedy=f"make it {expected}",
        )
