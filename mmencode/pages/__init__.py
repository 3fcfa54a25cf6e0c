"""Self-contained HTML pages that show results, made from plain data by pure functions.

`gallery_page` shows the results of a search, `map_page` the rows of an index as points of a plane, which
`survey` computes. A page makes no request: it holds all that it shows, and its policy forbids the browser to
load anything else.
"""

from __future__ import annotations

from .document import escape_html
from .gallery import GalleryItem, gallery_page
from .groups import Grouping
from .layout import Layout
from .links import make_link
from .maps import map_page
from .outliers import Outlier
from .previews import Preview, make_previews
from .surveys import Survey, survey

__all__ = [
    "GalleryItem",
    "Grouping",
    "Layout",
    "Outlier",
    "Preview",
    "Survey",
    "escape_html",
    "gallery_page",
    "make_link",
    "make_previews",
    "map_page",
    "survey",
]
