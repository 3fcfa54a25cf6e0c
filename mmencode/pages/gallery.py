"""A page with the results of a search: pictures, players and texts, best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .document import document, escape_html, format_score, read_resource
from .previews import Preview

_BODY = """<header>
<h1>{title}</h1>
{about}
{examples}
{notes}
</header>
<main>
<ol class="gallery">
{items}
</ol>
</main>
<footer>{footer}</footer>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryItem:
    """One item of a gallery; `score` is a cosine similarity, None for an example that was searched by.

    `link` is the address that the key leads to, "" for none; it is `make_link`'s, and no word of others.
    """

    key: str
    modality: str
    preview: Preview
    score: float | None = None
    link: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


def gallery_page(
    items: Sequence[GalleryItem],
    *,
    title: str,
    about: str = "",
    examples: Sequence[GalleryItem] = (),
    notes: Sequence[str] = (),
    footer: str = "",
) -> str:
    """The HTML of a page that shows items in order, below the examples that they were searched by.

    The page has no script and makes no request. All words are escaped, untrusted ones included.
    """
    body = _BODY.format(
        title=escape_html(title),
        about=f"<p>{escape_html(about)}</p>" if about else "",
        examples=_examples(examples),
        notes="\n".join(f'<p class="note">{escape_html(note)}</p>' for note in notes),
        items="\n".join(_list_item(place, item) for place, item in enumerate(items, 1)),
        footer=escape_html(footer),
    )
    return document(title, body, style=read_resource("gallery.css"))


def _examples(examples: Sequence[GalleryItem]) -> str:
    if not examples:
        return ""
    shown = "".join(f"<li><figure>{_media(item)}{_caption(item)}</figure></li>" for item in examples)
    return f'<ul class="examples" aria-label="Searched by">{shown}</ul>'


def _list_item(place: int, item: GalleryItem) -> str:
    """The element of one item, with its rank, score, media and metadata."""
    score = "" if item.score is None else _score(item.score)
    head = f'<p class="rank"><b>{place}</b>{escape_html(item.modality)}{score}</p>'
    return (
        f"<li><article>{head}<figure>{_media(item)}{_caption(item)}</figure>{_metadata(item)}</article></li>"
    )


def _score(score: float) -> str:
    """The score as a number and as a bar."""
    width = 100 * max(0.0, min(1.0, score))
    return f'<span class="score">{format_score(score)}</span><i style="width:{width:.0f}%"></i>'


def _media(item: GalleryItem) -> str:
    """The picture, player or text of an item, or the reason why it can't be shown."""
    preview = item.preview
    if preview.picture:
        shape = "tall" if preview.tall else "wide"
        name = escape_html(item.key)
        return f'<img src="{escape_html(preview.picture)}" alt="{name}" class="{shape}" loading="lazy">'
    if preview.sound:
        name = escape_html(item.key)
        return (
            f'<audio controls preload="none" src="{escape_html(preview.sound)}" aria-label="{name}"></audio>'
        )
    if preview.words:
        return f"<blockquote>{escape_html(preview.words)}</blockquote>"
    return f'<p class="fault">{escape_html(preview.fault)}</p>'


def _caption(item: GalleryItem) -> str:
    """The key of an item as its caption, which may break at slashes; a text that is its own key has none."""
    if item.preview.words == item.key:
        return ""
    name = escape_html(item.key).replace("/", "/<wbr>")
    if item.link:
        name = f'<a href="{escape_html(item.link)}">{name}</a>'
    return f"<figcaption><bdi>{name}</bdi></figcaption>"


def _metadata(item: GalleryItem) -> str:
    if not item.metadata:
        return ""
    rows = "".join(
        f"<dt>{escape_html(name)}</dt><dd>{escape_html(value)}</dd>"
        for name, value in item.metadata.items()
        if value is not None
    )
    return f"<dl>{rows}</dl>" if rows else ""
