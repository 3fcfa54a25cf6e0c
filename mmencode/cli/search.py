"""Implement `mmencode search`, which ranks a folder or an index by text, by example files or by both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import EncoderError, InputError
from ..plugins.modalities import find_modality
from ..plugins.spec import TEXT
from . import output, queries
from .failures import as_documents, report
from .hybrid import Hybrid, Rerank, Sought, SoughtWords
from .late import Pool
from .matches import Match, SearchResult, search_folder, search_index
from .options import (
    Backend,
    Backends,
    Device,
    FollowLinks,
    Html,
    Instruction,
    Json,
    Limit,
    LoadChoice,
    Modalities,
    SpaceName,
    Trusted,
    parse_limits,
    require_folder_of,
)
from .queries import WeightedQuery

if TYPE_CHECKING:
    from ..inputs import Limits

RANKED = ("by vectors", "by words")  # columns of the ranks that a search by words fuses
WORDS = 80  # characters of the words that a file is shown by in a table


def search(
    path: Annotated[
        Path, typer.Argument(help="A folder of files, or an index.", exists=True, metavar="PATH")
    ],
    query: queries.Words = None,
    image: queries.Images = None,
    audio: queries.Recordings = None,
    example: queries.Examples = None,
    without: queries.Without = None,
    weight: queries.Weights = None,
    modality: Annotated[
        str | None,
        typer.Option(
            "--in",
            help="Search only items of this modality: image, audio or another whose files have endings. If "
            "omitted, the images of a folder, or every row of an index.",
            metavar="MODALITY",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="The number of matches to show.", metavar="NUMBER")] = 5,
    where: Annotated[
        str | None,
        typer.Option(
            help='Search only the rows of an index that meet a condition on their metadata: "year > 2000".',
            metavar="SQL",
        ),
    ] = None,
    centred: Annotated[
        bool,
        typer.Option(
            "--centred",
            help="Subtract the mean vector of each modality of an index before comparing, so that no "
            "modality ranks higher as a whole.",
        ),
    ] = False,
    hybrid: Hybrid = False,
    words: SoughtWords = None,
    rerank: Rerank = None,
    html: Html = None,
    previews: Annotated[
        bool | None,
        typer.Option(
            "--previews/--no-previews",
            help="Draw the images that match below the table. If omitted, on terminals that can show images.",
        ),
    ] = None,
    follow_links: FollowLinks = False,
    pool: Pool = None,
    space: SpaceName = None,
    device: Device = "auto",
    backend: Backend = Backends.torch,
    limit: Limit = None,
    trust: Trusted = False,
    instruction: Instruction = "",
    modalities: Modalities = None,
    json: Json = False,
) -> None:
    """Find the files nearest to a text, to examples or to both.

    A text and an example are parts of one item where an encoder of the space takes such items, and with
    --weight they become one query vector, their weighted sum. The files of a folder are encoded on each call;
    an index holds their vectors, so that only the query is encoded. Scores are cosine similarities; if the
    space gives many vectors for each item, sums of the best for each vector of the query. With --hybrid the
    order is that of fused ranks, which are shown beside the scores.

    \b
    Example: mmencode search photos/ "a red car" -k 5
    Example: mmencode search dresses.index "but in red" --image dress.jpg
    Example: mmencode search photos/ "at night" --image mine.jpg --weight image=0.5 --html found.html
    Example: mmencode search photos/ "a beach" --without people
    Example: mmencode search notes.index "invoice 4711" --hybrid
    """
    from ..index import Index

    asked = queries.parse_query(query, image or [], audio or [], without or [], weight or [], example or [])
    require_folder_of(html, "--html")
    choice = LoadChoice(
        device=device,
        backend=backend,
        limit=limit,
        trust=trust,
        instruction=instruction,
        modalities=modalities,
    )
    limits = parse_limits(limit)
    sought = Sought.choose(query, words, rerank, hybrid=hybrid)
    if Index.is_index(path):
        _require_no_folder_options(space, follow_links, pool)
        with Index.open(path, **choice.options()) as index:
            found = search_index(
                index,
                asked,
                k,
                modality=modality,
                where=where,
                centred=centred,
                sought=sought,
                choice=choice,
            )
    else:
        _require_no_index_options(path, where, centred, sought)
        found = search_folder(
            path,
            asked,
            k,
            modality=modality,
            space=space,
            choice=choice,
            follow_links=follow_links,
            pool=pool,
        )
    if html is not None:
        _write_page(html, asked, found, limits)
    _print(asked, found, limits, json=json, previews=previews)
    if len(found.matches) < k and not json:
        output.note(f"There are no more than {len(found.matches)} to find.")
    if html is not None:
        output.note(f"Wrote {html}, which shows the matches.")
    report(found.failed)


def _require_no_folder_options(space: str | None, follow_links: bool, pool: int | None) -> None:
    """Refuse options about encoding a folder, since the rows of an index are encoded already."""
    if space is not None:
        raise typer.BadParameter("an index belongs to one space: leave out --space", param_hint="--space")
    if pool is not None:
        raise typer.BadParameter(
            "it is for a folder, or for the `mmencode index add` that creates an index", param_hint="--pool"
        )
    if follow_links:
        raise typer.BadParameter(
            "it is for a folder: pass it to `mmencode index add`, which fills an index",
            param_hint="--follow-links",
        )


def _require_no_index_options(path: Path, where: str | None, centred: bool, sought: Sought | None) -> None:
    """Refuse options that only an index can answer."""
    if where is not None or centred or sought is not None:
        raise typer.BadParameter(f"--where, --centred and --hybrid are for an index, and {path} is none")


def _print(
    query: WeightedQuery, found: SearchResult, limits: Limits, *, json: bool, previews: bool | None
) -> None:
    """Print the matches as JSON, or as a table followed by pictures of the images among them."""
    if json:
        output.document(
            {
                "space": found.space,
                "query": {"modality": query.modality, "item": str(query)},
                "parts": [term.to_dict() for term in query.terms],
                "searched": found.searched,
                "matches": [match.to_dict() for match in found.matches],
                "failed": as_documents(found.failed),
                "left_out": dict(found.left_out),
            }
        )
        return
    columns, rows = _columns(found, limits)
    numbers = ("rank", "score", *RANKED)
    output.table(output.Table(f"Nearest to {query}", columns, rows, numbers))
    from .strips import show

    show([(match.modality, match.key) for match in found.matches], previews, limits)


def _columns(found: SearchResult, limits: Limits) -> tuple[list[str], list[list[str]]]:
    """The columns and rows of the table of matches.

    They are rank, score and file, those of RANKED where words were sought, the modality if the matches have
    several, the words that files are shown by, and every name of their metadata.
    """
    columns = ["rank", "score", "file"]
    rows = [
        [str(place), "" if match.score is None else output.score(match.score), match.key]
        for place, match in enumerate(found.matches, 1)
    ]
    if any(match.ranked for match in found.matches):
        columns[2:2] = RANKED
        for row, match in zip(rows, found.matches, strict=True):
            ranked = match.ranked
            row[2:2] = [] if ranked is None else map(_number, (ranked.vector_rank, ranked.text_rank))
    if len({match.modality for match in found.matches}) > 1:
        columns.append("modality")
        for row, match in zip(rows, found.matches, strict=True):
            row.append(match.modality)
    shown = _list_words(found.matches, limits)
    if any(shown):
        columns.append("shown as")
        for row, words in zip(rows, shown, strict=True):
            row.append(words)
    for name in dict.fromkeys(name for match in found.matches for name in match.metadata):
        columns.append(name)
        for row, match in zip(rows, found.matches, strict=True):
            value = match.metadata.get(name)
            row.append("" if value is None else str(value))
    return columns, rows


def _number(rank: int | None) -> str:
    return "" if rank is None else str(rank)


def _list_words(matches: Sequence[Match], limits: Limits) -> list[str]:
    """The words by which modalities show their files; "" for those that are shown otherwise."""
    from ..errors.causes import printable
    from ..inputs.showing import is_late, show_item

    shown: list[str] = []
    slow: set[str] = set()  # modalities whose plugin isn't asked again
    for match in matches:
        spec = find_modality(match.modality)
        words = ""
        if spec is not None and spec.shows == "words" and spec.preview and spec.name not in slow:
            try:
                words = printable(show_item(match.modality, match.key, limits), WORDS)
            except (InputError, EncoderError) as error:
                words = f"({printable(error.fact, WORDS)})"
                slow.update([spec.name] * is_late(error))
        shown.append(words)
    return shown


def _about(found: SearchResult) -> str:
    among = "the rows that meet the condition" if found.searched is None else str(found.searched)
    return f"The {len(found.matches)} nearest of {among}. The numbers are {found.meaning}."


def _notes(found: SearchResult) -> list[str]:
    count = len(found.failed)
    return [f"{count} item{'s' if count > 1 else ''} couldn't be encoded."] if count else []


def _write_page(path: Path, query: WeightedQuery, found: SearchResult, limits: Limits) -> None:
    """Write the matches as an HTML gallery; an existing file is replaced only by a complete page."""
    from .._atomic import file_aside
    from ..pages import GalleryItem, gallery_page, make_link, make_previews

    shown = make_previews(((match.modality, match.key) for match in found.matches), limits=limits)
    items = [
        GalleryItem(
            key=match.key,
            modality=match.modality,
            score=match.score,
            link=make_link(match.modality, match.key),
            metadata=match.metadata,
            preview=preview,
        )
        for match, preview in zip(found.matches, shown, strict=True)
    ]
    asked = [term for term in query.terms if term.modality != TEXT]
    shown = make_previews(((term.modality, term.item) for term in asked), limits=limits)
    examples = [
        GalleryItem(
            key=term.item,
            modality=term.modality,
            preview=preview,
            link=make_link(term.modality, term.item),
        )
        for term, preview in zip(asked, shown, strict=True)
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
