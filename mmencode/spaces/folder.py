"""Folders that hold a saved space: its card, and the projections that no package provides."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from .._atomic import file_aside, folder_aside, read_whole
from ..card import FORMAT, INPUTS, NORMALISATION, SpaceCard, TowerCard, card_from_dict, json_digest
from ..encoder import known
from ..errors import IdentityError, UnknownNameError, WeightsError
from ..errors.causes import describe_error as told
from ..errors.causes import message_of
from ..plugins.registry import registry
from ..plugins.spec import EncoderSpec
from ..projection import Projection, load_projection, save_projection

CARD = "card.json"
_MOST = 2**25  # bytes of a card: some kilobytes, and the vectors to verify with
_WIDEST, _LONGEST = 2**20, 4096
_DISTRIBUTION = re.compile("[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_REMEDY = "get the folder again from whoever made it"


@dataclass(frozen=True, slots=True)
class Saved:
    """The content of a saved space's folder.

    plugins      from the name of each encoder to the distribution that declared it
    projections  by key, without those that a plugin declares
    """

    card: SpaceCard
    plugins: Mapping[str, str]
    projections: Mapping[str, Projection]


def write_folder(folder: str | os.PathLike[str], saved: Saved) -> None:
    """Write a saved space into a new folder, whole or not at all; FileExistsError when it is there."""
    with folder_aside(folder) as aside:
        aside.mkdir()
        for modality, projection in saved.projections.items():
            save_projection(projection, aside / _file(modality))
        content = _to_text(saved.card, saved.plugins, saved.projections)
        (aside / CARD).write_text(content, encoding="utf-8")


def write_joiner(
    folder: str | os.PathLike[str], tower: TowerCard, plugin: str | None, projection: Projection | None
) -> SpaceCard:
    """Write a tower that joined the space into its folder, in place of one of its modality.

    The folder can be read at every moment, and has the tower, with its projection, or hasn't. The caller sees
    to it that nobody else writes to it. Raises EncoderError for a projection that can't be saved, and as
    `read_folder`.
    """
    path, modality = Path(folder), tower.key
    content, card = _read(path / CARD)
    if any(each.key == modality for each in card.towers if not each.joined):
        raise ValueError(f"the saved space {card.name!r} has {modality} itself")
    held = [name for name in content["projections"] if name != modality]
    if modality in content["projections"]:
        _write_card(path, _without(card, modality), content["plugins"], held)
    if projection is not None:
        save_projection(projection, path / _file(modality))
        held.append(modality)
    rest = _without(card, modality)
    found = replace(rest, towers=(*rest.towers, tower))
    plugins = {**content["plugins"], **({} if plugin is None else {tower.name: plugin})}
    _write_card(path, found, plugins, held)
    return found


def _without(card: SpaceCard, modality: str) -> SpaceCard:
    probes = {name: rows for name, rows in card.probes.items() if name != modality}
    return replace(card, towers=tuple(t for t in card.towers if t.key != modality), probes=probes)


def _write_card(
    folder: Path, card: SpaceCard, plugins: Mapping[str, str], projections: Iterable[str]
) -> None:
    with file_aside(folder / CARD) as aside:
        aside.write_text(_to_text(card, plugins, projections), encoding="utf-8")


def read_folder(folder: str | os.PathLike[str]) -> Saved:
    """Read the saved space that `write_folder` wrote.

    Raises WeightsError when a part is missing or can't be read, IdentityError when a projection isn't the one
    of the card, the card was changed, or this mmencode would compute other vectors.
    """
    path = Path(folder)
    content, card = _read(path / CARD)
    if (card.inputs, card.normalisation) != (INPUTS, NORMALISATION):
        raise IdentityError(
            f"the space was saved by an mmencode with version {card.inputs} of the readers of items and the "
            f"normalisation {card.normalisation!r}; this one has version {INPUTS} and {NORMALISATION!r}",
            culprit=str(path / CARD),
            remedy="load it with the mmencode that saved it, or compose it again with this one",
        )
    projections = {modality: load_projection(path / _file(modality)) for modality in content["projections"]}
    expected = {tower.key: tower.identity.projection for tower in card.towers}
    for modality, projection in projections.items():
        if known(projection) != expected[modality]:
            raise IdentityError(
                f"the projection of {modality} isn't the one of the card: that is {expected[modality]!r}, "
                f"and the file has {known(projection)!r}",
                culprit=str(path / _file(modality)),
                remedy=_REMEDY,
            )
    return Saved(card, content["plugins"], projections)


def read_card(path: str | os.PathLike[str]) -> SpaceCard:
    """Read a card from its file, or from the folder of a saved space; raises as `read_folder`."""
    source = Path(path)
    return _read(source / CARD if source.is_dir() else source)[1]


def read_shipped_card(specs: Iterable[EncoderSpec]) -> SpaceCard | None:
    """Read the card that a plugin ships with the space of its encoders; None when it ships none.

    Raises WeightsError when the card can't be read, IdentityError when it was changed.
    """
    named = next((spec for spec in specs if spec.card), None)
    if named is None:
        return None
    package, _, file = named.card.partition(":")
    try:
        found = files(package).joinpath(file)
    except Exception as cause:  # the package is the plugin's, and importing it may fail in any way
        raise WeightsError(
            f"EncoderSpec.card {named.card!r} can't be found: {told(cause)}",
            culprit=f"the declaration of encoder {named.name!r}",
            remedy="reinstall the plugin; its author puts the card.json of Space.save into the package",
        ) from cause
    with as_file(found) as path:
        return read_card(path)


def _to_text(card: SpaceCard, plugins: Mapping[str, str], projections: Iterable[str]) -> str:
    """Write the JSON of a card's file: indented for people to read, with all probes on the last line."""
    content = {
        **card.to_dict(),
        "fingerprint": card.fingerprint,
        "plugins": dict(sorted(plugins.items())),
        "projections": sorted(projections),
    }
    content["checksum"] = json_digest(content)
    probes = content.pop("probes")
    return f'{json.dumps(content, indent=2)[:-2]},\n  "probes": {json.dumps(probes)}\n}}\n'


def _read(path: Path) -> tuple[dict[str, Any], SpaceCard]:
    """Read and check a card's file; return its whole content, and the card."""
    try:
        content = json.loads(read_whole(path, _MOST))
        _require_unchanged(content, path)
        card = card_from_dict(content)
        _require_whole(content, card)
        return content, card
    except FileNotFoundError as cause:
        raise WeightsError(
            "there is no card of a space", culprit=str(path), remedy="give a folder that Space.save wrote"
        ) from cause
    except (OSError, ValueError, RecursionError) as cause:
        raise WeightsError(
            f"the card of a space can't be read: {message_of(cause)}",
            culprit=str(path),
            remedy=f"{_REMEDY}; a card of a newer format needs a newer mmencode",
        ) from cause


def _require_unchanged(content: Any, path: Path) -> None:
    """Raise IdentityError for a card without the checksum that it states, ValueError for no JSON object."""
    if type(content) is not dict:
        raise ValueError("the file isn't a JSON object")
    rest = {key: value for key, value in content.items() if key != "checksum"}
    if content.get("format") == FORMAT and content.get("checksum") != json_digest(rest):
        raise IdentityError(
            "the card isn't as it was written: its content doesn't have the checksum that it states",
            culprit=str(path),
            remedy=f"the card was changed by hand or damaged: {_REMEDY}",
        )


def _require_whole(content: Mapping[str, Any], card: SpaceCard) -> None:
    """Raise ValueError unless the file's plugins, projections and fingerprint agree with its card."""
    plugins, projections = content.get("plugins"), content.get("projections")
    if type(plugins) is not dict or not all(map(_is_distribution, plugins.values())):
        raise ValueError("'plugins' doesn't say by which distributions the encoders were declared")
    said = [card.name, *(tower.encoder for tower in card.towers)]
    if card.dim > _WIDEST or any(len(name) > _LONGEST for name in said):
        raise ValueError(f"the card has a width of over {_WIDEST}, or a name of over {_LONGEST} characters")
    modalities = [tower.key for tower in card.towers]
    if type(projections) is not list or not all(name in modalities for name in projections):
        raise ValueError(
            f"'projections' is {projections!r:.100}, and should list some of {', '.join(modalities)}"
        )
    if content.get("fingerprint") != card.fingerprint:
        raise ValueError(f"'fingerprint' isn't that of the card, {card.fingerprint}")


def _is_distribution(name: object) -> bool:
    """Whether a name is fit for a distribution: messages put it into a `pip install` command."""
    return isinstance(name, str) and len(name) <= _LONGEST and bool(_DISTRIBUTION.fullmatch(name))


def _file(key: str) -> str:
    return f"{key.replace(':', '.')}.safetensors"  # Windows has no colons in names


def distribution_of(spec: EncoderSpec) -> str:
    """The distribution that declares an encoder of a space to be saved; UnknownNameError for none."""
    try:
        return registry().distribution(spec.name)
    except UnknownNameError as unknown:
        raise UnknownNameError(
            f"no plugin declares the encoder {spec.name!r}, so that nobody could load the saved space",
            culprit=unknown.culprit,
            remedy="declare it in a plugin, which `mmencode new-plugin` begins",
        ) from unknown
