"""Reads from a checkpoint's settings alone which modalities it takes, and by which modules."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mmencode.errors import WeightsError

from .architectures import refusal
from .loading import PREPROCESSING, load_config
from .prompts import read_prompts
from .sources import Checkpoint, find, modules_of

FAMILY = "transformers/omni/"
DOCUMENTS = (
    "document",
    "passage",
    "corpus",
)  # the names of prompts before them, as sentence-transformers says
PARTS = ("text", "image", "audio", "video")
COMPOSITES = ("image+text", "audio+text", "video+text")
INTERLEAVED = "interleaved"
_METHOD = re.compile(r"forward|get_[a-z_]+_features")
_ENCODING = {"method": "forward", "method_output_name": "last_hidden_state"}
_SETTINGS = "sentence_bert_config.json"


@dataclass(frozen=True, slots=True)
class Way:
    """The method of a model that takes a modality, and the path to its output among the results."""

    method: str
    output: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """The modules that items of a modality go through: a model of transformers, and those behind it.

    model    the folder of the model
    ways     by modality, composite (its parts sorted) or "message", the model's method
    chat     arguments of the chat template, where there is a "message"
    options  by modality arguments of the processor
    pooled   whether the model's output is one vector for each item
    modules  the modules behind the model; None for those of `default`
    limit    the most tokens of an item, as the checkpoint says; None: as many as tokenizer and model take
    lower    whether texts are put into lower case first
    system   the words of the system's turn where there is no prompt
    end      the text behind a chat
    """

    model: Checkpoint
    ways: Mapping[str, Way]
    chat: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    pooled: bool = False
    modules: tuple[tuple[str, Checkpoint], ...] | None = None
    default: str = "mean"
    limit: int | None = None
    lower: bool = False
    system: str = ""
    end: str = ""

    @property
    def chats(self) -> bool:
        """Whether items are put into the words of a chat."""
        return "message" in self.ways

    def way(self, key: str) -> Way | None:
        """The way of a modality, a composite or an interleaving; None where the model takes none."""
        parts = key.split("+")
        if self.chats and (key == INTERLEAVED or all(part in self.ways for part in parts)):
            return self.ways["message"]
        return self.ways.get("+".join(sorted(parts)))


@dataclass(frozen=True, slots=True)
class Layout:
    """A checkpoint's routes by their names, and the rule by which an item's route is chosen.

    Without a Router there is one route, called "". `prompts` are the checkpoint's own by name, and `usual`
    is the one that it puts before items where no other is asked for.
    """

    checkpoint: Checkpoint
    routes: Mapping[str, Route]
    rules: Mapping[tuple[str | None, str | None], str] = field(default_factory=dict)
    fallback: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict)
    usual: str = ""

    def prompt(self, *names: str) -> str:
        """The first of these prompts that the checkpoint has, or else its usual one."""
        return next((self.prompts[name] for name in names if name in self.prompts), self.usual)

    def route(self, key: str, task: str) -> Route | None:
        """Choose the route of a modality as sentence-transformers does; None where it takes no such item."""
        modality = "message" if key == INTERLEAVED else "+".join(sorted(key.split("+")))
        for asked in ((task, modality), (task, None), (None, modality), (None, None)):
            if asked in self.rules:
                return self._taking(self.rules[asked], key)
        named = next((name for name in (task, modality) if name in self.routes), self.fallback)
        return self._taking(named, key)

    def _taking(self, name: str, key: str) -> Route | None:
        route = self.routes.get(name)
        return route if route is not None and route.way(key) is not None else None


def offers(variant: str) -> tuple[str, ...]:
    """The modalities, composites and interleavings that `<id or folder>` takes, from its settings alone.

    Raises UnknownNameError or WeightsError when there is no such checkpoint, or it isn't of this family.
    """
    layout = read(find(variant, FAMILY, weights=False))
    keys = (*PARTS, *COMPOSITES, INTERLEAVED)
    return tuple(key for key in keys if layout.route(key, "document") is not None)


def read(checkpoint: Checkpoint) -> Layout:
    """Read a checkpoint's layout; WeightsError for one whose modules aren't computed here."""
    if not (checkpoint.folder / "modules.json").is_file():
        return Layout(checkpoint, {"": _plain(checkpoint)})
    (kind, inner), *behind = modules_of(checkpoint)
    prompts, usual = read_prompts(checkpoint)
    if kind in ("Router", "Asym"):
        return replace(_read_routes(checkpoint, inner, tuple(behind)), prompts=prompts, usual=usual)
    return Layout(checkpoint, {"": _route(kind, inner, tuple(behind))}, prompts=prompts, usual=usual)


def _route(kind: str, inner: Checkpoint, behind: tuple[tuple[str, Checkpoint], ...]) -> Route:
    if kind != "Transformer":
        clip = f"; it is the space transformers/clip/{inner.name}" if kind == "CLIPModel" else ""
        raise WeightsError(
            f"the checkpoint {inner.name!r} begins with a {kind} in {inner.folder.name!r}, not a Transformer",
            culprit=str(inner.folder),
            remedy=f"only models of transformers are read here{clip}",
        )
    there = (inner.folder / _SETTINGS).is_file()
    settings = inner.settings(_SETTINGS) if there else {}
    task = settings.get("transformer_task", "feature-extraction")
    if task != "feature-extraction":
        raise _odd(inner, f"transformer_task {task!r}", "only the task feature-extraction is computed here")
    ways = settings.get("modality_config", {"text": _ENCODING})
    options = dict(settings.get("processing_kwargs") or {})
    chat = dict(options.pop("chat_template", None) or {})
    _require_options(inner, options, chat)
    limit = (options.get("text") or {}).get("max_length") or settings.get("max_seq_length")
    return Route(
        model=inner,
        ways={str(key): _way(inner, str(key), way) for key, way in ways.items()},
        chat=chat,
        options=options,
        pooled=settings.get("module_output_name", "token_embeddings") == "sentence_embedding",
        modules=behind,
        limit=int(limit) if limit else None,
        lower=bool(settings.get("do_lower_case")),
    )


def _way(inner: Checkpoint, key: str, way: Any) -> Way:
    method = way.get("method") if isinstance(way, dict) else None
    output = way.get("method_output_name") if isinstance(way, dict) else None
    path = [output] if isinstance(output, str) else list(output or [])
    if not isinstance(method, str) or not _METHOD.fullmatch(method) or not all(map(_is_word, path)):
        raise _odd(
            inner, f"modality_config {key!r}: {way!r:.200}", "take one that sentence-transformers wrote"
        )
    if key == "message" and way.get("format", "structured") != "structured":
        raise _odd(
            inner, f"messages of the format {way.get('format')!r}", "only structured ones are made here"
        )
    return Way(method, tuple(path))


def _is_word(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier() and not name.startswith("_")


def _require_options(inner: Checkpoint, options: dict[str, Any], chat: dict[str, Any]) -> None:
    """Raise WeightsError for arguments of the processor that aren't passed on here."""
    known = {"text": {"max_length"}, "image": None, "audio": None, "video": None}
    for modality, given in options.items():
        taken = known.get(modality, set())
        names = set(given) if isinstance(given, dict) else {modality}
        if taken is not None and names - taken:
            raise _odd(inner, f"processing_kwargs {modality!r}: {given!r:.200}", "take these away")
    if any(not isinstance(value, str | bool | int | float) for value in chat.values()):
        raise _odd(inner, f"processing_kwargs 'chat_template': {chat!r:.200}", "take these away")


def _odd(inner: Checkpoint, what: str, remedy: str) -> WeightsError:
    return WeightsError(
        f"{_SETTINGS} of {inner.name!r} asks for {what}",
        culprit=str(inner.folder / _SETTINGS),
        remedy=remedy,
    )


def _read_routes(
    checkpoint: Checkpoint, router: Checkpoint, behind: tuple[tuple[str, Checkpoint], ...]
) -> Layout:
    """Read the routes of a Router, each with the modules behind it."""
    file = "router_config.json"
    settings = router.settings(file if (router.folder / file).is_file() else "config.json")
    try:
        types, structure = dict(settings["types"]), dict(settings["structure"])
        parameters = dict(settings.get("parameters") or {})
        rules = {_rule(key): str(name) for key, name in (parameters.get("route_mappings") or {}).items()}
        routes = {}
        for name, ids in structure.items():
            kinds = [(str(types[each]).rpartition(".")[2], router.part(str(each))) for each in ids]
            (kind, inner), *own = kinds
            routes[str(name)] = _route(kind, inner, (*own, *behind))
        _require_own(checkpoint, types.values())
        fallback = str(parameters.get("default_route") or next(iter(routes)))
    except (KeyError, TypeError, ValueError, SyntaxError, StopIteration) as cause:
        raise WeightsError(
            f"the Router of {checkpoint.name!r} lists no routes that can be read",
            culprit=str(router.folder),
            remedy="fetch the checkpoint again",
        ) from cause
    return Layout(checkpoint, routes, rules, fallback)


def _require_own(checkpoint: Checkpoint, types: Any) -> None:
    for kind in types:
        if not str(kind).startswith("sentence_transformers."):
            raise WeightsError(
                f"the Router of {checkpoint.name!r} names {kind!r:.200}, code of the checkpoint's own",
                culprit=str(checkpoint.folder),
                remedy="choose a checkpoint with modules of sentence-transformers; others are never run",
            )


def _rule(key: str) -> tuple[str | None, str | None]:
    """Read the key of a rule, which is written as a pair of a task and a modality: "('query', 'text')"."""
    task, modality = ast.literal_eval(key)
    joined = "+".join(sorted(modality)) if isinstance(modality, tuple) else modality
    return task, joined


@dataclass(frozen=True, slots=True)
class _Kind:
    """The way in which checkpoints of an architecture embed, where they don't say so themselves."""

    pooling: str
    chat: Mapping[str, Any] = field(default_factory=dict)
    system: str = ""
    end: str = ""


_PROMPTED = {"add_generation_prompt": True}
_KINDS = {
    "embedding_gemma2": _Kind("mean"),
    # Qwen3-VL-Embedding's own script: the last token of a chat whose system's turn is the instruction.
    "qwen3_vl": _Kind("lasttoken", _PROMPTED, "Represent the user's input."),
    # DSE, and GME for texts: as many, with one more token, whose output is the vector.
    "qwen2_vl": _Kind("lasttoken", _PROMPTED, "You are a helpful assistant.", "<|endoftext|>"),
    "qwen2_5_vl": _Kind("lasttoken", _PROMPTED, "You are a helpful assistant.", "<|endoftext|>"),
}


def _plain(checkpoint: Checkpoint) -> Route:
    """Make the route of a checkpoint without modules.json by its architecture."""
    settings = checkpoint.whole.settings("config.json")
    name = settings.get("model_type")
    if name not in _KINDS:
        takes = f"{FAMILY} takes those of sentence-transformers, and without modules.json {', '.join(_KINDS)}"
        raise refusal(checkpoint, load_config(checkpoint), takes)
    if any(str(made).startswith("Gme") for made in settings.get("architectures") or ()):
        raise WeightsError(
            f"the checkpoint {checkpoint.name!r} is GME's, whose own code numbers the patches of an image "
            "one by one, where transformers' Qwen2-VL numbers rows and columns: its images get other vectors",
            culprit=str(checkpoint.folder / "config.json"),
            remedy="choose a checkpoint that transformers itself computes; a checkpoint's code is never run",
        )
    kind = _KINDS[name]
    sees = settings.get("vision_config") is not None
    hears = settings.get("audio_config") is not None
    parts = ["text", *(["image", "video"] if sees else []), *(["audio"] if hears else [])]
    if chats := bool(kind.chat) or _has_template(checkpoint):
        parts.append("message")
    way = Way("forward", ("last_hidden_state",))
    return Route(
        model=checkpoint,
        ways=dict.fromkeys(parts, way),
        chat=kind.chat if chats else {},
        default=kind.pooling,
        system=kind.system,
        end=kind.end,
    )


def _has_template(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint has a chat template, in any of the files that may hold it."""
    checkpoint = checkpoint.holding(*PREPROCESSING[:2])
    if checkpoint.has("chat_template.jinja", "chat_template.json"):
        return True
    files = ("tokenizer_config.json", "processor_config.json")
    return any(checkpoint.has(file) and checkpoint.settings(file).get("chat_template") for file in files)
