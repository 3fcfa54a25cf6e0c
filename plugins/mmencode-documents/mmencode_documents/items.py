"""Untrusted documents become pictures of their pages here, in processes that can be killed."""

from __future__ import annotations

import math
import os
import signal
import stat
from typing import Any

from PIL import Image

from mmencode import Limits
from mmencode.errors import InputError
from mmencode.inputs import read_bytes, reader, split_part

from .renderers import Busy, Crashed, Late, NoRenderer, renderers

RESOLUTION = 150  # dots per inch at which a page is rendered
LONGEST = 2048  # pixels of its longer side at most: pages that would have more are rendered at fewer
RENDERING = f"page at {RESOLUTION} dpi, at most {LONGEST} pixels long"  # in the identity of encoders
_START = 1024  # bytes within which a PDF says that it is one
_SHARE = 0.9  # of `Limits.wait`, so that a document which hangs is named before its item is given up
_DAMAGED = "save it again, or print it to a new PDF"


def read(item: Any, limits: Limits) -> Image.Image:
    """Render the page of a document, or read the image of one; raises InputError.

    A path names a page by its number, report.pdf#page=3; without one, a document has a single page.
    """
    path, number = split_part("page", item)
    if isinstance(path, str | os.PathLike):
        path = os.fsdecode(path)
        content = _look(path, limits)
        if content is None:
            return _render({"path": path, "page": number}, b"", limits)
        if number is not None:
            raise InputError(
                "it is no PDF, which has pages by number", source=path, remedy="leave out what follows the #"
            )
        return _read_image(path, path, limits)
    if isinstance(item, bytes | bytearray | memoryview) or callable(getattr(item, "read", None)):
        content = read_bytes(item, limits)
        if is_pdf(content):
            return _render({"path": None, "page": None}, content, limits)
        return _read_image(content, "", limits)
    return _read_image(item, "", limits)


def count(path: str, limits: Limits) -> int:
    """Count the pages of a document; 0 for a file that is no PDF, and so may be an image of one page."""
    if _look(path, limits) is not None:
        return 0
    return int(_ask({"path": path, "page": None, "count": True}, b"", limits)[0]["pages"])


def is_pdf(content: bytes) -> bool:
    """Whether bytes begin as those of a PDF do (ISO 32000-2, 7.5.2, and what readers accept before it)."""
    return b"%PDF-" in content[:_START]


def _look(path: str, limits: Limits) -> bytes | None:
    """Read the first bytes of a file, None for a PDF; raises InputError for what can't be read at all."""
    try:
        state = os.stat(path)
        if stat.S_ISREG(state.st_mode) and 0 < state.st_size <= limits.bytes:
            with open(path, "rb") as file:
                start = file.read(_START)
            return None if is_pdf(start) else start
    except (OSError, ValueError):
        pass
    return read_bytes(path, limits)[:_START]  # which says what is wrong with it


def _read_image(item: Any, path: str, limits: Limits) -> Image.Image:
    """Read the image of a page; a file that calls itself a document is told that it is none."""
    try:
        found: Image.Image = reader("image")(item, limits)
    except InputError as cause:
        if not path.lower().endswith(".pdf"):
            raise
        raise InputError(
            f"it is no PDF: there is no %PDF- in its first {_START} bytes", source=path, remedy=_DAMAGED
        ) from cause
    return found


def _render(request: dict[str, Any], content: bytes, limits: Limits) -> Image.Image:
    said, pixels = _ask(request, content, limits)
    size = said["width"], said["height"]
    return Image.frombytes("RGB", size, pixels, "raw", "RGB", said["stride"], 1)


def _ask(request: dict[str, Any], content: bytes, limits: Limits) -> tuple[dict[str, Any], bytes]:
    """Ask a process about a document; raises InputError for what it refuses, and what hangs or kills it."""
    source = request["path"] or ""
    seconds = min(limits.declared["page.seconds"], _SHARE * limits.wait)
    whole = {
        "count": False,
        "bytes": len(content),
        "stamp": None,
        "scale": RESOLUTION / 72,
        "longest": LONGEST,
        "pages": limits.declared["page.pages"],
        "pixels": limits.declared["page.pixels"],
        **request,
    }
    if source:
        whole["path"], whole["stamp"] = os.path.abspath(source), _stamp(source)
    try:
        said, pixels = renderers().ask(whole, content, seconds=min(seconds, 1e6), memory=limits.memory)
    except Late:
        raise _error(
            f"rendering it takes more than {seconds:g} s",
            source,
            "leave it out, or raise the limit if you trust it: --limit page.seconds="
            f"{math.ceil(2 * seconds)}",
            "time",
        ) from None
    except Crashed as cause:
        raise _crash(cause.code, source) from None
    except Busy:
        raise _error(
            f"other documents are being rendered, and none was done within {seconds:g} s",
            source,
            "try it again, with fewer threads: load(name, workers=1)",
            "process",
        ) from None
    except NoRenderer as cause:
        raise _error(
            f"a process to render it in can't be started: {cause}",
            source,
            "look at the limits on processes and memory, and at whether pypdfium2 can be imported",
            "process",
        ) from None
    if "error" in said:
        raise _refusal(said, source, request["page"], limits)
    return said, pixels


def _stamp(path: str) -> list[int]:
    """Take the numbers of a file that tell a process whether the document it has open is this one."""
    try:
        state = os.stat(path)
    except OSError:
        return []
    return [state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns]


def _crash(code: int | None, source: str) -> InputError:
    killed = code == -getattr(signal, "SIGKILL", 9)
    return _error(
        "rendering it "
        + (
            "was killed, as happens where memory is short"
            if killed
            else "made PDFium crash, or take more memory than Limits.memory"
        ),
        source,
        "try it again" if killed else f"leave it out, or {_DAMAGED}",
        "process" if killed else "content",
    )


def _refusal(said: dict[str, Any], source: str, number: int | None, limits: Limits) -> InputError:
    """Put the reason why a document or a page can't be rendered into words."""
    kind, pages = said["error"], said.get("pages", 0)
    if kind == "pages":
        most = limits.declared["page.pages"]
        return _error(
            f"it has {pages} pages, and the limit is {most}",
            source,
            f"raise the limit if you trust it: --limit page.pages={pages}",
            "limit",
        )
    if kind == "pixels":
        pixels = said["width"] * said["height"]
        return _error(
            f"a picture on the page has {said['width']} x {said['height']} pixels",
            source,
            f"raise the limit if you trust it: --limit page.pixels={pixels}",
            "limit",
        )
    if kind == "which":
        named = f"{source or 'a path'}#page=1"
        return _error(
            f"it has {pages} pages, and no page is named",
            source,
            f"name one, {named}; mmencode.inputs.list_parts('page', path) names all of them",
        )
    if kind == "range":
        return _error(f"page {number} isn't there: it has {pages}", source, "number its pages from 1 on")
    if kind == "size":
        return _error(f"the page measures {said['width']:g} x {said['height']:g} points", source, _DAMAGED)
    facts = {
        "password": ("it is encrypted with a password", "save it without one"),
        "security": ("it is encrypted in a way that PDFium doesn't know", "save it without encryption"),
        "empty": ("it has no pages", "leave it out"),
        "gone": ("there is no such file", "check the path"),
        "damaged": ("it is damaged: PDFium can't read it", _DAMAGED),
        "page": ("the page is damaged: PDFium can't read it", _DAMAGED),
        "xfa": ("its pages are an XFA form, which only Adobe's viewers draw", "print it to a new PDF"),
        "memory": ("rendering it takes more memory than Limits.memory", "raise Limits.memory"),
    }
    fact, remedy = facts.get(kind, (f"PDFium can't render it: {said.get('said', kind)}", _DAMAGED))
    faults = {"gone": "access", "memory": "limit"}
    return _error(fact, source, remedy, faults.get(kind, "content"))


def _error(fact: str, source: str, remedy: str, fault: Any = "content") -> InputError:
    return InputError(fact, source=source, remedy=remedy, fault=fault)
