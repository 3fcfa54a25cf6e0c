"""Implement `mmencode mcp`, which offers an index to agents over the Model Context Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..plugins.packages import import_package
from . import output
from .options import (
    Backend,
    Backends,
    Device,
    Instruction,
    Limit,
    LoadChoice,
    Modalities,
    Trusted,
    parse_limits,
)


def mcp(
    path: Annotated[
        Path, typer.Argument(help="The index to offer.", exists=True, file_okay=False, metavar="INDEX")
    ],
    folder: Annotated[
        list[Path] | None,
        typer.Option(
            help="Allow agents to use the files below this folder as examples. Repeatable. If omitted, they "
            "can use the rows of the index and what they send themselves.",
            exists=True,
            file_okay=False,
            metavar="FOLDER",
        ),
    ] = None,
    device: Device = "auto",
    backend: Backend = Backends.torch,
    limit: Limit = None,
    trust: Trusted = False,
    instruction: Instruction = "",
    modalities: Modalities = None,
) -> None:
    """Offer an index to agents by the Model Context Protocol.

    Agents can search the index by text and by example, show its rows, and classify items zero-shot; they can
    change nothing. The program that runs agents starts this command by itself, and speaks with it on standard
    input and output: add it to that program's list of servers.

    \b
    Example: mmencode mcp photos.index
    Example: mmencode mcp photos.index --folder ~/Pictures
    """
    import_package(
        "mcp.server.mcpserver", "agents need the package mcp, from 2.0 on", "pip install 'mmencode[mcp]'"
    )
    from ..index import Index
    from ..serving.agents import IndexTools, make_server
    from ..serving.handed import Folders
    from ..serving.shelf import Shelf
    from ..serving.stdio import serve_streams

    choice = LoadChoice(
        device=device,
        backend=backend,
        limit=limit,
        trust=trust,
        instruction=instruction,
        modalities=modalities,
    )
    limits = parse_limits(limit)
    with Index.open(path, **choice.options()) as index:
        tools = IndexTools(Shelf(index, limits), Folders(folder or []))
        serve_streams(make_server(tools), output.results())
