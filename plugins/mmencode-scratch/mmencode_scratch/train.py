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
from .definitions import definitions, encode_targets, split
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

    The projection's report holds the recall of the teacher's vectors by those of held-out texts. Raises
    FileExistsError when the folder exists.
    """
    if folder.exists():
        raise FileExistsError(f"{str(folder)!r} is there already: name a new folder")
    recipe, texts = recipe or Recipe(), definitions(limit)
    parts = split(texts, encode_targets(space, texts, cache), recipe.seed)
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
    """Run the command line `python -m mmencode_scratch.train`."""
    parser = argparse.ArgumentParser(
        prog="python -m mmencode_scratch.train", description=__doc__.split("\n")[0]
    )
    parser.add_argument("out", type=Path, help="the folder to write, which must not exist")
    parser.add_argument("--space", default="default", help="the space whose text vectors are the targets")
    parser.add_argument("--limit", type=int, help="the number of definitions; all 21 841 if omitted")
    parser.add_argument(
        "--epochs", type=int, default=Recipe().epochs, help="epochs of the transformer, at most"
    )
    parser.add_argument("--layers", type=int, default=Recipe().layers, help="layers of the transformer")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the split and of training")
    parser.add_argument("--cache", type=Path, help="a .safetensors file to keep the targets in")
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
