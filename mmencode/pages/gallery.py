"""What a search found, as a page: pictures, players and words, best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .document import document, escaped, resource, shown_score
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
class Item:
    """A row as a gallery shows it; `score` is a cosine similarity, None for what was searched by."""

    key: str
    modality: str
    preview: Preview
    score: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def gallery_page(
    items: Sequence[Item],
    *,
    title: str,
    about: str = "",
    examples: Sequence[Item] = (),
    notes: Sequence[str] = (),
    footer: str = "",
) -> str:
    """The HTML of a page that shows the items in order, below the examples that they were searched by.

    It has no script and makes no request. All words are escaped, whatever they are.
    """
    body = _BODY.format(
        title=escaped(title),
        about=f"<p>{escaped(about)}</p>" if about else "",
        examples=_examples(examples),
        notes="\n".join(f'<p class="note">{escaped(note)}</p>' for note in notes),
        items="\n".join(_listed(place, item) for place, item in enumerate(items, 1)),
        footer=escaped(footer),
    )
    return document(title, body, style=resource("gallery.css"))


def _examples(examples: Sequence[Item]) -> str:
    if not examples:
        return ""
    shown = "".join(f"<li><figure>{_media(item)}{_caption(item)}</figure></li>" for item in examples)
    return f'<ul class="examples" aria-label="Searched by">{shown}</ul>'


def _listed(place: int, item: Item) -> str:
    """One item of the list, with its rank, score and metadata."""
    score = "" if item.score is None else _score(item.score)
    head = f'<p class="rank"><b>{place}</b>{escaped(item.modality)}{score}</p>'
    return (
        f"<li><article>{head}<figure>{_media(item)}{_caption(item)}</figure>{_metadata(item)}</article></li>"
    )


def _score(score: float) -> str:
    """The score in figures, and as a bar."""
    width = 100 * max(0.0, min(1.0, score))
    return f'<span class="score">{shown_score(score)}</span><i style="width:{width:.0f}%"></i>'


def _media(item: Item) -> str:
    """The picture, player or words of an item, or why there are none."""
    preview = item.preview
    if preview.picture:
        return f'<img src="{escaped(preview.picture)}" alt="{escaped(item.key)}" loading="lazy">'
    if preview.sound:
        name = escaped(item.key)
        return f'<audio controls preload="none" src="{escaped(preview.sound)}" aria-label="{name}"></audio>'
    if preview.words:
        return f"<blockquote>{escaped(preview.words)}</blockquote>"
    return f'<p class="fault">{escaped(preview.fault)}</p>'


def _caption(item: Item) -> str:
    """The item's name, broken at its slashes, unless a text's own words are its name."""
    if item.preview.words == item.key:
        return ""
    name = escaped(item.key).replace("/", "/<wbr>")
    return f"<figcaption><bdi>{name}</bdi></figcaption>"


def _metadata(item: Item) -> str:
    if not item.metadata:
        return ""
    rows = "".join(
        f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>"
        for name, value in item.metadata.items()
        if value is not None
    )
    return f"<dl>{rows}</dl>" if rows else ""
