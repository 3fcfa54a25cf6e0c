"""Documents that are encrypted, damaged, empty, huge or hostile: named errors, and nobody else is harmed."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
import types
import zlib

import mmencode_documents.renderers as processes
import numpy as np
import pypdfium2
import pytest
from mmencode_documents import worker
from mmencode_documents.drawing import assemble, draw_figure, make_pdf, write_words

import mmencode
from mmencode import Limits
from mmencode.errors import InputError
from mmencode.inputs import list_parts, reader

ONE = make_pdf([draw_figure(1)])
THREE = make_pdf(["", "", ""])


@pytest.fixture(autouse=True)
def _installed(installed):
    pass


def read(item, limits=None):
    return reader("page")(item, limits or Limits())


def limits(wait=60.0, **own):
    return Limits(wait=wait, declared={f"page.{name}": value for name, value in own.items()})


def page_with(resources, content, *objects):
    """A document of one page, with resources and further objects from number 5 on."""
    stream = b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content)
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 600] /Contents 4 0 R /Resources << %b >> >>"
    pages = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
    catalog = b"<< /Type /Catalog /Pages 2 0 R >>"
    return assemble([catalog, pages, page % resources, stream, *objects])


def encrypted():
    """A document that asks for a password (ISO 32000-1, 7.6.3.3, with keys that fit no password)."""
    key = b"<" + b"11" * 32 + b">"
    known = b"/Filter /Standard /V 1 /R 2 /Length 40 /P -4"
    plain = make_pdf([write_words("secret")])
    start = plain.rindex(b"trailer")
    body = b"trailer\n<< /Encrypt << %b /O %b /U %b >> /ID [<00> <00>] " % (known, key, key)
    return plain[:start] + body + plain[start:].split(b"<<", 1)[1]


def endless(depth=4, each=12, shapes=100):
    """A page whose forms draw each other `each` times on each level: minutes of filling, in little memory."""
    forms = []
    for level in range(depth):
        last = level == depth - 1
        draw = b"0 0 600 600 re f " * shapes if last else b" ".join([b"/X Do"] * each)
        inner = b"" if last else b"/XObject << /X %d 0 R >>" % (6 + level)
        head = b"<< /Type /XObject /Subtype /Form /BBox [0 0 600 600] /Resources << %b >> /Length %d >>"
        forms.append(head % (inner, len(draw)) + b"\nstream\n%b\nendstream" % draw)
    return page_with(b"/XObject << /X 5 0 R >>", b"/X Do", *forms)


def picture_bomb(side):
    """A page with a blank picture of so many pixels to a side, which takes a few bytes."""
    rows = zlib.compress(bytes(side // 8) * 64, 9)
    head = b"<< /Type /XObject /Subtype /Image /Width %d /Height %d /BitsPerComponent 1"
    kind = b" /ColorSpace /DeviceGray /Filter /FlateDecode /Length %d >>" % len(rows)
    picture = head % (side, side) + kind + b"\nstream\n%b\nendstream" % rows
    return page_with(b"/XObject << /X 5 0 R >>", b"600 0 0 600 0 0 cm /X Do", picture)


XFA = "/NeedsRendering true /AcroForm << /XFA [(template) 3 0 R] /Fields [] >>"
NAMED = {
    "encrypted": (encrypted(), "it is encrypted with a password", "content"),
    "cut off": (b"%PDF-1.7\n" + bytes(100), "it is damaged", "content"),
    "no pages": (make_pdf([]), "it has no pages", "content"),
    "no PDF": (b"hello, this is text", "", "content"),
    "several": (THREE, "it has 3 pages, and no page is named", "content"),
    "XFA": (make_pdf([write_words("Please wait")], catalog=XFA), "its pages are an XFA form", "content"),
    "a bomb of a picture": (picture_bomb(80_000), "a picture on the page has 80000 x 80000 pixels", "limit"),
}


@pytest.mark.parametrize("case", NAMED)
def test_what_cant_be_rendered_is_named_with_a_remedy(case):
    content, fact, fault = NAMED[case]
    with pytest.raises(InputError) as caught:
        read(content)
    assert fact in caught.value.fact
    assert caught.value.fault == fault
    assert caught.value.remedy
    assert caught.value.source == f"bytes of {len(content)} bytes"


@pytest.mark.parametrize("number", [0, 4, 999_999_999])
def test_a_page_out_of_range_is_named(tmp_path, number):
    path = tmp_path / "three.pdf"
    path.write_bytes(THREE)
    with pytest.raises(InputError, match=f"page {number} isn't there: it has 3"):
        read(f"{path}#page={number}")
    assert read(f"{path}#page=3").size == (1240, 1755)


def test_files_that_are_none_are_told_apart(tmp_path):
    text, empty = tmp_path / "notes.pdf", tmp_path / "empty.pdf"
    text.write_text("words")
    empty.write_bytes(b"")
    for item, fact in (
        (text, "it is no PDF"),
        (empty, "it is empty"),
        (tmp_path / "none.pdf", "there is no such file"),
        (tmp_path, "it is a directory"),
        (f"{tmp_path / 'none.pdf'}#page=3", "there is no such file"),
        ("https://example.org/a.pdf", "looks like a URL"),
    ):
        with pytest.raises(InputError, match=fact):
            read(item)
    with pytest.raises(InputError, match="there is no such file"):
        list_parts("page", tmp_path / "none.pdf")


def test_javascript_is_never_run():
    script = "/OpenAction << /S /JavaScript /JS (app.alert(1); while (true) {}) >>"
    found = read(make_pdf([draw_figure(1)], catalog=script))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(read(ONE)))


def test_limits_on_pages_and_bytes(tmp_path):
    path = tmp_path / "three.pdf"
    path.write_bytes(THREE)
    for call in (
        lambda: list_parts("page", path, limits(pages=2)),
        lambda: read(f"{path}#page=1", limits(pages=2)),
    ):
        with pytest.raises(InputError, match="it has 3 pages, and the limit is 2") as caught:
            call()
        assert caught.value.fault == "limit"
    with pytest.raises(InputError, match="more than 100 bytes"):
        list_parts("page", path, Limits(bytes=100))


def test_a_document_that_hangs_is_named_and_harms_no_other():
    hanging = endless()
    start = time.monotonic()
    with pytest.raises(InputError, match=r"takes more than 1\.5 s") as caught:
        read(hanging, limits(seconds=1.5))
    assert caught.value.fault == "time"
    assert time.monotonic() - start < 20
    assert read(ONE).size == (1240, 1755)


def test_others_are_rendered_while_one_hangs_and_none_of_them_is_blamed():
    hanging, done = endless(), []
    own = limits(seconds=6)
    with mmencode.load("page/image/fake", device="cpu", dtype="float32", workers=4, limits=own) as space:
        space.encode("page", [ONE])
        found = space.encode("page", [hanging, *[ONE] * 6, hanging, ONE], on_error="skip")
        done = found.positions.tolist()
    assert done == [1, 2, 3, 4, 5, 6, 8]
    assert [(error.index, error.fault) for error in found.errors] == [(0, "time"), (7, "time")]


def test_limits_wait_names_the_document_before_its_item_is_given_up():
    with pytest.raises(InputError, match=r"rendering it takes more than 1\.8 s"):
        read(endless(), limits(wait=2.0))


def test_a_crash_costs_the_document_alone(monkeypatch):
    hanging, said = endless(), []
    before = set(processes.renderers()._idle)

    def ask():
        try:
            read(hanging, limits(seconds=30))
        except InputError as error:
            said.append(error)

    started = []
    popen = processes.subprocess.Popen
    monkeypatch.setattr(
        processes.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
    )
    thread = threading.Thread(target=ask)
    thread.start()
    while not started:
        assert thread.is_alive(), f"it ended without a process: {said}"
        time.sleep(0.02)
    time.sleep(2)
    os.kill(started[0].pid, signal.SIGSEGV)
    thread.join(20)
    assert not before
    assert [(error.fault, "made PDFium crash" in error.fact) for error in said] == [("content", True)]
    assert read(ONE).size == (1240, 1755)


def test_a_process_that_ended_meanwhile_is_replaced_in_silence():
    read(ONE)
    (idle,) = processes.renderers()._idle
    os.kill(idle._process.pid, signal.SIGKILL)
    idle._process.wait(5)
    assert read(ONE).size == (1240, 1755)


def test_a_process_ends_after_so_many_answers_for_another_to_take_its_place(monkeypatch):
    monkeypatch.setattr(worker, "LIFE", 2)
    request = {"path": None, "bytes": len(ONE), "count": True, "pages": 5, "stamp": None}
    asked, answers = io.BytesIO((json.dumps(request).encode() + b"\n" + ONE) * 3), io.BytesIO()
    idle = types.SimpleNamespace(begin=lambda: None, end=lambda: None)
    worker.serve(asked, answers, pypdfium2, idle)
    assert answers.getvalue() == b'+{"pages": 1}\n' * 2
    assert asked.read() == json.dumps(request).encode() + b"\n" + ONE


def test_no_room_is_no_fault_of_the_item(monkeypatch):
    monkeypatch.setattr(processes.renderers(), "_room", threading.BoundedSemaphore(1))
    with (
        processes.renderers()._room,
        pytest.raises(InputError, match="other documents are being rendered") as caught,
    ):
        read(ONE, limits(seconds=0.3))
    assert caught.value.fault == "process"


def test_a_process_that_cant_be_started_is_said(monkeypatch):
    monkeypatch.setattr(processes.sys, "executable", "/no/such/python")
    with pytest.raises(InputError, match="a process to render it in can't be started") as caught:
        read(ONE)
    assert caught.value.fault == "process"


@pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="the system can't bound a process's memory"
)
def test_memory_is_bounded():
    bomb = zlib.compress(b"0 0 m 1 1 l " * 30_000_000, 9)
    head = b"<< /Filter /FlateDecode /Length %d >>\nstream\n%b\nendstream"
    content = page_with(b"", b"")
    content = content.replace(b"<< /Length 0 >>\nstream\n\nendstream", head % (len(bomb), bomb))
    with pytest.raises(InputError) as caught:
        read(content, Limits(memory=2**27))
    assert caught.value.fault in ("content", "limit")
    assert read(ONE).size == (1240, 1755)


@pytest.mark.parametrize("seed", range(12))
def test_damage_anywhere_is_an_error_or_a_page(seed):
    draw = np.random.default_rng(seed)
    content = bytearray(THREE if seed % 2 else ONE)
    for place in draw.integers(0, len(content), 40):
        content[place] = draw.integers(0, 256)
    if seed % 3 == 0:
        del content[int(draw.integers(50, len(content))) :]
    try:
        size = read(bytes(content)).size
    except InputError as error:
        fault, remedy = error.fault, error.remedy
    else:
        fault, remedy = "", f"it was rendered in {size}"
    assert fault in ("", "content", "limit")
    assert remedy
