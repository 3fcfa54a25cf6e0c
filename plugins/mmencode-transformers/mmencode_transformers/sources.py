"""Finds a checkpoint by its id or path, as a folder whose settings can't run code."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from mmencode.checkpoints import (
    describe_error,
    matters,
    read_object,
    read_settings,
    require_file,
    settings_digest,
)
from mmencode.errors import UnknownNameError, WeightsError

_HUB_ID = re.compile(r"(?P<id>\w[\w.-]*(/\w[\w.-]*)?)(@(?P<revision>[\w./-]+))?")
_SETTINGS = ["*.json", "*.txt", "*.model", "*.jinja", "artifact.metadata"]  # the last is ColBERT's
_LAYERS = ["[0-9]*_*/model.safetensors", "[0-9]*_*/pytorch_model.bin"]  # of layers after a text model; small
_ROUTED = ["*_[0-9]_*/model.safetensors", "*_[0-9]_*/model-*-of-*.safetensors"]  # of a Router's routes
_ADAPTERS = ["adapter_model.safetensors", "[0-9]*_*/adapter_model.safetensors"]
_WEIGHTS = ["model.safetensors", "model-*-of-*.safetensors", *_LAYERS, *_ROUTED, *_ADAPTERS]
_PICKLED = ["pytorch_model.bin", "pytorch_model-*-of-*.bin"]
# What PyLate's own modules are in sentence-transformers, so that its code isn't needed.
_ALIASES = {"pylate.models.Dense.Dense": "sentence_transformers.base.modules.dense.Dense"}
_VOCABULARY = 2**28  # bytes of a file that libraries read themselves: tokenizers have some dozen millions
_READ = (".json", ".txt", ".model", ".jinja")
ADAPTER = "adapter_config.json"
_WHOLE = [
    f"{name}{end}" for name in ("model.safetensors", "pytorch_model.bin") for end in ("", ".index.json")
]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with a checkpoint's files; `name` is the one that the user wrote.

    Where the folder holds a PEFT adapter, `base` is the checkpoint that it changes.
    """

    folder: Path
    name: str
    base: Checkpoint | None = None

    def settings(self, file: str) -> dict[str, Any]:
        """Read the JSON object in a file; WeightsError that names the file when it isn't there."""
        self.require(file)
        return read_object(self.folder / file)

    def read(self, file: str) -> Any:
        """Read the JSON in a file; WeightsError that names the file when it isn't there."""
        self.require(file)
        return read_settings(self.folder / file)

    def holding(self, *files: str) -> Checkpoint:
        """Choose the folder that has one of these files: this one, or else that of an adapter's base."""
        return self if self.base is None or self.has(*files) else self.base

    def has(self, *files: str) -> bool:
        """Whether the folder has one of these files."""
        return any((self.folder / file).is_file() for file in files)

    @property
    def whole(self) -> Checkpoint:
        """The checkpoint of a whole model: an adapter's base, or this one."""
        return self.base or self

    @property
    def architecture(self) -> str:
        """The kind of model and a digest of its settings, for the identity."""
        settings = self.whole.settings("config.json")
        return f"transformers {settings.get('model_type')} {settings_digest(settings, matters)}"

    def require(self, *files: str) -> None:
        """Raise WeightsError unless one of these files is there."""
        if not self.has(*files):
            raise WeightsError(
                f"the checkpoint {self.name!r} has no {' or '.join(files)}",
                culprit=str(self.folder),
                remedy=f"put {files[0]} there; it belongs to the files that save_pretrained writes",
            )

    def part(self, path: str) -> Checkpoint:
        """Open a folder inside this one; WeightsError for a path out of it, or settings that ask for code."""
        inner = (self.folder / str(path)).resolve()
        if not isinstance(path, str) or not inner.is_relative_to(self.folder.resolve()):
            raise WeightsError(f"{self.name!r} names files outside itself: {path!r}", remedy="fetch it again")
        part = Checkpoint(self.folder / path, self.name)
        _refuse(part)
        return _with_base(part)


def find(rest: str, family: str, *, weights: bool = True) -> Checkpoint:
    """Find the checkpoint by the end of an encoder's name: an id of the hub, `id@revision`, or a folder.

    A folder begins with /, ./, ../ or ~, and no hub is asked then. Without `weights`, only settings are
    fetched. Raises UnknownNameError for what can be neither and for ids that the hub doesn't have;
    WeightsError for a folder that isn't there, a hub that can't be reached, an adapter without its base, and
    settings that ask for code or for quantised weights.
    """
    return _with_base(_locate(rest, family, weights), weights)


def _locate(rest: str, family: str, weights: bool) -> Checkpoint:
    folder = _folder(rest) if _is_path(rest) else _fetch(rest, family, weights)
    checkpoint = Checkpoint(folder, rest)
    checkpoint.require("config.json", "modules.json", ADAPTER)
    _refuse(checkpoint)
    return checkpoint


def _with_base(checkpoint: Checkpoint, weights: bool = True) -> Checkpoint:
    """Find the base of an adapter by its own settings, a hub's id or a folder; WeightsError when it has none.

    A whole model in the adapter's folder is its base, as transformers has it.
    """
    if not checkpoint.has(ADAPTER):
        return checkpoint
    if _is_whole(checkpoint):
        return replace(checkpoint, base=checkpoint)
    settings = checkpoint.settings(ADAPTER)
    named, revision = settings.get("base_model_name_or_path"), settings.get("revision")
    try:
        if not named or not isinstance(named, str):
            raise UnknownNameError(f"base_model_name_or_path is {named!r:.100}")
        base = _locate(f"{named}@{revision}" if revision and not _is_path(named) else named, "", weights)
        if not base.has(ADAPTER):
            base.require("config.json")
    except (UnknownNameError, WeightsError) as error:
        raise _baseless(checkpoint, error.fact) from error
    if base.has(ADAPTER) and not _is_whole(base):
        raise _baseless(checkpoint, f"{named!r} is an adapter itself")
    return replace(checkpoint, base=base)


def _is_whole(checkpoint: Checkpoint) -> bool:
    return checkpoint.has("config.json") and checkpoint.has(*_WHOLE)


def _baseless(checkpoint: Checkpoint, why: str) -> WeightsError:
    return WeightsError(
        f"{checkpoint.name!r} is an adapter, and its base can't be had: {why}",
        culprit=str(checkpoint.folder / ADAPTER),
        remedy="write its base into base_model_name_or_path there: a hub's id, or a folder that begins with "
        "/, ./, ../ or ~",
    )


def _is_path(rest: str) -> bool:
    return rest.startswith((".", "/", "~")) or Path(rest).is_absolute()


def modules_of(checkpoint: Checkpoint) -> list[tuple[str, Checkpoint]]:
    """Read the modules of sentence-transformers in order, each as its class's name and its folder.

    WeightsError for what is no such list, and for classes that aren't the library's own.
    """
    listed = checkpoint.read("modules.json")
    entries = listed if isinstance(listed, list) else []
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise WeightsError(
            f"modules.json of {checkpoint.name!r} lists no modules",
            culprit=str(checkpoint.folder),
            remedy="fetch the checkpoint again",
        )
    return [(_own_class(entry), checkpoint.part(entry.get("path", ""))) for entry in entries]


def _own_class(entry: dict[str, Any]) -> str:
    kind = _ALIASES.get(str(entry.get("type", "")), str(entry.get("type", "")))
    if not kind.startswith("sentence_transformers."):
        raise WeightsError(
            f"modules.json names {kind!r:.200}, which is code of the checkpoint's own",
            remedy="choose a checkpoint with modules of sentence-transformers; others are never run",
        )
    return kind.rpartition(".")[2]


def _or_folder(rest: str, family: str) -> str:
    """Suggest the path of a folder that has the same name as an id, for a remedy."""
    return f"the folder of that name is {family}./{rest}; " if os.path.isdir(rest) else ""


def _folder(path: str) -> Path:
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise WeightsError(
            f"there is no folder {path!r}",
            remedy="name the folder that holds config.json, the weights and the tokenizer's files",
        )
    return folder


def _fetch(rest: str, family: str, weights: bool) -> Path:
    """Fetch a repository into the hub's own cache, unless it is there, and give its folder."""
    parts = _HUB_ID.fullmatch(rest)
    if parts is None:
        raise UnknownNameError(
            f"{rest!r} is neither the id of a checkpoint nor a folder",
            remedy=f"write {family}<organisation>/<name>, {family}<id>@<revision> or {family}/path/to/folder",
        )
    where: dict[str, Any] = {"repo_id": parts["id"], "revision": parts["revision"]}
    try:
        if not weights:
            return Path(snapshot_download(**where, allow_patterns=_SETTINGS))
        folder = Path(snapshot_download(**where, allow_patterns=_SETTINGS + _WEIGHTS))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(**where, allow_patterns=_SETTINGS + _WEIGHTS + _PICKLED))
        return folder
    except (RepositoryNotFoundError, RevisionNotFoundError) as cause:
        raise UnknownNameError(
            f"the hub has no checkpoint {rest!r}, or it asks for a login: {describe_error(cause)}",
            remedy=f"{_or_folder(rest, family)}check its id; a local folder is named by its path: "
            f"{family}/path/to/folder",
        ) from cause
    except Exception as cause:  # networks, proxies, disks and the hub's own checks each fail in their way
        raise WeightsError(
            f"the checkpoint {rest!r} can't be fetched: {describe_error(cause)}",
            culprit="it asked the Hugging Face hub, through its cache (HF_HOME)",
            remedy=f"{_or_folder(rest, family)}load it once where there is a network, or copy that machine's "
            "cache; or put its files "
            f"into a folder and name that, a path that begins with /, ./, ../ or ~: {family}./{parts['id']}",
        ) from cause


def _refuse(checkpoint: Checkpoint) -> None:
    """Raise WeightsError when settings would make a library run code or fetch other weights."""
    for path in sorted(checkpoint.folder.glob("*")):  # nothing where there is no folder, as of a Normalize
        if path.suffix in _READ:
            require_file(path, "take it away, or fetch the checkpoint again", _VOCABULARY)
        if path.suffix == ".json" and ("config" in path.name or path.name == "modules.json"):
            for reason in _demands(checkpoint.read(path.name)):
                raise WeightsError(
                    f"the checkpoint {checkpoint.name!r} is refused: {reason}",
                    culprit=str(path),
                    remedy="choose a checkpoint that transformers itself can load in full precision; a "
                    "checkpoint's code is never run",
                )


def _demands(settings: Any) -> Iterator[str]:
    """Yield the demands of settings, at any depth, that this plugin refuses."""
    waiting = [settings]
    while waiting:
        found = waiting.pop()
        if isinstance(found, list):
            waiting += found
        if isinstance(found, dict):
            waiting += found.values()
            yield from _demands_of(found)


def _demands_of(settings: dict[str, Any]) -> Iterator[str]:
    if settings.get("auto_map"):
        yield f"it brings its own code, auto_map: {settings['auto_map']!r:.200}"
    if settings.get("trust_remote_code"):
        yield "it wants code from elsewhere to be trusted, trust_remote_code"
    if settings.get("quantization_config"):
        yield "its weights are quantised, quantization_config"
    if settings.get("fusion_config"):
        yield "it wants parts of transformers to be replaced, fusion_config"
    if settings.get("transformers_weights"):
        yield "its weights are in a file of another name, transformers_weights"
    for key, value in settings.items():
        if "attn_implementation" in key and "/" in str(value):
            yield f"it wants an attention kernel from a hub, {key}: {value!r:.200}"
