"""Implement `mmencode map`, which draws the vectors of an index or a file as points on an HTML page."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import EncoderError, InputError, MmencodeError
from . import output
from .failures import blame_usage
from .options import Json, Limit, parse_limits, require_folder_of

if TYPE_CHECKING:
    from ..inputs import Limits
    from ..pages import Survey
    from ..pages.surveys import SurveyRows

THUMBNAIL = (96, 96)
THUMBNAIL_BYTES = 8 * 2**20


class Method(StrEnum):
    """The method that reduces vectors to two dimensions."""

    PCA = "pca"
    UMAP = "umap"


def map_index(
    path: Annotated[
        Path,
        typer.Argument(
            help="An index, or a file of vectors that `mmencode encode` wrote.", exists=True, metavar="PATH"
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML page to write.", metavar="FILE")] = Path(
        "map.html"
    ),
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Colour the points by modality, by cluster, or by a metadata column. Repeatable: the page "
            "switches between them.",
            metavar="NAME",
        ),
    ] = None,
    method: Annotated[
        Method,
        typer.Option(
            help="The reduction of the vectors to two dimensions; umap needs mmencode[map].",
            metavar="|".join(Method),
        ),
    ] = Method.PCA,
    clusters: Annotated[
        int | None,
        typer.Option(
            min=1, help="The number of clusters. If omitted, the number that fits best.", metavar="NUMBER"
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            help='Draw only the rows of an index that meet a condition on their metadata: "year > 2000".',
            metavar="SQL",
        ),
    ] = None,
    centred: Annotated[
        bool,
        typer.Option(
            "--centred",
            help="Subtract the mean vector of each modality, so that modalities aren't drawn apart.",
        ),
    ] = False,
    thumbnails: Annotated[
        bool,
        typer.Option(help="Embed thumbnails that the page shows under the pointer, up to 8 MiB of them."),
    ] = True,
    limit: Limit = None,
    json: Json = False,
) -> None:
    """Draw vectors as a map of points, and list the outliers.

    \b
    Example: mmencode map my-index -o map.html --by cluster
    Example: mmencode map photos.safetensors --method umap
    """
    require_folder_of(out, "--out")
    limits = parse_limits(limit)
    rows = _rows(path, where)
    default = "modality" if clusters is None else "cluster"
    survey = _survey(rows, by or [default], method.value, clusters, centred)
    shown = _thumbnails(survey, limits) if thumbnails else {}
    _write_page(out, survey, path, shown)
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
    output.note(survey.layout.describe())
    output.note(f"Wrote {out}, which shows {len(survey)} rows.")


def _rows(path: Path, where: str | None) -> SurveyRows:
    """Read the rows of an index or of a file of vectors."""
    from ..embeddings.embeddings import Embeddings
    from ..index import Index
    from ..pages.surveys import PlainRows

    if Index.is_index(path):
        with Index.open(path) as index, blame_usage("--where"):
            return index.rows(where)
    if where is not None:
        raise typer.BadParameter(f"{path} is no index", param_hint="--where")
    if path.is_dir():
        raise MmencodeError(
            f"{path} is a folder and no index",
            remedy=f"run `mmencode encode image {shlex.quote(str(path))} -o vectors.npz`, or with another "
            "modality than image, then map that file",
        )
    with blame_usage():
        return PlainRows(Embeddings.load(path))


def _survey(rows: SurveyRows, by: list[str], method: Any, clusters: int | None, centred: bool) -> Survey:
    if clusters is not None and "cluster" not in by:
        raise typer.BadParameter("clusters are shown by --by cluster: pass it, too", param_hint="--clusters")
    if not len(rows.embeddings):
        raise MmencodeError("there are no rows to draw", remedy="add rows first, or select others by --where")
    from ..pages import survey

    with blame_usage():  # a column that doesn't exist, too many clusters
        return survey(rows, by=by, method=method, clusters=clusters, centre=centred)


def _thumbnails(survey: Survey, limits: Limits) -> dict[int, str]:
    """Make thumbnails of what is shown as pictures, by row, until they take THUMBNAIL_BYTES.

    The rows are taken in random order, so that all parts of an index have some.
    """
    import numpy as np

    from ..engine.progress import bar
    from ..inputs.showing import is_late, shows
    from ..pages.previews import make_thumbnail

    drawn = {modality for modality in {*survey.modalities} if shows(modality) == "picture"}
    places = [row for row, modality in enumerate(survey.modalities) if modality in drawn]
    order = np.random.default_rng(0).permutation(places).tolist()
    found: dict[int, str] = {}
    size = 0
    slow: set[str] = set()  # modalities whose plugin isn't asked again
    with bar("thumbnails", len(order)) as advance:
        for row in order:
            modality, picture = survey.modalities[row], ""
            # The key of a row may be no file, or a file that was removed.
            try:
                if modality not in slow:
                    picture = make_thumbnail(
                        survey.keys[row], THUMBNAIL, limits=limits, quality=70, modality=modality
                    )
            except (InputError, EncoderError) as error:
                slow.update([modality] * is_late(error))
            advance(1, int(not picture))
            size += len(picture)
            if size > THUMBNAIL_BYTES:
                break
            if picture:
                found[row] = picture
    return found


def _write_page(out: Path, survey: Survey, path: Path, thumbnails: dict[int, str]) -> None:
    from .._atomic import file_aside
    from ..inputs.showing import shows
    from ..pages import map_page

    pictures = sum(shows(modality) == "picture" for modality in survey.modalities)
    notes = []
    if thumbnails and len(thumbnails) < pictures:
        notes.append(f"{len(thumbnails)} of {pictures} pictures have a thumbnail, shown under the pointer.")
    page = map_page(survey, title=f"{len(survey)} rows of {path.name}", notes=notes, thumbnails=thumbnails)
    with file_aside(out) as aside:
        aside.write_text(page, encoding="utf-8")


def _document(survey: Survey, out: Path) -> dict[str, Any]:
    """The content of the page as a JSON document."""
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
