"""Results to look at: self-contained HTML pages, made from plain data by pure functions.

`gallery_page` shows what a search found, `map_page` the rows of an index as points of a plane, which `survey`
computes. A page makes no request: whatever it shows is in it, and its policy forbids the browser the rest.
"""

from __future__ import annotations

from .document import escaped
from .gallery import Item, gallery_page
from .groups import Grouping
from .layout import Layout
from .maps import map_page
from .outliers import Outlier
from .previews import Preview, previews
from .surveys import Survey, survey

__all__ = [
    "Grouping",
    "Item",
    "Layout",
    "Outlier",
    "Preview",
    "Survey",
    "escaped",
    "gallery_page",
    "map_page",
    "previews",
    "survey",
]
