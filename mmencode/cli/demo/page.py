"""Write the results of the demo as one HTML page without scripts and without requests to the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from ..._atomic import file_aside
from ...pages.document import document, escape_html, format_score
from ..options import require_no_link
from .media import media
from .sections import Collection, Ranked, Section

_INTRODUCTION = (
    "Everything below was encoded into vectors of one space, on this machine and without the network. The "
    "page shows which of them lie nearest to each other. The numbers are cosine similarities, to be compared "
    "within a row; they are no probabilities. Items, labels and sentences were picked to show what the "
    "default space knows, and a few to show what it doesn't; no mistake was removed."
)

_BODY = """<header>
<h1>mmencode demo</h1>
<p>{introduction}</p>
{notes}
</header>
<main>
{sections}
</main>
<footer>Vectors of the space <code>{space}</code></footer>"""


def write(
    folder: Path,
    space: str,
    sections: Sequence[Section],
    collections: Sequence[Collection],
    notes: Sequence[str],
) -> Path:
    """Write `index.html` into the folder, which is created if needed, and give its path.

    Raises MmencodeError if the folder is a symbolic link.
    """
    asked = {name for section in sections for name, _ in section.rows}
    uris = {name: uri for collection in collections for name, uri in media(collection, asked).items()}
    body = _BODY.format(
        introduction=escape_html(_INTRODUCTION),
        notes="\n".join(f'<p class="note">{escape_html(note)}</p>' for note in notes),
        sections="\n".join(_section(section, uris) for section in sections),
        space=escape_html(space),
    )
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    require_no_link(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    with file_aside(path) as aside:
        aside.write_text(document("mmencode demo", body, style=style), encoding="utf-8")
    return path


def _section(section: Section, uris: Mapping[str, str]) -> str:
    asked_items = all(name in uris for name, _ in section.rows)
    cards = "\n".join(
        _card_of_item(name, best, uris) if asked_items else _card_of_sentence(name, best, uris)
        for name, best in section.rows
    )
    return (
        f"<section>\n<h2>{escape_html(section.title)}</h2>\n<p>{escape_html(section.about)}</p>\n"
        f'<div class="{"labelled" if asked_items else "found"}">\n{cards}\n</div>\n</section>'
    )


def _card_of_item(name: str, best: Ranked, uris: Mapping[str, str]) -> str:
    """The HTML of an item with its labels, each with a bar as long as its score."""
    lines = "".join(
        f'<li><span>{escape_html(label)}</span><span class="score">{format_score(score)}</span>'
        f'<i style="width:{100 * max(0.0, min(1.0, score)):.0f}%"></i></li>'
        for label, score in best
    )
    return f'<article id="{escape_html(name)}">{_figure(name, uris)}<ol>{lines}</ol></article>'


def _card_of_sentence(sentence: str, best: Ranked, uris: Mapping[str, str]) -> str:
    """The HTML of a sentence with the items that were found for it."""
    figures = "".join(_answer(name, format_score(score), uris) for name, score in best)
    return f"<article><h3>{escape_html(sentence)}</h3><div>{figures}</div></article>"


def _answer(name: str, score: str, uris: Mapping[str, str]) -> str:
    """The HTML of an item that was found: an image again, or a link to the player of a sound.

    Embedding each sound a second time would double the size of the page.
    """
    if uris[name].startswith("data:image/"):
        return _figure(name, uris, score)
    return f'<p><a href="#{escape_html(name)}">{escape_html(name)}</a> <span class="score">{score}</span></p>'


def _figure(name: str, uris: Mapping[str, str], score: str = "") -> str:
    uri = uris[name]
    shown = (
        f'<img src="{uri}" alt="{escape_html(name)}">'
        if uri.startswith("data:image/")
        else f'<audio controls src="{uri}"></audio>'
    )
    return f"<figure>{shown}<figcaption>{escape_html(name)} <b>{score}</b></figcaption></figure>"
