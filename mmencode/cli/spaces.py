"""`mmencode compose` and `mmencode verify`: spaces as folders."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import output
from .options import Json, Trusted

if TYPE_CHECKING:
    from ..card import SpaceCard
    from ..spaces.composition import EncoderLike


def compose(
    name: Annotated[str, typer.Argument(help="The new space's name.")],
    encoder: Annotated[
        list[str],
        typer.Option(
            "--encoder",
            "-e",
            metavar="MODALITY=ENCODER[,PROJECTION]",
            help="An encoder for each modality; a projection is a file that save_projection wrote.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write; it isn't there yet.")],
    json: Json = False,
) -> None:
    """Make one space of several encoders, and save it as a folder.

    All must live in one space, or have a projection into it. Anywhere a space is named, the folder can be.

    \b
    Example: mmencode compose mine -e text=offline/minilm -e image=offline/efficientnet-lite0 -o mine
    """
    from ..spaces.composition import compose as composed
    from ..spaces.folder import read_card

    _check_out(out)
    with composed(name, _parts(encoder)) as space:
        space.save(out)
    card = read_card(out)
    if json:
        output.document({"id": card.id, "folder": str(out), **card.to_dict()})
    else:
        output.text(_escaped(card))


def verify(
    space: Annotated[str, typer.Argument(help="A space, or the folder of one.")],
    card: Annotated[
        Path | None, typer.Option("--card", help="The card to compare with; by default the space's own.")
    ] = None,
    trust: Trusted = False,
    json: Json = False,
) -> None:
    """Encode generated items again, and compare with the vectors that the card of the space holds.

    A folder has one, and a plugin may ship one.

    What has changed since shows as an angle: weights, a library's way to resize, anything. The exit code is 1
    when something did.

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
        own, theirs = output.shown(verification.space), output.shown(verification.card)
        output.text(replace(verification, space=own, card=theirs))
    if not verification.same:
        raise typer.Exit(1)


def _escaped(card: SpaceCard) -> SpaceCard:
    """The card with its words as a terminal may show them, each on its line."""
    towers = []
    for tower in card.towers:
        facts = {name: output.shown(fact) for name, fact in asdict(tower.identity).items()}
        identity = replace(tower.identity, **facts)
        towers.append(replace(tower, encoder=output.shown(tower.encoder), identity=identity))
    return replace(card, name=output.shown(card.name), towers=tuple(towers))


def _check_out(out: Path) -> None:
    """Find out before the work rather than after it that it couldn't be saved."""
    from .._atomic import require_new

    try:
        require_new(out)
    except OSError as error:
        raise typer.BadParameter(str(error), param_hint="--out") from error


def _parts(options: list[str]) -> dict[str, EncoderLike]:
    """The encoders by modality, of `MODALITY=ENCODER[,PROJECTION]`."""
    from ..projection import load_projection

    parts: dict[str, EncoderLike] = {}
    for option in options:
        modality, _, rest = option.partition("=")
        encoder, _, file = rest.partition(",")
        if not modality or not encoder:
            raise _wrong(f"{option!r} isn't MODALITY=ENCODER or MODALITY=ENCODER,PROJECTION")
        if modality in parts:
            raise _wrong(f"{modality} has two encoders")
        parts[modality] = (encoder, load_projection(file)) if file else encoder
    return parts


def _wrong(words: str) -> typer.BadParameter:
    return typer.BadParameter(words, param_hint="--encoder")
