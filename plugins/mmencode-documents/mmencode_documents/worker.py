"""The process that opens untrusted documents with PDFium and renders their pages; started by its path.

PDFium isn't safe in several threads, and a document may hang or crash it. So it runs in processes of its own,
one document at a time in each, which can be killed. This file imports nothing of mmencode.

A request is a line of JSON, followed by the document's bytes where it has no path. It is acknowledged by one
byte at once; the answer is another line of JSON, followed by the pixels where a page was rendered.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any, BinaryIO

IDLE = 10.0  # seconds after which a process that nobody asks ends by itself
PAGES = 200  # after so many pages a document is opened anew: PDFium keeps what it parsed of each
LIFE = 1000  # answers after which a process ends, and another takes its place: some memory stays after each
ACKNOWLEDGED = b"+"


class Refused(Exception):
    """A document or page that can't be rendered; `kind` says why, for the other side to put into words."""

    def __init__(self, kind: str, **facts: Any) -> None:
        super().__init__(kind)
        self.answer = {"error": kind, **facts}


class Documents:
    """The document that was asked for last, which stays open for its next page."""

    def __init__(self, pdfium: Any) -> None:
        self._pdfium = pdfium
        self._held: Any = None
        self._of: Any = None
        self._asked = 0

    def open(self, request: dict[str, Any], content: bytes) -> Any:
        """Open the document of a request, unless it is the one that is open and unchanged."""
        of = (request["path"], request["stamp"]) if request["path"] is not None else None
        self._asked += 1
        if of is None or of != self._of or self._asked > PAGES:
            self.close()
            self._asked = 1
            self._held = self._load(content if of is None else request["path"])
            self._of = of
        return self._held

    def close(self) -> None:
        """Close the open document."""
        held, self._held, self._of = self._held, None, None
        if held is not None:
            held.close()

    def _load(self, source: str | bytes) -> Any:
        raw = self._pdfium.raw
        try:
            found = self._pdfium.PdfDocument(source)
        except FileNotFoundError:
            raise Refused("gone") from None
        except self._pdfium.PdfiumError as cause:
            code = getattr(cause, "err_code", None)
            kinds = {raw.FPDF_ERR_PASSWORD: "password", raw.FPDF_ERR_SECURITY: "security"}
            kinds |= {raw.FPDF_ERR_SUCCESS: "empty", raw.FPDF_ERR_FILE: "gone"}
            raise Refused(kinds.get(code, "damaged")) from None
        try:
            form = found.get_formtype()
            if form == raw.FORMTYPE_XFA_FULL:
                raise Refused("xfa")
            if form != raw.FORMTYPE_NONE:  # what is filled in is drawn; its scripts never run
                found.init_forms()
        except BaseException:
            found.close()
            raise
        return found


def answer(documents: Documents, request: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
    """Count the pages of a document, or render one of them."""
    document = documents.open(request, content)
    count = len(document)
    if count > request["pages"]:
        raise Refused("pages", pages=count)
    if request["count"]:
        return {"pages": count}, b""
    number = request["page"]
    if number is None and count != 1:
        raise Refused("which", pages=count)
    number = 1 if number is None else number
    if not 1 <= number <= count:
        raise Refused("range", pages=count)
    return render(documents, document, number - 1, request)


def render(
    documents: Documents, document: Any, place: int, request: dict[str, Any]
) -> tuple[dict[str, Any], bytes]:
    """Render a page to rows of RGB pixels."""
    pdfium = documents._pdfium
    try:
        page = document[place]
    except pdfium.PdfiumError:
        raise Refused("page") from None
    try:
        width, height = page.get_size()
        if not 0 < min(width, height) <= max(width, height) < float("inf"):
            raise Refused("size", width=width, height=height)
        for picture in page.get_objects(filter=[pdfium.raw.FPDF_PAGEOBJ_IMAGE]):
            across, down = picture.get_px_size()
            if across * down > request["pixels"]:
                raise Refused("pixels", width=across, height=down)
        scale = min(request["scale"], (request["longest"] - 0.5) / max(width, height))  # sizes are rounded up
        bitmap = page.render(scale=scale, rev_byteorder=True)
        try:
            facts = {"width": bitmap.width, "height": bitmap.height, "stride": bitmap.stride}
            pixels = bytes(bitmap.buffer)
        finally:
            bitmap.close()
    except pdfium.PdfiumError:
        raise Refused("page") from None
    finally:
        page.close()
    return {**facts, "bytes": len(pixels)}, pixels


def serve(requests: BinaryIO, answers: BinaryIO, pdfium: Any, idle: Idle) -> None:
    """Answer requests until there are no more, or there were LIFE of them."""
    documents = Documents(pdfium)
    for _ in range(LIFE):
        if not (line := requests.readline()):
            break
        idle.end()
        answers.write(ACKNOWLEDGED)
        answers.flush()
        request = json.loads(line)
        content = requests.read(request["bytes"])
        pixels = b""
        try:
            said, pixels = answer(documents, request, content)
        except Refused as refusal:
            said = refusal.answer
        except MemoryError:
            said = {"error": "memory"}
        except Exception as cause:  # whatever the binding says of a document is said of that document
            said = {"error": "failed", "said": f"{type(cause).__name__}: {cause}"[:500]}
        answers.write(json.dumps(said).encode() + b"\n" + pixels)
        answers.flush()
        if request["path"] is None or "error" in said:
            documents.close()
        idle.begin()
    documents.close()


class Idle:
    """Ends the process when it has had nothing to do for IDLE seconds."""

    def __init__(self) -> None:
        self._since: float | None = time.monotonic()
        threading.Thread(target=self._watch, daemon=True).start()

    def begin(self) -> None:
        """Note that there is nothing to do from now on."""
        self._since = time.monotonic()

    def end(self) -> None:
        """Note that there is something to do."""
        self._since = None

    def _watch(self) -> None:
        while True:
            time.sleep(IDLE / 10)
            since = self._since
            if since is not None and time.monotonic() - since > IDLE:
                os._exit(0)


def bound_memory(nbytes: int) -> None:
    """Have the system refuse more memory than that, beyond what the process has now, where it can."""
    try:
        import resource

        with open("/proc/self/statm") as file:
            held = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + nbytes,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):  # not on Windows, nor on macOS
        pass


def main() -> None:
    """Serve on standard input and output, with the package to import and a bound on memory as arguments."""
    _, places, memory = sys.argv
    sys.path += json.loads(places)
    import pypdfium2

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else is printed is no answer
    bound_memory(int(memory))
    serve(sys.stdin.buffer, answers, pypdfium2, Idle())


if __name__ == "__main__":
    main()
