"""Reads how a checkpoint of late interaction treats texts: of sentence-transformers, PyLate or ColBERT."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmencode.errors import WeightsError

from .architectures import TAKEN, refusal
from .loading import load_config
from .sources import Checkpoint, modules_of

FAMILY = "transformers/late/"
QUERY, DOCUMENT = "query", "document"
_LENGTH = 32  # tokens of a query where a checkpoint of PyLate or ColBERT doesn't say it
_PYLATE = {
    *("query_length", "document_length", "query_expansion", "do_query_expansion", "skiplist_words"),
    *("attend_to_expansion_tokens", "attend_to_mask_tokens", "query_prefix", "document_prefix"),
}
_PLAIN = {"method": "forward", "method_output_name": "last_hidden_state"}
_PAGES = {"method": "forward", "method_output_name": "embeddings"}
_FILE = "config_sentence_transformers.json"


@dataclass(frozen=True, slots=True)
class Expansion:
    """The mask tokens with which queries are filled up, and whose vectors count (ColBERT).

    length  the number of tokens that each has at least; exactly, where it is `fixed`
    attend  whether the tokens of the text look at those that fill it
    token   the one that fills; None for the tokenizer's mask token, or else its end of text
    """

    length: int
    fixed: bool = True
    attend: bool = False
    token: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The way from an item to its vectors, as a checkpoint's settings describe it.

    base       the folder of the text model
    layers     the modules behind it, in order
    inline     whether the projection behind it is `linear.weight` in the text model's own file
    prompts    the text before each text, by role
    lengths    the most tokens, by role; without one, `longest` or the tokenizer's own counts
    expansion  how queries are filled up; None where they aren't
    marks      prompts that the tokenizer keeps in one piece
    mask       settings of the tokens that count; None where all do
    pages      whether documents are images, read by the checkpoint's own processor
    """

    base: Checkpoint
    layers: tuple[tuple[str, Checkpoint], ...] = ()
    inline: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    lengths: Mapping[str, int | None] = field(default_factory=dict)
    longest: int | None = None
    lower: bool = False
    expansion: Expansion | None = None
    marks: tuple[str, ...] = ()
    mask: Mapping[str, Any] | None = None
    pages: bool = False


def read_recipe(checkpoint: Checkpoint) -> Recipe:
    """Read how a checkpoint treats texts.

    Raises WeightsError for a checkpoint that isn't of late interaction, isn't whole, or asks for what isn't
    computed here.
    """
    if (checkpoint.folder / "modules.json").is_file():
        return _of_modules(checkpoint)
    if "HF_ColBERT" in (checkpoint.whole.settings("config.json").get("architectures") or []):
        return _of_colbert(checkpoint)
    if checkpoint.whole.settings("config.json").get("model_type") in TAKEN[FAMILY]:
        return Recipe(base=checkpoint, pages=True)
    takes = f"{FAMILY} takes {', '.join(TAKEN[FAMILY])}, an HF_ColBERT, and what has modules.json"
    raise refusal(checkpoint, load_config(checkpoint), takes)


def _of_colbert(checkpoint: Checkpoint) -> Recipe:
    """Read a checkpoint of ColBERT's own (Khattab and Zaharia), which has all weights in one file."""
    metadata = checkpoint.settings("artifact.metadata")
    prompts = {
        QUERY: f"{metadata.get('query_token_id') or '[unused0]'} ",
        DOCUMENT: f"{metadata.get('doc_token_id') or '[unused1]'} ",
    }
    length = _length(checkpoint, "query_maxlen", metadata.get("query_maxlen") or _LENGTH)
    words = list(string.punctuation) if metadata.get("mask_punctuation", True) else []
    return Recipe(
        base=checkpoint,
        inline=True,
        prompts=prompts,
        lengths={DOCUMENT: _length(checkpoint, "doc_maxlen", metadata.get("doc_maxlen"))},
        expansion=Expansion(length or _LENGTH, attend=bool(metadata.get("attend_to_mask_tokens"))),
        marks=tuple(prompts.values()),
        mask={"skiplist_words": words},
    )


def _of_modules(checkpoint: Checkpoint) -> Recipe:
    """Read a checkpoint of sentence-transformers or PyLate, by its modules.json and settings."""
    whole = checkpoint.settings(_FILE)
    own = whole.get("model_type") == "MultiVectorEncoder"
    if not own and (
        whole.get("model_type") not in (None, "ColBERT", "SentenceTransformer") or not _PYLATE & set(whole)
    ):
        raise WeightsError(
            f"{_FILE} of {checkpoint.name!r} says {whole.get('model_type') or 'SentenceTransformer'!r}, and "
            "nothing of late interaction",
            culprit=str(checkpoint.folder / _FILE),
            remedy="a checkpoint that gives one vector for each text is "
            f"transformers/sentence/{checkpoint.name}",
        )
    (first, inner), *modules = modules_of(checkpoint)
    if first != "Transformer":
        raise WeightsError(
            f"modules.json of {checkpoint.name!r} doesn't begin with a Transformer, but with the {first}",
            culprit=str(checkpoint.folder),
            remedy="choose a checkpoint whose first module is a text model of transformers",
        )
    settings, pages = _settings_of(inner)
    legacy = _legacy(whole)
    expansion = settings["query_expansion"] if "query_expansion" in settings else legacy["query_expansion"]
    masks = [part.settings("config.json") for kind, part in modules if kind == "MultiVectorMask"]
    if not own:
        words = whole.get("skiplist_words")
        masks.append({"skiplist_words": list(string.punctuation) if words is None else words})
    if len(masks) > 1:
        raise WeightsError(
            f"modules.json of {checkpoint.name!r} has several MultiVectorMasks",
            culprit=str(checkpoint.folder / "modules.json"),
            remedy="choose a checkpoint with one",
        )
    prefixes = {
        role: whole[f"{role}_prefix"] or "" for role in (QUERY, DOCUMENT) if f"{role}_prefix" in whole
    }
    prompts = dict(whole.get("prompts") or {})
    for role, prefix in prefixes.items():
        prompts[role] = prefix + (prompts.get(role) or "").removeprefix(prefix)
    return Recipe(
        base=inner,
        layers=tuple(modules),
        prompts={role: prompts.get(role) or "" for role in (QUERY, DOCUMENT)},
        lengths={
            role: _length(inner, name, settings.get(name, legacy.get(name)))
            for role, name in ((QUERY, "query_length"), (DOCUMENT, "document_length"))
        },
        longest=_length(inner, "max_seq_length", settings.get("max_seq_length")),
        lower=bool(settings.get("do_lower_case")),
        expansion=_expansion(inner, expansion),
        marks=tuple(prefixes.values()),
        mask=masks[0] if masks else None,
        pages=pages,
    )


def _settings_of(checkpoint: Checkpoint) -> tuple[dict[str, Any], bool]:
    """Read the Transformer module's settings, and whether it is a model of pages.

    WeightsError when they ask for more than its last layer, or than what such a model gives.
    """
    file = "sentence_bert_config.json"
    settings = checkpoint.settings(file) if (checkpoint.folder / file).is_file() else {}
    task = settings.get("transformer_task", "feature-extraction")
    ways = settings.get("modality_config", {"text": _PLAIN})
    place = settings.get("module_output_name", "token_embeddings")
    pages = task == "retrieval" and ways == {"text": _PAGES, "image": _PAGES}
    plain = task == "feature-extraction" and ways == {"text": _PLAIN}
    lengths = [settings.get(name) for name in ("query_length", "document_length", "query_expansion")]
    if (
        not (plain or pages)
        or place != "token_embeddings"
        or settings.get("processing_kwargs")
        or (pages and any(lengths))
    ):
        raise WeightsError(
            f"{file} of {checkpoint.name!r} asks for more than the outputs of its model: {settings!r:.500}",
            culprit=str(checkpoint.folder / file),
            remedy="texts are read as they are, and the last layer is taken, of ColPali and its kin "
            "their own vectors; choose another checkpoint",
        )
    return settings, pages


def _legacy(whole: Mapping[str, Any]) -> dict[str, Any]:
    """Translate PyLate's settings to those of sentence-transformers' Transformer, as that library does."""
    found: dict[str, Any] = {name: whole.get(name) for name in ("query_length", "document_length")}
    found["query_expansion"] = whole.get("query_expansion")
    if "query_expansion" in whole or not _PYLATE & set(whole) or whole.get("do_query_expansion") is False:
        return found
    length = found.pop("query_length") or _LENGTH
    attend = whole.get("attend_to_expansion_tokens", whole.get("attend_to_mask_tokens"))
    found["query_expansion"] = {"strategy": "fixed", "attend": bool(attend), "length": length}
    return found


def _expansion(checkpoint: Checkpoint, settings: Any) -> Expansion | None:
    if settings is None:
        return None
    known = {"strategy", "attend", "token", "length"}
    token = settings.get("token") if isinstance(settings, dict) else None
    if (
        not isinstance(settings, dict)
        or not set(settings) <= known
        or settings.get("strategy") not in ("fixed", "min")
        or not isinstance(token, str | None)
    ):
        raise WeightsError(
            f"the query_expansion of {checkpoint.name!r} is {settings!r:.200}",
            culprit=str(checkpoint.folder),
            remedy='make it an object with a "strategy", "fixed" or "min", a "length", "attend" and "token"',
        )
    length = _length(checkpoint, "query_expansion.length", settings.get("length"))
    if length is None:
        raise WeightsError(
            f"the query_expansion of {checkpoint.name!r} has no length",
            culprit=str(checkpoint.folder),
            remedy="put the number of tokens there to which queries are filled up, such as 32",
        )
    fixed = settings["strategy"] == "fixed"
    return Expansion(length, fixed=fixed, attend=bool(settings.get("attend")), token=token)


def _length(checkpoint: Checkpoint, name: str, value: Any) -> int | None:
    """Check a number of tokens; WeightsError for what is none."""
    if value is None or (type(value) is int and value > 0):
        return value
    raise WeightsError(
        f"{name} of {checkpoint.name!r} is {value!r:.100}",
        culprit=str(checkpoint.folder),
        remedy="make it a positive number of tokens, or null",
    )
