"""A page with a map of an index's rows as points, to pan, zoom, point at and filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..embeddings.array_types import Numbers, Positions
from .document import data_block, document, escape_controls, escape_html, read_resource
from .groups import Grouping
from .outliers import NEIGHBOURS, THRESHOLD, Outlier
from .surveys import Survey

SPAN = 100_000  # coordinates are whole numbers in a square of this side
LISTED = 50  # outliers


def map_page(
    survey: Survey,
    *,
    title: str,
    notes: Sequence[str] = (),
    thumbnails: Mapping[int, str] | None = None,
) -> str:
    """The HTML of a page that draws the survey's rows as points; thumbnails are data URIs by row.

    Points are coloured by the first grouping or another that the reader chooses, filtered by groups and by
    parts of keys, and named under the pointer. Outliers are listed beside the map. The page makes no request,
    and all words are escaped, untrusted ones included.
    """
    body = read_resource("map.html").format(
        title=escape_html(title),
        about=escape_html(survey.layout.describe()),
        notes="\n".join(f'<p class="note">{escape_html(note)}</p>' for note in notes),
        count=len(survey),
        choices="".join(f"<option>{escape_html(grouping.name)}</option>" for grouping in survey.groupings),
        outliers=_outliers(survey),
        space=f"<code>{escape_html(survey.space)}</code>",
        data=data_block("data", draw_points(survey, thumbnails or {})),
    )
    return document(title, body, style=read_resource("map.css"), script=read_resource("map.js"))


def draw_points(survey: Survey, thumbnails: Mapping[int, str]) -> dict[str, Any]:
    """Make the points of a map, with names, groups and thumbnails by row, for the script of its page."""
    places = _places(survey.layout.points)
    return {
        "x": places[:, 0].tolist(),
        "y": places[:, 1].tolist(),
        "keys": [escape_controls(key) for key in survey.keys],
        "groupings": [_grouping(grouping) for grouping in survey.groupings],
        "outliers": [outlier.row for outlier in survey.outliers],
        "thumbnails": thumbnails,
    }


def _places(points: Numbers) -> Positions:
    """Scale points to whole numbers in a square of side SPAN, with one scale for both axes."""
    low, high = points.min(axis=0), points.max(axis=0)
    scale = SPAN / ((high - low).max() or 1.0)
    places: Positions = np.rint((points - (low + high) / 2) * scale).astype(np.int64)
    return places


def _grouping(grouping: Grouping) -> dict[str, Any]:
    return {
        "name": escape_controls(grouping.name),
        "groups": [escape_controls(group) for group in grouping.groups],
        "counts": grouping.counts(),
        "members": list(grouping.members),
        "ordered": grouping.ordered,
        "rest": grouping.rest,
    }


def _outliers(survey: Survey) -> str:
    """A table of the farthest rows, with buttons that show them on the map, and how they were found."""
    how = (
        f"Rows whose mean cosine distance to their {NEIGHBOURS} nearest neighbours of the same modality is "
        f"more than {THRESHOLD} robust deviations above its median."
    )
    if not survey.outliers:
        return f'<p class="how">None. {how}</p>'
    rows = "".join(_outlier(survey, outlier) for outlier in survey.outliers[:LISTED])
    more = len(survey.outliers) - LISTED
    note = f" The {LISTED} farthest of {len(survey.outliers)} are listed." if more > 0 else ""
    return (
        f'<p class="how">{how}{note}</p>\n<div class="rows"><table><thead><tr><th>row</th>'
        f'<th class="number">distance</th><th class="number">deviations</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _outlier(survey: Survey, outlier: Outlier) -> str:
    name = escape_html(survey.keys[outlier.row]).replace("/", "/<wbr>")
    return (
        f'<tr><td><button data-row="{outlier.row}"><bdi>{name}</bdi></button></td>'
        f'<td class="number">{outlier.distance:.3f}</td><td class="number">{outlier.deviations:.1f}</td></tr>'
    )
