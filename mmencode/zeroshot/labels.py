"""Labels of a classifier: their names, and the prompts or examples that stand for each."""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..arguments.lists import to_strings
from ..errors import LabelError
from ..errors.suggestions import did_you_mean
from ..inputs.batches import as_items
from ..plugins.spec import TEXT
from .templates import PLACE, find_templates

Duplicates = Literal["refuse", "keep"]
KEEP_REMEDY = 'pass duplicates="keep" (--duplicates keep on the command line) if they are meant'


@dataclass(frozen=True, eq=False, slots=True)
class Labels:
    """The labels of a classifier, and the texts or items that describe them.

    names      the names that results have
    by         the modality of the items that describe them
    items      the prompts or examples of each; None where templates make prompts of names
    others     synonyms of each, which go into the templates, too
    templates  None for the prompt of the modality that is classified
    null       prompts or examples of the null class, of nothing in particular
    distinct   whether equal labels are refused; otherwise the first of equal ones is ranked first
    """

    names: tuple[str, ...]
    by: str
    items: tuple[Sequence[Any], ...] | None
    others: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...] | None
    null: Sequence[Any]
    distinct: bool = True

    def groups(self, template: str) -> tuple[Sequence[Any], ...]:
        """The prompts or examples of each label and, last, of the null class where there is one.

        `template` is used where no templates were given.
        """
        null = (self.null,) if len(self.null) else ()
        if self.items is not None:
            return (*self.items, *null)
        templates = self.templates or (template,)
        words = zip(self.names, self.others, strict=True)
        prompts = [_prompts(templates, (name, *others)) for name, others in words]
        return (*prompts, *null)

    def place(self, name: object) -> int:
        """Find the place of a label by its exact name; LabelError for none, and for a name of two labels."""
        if name not in self.names:
            raise LabelError(f"{name!r} is none of the labels", remedy=_suggest(name, self.names))
        count = self.names.count(str(name))
        if count > 1:
            raise LabelError(
                f"{name!r} is the name of {count} labels, and nothing says which of them is meant",
                remedy="give each of them a name of its own, and prompts: {name: [prompt, ...]}",
            )
        return self.names.index(name)


def describe_labels(
    labels: Sequence[str] | Mapping[str, Sequence[Any]],
    templates: str | Sequence[str] | None = None,
    *,
    by: str = TEXT,
    synonyms: Mapping[str, Sequence[str]] | None = None,
    null: Sequence[Any] = (),
    duplicates: Duplicates = "refuse",
) -> Labels:
    """Check the arguments of `Space.classifier`, and make labels of them; LabelError names a wrong label."""
    if duplicates not in get_args(Duplicates):
        raise ValueError(f"duplicates is {duplicates!r}: make it one of {', '.join(get_args(Duplicates))}")
    distinct = duplicates == "refuse"
    names = _check_names(labels, distinct=distinct)
    items = _check_items(labels, by) if isinstance(labels, Mapping) else None
    if items is None and by != TEXT:
        raise TypeError(f'with by="{by}", labels must be a mapping from each label to its items')
    if items is not None and (templates is not None or (synonyms is not None and len(synonyms))):
        raise TypeError("templates and synonyms are for labels that are names, not for a mapping")
    found = Labels(
        names=names,
        by=by,
        items=items,
        others=_check_synonyms(names, {} if synonyms is None else synonyms),
        templates=None if templates is None else find_templates(templates),
        null=_as_list(null, by, "null"),
        distinct=distinct,
    )
    _require_prompts(found.null, by, "the null class")
    if by == TEXT and distinct:
        _require_different(names, found.groups(PLACE))
    return found


def _prompts(templates: Sequence[str], words: Sequence[str]) -> list[str]:
    return [template.replace(PLACE, word) for word in words for template in templates]


def _check_names(labels: Sequence[str] | Mapping[str, Any], *, distinct: bool) -> tuple[str, ...]:
    names = tuple(to_strings(labels.keys() if isinstance(labels, Mapping) else labels, "labels"))
    if not names:
        raise LabelError("labels must be one or more, and the list is empty", remedy="name some")
    for name in names:
        _require_word(name)
    if distinct:
        _require_once(names)
    return names


def _require_word(name: str) -> None:
    if not name.strip():
        raise LabelError(f"labels must be words: {name!r} is blank", remedy="leave it out")
    if all(character in string.punctuation or _is_mark(character) for character in name):
        raise LabelError(
            f"labels must be words: {name!r} has nothing but punctuation, which encoders of text may drop",
            remedy="write it out, as in 'question mark'",
        )


def _is_mark(character: str) -> bool:
    """Whether a character is punctuation, a separator, a control character or a lone accent."""
    return unicodedata.category(character)[0] in "PZCM"


def _require_once(names: Sequence[str]) -> None:
    first: dict[str, str] = {}
    for name in names:
        if fold(name) in first:
            other = first[fold(name)]
            twice = "is there twice" if other == name else f"differs from {other!r} only in case and spaces"
            raise LabelError(
                f"labels must be distinct: {name!r} {twice}",
                remedy=f"leave one of them out, or {KEEP_REMEDY}",
            )
        first[fold(name)] = name


def fold(word: str) -> str:
    """Drop the differences of a word that don't count: case, spaces, and how its characters are composed."""
    return " ".join(unicodedata.normalize("NFKC", word).casefold().split())


def _check_items(labels: Mapping[str, Sequence[Any]], by: str) -> tuple[Sequence[Any], ...]:
    return tuple(_check_group(items, by, f"label {name!r}") for name, items in labels.items())


def _check_group(items: Any, by: str, whose: str) -> Sequence[Any]:
    try:
        found = _as_list(items, by, "they")
    except TypeError as cause:
        raise TypeError(f"{whose} must have a list of items of {by!r}; {cause}") from cause
    if not len(found):
        raise LabelError(
            f"{whose} has no items that stand for it", remedy="give one or more, or leave it out"
        )
    _require_prompts(found, by, whose)
    return found


def _as_list(items: Any, by: str, what: str) -> Sequence[Any]:
    return to_strings(items, what) if by == TEXT else as_items(by, items)


def _require_prompts(items: Sequence[Any], by: str, whose: str) -> None:
    if by == TEXT and any(not prompt.strip() for prompt in items):
        raise LabelError(f"{whose} has a blank prompt", remedy="leave it out")


def _check_synonyms(
    names: Sequence[str], synonyms: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, ...], ...]:
    if not isinstance(synonyms, Mapping):
        raise TypeError(
            f"synonyms must be a mapping from labels to other names, not a {type(synonyms).__name__}: write "
            "synonyms={label: [word, ...]}"
        )
    given: dict[str, list[str]] = {}
    for name, words in synonyms.items():
        if name not in names:
            raise LabelError(
                f"there are synonyms for {name!r}, which is none of the labels", remedy=_suggest(name, names)
            )
        given[name] = to_strings(words, f"synonyms[{name!r}]")
        for word in given[name]:
            _require_word(word)
        _require_new(name, given[name])
    return tuple(tuple(given.get(name, ())) for name in names)


def _require_new(name: str, words: Iterable[str]) -> None:
    seen = {fold(name)}
    for word in words:
        if fold(word) in seen:
            raise LabelError(
                f"synonym {word!r} of label {name!r} is there already and would count twice",
                remedy="leave it out",
            )
        seen.add(fold(word))


def _require_different(names: Sequence[str], groups: Sequence[Sequence[str]]) -> None:
    first: dict[frozenset[str], str] = {}
    for name, prompts in zip((*names, "the null class"), groups, strict=False):
        other = first.setdefault(frozenset(map(fold, prompts)), name)
        if other != name:
            raise LabelError(
                f"labels {other!r} and {name!r} have the same prompts, so that nothing tells them apart",
                remedy=f"leave one of them out, give it other prompts, or {KEEP_REMEDY}",
            )


def _suggest(name: object, names: Sequence[str]) -> str:
    by_fold = {fold(known): known for known in names}
    suggestion = did_you_mean(fold(str(name)), by_fold, lambda folded: repr(by_fold[folded]))
    some = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
    return suggestion or f"the labels are {some}"
