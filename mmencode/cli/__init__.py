"""The command line: a thin layer on the public API. What is heavy is imported when a command needs it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, TextIO

import typer

from .. import __version__
from . import (
    check,
    classify,
    encode,
    eval,
    index,
    info,
    listing,
    map,
    new_plugin,
    output,
    search,
    spaces,
    streams,
)
from .demo import command as demo
from .failures import Commands

HELP = """Text, images and audio as vectors of one shared space, from whatever encoders are installed.

Results go to standard output: tables on a terminal, tab-separated lines with a header when piped, one JSON
document with --json. Progress, notes and the items that failed go to standard error.

Exit codes: 0 when something was done, even if some items failed; 1 when nothing was, or a check failed; 2 for
wrong usage.

\b
Examples:
  mmencode demo
  mmencode classify photos/ --labels cat,dog,car
  mmencode search photos/ "a red car"
"""

app = typer.Typer(
    cls=Commands,
    help=HELP,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help starts faster and reads the same when piped
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("encode")(encode.encode)
app.command("classify")(classify.classify)
app.command("search")(search.search)
app.add_typer(eval.app, name="eval")
app.add_typer(index.app, name="index")
app.command("map")(map.map_index)
app.command("list")(listing.list_encoders)
app.command("plugins")(listing.list_plugins)
app.command("info")(info.info)
app.command("check")(check.check)
app.command("new-plugin")(new_plugin.new_plugin)
app.command("compose")(spaces.compose)
app.command("verify")(spaces.verify)
for group in (app, eval.app, index.app):
    for registered in group.registered_commands:
        registered.cls = output.Command


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"mmencode {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold the options that belong to no command; its help is HELP."""


def main() -> None:
    """Run the command line, whatever its streams are; one that can't be written to ends it with code 1."""
    streams.mend()
    try:
        with _standard_output_kept():
            app()
    except OSError as error:  # printing help does something before any command runs
        typer.echo(f"error: {error.strerror or error}", err=True)
        sys.exit(1)


@contextmanager
def _standard_output_kept() -> Iterator[None]:
    """Move the results to a descriptor of their own, since C code prints to the first one.

    That one becomes standard error, to which all goes that is printed once the command has ended.
    """
    own = _moved(sys.stdout)
    if own is None:
        yield
        return
    sys.stdout = own
    try:
        yield
    finally:
        with suppress(OSError):  # the reader went away
            own.flush()
        sys.stdout = sys.stderr


def _moved(stream: TextIO) -> TextIO | None:
    """The stream on another descriptor; None where it isn't the process's own, or one of them is closed."""
    try:
        if not isinstance(stream, io.TextIOWrapper) or stream.fileno() != 1:
            return None
        stream.flush()
        binary = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
    except OSError:
        return None
    return io.TextIOWrapper(binary, stream.encoding, "backslashreplace", line_buffering=stream.line_buffering)
