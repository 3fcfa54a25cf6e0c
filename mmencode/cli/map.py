"""`mmencode map`: the rows of an index, or of a file of vectors, as a page with a map of points."""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, MmencodeError
from ..plugins.spec import IMAGE
from . import output
from .found import understood
from .options import Json, Limit, chosen_limits, require_folder_of

if TYPE_CHECKING:
    from ..inputs import Limits
    from ..pages import Survey
    from ..pages.surveys import Rows

THUMBNAIL = (96, 96)
THUMBNAIL_BYTES = 8 * 2**20


class Method(str, Enum):
    """How vectors are laid out."""

    PCA = "pca"
    UMAP = "umap"


def map_index(
    path: Annotated[Path, typer.Argument(help="An index, or a file of vectors.", exists=True)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("map.html"),
    by: Annotated[
        list[str] | None,
        typer.Option(help="What colours the points: modality, cluster, or a column; may be repeated."),
    ] = None,
    method: Annotated[Method, typer.Option(help="umap needs mmencode[map].")] = Method.PCA,
    clusters: Annotated[
        int | None, typer.Option(min=1, help="How many clusters; as many as fit if not given.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help='Which rows of an index, in SQL: "year > 2000".', metavar="SQL")
    ] = None,
    centred: Annotated[
        bool, typer.Option("--centred", help="Take from each modality its mean, so that they mix.")
    ] = False,
    thumbnails: Annotated[
        bool, typer.Option(help="Show images under the pointer, as far as 8 MiB go.")
    ] = True,
    limit: Limit = None,
    json: Json = False,
) -> None:
    """Draw what is in an index as points: what is alike lies together, outliers are listed.

    \b
    Example: mmencode map my-index -o map.html --by cluster
    Example: mmencode map photos.safetensors --method umap
    """
    require_folder_of(out, "--out")
    limits = chosen_limits(limit)
    rows = _rows(path, where)
    survey = _survey(rows, by or _by(clusters), method.value, clusters, centred)
    shown = _thumbnails(survey, limits) if thumbnails else {}
    _write(out, survey, path, shown)
    if json:
        output.document(_document(survey, out))
        return
    table = [
        (
            survey.keys[outlier.row],
            survey.modalities[outlier.row],
            f"{outlier.distance:.3f}",
            f"{outlier.deviations:.1f}",
        )
        for outlier in survey.outliers
    ]
    columns = ("outlier", "modality", "distance", "deviations")
    output.table(output.Table(f"Outliers among {len(survey)} rows", columns, table, columns[2:]))
    output.note(survey.layout.told())
    output.note(f"Wrote {out}, which shows {len(survey)} rows.")


def _by(clusters: int | None) -> list[str]:
    return ["modality"] if clusters is None else ["cluster"]


def _rows(path: Path, where: str | None) -> Rows:
    """The rows of an index or of a file."""
    from ..embeddings.embeddings import Embeddings
    from ..index import Index
    from ..pages.surveys import PlainRows

    if Index.is_index(path):
        with Index.open(path) as index, understood("--where"):
            return index.rows(where)
    if where is not None:
        raise typer.BadParameter(f"{path} is no index", param_hint="--where")
    if path.is_dir():
        raise MmencodeError(
            f"{path} is a folder and no index",
            remedy=f"`mmencode encode image {shlex.quote(str(path))} -o vectors.npz`, then map that file",
        )
    try:
        return PlainRows(Embeddings.load(path))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise typer.BadParameter(str(error)) from error


def _survey(rows: Rows, by: list[str], method: Any, clusters: int | None, centred: bool) -> Survey:
    if clusters is not None and "cluster" not in by:
        raise typer.BadParameter("they are seen with --by cluster", param_hint="--clusters")
    if not len(rows.embeddings):
        raise MmencodeError(
            "there are no rows to draw", remedy="add some first, or ask for others by --where"
        )
    from ..pages import survey

    try:
        return survey(rows, by=by, method=method, clusters=clusters, centre=centred)
    except ValueError as error:  # a column that isn't there, or too many clusters
        raise typer.BadParameter(str(error)) from error


def _thumbnails(survey: Survey, limits: Limits) -> dict[int, str]:
    """Small pictures of the images by row, in no order that favours some, as far as THUMBNAIL_BYTES go."""
    import numpy as np

    from ..engine.progress import bar
    from ..pages.previews import thumbnail

    places = [row for row, modality in enumerate(survey.modalities) if modality == IMAGE]
    order = np.random.default_rng(0).permutation(places).tolist()
    found: dict[int, str] = {}
    size = 0
    with bar("thumbnails", len(order)) as advance:
        for row in order:
            try:
                picture = thumbnail(survey.keys[row], THUMBNAIL, limits=limits, quality=70)
            except InputError:  # a key needn't be a file that is still there
                picture = ""
            advance(1, int(not picture))
            size += len(picture)
            if size > THUMBNAIL_BYTES:
                break
            if picture:
                found[row] = picture
    return found


def _write(out: Path, survey: Survey, path: Path, thumbnails: dict[int, str]) -> None:
    from .._atomic import file_aside
    from ..pages import map_page

    images = survey.modalities.count(IMAGE)
    notes = []
    if thumbnails and len(thumbnails) < images:
        notes.append(f"{len(thumbnails)} of {images} images have a picture here, under the pointer.")
    page = map_page(survey, title=f"{len(survey)} rows of {path.name}", notes=notes, thumbnails=thumbnails)
    with file_aside(out) as aside:
        aside.write_text(page, encoding="utf-8")


def _document(survey: Survey, out: Path) -> dict[str, Any]:
    """All that the page shows, for a JSON document."""
    rows = [
        {
            "item": key,
            "modality": modality,
            "point": point,
            "groups": {grouping.name: grouping.of(row) for grouping in survey.groupings},
        }
        for row, (key, modality, point) in enumerate(
            zip(survey.keys, survey.modalities, survey.layout.points.tolist(), strict=True)
        )
    ]
    outliers = [
        {"item": survey.keys[found.row], "distance": found.distance, "deviations": found.deviations}
        for found in survey.outliers
    ]
    layout = {"method": survey.layout.method, "shares": survey.layout.shares}
    return {"space": survey.space, "page": str(out), "layout": layout, "rows": rows, "outliers": outliers}
