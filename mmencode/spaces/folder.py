"""A space as a folder: its card, and the projections that no package provides."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from .._atomic import folder_aside, read_whole
from ..card import FORMAT, INPUTS, NORMALISATION, SpaceCard, card_from_dict, json_digest
from ..encoder import known
from ..errors import IdentityError, WeightsError
from ..errors.causes import describe_error as told
from ..errors.causes import message_of
from ..plugins.spec import EncoderSpec
from ..projection import Projection, load_projection, save_projection

CARD = "card.json"
_MOST = 2**25  # bytes of a card: some kilobytes, and the vectors to verify with
_WIDEST, _LONGEST = 2**20, 4096
_DISTRIBUTION = re.compile("[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_REMEDY = "get the folder again from whoever made it"


@dataclass(frozen=True, slots=True)
class Saved:
    """What a folder holds.

    plugins      encoder to the distribution that declared it
    projections  by modality; those that a plugin declares aren't there
    """

    card: SpaceCard
    plugins: Mapping[str, str]
    projections: Mapping[str, Projection]


def write_folder(folder: str | os.PathLike[str], saved: Saved) -> None:
    """Write a folder that isn't there yet, whole or not at all; raises as `folder_aside`."""
    with folder_aside(folder) as aside:
        aside.mkdir()
        for modality, projection in saved.projections.items():
            save_projection(projection, aside / _file(modality))
        (aside / CARD).write_text(_to_text(saved), encoding="utf-8")


def read_folder(folder: str | os.PathLike[str]) -> Saved:
    """What `write_folder` wrote.

    Raises WeightsError when a part is missing or can't be read, IdentityError when one isn't what the card
    says, the card isn't what it was, or this mmencode would give other vectors.
    """
    path = Path(folder)
    content, card = _read(path / CARD)
    if (card.inputs, card.normalisation) != (INPUTS, NORMALISATION):
        raise IdentityError(
            f"the space was saved by an mmencode that reads items in way {card.inputs} and normalises by "
            f"{card.normalisation!r}; this one does so in way {INPUTS} and by {NORMALISATION!r}",
            culprit=str(path / CARD),
            remedy="load it with an mmencode of that time, or compose it again with this one",
        )
    projections = {modality: load_projection(path / _file(modality)) for modality in content["projections"]}
    expected = {tower.modality: tower.identity.projection for tower in card.towers}
    for modality, projection in projections.items():
        if known(projection) != expected[modality]:
            raise IdentityError(
                f"the projection of {modality} isn't the one of the card: that has {expected[modality]!r}, "
                f"and this is {known(projection)!r}",
                culprit=str(path / _file(modality)),
                remedy=_REMEDY,
            )
    return Saved(card, content["plugins"], projections)


def read_card(path: str | os.PathLike[str]) -> SpaceCard:
    """The card in a file, or in the folder of a space; raises as `read_folder`."""
    source = Path(path)
    return _read(source / CARD if source.is_dir() else source)[1]


def shipped_card(specs: Iterable[EncoderSpec]) -> SpaceCard | None:
    """The card that the plugin of these encoders ships with their space; None when it ships none.

    WeightsError when it can't be read, IdentityError when it was changed.
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


def _to_text(saved: Saved) -> str:
    """For people to read but for the probes, which take the last line."""
    content = {
        **saved.card.to_dict(),
        "fingerprint": saved.card.fingerprint,
        "plugins": dict(sorted(saved.plugins.items())),
        "projections": sorted(saved.projections),
    }
    content["checksum"] = json_digest(content)
    probes = content.pop("probes")
    return f'{json.dumps(content, indent=2)[:-2]},\n  "probes": {json.dumps(probes)}\n}}\n'


def _read(path: Path) -> tuple[dict[str, Any], SpaceCard]:
    """The content of a card's file, and the card."""
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
    """IdentityError for a card of this format that isn't as it was written, ValueError for what is none."""
    if type(content) is not dict:
        raise ValueError("it is no JSON object")
    rest = {key: value for key, value in content.items() if key != "checksum"}
    if content.get("format") == FORMAT and content.get("checksum") != json_digest(rest):
        raise IdentityError(
            "the card isn't as it was written: its content doesn't have the checksum that it says",
            culprit=str(path),
            remedy=f"it was changed by hand or damaged: {_REMEDY}",
        )


def _require_whole(content: Mapping[str, Any], card: SpaceCard) -> None:
    """ValueError unless what the file has beside the card goes with it."""
    plugins, projections = content.get("plugins"), content.get("projections")
    if type(plugins) is not dict or not all(map(_is_distribution, plugins.values())):
        raise ValueError("'plugins' doesn't say by which distributions the encoders were declared")
    said = [card.name, *(tower.encoder for tower in card.towers)]
    if card.dim > _WIDEST or any(len(name) > _LONGEST for name in said):
        raise ValueError(f"it has a width of over {_WIDEST}, or a name of over {_LONGEST} characters")
    modalities = [tower.modality for tower in card.towers]
    if type(projections) is not list or not all(name in modalities for name in projections):
        raise ValueError(
            f"'projections' is {projections!r:.100}, and should list some of {', '.join(modalities)}"
        )
    if content.get("fingerprint") != card.fingerprint:
        raise ValueError(f"'fingerprint' isn't that of the card, {card.fingerprint}")


def _is_distribution(name: object) -> bool:
    """Whether pip could be asked for it; it stands in a command that a message may tell."""
    return isinstance(name, str) and len(name) <= _LONGEST and bool(_DISTRIBUTION.fullmatch(name))


def _file(modality: str) -> str:
    return f"{modality}.safetensors"
