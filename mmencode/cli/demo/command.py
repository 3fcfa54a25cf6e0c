"""Load the default space, let it label and search each collection, and write the page of results."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import InputError, MissingPackageError, NoDefaultSpaceError
from ...plugins.packages import install_line
from ...plugins.spec import AUDIO
from .. import output
from ..failures import as_documents, report, require_some
from ..options import Json, LoadChoice, open_space, require_no_link
from . import photographs
from .sections import Collection, Section, ask

if TYPE_CHECKING:
    from ...spaces.space import Space


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The folder in which to write the page.", metavar="DIR")
    ] = Path("mmencode-demo"),
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    json: Json = False,
) -> None:
    """Show the main features on real photographs and sounds.

    Labels and searches a dozen photographs with the default space, and a few synthesised sounds if the space
    has an audio encoder, and writes a page of the results. Needs no network. The results are shown as they
    are, mistakes included.

    \b
    Example: mmencode demo --open
    """
    require_no_link(out)
    pictures = photographs.collection()
    space = _open_default_space()
    collections = [pictures]
    notes = []
    reason = _reason_without_sounds(space)
    if reason:
        notes.append(f"Sounds are left out: {reason}")
    else:
        from . import sounds  # imports numpy

        collections.append(sounds.collection())
    sections, failed = _ask_all(space, collections)
    require_some(len(sections), failed)
    from . import page  # imports numpy

    written = page.write(out, space.id, sections, collections, notes)
    _print(space, sections, written, failed, json)
    for note in notes:
        output.note(note)
    report(failed)
    if open_page:
        webbrowser.open(written.resolve().as_uri())


def _open_default_space() -> Space:
    """Load the default space; without one, the error says how to install the demo."""
    try:
        return open_space(None, LoadChoice())
    except NoDefaultSpaceError as cause:
        raise MissingPackageError(
            f"the demo needs a default space: {cause.fact}", culprit=cause.culprit, remedy=photographs.INSTALL
        ) from cause


def _reason_without_sounds(space: Space) -> str:
    """The reason why the demo leaves out sounds, with the remedy, or "" if the space can encode audio."""
    if AUDIO in space.modalities:
        return ""
    if AUDIO not in space.specs:
        return f"space {space.name} has no encoder for them."
    return f"to hear them, {install_line(space.specs[AUDIO])}"


def _ask_all(space: Space, collections: list[Collection]) -> tuple[list[Section], list[InputError]]:
    sections: list[Section] = []
    failed: list[InputError] = []
    for collection in collections:
        asked, errors = ask(space, collection)
        sections += asked
        failed += errors
    return sections, failed


def _print(
    space: Space, sections: list[Section], written: Path, failed: list[InputError], json: bool
) -> None:
    if json:
        output.document(
            {
                "space": space.id,
                "page": str(written),
                "sections": [section.to_dict() for section in sections],
                "failed": as_documents(failed),
            }
        )
        return
    for section in sections:
        output.table(_ranking(section), titled=True)
    output.note(f"Wrote {written}, which shows the results.")


def _ranking(section: Section) -> output.Table:
    """A table with a row for each item or sentence: its answers, best first, with their scores."""
    places = range(1, 1 + max(len(top) for _, top in section.rows))
    columns = [section.asked, *(column for place in places for column in (f"{place}.", f"score {place}"))]
    rows = [
        (name, *(cell for word, score in top for cell in (word, output.score(score))))
        for name, top in section.rows
    ]
    return output.Table(section.title, columns, rows, numbers=[f"score {place}" for place in places])
