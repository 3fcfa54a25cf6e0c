"""Messages of the Model Context Protocol on standard input and output, to which nothing else may write."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

from ..errors import MmencodeError

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

OUTPUT = 1  # the descriptor of standard output


def serve_streams(server: MCPServer[Any], output: TextIO) -> None:
    """Answer the messages that come by standard input on `output`, until that input ends.

    While it serves, the SDK writes to a descriptor of its own; descriptor 1 and `sys.stdout` lead to standard
    error, and descriptor 0 to nothing, so that what libraries print or read is no message. Raises
    MmencodeError for an output that is closed, or no file of the system.
    """
    kept = sys.stdout
    try:
        output.flush()
        os.dup2(output.fileno(), OUTPUT)
        sys.stdout = open(OUTPUT, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    except (OSError, ValueError) as cause:
        raise MmencodeError(
            "standard output is closed, or no file of the system",
            remedy="let the program that runs agents start this command",
        ) from cause
    try:
        server.run("stdio")
    finally:
        sys.stdout = kept
        os.dup2(2, OUTPUT)  # the client has gone, and what is said while the index closes isn't for it
