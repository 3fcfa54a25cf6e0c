"""`mmencode search`: the files of a folder that are nearest to a text or an example."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..spec import AUDIO, IMAGE, TEXT
from . import output
from .failures import as_documents, report, require_some
from .items import gather
from .options import Device, Json, SpaceName, open_space


def search(
    folder: Annotated[Path, typer.Argument(help="Where to search.", exists=True)],
    query: Annotated[str | None, typer.Argument(help="What to search for, in words.")] = None,
    image: Annotated[str | None, typer.Option(help="Search by this image instead.")] = None,
    audio: Annotated[str | None, typer.Option(help="Search by this recording instead.")] = None,
    modality: Annotated[str, typer.Option("--in", help="Which files to search: image or audio.")] = IMAGE,
    k: Annotated[int, typer.Option("-k", min=1, help="How many files to show.")] = 5,
    space: SpaceName = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Find a folder's files by text or by example.

    Everything is encoded again each time; scores are cosine similarities.

    \b
    Example: mmencode search photos/ "a red car" -k 5
    """
    asked, item = _query(query, image, audio)
    found = gather(modality, [str(folder)])
    opened = open_space(space, device)
    query_vector = opened.encode(asked, [item])
    corpus = opened.encode(modality, found.batch, on_error="skip", progress=True)
    failed = [*found.errors, *corpus.errors]
    require_some(len(corpus), failed)
    best = opened.search(query_vector, corpus, k)
    names = [found.batch[position] for position in best.positions[0]]
    matches = list(zip(names, best.scores[0].tolist(), strict=True))
    if json:
        output.document(
            {
                "space": opened.id,
                "query": {"modality": asked, "item": item},
                "searched": len(corpus),
                "matches": [{"item": name, "score": score} for name, score in matches],
                "failed": as_documents(failed),
            }
        )
    else:
        rows = [(str(place), output.score(score), name) for place, (name, score) in enumerate(matches, 1)]
        output.table(output.Table(f"Nearest to {item}", ("rank", "score", "file"), rows, ("rank", "score")))
    report(failed)


def _query(text: str | None, image: str | None, audio: str | None) -> tuple[str, str]:
    """The one query given and its modality."""
    choices = ((TEXT, text), (IMAGE, image), (AUDIO, audio))
    given = [(modality, item) for modality, item in choices if item is not None]
    if len(given) != 1:
        raise typer.BadParameter("search for one thing: a text, --image or --audio")
    return given[0]
