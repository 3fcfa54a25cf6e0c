"""Train a transformer to give a space's own text vectors, from definitions that timm ships.

    python -m mmencode_scratch.train mine --evaluate

writes the folder `mine`: the encoder, which `scratch/mine` names, and projection.safetensors, which leads it
into the space.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import mmencode

from . import evaluation
from .definitions import definitions, split, taught
from .training import Recipe, distil

PROJECTION = "projection.safetensors"


def train(
    folder: Path,
    space: mmencode.Space,
    *,
    limit: int | None = None,
    recipe: Recipe | None = None,
    cache: Path | None = None,
    evaluate: bool = False,
    say: Callable[[str], None] = print,
) -> mmencode.Projection:
    """Train on `limit` definitions or all, write the folder, and give the projection into the space.

    Its report says how often held-out texts find the teacher's vectors of themselves. FileExistsError when
    the folder is there.
    """
    if folder.exists():
        raise FileExistsError(f"{str(folder)!r} is there already: name a new folder")
    recipe, texts = recipe or Recipe(), definitions(limit)
    parts = split(texts, taught(space, texts, cache), recipe.seed)
    begun, spent = time.perf_counter(), time.process_time()
    encoder, projection = distil(parts.train, parts.stop, recipe, say)
    say(
        f"trained on {len(parts.train[0])} texts in {time.perf_counter() - begun:.0f} s, "
        f"{time.process_time() - spent:.0f} s of processor time"
    )
    row = evaluation.student(encoder, projection, parts)
    projection.into = space.id
    projection.report = {"method": "distilled", "texts": len(parts.train[0]), **row.recall.to_dict()}
    encoder.save(folder)
    mmencode.save_projection(projection, folder / PROJECTION)
    if evaluate:
        say(evaluation.table([row, evaluation.regression(parts)]))
    return projection


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m mmencode_scratch.train", description=__doc__.split("\n")[0]
    )
    parser.add_argument("out", type=Path, help="the folder to write, which mustn't be there")
    parser.add_argument("--space", default="default", help="whose text vectors are learnt")
    parser.add_argument("--limit", type=int, help="so many definitions rather than all 21 841")
    parser.add_argument("--epochs", type=int, default=Recipe().epochs, help="of the transformer, at most")
    parser.add_argument("--layers", type=int, default=Recipe().layers)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="a .safetensors file that keeps the teacher's vectors")
    parser.add_argument("--evaluate", action="store_true", help="compare with TF-IDF on held-out definitions")
    given = parser.parse_args(arguments)
    with mmencode.load(given.space) as space:
        train(
            given.out,
            space,
            limit=given.limit,
            recipe=replace(Recipe(), epochs=given.epochs, layers=given.layers, seed=given.seed),
            cache=given.cache,
            evaluate=given.evaluate,
        )


if __name__ == "__main__":
    main()
