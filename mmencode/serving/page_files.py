"""The files of the page, with the policy by which a browser loads nothing for it from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ..pages.document import read_resource

ROOT = "/"
FOLDER = "/ui/"
_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_NAMES = (
    *("page.html", "page.css", "icon.svg", "page.js", "server.js", "dom.js", "items.js", "record.js"),
    *("nearest.js", "labels.js", "why.js", "plan.js"),
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; media-src blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page: its content, and its media type."""

    content: bytes
    kind: str


@cache
def read_page() -> Mapping[str, PageFile]:
    """Read the files of the page, by the paths that a server has them at."""
    folder = files(__package__).joinpath("page")
    found = {FOLDER + name: _file(name, folder.joinpath(name).read_bytes()) for name in _NAMES}
    found[ROOT] = found.pop(f"{FOLDER}page.html")
    found[f"{FOLDER}map.js"] = _file("map.js", read_resource("map.js").encode())
    return found


def _file(name: str, content: bytes) -> PageFile:
    return PageFile(content, f"{_KINDS[name.rpartition('.')[2]]}; charset=utf-8")
