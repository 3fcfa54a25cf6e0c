"""Implement `mmencode compose`, which saves a space as a folder, and `mmencode verify`, which checks one."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors.causes import escape_unprintable
from . import output
from .options import Json, Trusted

if TYPE_CHECKING:
    from ..card import SpaceCard
    from ..spaces.composition import EncoderLike


def compose(
    name: Annotated[str, typer.Argument(help="The name of the new space.", metavar="NAME")],
    encoder: Annotated[
        list[str],
        typer.Option(
            "--encoder",
            "-e",
            metavar="MODALITY=ENCODER[,PROJECTION]",
            help="The encoder of a modality, and the file of its projection if it needs one, as "
            "mmencode.save_projection writes it. Repeatable: once for each modality.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="The folder to write, which must not exist yet.", metavar="DIR"),
    ],
    frame: Annotated[
        str | None,
        typer.Option(
            help="The name or the folder of a space that the encoders join: its vectors stay comparable with "
            "the new ones.",
            metavar="SPACE",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Compose one space of several encoders, saved as a folder.

    The encoders must share a space already, or have projections into one. The folder's path can be passed
    wherever the name of a space is, to --space for one.

    \b
    Example: mmencode compose mine -e text=offline/minilm -e image=offline/efficientnet-lite0 -o mine
    Example: mmencode compose mine --frame offline -e video=films/mean -o mine
    """
    from ..spaces import composition
    from ..spaces.folder import read_card
    from ..spaces.loading import load

    _check_out(out)
    joined = None if frame is None else load(frame)
    with composition.compose(name, _parse_encoders(encoder), frame=joined) as space:
        space.save(out)
    card = read_card(out)
    if json:
        output.document({"id": card.id, "folder": str(out), **card.to_dict()})
    else:
        output.text(_escape(card))


def verify(
    space: Annotated[
        str, typer.Argument(help="The name of a space, or the path of its folder.", metavar="SPACE")
    ],
    card: Annotated[
        Path | None,
        typer.Option(
            "--card",
            help="The card.json to compare with. If omitted, the one of the space itself.",
            metavar="FILE",
        ),
    ] = None,
    trust: Trusted = False,
    json: Json = False,
) -> None:
    """Verify that a space still gives the vectors of its card.

    The card of a space, in its folder or in the plugin that declares it, holds the vectors of generated
    items. These are encoded again and compared. Any change since then, of weights or of the way a library
    resizes images, shows as an angle between old and new vectors, and makes the exit code 1.

    \b
    Example: mmencode verify mine
    Example: mmencode verify offline
    Example: mmencode verify offline --card mine/card.json
    """
    from ..spaces.loading import load

    with load(space, trust="names" if trust else None) as found:
        verification = found.verify(card)
    if json:
        facts: dict[str, Any] = {
            "space": verification.space,
            "card": verification.card,
            "same": verification.same,
            "angles": dict(verification.angles),
            "changes": {modality: list(names) for modality, names in verification.changes.items()},
            "skipped": list(verification.skipped),
        }
        output.document(facts)
    else:
        own, theirs = escape_unprintable(verification.space), escape_unprintable(verification.card)
        output.text(replace(verification, space=own, card=theirs))
    if not verification.same:
        raise typer.Exit(1)


def _escape(card: SpaceCard) -> SpaceCard:
    """Escape control characters in each text of a card by itself, so that none can add a line to it."""
    towers = []
    for tower in card.towers:
        facts = {name: escape_unprintable(fact) for name, fact in asdict(tower.identity).items()}
        identity = replace(tower.identity, **facts)
        towers.append(replace(tower, encoder=escape_unprintable(tower.encoder), identity=identity))
    return replace(card, name=escape_unprintable(card.name), towers=tuple(towers))


def _check_out(out: Path) -> None:
    """Refuse an output folder that couldn't be created, before any encoder is loaded."""
    from .._atomic import require_new

    try:
        require_new(out)
    except OSError as error:
        raise typer.BadParameter(str(error), param_hint="--out") from error


def _parse_encoders(options: list[str]) -> dict[str, EncoderLike]:
    """Parse `MODALITY=ENCODER[,PROJECTION]` options, and load the projections."""
    from ..projection import load_projection

    parts: dict[str, EncoderLike] = {}
    for option in options:
        modality, _, rest = option.partition("=")
        encoder, _, file = rest.partition(",")
        if not modality or not encoder:
            raise _usage_error(f"{option!r} isn't MODALITY=ENCODER or MODALITY=ENCODER,PROJECTION")
        if modality in parts:
            raise _usage_error(f"{modality} has two encoders")
        parts[modality] = (encoder, load_projection(file)) if file else encoder
    return parts


def _usage_error(words: str) -> typer.BadParameter:
    return typer.BadParameter(words, param_hint="--encoder")
