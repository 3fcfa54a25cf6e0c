"""`mmencode encode`: items to a file of vectors."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from . import output
from .failures import as_documents, report, require_some
from .items import gather
from .options import Device, Json, ListFile, SpaceName, open_space

VECTORS = ".safetensors"


def encode(
    modality: Annotated[str, typer.Argument(help="text, image, audio, or another that a plugin knows.")],
    items: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts; or files and folders. - reads one item from each line of standard input."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path(
        "vectors.safetensors"
    ),
    file: ListFile = None,
    space: SpaceName = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Write the vectors of items to a file.

    The file is safetensors with the space's identity; mmencode.Embeddings.load reads it. Beside it, a CSV
    file of the same name says which item each row is: items that failed have no row.

    \b
    Example: mmencode encode image photos/ -o photos.safetensors
    """
    _check_out(out)
    found = gather(modality, items or [], file)
    vectors = open_space(space, device).encode(modality, found.batch, on_error="skip", progress=True)
    failed = [*found.errors, *vectors.errors]
    require_some(len(vectors), failed)
    names = [found.batch[position] for position in vectors.positions]
    vectors.save(out)
    names_file = _write_names(out, names)
    if json:
        output.document(
            {
                "space": vectors.space,
                "modality": modality,
                "dim": vectors.dim,
                "vectors": str(out),
                "names": str(names_file),
                "rows": names,
                "failed": as_documents(failed),
            }
        )
    else:
        _say(len(vectors), vectors.dim, out, names_file)
    report(failed)


def _check_out(out: Path) -> None:
    """Find out before the work rather than after it that it couldn't be saved."""
    if out.suffix != VECTORS:
        raise typer.BadParameter(f"{out} should end in {VECTORS}", param_hint="--out")
    if not out.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {out.parent}", param_hint="--out")


def _say(count: int, dim: int, out: Path, names_file: Path) -> None:
    rows = [(str(out), f"{count} x {dim}"), (str(names_file), str(count))]
    output.table(output.Table("Written", ("file", "rows"), rows, numbers=("rows",)))


def _write_names(out: Path, names: Sequence[str]) -> Path:
    """Which item each row is; file names that are no UTF-8 keep their bytes."""
    path = out.with_suffix(".csv")
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("row", "item"))
        writer.writerows(enumerate(names))
    return path
