"""Messages of the Model Context Protocol on standard input and output, to which nothing else may write."""

from __future__ import annotations

import io
import os
import sys
import threading
from typing import IO, TYPE_CHECKING, Any, TextIO

from ..errors import MmencodeError
from ..plugins.prints import RedirectedOutput

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

OUTPUT = 1  # the descriptor of standard output
_TAKEN = 2  # times that the SDK asks `sys.stdout` for its buffer: whose descriptor is it, and then for itself


def serve_streams(server: MCPServer[Any], output: TextIO) -> None:
    """Answer the messages that come by standard input on `output`, until that input ends.

    From the first moment on, and for good, descriptor 1 leads to standard error, as does what is printed by
    `sys.stdout`; while it serves, descriptor 0 leads to nothing. So what libraries print or read is no
    message. Raises MmencodeError for an output that is closed, or no file of the system.
    """
    try:
        output.flush()
        wire = open(os.dup(output.fileno()), "wb")  # noqa: SIM115
    except (OSError, ValueError) as cause:
        raise MmencodeError(
            "standard output is closed, or no file of the system",
            remedy="let the program that runs agents start this command",
        ) from cause
    kept, sys.stdout = sys.stdout, _Wired(output, wire)
    os.dup2(2, OUTPUT)
    try:
        server.run("stdio")
    finally:
        sys.stdout = kept


class _Wired(RedirectedOutput):
    """A standard output whose text goes to standard error, and whose bytes are messages for the SDK alone.

    The SDK takes its buffer when it starts, in the thread that made it; everybody else's bytes are redirected
    like text. Since its descriptor isn't 1, the SDK leaves that alone.
    """

    def __init__(self, kept: TextIO, wire: IO[bytes]) -> None:
        super().__init__(kept)
        self._wire, self._left, self._owner = wire, _TAKEN, threading.get_ident()

    @property
    def buffer(self) -> Any:
        """The messages' stream as often as the SDK asks for it, and one that is redirected after that."""
        if self._left and threading.get_ident() == self._owner:
            self._left -= 1
            return self._wire
        return io.BufferedWriter(super().buffer)
