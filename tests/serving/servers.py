"""Servers on loopback, each in a thread of the test's process, and clients that really speak HTTP to them."""

from __future__ import annotations

from contextlib import contextmanager

import httpx

from mmencode.serving.beside import serve_beside
from mmencode.serving.options import ServerOptions


class Served:
    """A server that runs, with its URL and its spaces."""

    def __init__(self, url, spaces):
        self.url, self.spaces = url, spaces

    @property
    def space(self):
        return self.spaces[0]

    def client(self, **options):
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, **options)


@contextmanager
def run_server(*spaces, ready=True, page=None, **options):
    """Serve spaces until the block ends, once they are loaded, unless not `ready`."""
    with serve_beside(*spaces, options=ServerOptions(**options), wait=180 if ready else 0, page=page) as url:
        yield Served(url, spaces)
