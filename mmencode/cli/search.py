"""`mmencode search`: what is nearest to words, to examples or to both, in a folder or an index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import output, queries
from .failures import as_documents, report
from .found import Found, in_folder, in_index
from .options import (
    Device,
    FollowLinks,
    Html,
    Json,
    Limit,
    SpaceName,
    Trusted,
    chosen_limits,
    require_folder_of,
)
from .queries import Query

if TYPE_CHECKING:
    from ..inputs import Limits


def search(
    path: Annotated[Path, typer.Argument(help="A folder of files, or an index.", exists=True)],
    query: queries.Words = None,
    image: queries.Images = None,
    audio: queries.Recordings = None,
    without: queries.Without = None,
    weight: queries.Weights = None,
    modality: Annotated[
        str | None,
        typer.Option("--in", help="What to search: image or audio. Images of a folder, all of an index."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many matches to show.")] = 5,
    where: Annotated[
        str | None,
        typer.Option(help='Which rows of an index to search, in SQL: "year > 2000".', metavar="SQL"),
    ] = None,
    centred: Annotated[
        bool, typer.Option("--centred", help="Rank rows of several modalities of an index fairly.")
    ] = False,
    html: Html = None,
    previews: Annotated[
        bool | None,
        typer.Option(
            "--previews/--no-previews", help="Draw the images found; where the terminal can, if not said."
        ),
    ] = None,
    follow_links: FollowLinks = False,
    space: SpaceName = None,
    device: Device = "auto",
    limit: Limit = None,
    trust: Trusted = False,
    json: Json = False,
) -> None:
    """Find files by words, by example or by both.

    The files of a folder are encoded again each time; an index is searched as it is, and by --where. Scores
    are cosine similarities.

    \b
    Example: mmencode search photos/ "a red car" -k 5
    Example: mmencode search photos/ "at night" --image mine.jpg --weight image=0.5 --html found.html
    Example: mmencode search photos/ "a beach" --without people
    """
    asked = queries.query(query, image or [], audio or [], without or [], weight or [])
    require_folder_of(html, "--html")
    limits = chosen_limits(limit)
    found = _found(path, asked, k, modality, where, centred, follow_links, space, device, limit, trust)
    if html is not None:
        _write(html, asked, found, limits)
    _print(asked, found, limits, json=json, previews=previews)
    if len(found.matches) < k and not json:
        output.note(f"There are no more than {len(found.matches)} to find.")
    if html is not None:
        output.note(f"Wrote {html}, which shows them.")
    report(found.failed)


def _found(
    path: Path,
    query: Query,
    k: int,
    modality: str | None,
    where: str | None,
    centred: bool,
    follow_links: bool,
    space: str | None,
    device: str,
    limit: list[str] | None,
    trust: bool,
) -> Found:
    from ..index import Index

    if Index.is_index(path):
        if space is not None:
            raise typer.BadParameter("an index says itself what its space is", param_hint="--space")
        if follow_links:
            raise typer.BadParameter(
                "it is for a folder: pass it to `mmencode index add`, which fills an index",
                param_hint="--follow-links",
            )
        with Index.open(
            path, device=device, limits=chosen_limits(limit), trust="names" if trust else None
        ) as index:
            return in_index(index, query, k, modality=modality, where=where, centred=centred)
    if where is not None or centred:
        raise typer.BadParameter(f"--where and --centred are for an index, and {path} is none")
    return in_folder(
        path,
        query,
        k,
        modality=modality,
        space=space,
        device=device,
        limit=limit,
        trust=trust,
        follow_links=follow_links,
    )


def _print(query: Query, found: Found, limits: Limits, *, json: bool, previews: bool | None) -> None:
    if json:
        output.document(
            {
                "space": found.space,
                "query": {"modality": query.modality, "item": str(query)},
                "parts": [part.to_dict() for part in query.parts],
                "searched": found.searched,
                "matches": [match.to_dict() for match in found.matches],
                "failed": as_documents(found.failed),
                "left_out": dict(found.left_out),
            }
        )
        return
    columns, rows = _columns(found)
    output.table(output.Table(f"Nearest to {query}", columns, rows, ("rank", "score")))
    from .strips import show

    show([(match.modality, match.key) for match in found.matches], previews, limits)


def _columns(found: Found) -> tuple[list[str], list[list[str]]]:
    """Rank, score and file; the modality where there are several, and metadata where some has any."""
    columns = ["rank", "score", "file"]
    rows = [
        [str(place), output.score(match.score), match.key] for place, match in enumerate(found.matches, 1)
    ]
    if len({match.modality for match in found.matches}) > 1:
        columns.append("modality")
        for row, match in zip(rows, found.matches, strict=True):
            row.append(match.modality)
    for name in dict.fromkeys(name for match in found.matches for name in match.metadata):
        columns.append(name)
        for row, match in zip(rows, found.matches, strict=True):
            value = match.metadata.get(name)
            row.append("" if value is None else str(value))
    return columns, rows


def _about(found: Found) -> str:
    among = "those that meet the condition" if found.searched is None else str(found.searched)
    return f"The {len(found.matches)} nearest of {among}. The numbers are cosine similarities."


def _notes(found: Found) -> list[str]:
    count = len(found.failed)
    return [f"{count} item{'s' if count > 1 else ''} couldn't be encoded."] if count else []


def _write(path: Path, query: Query, found: Found, limits: Limits) -> None:
    """Write the gallery beside its place, and rename it."""
    from .._atomic import file_aside
    from ..pages import Item, gallery_page, previews

    shown = previews(((match.modality, match.key) for match in found.matches), limits=limits)
    items = [
        Item(
            key=match.key,
            modality=match.modality,
            score=match.score,
            metadata=match.metadata,
            preview=preview,
        )
        for match, preview in zip(found.matches, shown, strict=True)
    ]
    asked = [part for part in query.parts if part.modality != "text"]
    shown = previews(((part.modality, part.item) for part in asked), limits=limits)
    examples = [
        Item(key=part.item, modality=part.modality, preview=preview)
        for part, preview in zip(asked, shown, strict=True)
    ]
    page = gallery_page(
        items,
        title=str(query),
        about=_about(found),
        examples=examples,
        notes=_notes(found),
        footer=f"Vectors of the space {found.space}",
    )
    with file_aside(path) as aside:
        aside.write_text(page, encoding="utf-8")
