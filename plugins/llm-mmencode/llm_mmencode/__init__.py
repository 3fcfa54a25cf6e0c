"""mmencode for the `llm` command: registered spaces embed texts, and images or sounds as binary content.

`llm` keeps nothing of a model but its id beside the vectors of a collection. So a model's id ends in the id
of its space, with the fingerprint, and a space that is another one by now refuses to embed.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import llm
from llm.models import EmbeddingModel

import mmencode
from mmencode.errors import MmencodeError, UnknownNameError

__all__ = ["MmencodeModel", "register_commands", "register_embedding_models"]

_FILE = "mmencode.json"  # in llm's own folder
_FORMAT = "llm-mmencode-1"


@dataclass(frozen=True)
class _Entry:
    """A model as it was registered, under the id of its space.

    space    the name of an installed space, or the absolute path of a saved one's folder
    id       the id that the space had when it was registered
    binary   the modality of binary content, "" for none
    texts    whether the space has texts
    aliases  the names that stand for the model
    """

    space: str
    id: str
    binary: str
    texts: bool
    aliases: tuple[str, ...]

    @property
    def model_id(self) -> str:
        """The name that collections keep."""
        return f"mmencode/{self.id}" + ("" if self.binary in ("", "image") else f"/{self.binary}")


class MmencodeModel(EmbeddingModel):
    """A registered space as an embedding model, whose encoders are loaded when it first embeds something."""

    batch_size = 128

    def __init__(self, entry: _Entry) -> None:
        self.model_id = entry.model_id
        self.supports_text = entry.texts
        self.supports_binary = bool(entry.binary)
        self._entry = entry

    def embed_batch(self, items: Iterable[str | bytes], *, key: str | None = None) -> Iterator[list[float]]:
        """Encode texts and binary content, in order, as documents.

        Raises SpaceMismatchError, with both ids, where the space isn't the one that was registered;
        InputError, with its index, for an item that can't be encoded; otherwise as `mmencode.load`.
        """
        pairs = [(self._entry.binary if isinstance(item, bytes) else "text", item) for item in items]
        yield from _load(self._entry.space, self._entry.id).encode_mixed(pairs).vectors.tolist()


@llm.hookimpl
def register_embedding_models(register: Callable[..., None]) -> None:
    """Give `llm` a model for each space that was registered; a damaged list is told, and hurts no other."""
    try:
        entries = _read()
    except (OSError, ValueError, TypeError, KeyError) as cause:
        click.echo(f"llm-mmencode: {_path()} can't be read: {cause}", err=True)
        return
    for entry in entries:
        register(MmencodeModel(entry), aliases=entry.aliases)


@llm.hookimpl
def register_commands(cli: click.Group) -> None:
    """Give `llm` the commands `llm mmencode register` and `llm mmencode list`."""

    @cli.group(name="mmencode")
    def group() -> None:
        """Register spaces of mmencode as embedding models."""

    @group.command(name="register")
    @click.argument("space", default="default")
    @click.option(
        "--binary",
        default="image",
        show_default=True,
        metavar="MODALITY",
        help="The modality of binary content: image, audio, or another one of the space.",
    )
    def register_space(space: str, binary: str) -> None:
        """Register SPACE, the name of an installed space or the folder of a saved one.

        The model is called mmencode/SPACE, and in collections by the id of the space.

        \b
        Example: llm mmencode register default
        Example: llm mmencode register default --binary audio
        """
        try:
            entry = _describe(space, binary)
        except MmencodeError as error:
            raise click.ClickException(str(error)) from error
        try:
            others = [_without(other, entry) for other in _read() if other.model_id != entry.model_id]
            _write([*others, entry])
        except (OSError, ValueError, TypeError, KeyError) as cause:
            raise click.ClickException(f"{_path()} can't be changed: {cause}") from cause
        click.echo(f"{entry.model_id} ({', '.join(entry.aliases)})")

    @group.command(name="list")
    def list_spaces() -> None:
        """List the registered spaces."""
        for entry in _read():
            content = ", ".join(["text"] * entry.texts + [entry.binary] * bool(entry.binary))
            click.echo(f"{entry.model_id}: {content} ({', '.join(entry.aliases)})")


@functools.cache
def _load(space: str, id: str) -> mmencode.Space:
    """Load a space once in this process, since `llm` makes a model anew whenever it asks for one."""
    return mmencode.load(space, id=id)


def _describe(name: str, binary: str) -> _Entry:
    """Load a space to see who it is; raises as `mmencode.load`, and UnknownModalityError for `binary`."""
    place = name
    try:
        mmencode.registry().space(name)
    except UnknownNameError:
        if os.path.isdir(name):
            place = os.path.abspath(name)
    with mmencode.load(place) as space:
        space.spec(binary)
        suffix = "" if binary == "image" else f"/{binary}"
        names = dict.fromkeys([space.name] if place != name else [name, space.name])
        aliases = tuple(f"mmencode/{one}{suffix}" for one in names)
        return _Entry(place, space.id, binary, "text" in space.modalities, aliases)


def _without(entry: _Entry, newer: _Entry) -> _Entry:
    """Make an older entry without the aliases that a newer one takes."""
    kept = tuple(alias for alias in entry.aliases if alias not in newer.aliases)
    return _Entry(**{**asdict(entry), "aliases": kept})


def _read() -> list[_Entry]:
    """Read the registered models; ValueError, TypeError and KeyError for a file of another content."""
    path = _path()
    if not path.exists():
        return []
    content: Any = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"it isn't of the format {_FORMAT}")
    return [_Entry(**{**entry, "aliases": tuple(entry["aliases"])}) for entry in content["models"]]


def _write(entries: list[_Entry]) -> None:
    """Write the registered models, whole or not at all."""
    path = _path()
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    content = {"format": _FORMAT, "models": [asdict(entry) for entry in entries]}
    aside.write_text(json.dumps(content, indent=2), encoding="utf-8")
    os.replace(aside, path)


def _path() -> Path:
    return Path(llm.user_dir()) / _FILE  # type: ignore[no-untyped-call]
