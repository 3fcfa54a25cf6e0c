"""Implement `mmencode encode`, which writes the vectors of items to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import output
from .failures import as_documents, blame_usage, report, require_some
from .items import gather
from .late import Pool, encode_items
from .options import (
    Backend,
    Backends,
    Device,
    FollowLinks,
    Instruction,
    Json,
    Limit,
    ListFile,
    LoadChoice,
    Modalities,
    PartWeights,
    SpaceName,
    Table,
    Trusted,
    fuse_as_asked,
    open_space,
)

if TYPE_CHECKING:
    from ..spaces.sides import Role


def encode(
    modality: Annotated[
        str,
        typer.Argument(
            help="The kind of the items: text, image, audio, one that a plugin declares, or several joined "
            "by +, whose items have a part of each.",
            metavar="MODALITY",
        ),
    ],
    items: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts, or files and folders; - reads one item from each line of standard input. Of items "
            "with parts, a table of them.",
            metavar="ITEM...",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="The file to write; ends in .safetensors, .npz, .parquet or .arrow.",
            metavar="FILE",
        ),
    ] = Path("vectors.safetensors"),
    role: Annotated[
        str,
        typer.Option(
            help="Encode the items as query or as document, where a modality has an encoder for each.",
            metavar="query|document",
        ),
    ] = "",
    file: ListFile = None,
    table: Table = None,
    weight: PartWeights = None,
    follow_links: FollowLinks = False,
    pool: Pool = None,
    space: SpaceName = None,
    device: Device = "auto",
    backend: Backend = Backends.torch,
    limit: Limit = None,
    trust: Trusted = False,
    instruction: Instruction = "",
    modalities: Modalities = None,
    json: Json = False,
) -> None:
    """Write the vectors of items to a file.

    The file also holds the identity of the space, and the item of each row. mmencode.Embeddings.load reads
    it, or mmencode.MultiEmbeddings.load if the space gives many vectors for each item. Items that can't be
    encoded have no row.

    \b
    Example: mmencode encode image photos/ -o photos.safetensors
    Example: mmencode encode image+text --list dresses.jsonl --weight image=1 --weight text=1
    """
    _check_out(out)
    asked = parse_role(role)
    found = gather(modality, items or [], file, table, follow_links=follow_links, limit=limit)
    choice = LoadChoice(
        device=device,
        backend=backend,
        limit=limit,
        trust=trust,
        instruction=instruction,
        modalities=modalities,
    )
    opened = fuse_as_asked(open_space(space, choice), modality, weight)
    vectors = encode_items(opened, modality, found.batch, pool, role=asked)
    failed = found.blame(vectors.errors)
    require_some(len(vectors), failed)
    keyed = vectors.with_keys(found.keys)
    keyed.save(out)
    if json:
        output.document(
            {
                "space": vectors.space,
                "modality": modality,
                "dim": vectors.dim,
                "count": len(vectors.vectors),
                "vectors": str(out),
                "rows": list(keyed.keys or ()),
                "failed": as_documents(failed),
                "left_out": dict(found.left_out),
            }
        )
    else:
        sizes = {"rows": len(vectors), "vectors": len(vectors.vectors), "dim": vectors.dim}
        if opened.spec(vectors.modality).outputs == "one":  # then each row is one
            del sizes["vectors"]
        row = (str(out), *map(str, sizes.values()))
        output.table(output.Table("Written", ("file", *sizes), [row], numbers=tuple(sizes)))
    report(failed)


def parse_role(word: str) -> Role:
    """Check the side that items are encoded for; wrong usage for another word."""
    match word:
        case "" | "query" | "document":
            return word
    raise typer.BadParameter(f"{word!r} is neither query nor document", param_hint="--role")


def _check_out(out: Path) -> None:
    """Refuse an output file that couldn't be written, before any item is encoded."""
    from ..embeddings.files import require_format

    with blame_usage("--out"):
        require_format(out)
    if not out.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {out.parent}", param_hint="--out")
