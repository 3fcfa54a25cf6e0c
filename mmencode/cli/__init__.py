"""The command line is a thin layer on the public API; commands import heavy modules only when they run."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, TextIO

import typer

from .. import __version__
from ..engine.waiting import choose_waiting
from . import (
    check,
    classify,
    embed,
    encode,
    eval,
    hybrid,
    index,
    info,
    listing,
    map,
    mcp,
    new_plugin,
    output,
    search,
    serve,
    spaces,
    streams,
)
from .demo import command as demo
from .failures import CommandGroup

HELP = """Turn text, images, audio and what plugins read into vectors of one shared space.

Results go to standard output: tables on a terminal, tab-separated lines with a header when piped, or one JSON
document with --json. Progress, notes and failed items go to standard error.

Exit codes: 0 on success, even if some items failed; 1 if nothing could be done or a check failed; 2 for wrong
usage.

\b
Examples:
  mmencode demo
  mmencode classify photos/ --labels cat,dog,car
  mmencode search photos/ "a red car"
"""

app: typer.Typer = typer.Typer(
    cls=CommandGroup,
    help=HELP,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help starts faster and reads the same when piped
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("encode")(encode.encode)
app.command("embed")(embed.embed)
app.command("classify")(classify.classify)
app.command("search")(search.search)
app.add_typer(eval.app, name="eval")
index.app.command("full-text")(hybrid.full_text)
app.add_typer(index.app, name="index")
app.command("map")(map.map_index)
app.command("mcp")(mcp.mcp)
app.command("list")(listing.list_encoders)
app.command("plugins")(listing.list_plugins)
app.command("serve")(serve.serve)
app.command("info")(info.info)
app.command("check")(check.check)
app.command("new-plugin")(new_plugin.new_plugin)
app.command("compose")(spaces.compose)
app.command("verify")(spaces.verify)
for _group in (app, eval.app, index.app):
    for _registered in _group.registered_commands:
        _registered.cls = output.QuietCommand


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"mmencode {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Declare the options that belong to no command; their help is HELP."""


def main() -> None:
    """Run the command line as a program; exit with code 1 if its output can't be written."""
    streams.mend()
    try:
        with _keep_standard_output():
            app(obj=choose_waiting())  # before torch is imported; a server does it when it starts, too
    except OSError as error:  # help is printed while the command line is parsed, outside any command
        typer.echo(f"error: {error.strerror or error}", err=True)
        sys.exit(1)


@contextmanager
def _keep_standard_output() -> Iterator[None]:
    """Write the results to a descriptor of their own, and let descriptor 1 lead to standard error.

    C code prints to descriptor 1 past `sys.stdout`, as do libraries while the process exits.
    """
    own = _take_over(sys.stdout)
    if own is None:
        yield
        return
    sys.stdout = own
    try:
        yield
    finally:
        with suppress(OSError):  # the reader of a pipe may have closed it
            own.flush()
        sys.stdout = sys.stderr


def _take_over(stream: TextIO) -> TextIO | None:
    """Duplicate descriptor 1 into a new stream, and let descriptor 1 lead to standard error.

    Gives None if the stream isn't on descriptor 1, as under a test runner, or if a descriptor is closed.
    """
    try:
        if not isinstance(stream, io.TextIOWrapper) or stream.fileno() != 1:
            return None
        stream.flush()
        binary = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
    except OSError:
        return None
    return io.TextIOWrapper(binary, stream.encoding, "backslashreplace", line_buffering=stream.line_buffering)
