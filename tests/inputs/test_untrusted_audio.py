"""Damaged and hostile sounds are read or refused; nothing else comes of them, here or beside this process."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
import warnings
from contextlib import nullcontext

import made_recordings as made
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from made_recordings import encoded

from mmencode.errors import InputError
from mmencode.inputs import Limits
from mmencode.inputs.audio import read
from mmencode.inputs.recordings.quiet import run_quietly

NOISE = np.random.default_rng(0).normal(size=(6000, 2)).astype(np.float32) * 0.1
MONO = NOISE[:, 0]
MP3 = encoded("MP3", samples=np.tile(MONO, 4))

SEEDS = {
    "wav": encoded("WAV", samples=NOISE),
    "float wav": encoded("WAV", "FLOAT", NOISE),
    "adpcm": encoded("WAV", "MS_ADPCM", NOISE),
    "gsm": encoded("WAV", "GSM610", MONO),
    "w64": encoded("W64", samples=NOISE),
    "rf64": encoded("RF64", samples=NOISE),
    "aiff": encoded("AIFF", samples=NOISE),
    "ima aiff": encoded("AIFF", "IMA_ADPCM", MONO),
    "au": encoded("AU", samples=NOISE),
    "caf": encoded("CAF", samples=NOISE),
    "alac": encoded("CAF", "ALAC_16", NOISE),
    "flac": encoded("FLAC", samples=NOISE),
    "two flac": encoded("FLAC", samples=MONO) * 2,
    "vorbis": encoded("OGG", samples=NOISE),
    "chain": encoded("OGG", samples=MONO) + encoded("OGG", "OPUS", MONO),
    "opus": encoded("OGG", "OPUS", NOISE),
    "mp3": MP3,
    "mp3 without index": made.without_index(MP3),
    "tagged mp3": made.id3(99) + MP3 + made.ape_tag() + b"TAG" + bytes(125),
    "voc": encoded("VOC", samples=MONO),
    "nist": encoded("NIST", samples=NOISE),
    "ircam": encoded("IRCAM", samples=NOISE),
    "avr": encoded("AVR", samples=NOISE),
    "pvf": encoded("PVF", samples=NOISE),
    "paf": encoded("PAF", samples=NOISE),
    "htk": encoded("HTK", samples=MONO),
    "mat4": encoded("MAT4", samples=NOISE),
    "mat5": encoded("MAT5", samples=NOISE),
    "xi": encoded("XI", samples=MONO),
}
WHOLE = {name: len(read(content, Limits()).samples) for name, content in SEEDS.items()}

CHANGES = st.tuples(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=40)), max_size=2),
    st.one_of(st.just(1.0), st.floats(0, 1)),
)


def damaged(content, changes):
    """Bytes changed, most of them in headers; pieces replaced by others of any length; the end cut off."""
    single, pieces, kept = changes
    found = bytearray(content)
    for place, value in single:
        found[int(place**3 * len(found))] = value
    for place, piece in pieces:
        start = int(place * len(found))
        found[start : start + 20] = piece
    return bytes(found[: int(kept * len(found))])


def outcome(content, limits=None):
    try:
        return read(content, limits or Limits())
    except InputError as error:
        return error


@pytest.mark.parametrize("name", SEEDS)
@settings(deadline=None, max_examples=25)
@given(changes=CHANGES)
def test_damaged_sound_is_read_within_limits_or_refused(name, changes):
    limits = Limits(seconds=30, samples=10**6, memory=10**7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = outcome(damaged(SEEDS[name], changes), limits)
    if isinstance(found, InputError):
        assert found.fault in ("content", "limit")
        assert found.remedy
        assert "0x7" not in str(found)
    else:
        assert found.samples.ndim == 1
        assert 0 < len(found.samples) <= 10**6
        assert np.abs(found.samples).max() <= 16


@settings(deadline=None, max_examples=100)
@given(
    content=st.binary(min_size=1, max_size=300), name=st.sampled_from(sorted(SEEDS)), cut=st.integers(0, 64)
)
def test_junk_behind_a_header_is_read_or_refused(content, name, cut):
    assert outcome(SEEDS[name][:cut] + content)


@pytest.mark.parametrize("name", sorted({*SEEDS} - {"htk"}))  # whose length is part of its signature
def test_more_bytes_behind_never_lose_a_sample(name):
    found = read(SEEDS[name] + bytes(4000), Limits())
    assert len(found.samples) >= WHOLE[name]


# What decoders print


SCRIPT = """
import sys, threading, time
import numpy as np
from mmencode.inputs import Limits
from mmencode.inputs.audio import read

content = sys.stdin.buffer.read()
random = np.random.default_rng(0)
done = False

def speak():
    number = 0
    while not done:
        print(f"line {number}", file=sys.stderr, flush=True)
        number += 1
        time.sleep(0.002)
    print(number)

speaker = threading.Thread(target=speak)
speaker.start()
for trial in range(40):
    changed = bytearray(content)
    for place in random.integers(0, len(content), trial % 30):
        changed[place] = random.integers(256)
    if trial % 3 == 0:
        start = random.integers(len(content))
        changed[start : start + 300] = random.bytes(200)
    if trial % 5 == 0:
        changed = changed[: random.integers(len(content))] + content
    try:
        read(bytes(changed), Limits())
    except ValueError:
        pass
done = True
speaker.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a damaged MP3 may print")
def test_decoders_of_mp3_print_nothing_and_nobody_else_loses_a_word():
    content = encoded("MP3", samples=np.tile(NOISE, (6, 1)))
    direct = (
        "import io, sys, soundfile, numpy as np\n"
        "content = sys.stdin.buffer.read()\n"
        "for place in range(2000, len(content), 300):\n"
        "    changed = bytearray(content)\n"
        "    changed[place : place + 300] = np.random.default_rng(place).bytes(300)\n"
        "    soundfile.SoundFile(io.BytesIO(changed)).read()\n"
    )
    assert (
        b"libmpg123"
        in subprocess.run(
            [sys.executable, "-c", direct], input=content, capture_output=True, timeout=300
        ).stderr
    )
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=content, capture_output=True, check=True, timeout=300
    )
    lines = found.stderr.decode().splitlines()
    assert lines == [f"line {number}" for number in range(int(found.stdout))]
    assert len(lines) > 10


def test_a_task_that_is_hushed_gives_and_raises_as_others_do():
    assert run_quietly(lambda: 7) == 7
    with pytest.raises(KeyError, match="no such"):
        run_quietly(lambda: {}["no such"])


@pytest.mark.skipif(sys.platform != "linux", reason="by a way of Linux")
def test_only_the_hushed_thread_loses_the_right_to_write(capfd):
    def write(text):
        try:
            return os.write(2, text)
        except OSError as error:
            return error.errno

    assert write(b"before ") == 7
    assert run_quietly(lambda: write(b"within ")) == errno.EBADF
    assert write(b"behind") == 6
    assert capfd.readouterr().err == "before behind"


def test_no_thread_to_decode_in_is_no_fault_of_the_file(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(InputError, match="no thread can be started") as caught:
        read(MP3, Limits())
    assert caught.value.fault == "process"


# What lies about in the working directory


BESIDE = """
import os, sys
from pathlib import Path
from mmencode.inputs import Limits
from mmencode.inputs.audio import read

contents = [path.read_bytes() for path in sorted(Path("sounds").iterdir())]
for folder in ("empty", "junk", "fifo", "directory"):
    os.chdir(folder)
    for content in contents:
        try:
            print(len(read(content, Limits()).samples))
        except ValueError as error:
            print(error.fact)
    os.chdir("..")
"""


def test_no_file_beside_is_looked_at(tmp_path):
    for trap in ("empty", "junk", "fifo", "directory"):
        (tmp_path / trap / ".AppleDouble").mkdir(parents=True)
        for place in (tmp_path / trap / "._", tmp_path / trap / ".AppleDouble" / "x"):
            if trap == "fifo":
                os.mkfifo(place)
            elif trap == "directory":
                place.mkdir()
            else:
                place.write_bytes(b"" if trap == "empty" else b"\0\5\x16\7" + bytes(500))
    (tmp_path / "sounds").mkdir()
    for number, content in enumerate([*SEEDS.values(), b"no sound at all, only words " * 9]):
        (tmp_path / "sounds" / f"{number:03}").write_bytes(content)
    expected = [*(str(count) for count in WHOLE.values()), "it can't be decoded as audio: it is plain text"]
    found = subprocess.run(
        [sys.executable, "-c", BESIDE], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert found.stdout.splitlines() == 4 * expected
    assert found.stderr == ""


def test_a_reader_that_would_never_end_is_not_begun():
    endless = encoded("SVX", samples=MONO)
    with pytest.raises(InputError, match="it is an IFF "):
        read(endless[:12] + b"ANNO\0\0\0\0" * 10_000 + endless[12:], Limits())


def test_many_chunks_before_the_sound_are_passed_over():
    whole = SEEDS["caf"]
    chunks = whole[:52] + (b"free" + bytes(8)) * 9000 + whole[52:]
    assert len(read(chunks, Limits()).samples) == WHOLE["caf"]


def test_a_table_of_packets_that_libsndfile_would_print_about_is_refused(capfd):
    table = SEEDS["alac"].find(b"pakt") + 4
    last = table + 8 + int.from_bytes(SEEDS["alac"][table : table + 8], "big") - 1
    with pytest.raises(InputError, match="packet table is damaged"):
        read(SEEDS["alac"][:last] + b"\xff" + SEEDS["alac"][last + 1 :], Limits())
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_opened_keeps_no_other_waiting():
    lock = getattr(soundfile.SoundFile, "_sf_error_lock", nullcontext())  # soundfile before 0.14 has none
    with lock:  # as for as long as soundfile opens another
        assert len(read(SEEDS["wav"], Limits()).samples) == WHOLE["wav"]


# Whose fault it is


@pytest.mark.parametrize(
    ("cause", "fault"),
    [
        (MemoryError(), "process"),
        (OSError(errno.ENOSPC, "No space left on device"), "process"),
        (OSError(errno.EMFILE, "Too many open files"), "process"),
        (RuntimeWarning("turned into an error"), "process"),
        (soundfile.LibsndfileError(17), "process"),  # its own malloc
        (soundfile.LibsndfileError(3), "content"),
        (RuntimeError("of any kind"), "content"),
        (ValueError("of any kind"), "content"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
@pytest.mark.parametrize("name", ["wav", "mp3"])
def test_a_lack_of_this_process_is_not_blamed_on_the_file(monkeypatch, name, cause, fault):
    def fail(*_arguments, **_options):
        raise cause

    monkeypatch.setattr(soundfile.SoundFile, "read", fail)
    with pytest.raises(InputError, match="can't be decoded") as caught:
        read(SEEDS[name], Limits())
    assert caught.value.fault == fault
    assert caught.value.lasting == (fault == "content")


def test_an_exception_that_can_not_be_printed_is_named(monkeypatch):
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError

    def fail(*_arguments, **_options):
        raise Silent

    monkeypatch.setattr(soundfile.SoundFile, "read", fail)
    with pytest.raises(InputError, match="its message can't be read"):
        read(SEEDS["wav"], Limits())


# What small files may cost


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfb\x90\x00" * 500_000,
        b"\xff" * 2_000_000,
        (b"\xff\xfb\x90\x00" + bytes(413)) * 3 + b"\xff\xfb\x90\x00" * 500_000,
        b"OggS" * 500_000,
        b"".join(made.page(7, 0, b"", flags=2) for _ in range(20_000)),
        b"fLaC\x80\0\0\x22" + bytes(34) + b"\xff\xf8\xc9\x08" * 500_000,
        b"fLaC\x80\0\0\x22" * 100_000,
        made.riff(*((b"junk", b"") for _ in range(100_000))),
        (b"RIFF\x04\0\0\0WAVE" * 100_000),
        b"ID3\x04\0\0\0\0\0\0" * 200_000,
        (b"\xff\xfb\x90\xc0" + bytes(413) + b"x") * 5000,
        made.without_index(MP3) + MP3 * 300,
    ],
    ids=[
        *("headers", "ones", "headers behind frames", "page marks", "links", "frame headers", "flac marks"),
        *("chunks", "forms", "tags", "damage after damage", "many files"),
    ],
)
def test_small_files_of_many_parts_end_soon(content):
    started = time.monotonic()
    outcome(content)
    assert time.monotonic() - started < 30  # generous: what is meant takes hours
