"""Bytes are read to their end or to the limit, from whatever reads like a file, and nothing hangs."""

from __future__ import annotations

import asyncio
import base64
import io
import mmap
import os
import sys
import threading
import zipfile

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmencode.errors import InputError
from mmencode.inputs import Limits, audio, image
from mmencode.inputs.source import read_bytes

CONTENT = bytes(range(256)) * 20
posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")


def encoded(kind="PNG"):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def recorded(kind="AIFF"):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.linspace(-0.5, 0.5, 64_000, dtype=np.float32), 16_000, format=kind)
    return buffer.getvalue()


class Trickle(io.RawIOBase):
    """A raw stream, as a socket's, that gives no more than a few bytes at a time and can't seek."""

    def __init__(self, content, most=1000):
        self.left, self.most = content, most

    def readable(self):
        return True

    def readinto(self, buffer):
        count = min(len(buffer), self.most, len(self.left))
        buffer[:count], self.left = self.left[:count], self.left[count:]
        return count


class Answers:
    """Something with a read() that gives one thing after another."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def read(self, size=-1):
        return self.answers.pop(0) if self.answers else b""


@given(st.binary(max_size=3000), st.integers(1, 500))
def test_stream_is_read_to_its_end_however_little_it_gives(content, most):
    if content:
        assert read_bytes(Trickle(content, most), Limits()) == content


def test_streams_of_every_kind_are_read_whole(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "a")
    there, here = os.pipe()
    writer = threading.Thread(target=lambda: (os.write(here, CONTENT), os.close(here)))
    writer.start()
    with (
        path.open("rb") as file,
        path.open("rb", buffering=0) as raw,
        zipfile.ZipFile(tmp_path / "a.zip").open("a") as member,
        os.fdopen(there, "rb", buffering=0) as pipe,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        for stream in (file, raw, member, pipe, mapped, io.BufferedReader(Trickle(CONTENT))):
            assert read_bytes(stream, Limits()) == CONTENT
    writer.join(60)
    assert (
        read_bytes(Answers(CONTENT[:9], bytearray(CONTENT[9:99]), memoryview(CONTENT[99:])), Limits())
        == CONTENT
    )


def test_picture_and_recording_of_a_raw_stream_are_whole():
    np.testing.assert_array_equal(
        np.asarray(image.read(Trickle(encoded()), Limits())), np.asarray(image.read(encoded(), Limits()))
    )
    assert len(audio.read(Trickle(recorded(), 8192), Limits()).samples) == 64_000


def test_stream_is_read_from_where_it_stands():
    stream = io.BytesIO(b"1234" + CONTENT)
    stream.seek(4)
    assert read_bytes(stream, Limits()) == CONTENT


@pytest.mark.parametrize("make", [io.BytesIO, Trickle, lambda content: Answers(content * 3)])
def test_stream_is_read_no_further_than_the_limit(make):
    assert read_bytes(make(bytes(90)), Limits(bytes=270)).strip(b"\0") == b""
    with pytest.raises(InputError, match="more than 89 bytes") as caught:
        read_bytes(make(bytes(90)), Limits(bytes=89))
    assert caught.value.fault == "limit"


def test_stream_without_an_end_is_left_at_the_limit():
    class Endless(io.RawIOBase):
        def readinto(self, buffer):
            return len(buffer)

    with pytest.raises(InputError, match="more than 5000000 bytes"):
        read_bytes(Endless(), Limits(bytes=5_000_000))


def closed(stream):
    stream.close()
    return stream


def at_its_end():
    stream = io.BytesIO()
    stream.write(CONTENT)
    return stream


class Async:
    async def read(self, size=-1):
        return CONTENT


class Closed:
    closed = True

    def read(self, size=-1):
        raise RuntimeError("no more")


class Odd:
    """A file object all of whose parts raise."""

    def read(self, size=-1):
        raise KeyError("\x1b[31mred")

    @property
    def closed(self):
        raise ZeroDivisionError


ODD = {
    "a stream at its end": (at_its_end, "stands at its end, behind 5120 bytes", "seek(0)"),
    "a closed stream": (lambda: closed(io.BytesIO(CONTENT)), "the file is closed", "keep it open"),
    "a closed stream of another kind": (Closed, "the file is closed", "keep it open"),
    "an empty stream": (io.BytesIO, "0 bytes", "leave it out"),
    "an async stream": (Async, "has to be awaited", "await file.read()"),
    "a stream that doesn't wait": (lambda: Answers(b"abc", None, b"def"), "no bytes now", "blocking mode"),
    "a stream of text": (lambda: io.StringIO("abc"), "gives str, not bytes", '"rb"'),
    "a stream of numbers": (lambda: Answers(7), "gives int, not bytes", '"rb"'),
    "a stream that raises": (Odd, r"reading it failed: '\x1b[31mred'", "open it again"),
    "a released view": (lambda: released(), "released", "before it is released"),
}


def released():
    view = memoryview(CONTENT)
    view.release()
    return view


@pytest.mark.parametrize("read", [image.read, audio.read])
@pytest.mark.parametrize("name", [name for name in ODD if name != "a released view"])
def test_stream_that_is_no_file_is_refused_with_a_remedy(name, read):
    make, fact, remedy = ODD[name]
    with pytest.raises(InputError) as caught:
        read(make(), Limits())
    assert fact in caught.value.fact
    assert remedy in caught.value.remedy


def test_remedy_for_an_async_stream_works():
    assert read_bytes(asyncio.run(Async().read()), Limits()) == CONTENT


ENCODED = base64.b64encode(encoded()).decode()
STRINGS = {
    "a data: URI": (f"data:image/png;base64,{ENCODED}", "the text of a data: URI"),
    "a long data: URI": (f"data:image/png;base64,{ENCODED * 9}", "the text of a data: URI"),
    "base64": (ENCODED, "text in base64"),
    "base64 in lines": (base64.encodebytes(encoded()).decode(), "text in base64"),
    "base64 for URLs": (base64.urlsafe_b64encode(encoded("JPEG")).decode(), "text in base64"),
    "base64 of a recording": (base64.b64encode(recorded("WAV")).decode(), "text in base64"),
    "the repr of bytes": (repr(encoded()), "Python's repr of bytes"),
    "a URL": ("https://example.org/cat.jpg", "looks like a URL"),
    "a URL behind a blank": (" HTTPS://example.org/cat.jpg", "looks like a URL"),
    "a bucket": ("s3://photos/cat.jpg", "looks like a URL"),
}


@pytest.mark.parametrize("read", [image.read, audio.read])
@pytest.mark.parametrize("name", STRINGS)
def test_string_that_is_no_path_is_named(name, read):
    item, words = STRINGS[name]
    with pytest.raises(InputError) as caught:
        read(item, Limits())
    assert words in caught.value.fact
    assert len(str(caught.value)) < 1000


def test_remedies_for_strings_work():
    for name, unpacked in (
        ("a data: URI", lambda text: base64.b64decode(text.partition(",")[2])),
        ("base64", base64.b64decode),
    ):
        assert image.read(unpacked(STRINGS[name][0]), Limits()).size == (50, 40)


def test_path_that_looks_like_base64_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs(ENCODED[:40])
    path = f"{ENCODED[:40]}/{'a' * 40}"
    with open(path, "wb") as file:
        file.write(CONTENT)
    assert read_bytes(path, Limits()) == CONTENT
    with pytest.raises(InputError, match="no such file"):
        read_bytes("a" * 70, Limits())


@posix
@pytest.mark.parametrize("linked", [False, True])
def test_fifo_is_refused_and_never_opened(tmp_path, linked):
    path = tmp_path / "a.png"
    os.mkfifo(path)
    if linked:
        path = tmp_path / "b.png"
        path.symlink_to("a.png")
    with pytest.raises(InputError, match="not a regular file"):
        read_bytes(path, Limits())


@posix
@pytest.mark.parametrize("kind", ["fifo", "device", "larger"])
def test_file_that_is_replaced_before_it_is_opened_is_seen(tmp_path, monkeypatch, kind):
    path, other = tmp_path / "a.png", tmp_path / "b"
    path.write_bytes(b"abc")
    if kind == "fifo":
        os.mkfifo(other)
    elif kind == "device":
        other.symlink_to(os.devnull)
    else:
        other.write_bytes(bytes(100))
    real = os.open

    def replacing(name, flags, *rest, **options):
        if os.path.lexists(other):
            os.replace(other, path)
        return real(name, flags, *rest, **options)

    monkeypatch.setattr(os, "open", replacing)
    with pytest.raises(InputError, match="more than 50 bytes" if kind == "larger" else "not a regular file"):
        read_bytes(path, Limits(bytes=50))


def test_sparse_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a.wav"
    with path.open("wb") as file:
        file.truncate(2**40)
    for read in (image.read, audio.read):
        with pytest.raises(InputError, match="more than 268435456 bytes"):
            read(path, Limits())


def test_file_that_grows_is_read_no_further_than_the_limit(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(bytes(100))
    real = os.fstat

    def growing(file):
        state = real(file)
        path.write_bytes(bytes(300))
        return state

    monkeypatch.setattr(os, "fstat", growing)
    with pytest.raises(InputError, match="more than 200 bytes"):
        read_bytes(path, Limits(bytes=200))


@linux
def test_files_of_the_kernel_are_read_no_further_than_the_limit():
    assert read_bytes("/proc/self/stat", Limits()).startswith(b"%d " % os.getpid())
    with pytest.raises(InputError, match="more than 100000 bytes"):
        read_bytes("/proc/self/pagemap", Limits(bytes=100_000))
    with pytest.raises(InputError):
        image.read("/proc/self/mem", Limits())


@pytest.mark.parametrize(
    ("item", "fault"), [("no/such/file", "access"), ("a\0b", "access"), ("x" * 5000, "access")]
)
def test_path_that_leads_nowhere_can_be_tried_again(item, fault):
    with pytest.raises(InputError) as caught:
        read_bytes(item, Limits())
    assert caught.value.fault == fault
    assert not caught.value.lasting


def test_file_is_named_when_no_descriptors_are_left(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(OSError(24, "Too many open files")))
    with pytest.raises(InputError, match="Too many open files") as caught:
        read_bytes(path, Limits())
    assert caught.value.fault == "process"
