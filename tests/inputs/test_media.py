"""What libsndfile doesn't read is named, and read where PyAV is installed."""

from __future__ import annotations

import gzip
import io
import sys
from importlib.util import find_spec

import made_recordings as made
import numpy as np
import pytest
import tone_in_amr
from hypothesis import given, settings
from hypothesis import strategies as st
from made_recordings import COUNT, RATE, TONE

from mmencode.errors import InputError
from mmencode.inputs import Limits
from mmencode.inputs.audio import read
from mmencode.plugins.core_modalities import CORE

needs_av = pytest.mark.skipif(find_spec("av") is None, reason="needs PyAV: pip install av")

FORMATS = {  # container, codec, rate, and the ending of its files
    "m4a": ("ipod", "aac", 44100, ".m4a"),
    "mp4": ("mp4", "aac", RATE, ".m4b"),
    "webm": ("webm", "libopus", 48000, ".weba"),
    "matroska": ("matroska", "flac", RATE, ".mka"),
    "aac": ("adts", "aac", RATE, ".aac"),
    "amr": ("amr", "libopencore_amrnb", 8000, ".amr"),
    "3gp": ("3gp", "aac", RATE, ".3ga"),
    "wavpack": ("wv", "wavpack", RATE, ".wv"),
    "tta": ("tta", "tta", RATE, ".tta"),
    "ac3": ("ac3", "ac3", 48000, ".ac3"),
    "quicktime": ("mov", "pcm_s16le", RATE, ""),
    "avi": ("avi", "mp3", 44100, ""),
    "flash": ("flv", "aac", 44100, ""),
    "transport stream": ("mpegts", "aac", 44100, ""),
}
BYTES = {name: made.media(*FORMATS[name][:3]) for name in FORMATS if name != "amr"} if find_spec("av") else {}
BYTES["amr"] = tone_in_amr.BYTES

NAMED = {
    "m4a": (b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42", "an M4A recording", "mmencode[av]"),
    "mp4": (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", "an MP4 file", "mmencode[av]"),
    "webm": (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\1B\x82\x84webm", "a WebM video", "mmencode[av]"),
    "wma": (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "an ASF file", "mmencode[av]"),
    "amr": (b"#!AMR\n" + bytes(99), "an AMR recording", "mmencode[av]"),
    "aac": (b"\xff\xf1\x50\x80" + bytes(99), "an AAC recording", "mmencode[av]"),
    "a web page": (b"<!doctype html><title>Sign in</title>", "an HTML page", "fetch the file itself"),
    "a pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d",
        "LFS pointer",
        "git lfs pull",
    ),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "a PNG picture", 'encode it as "image"'),
    "an archive": (gzip.compress(b"x"), "a gzip archive", "gzip -d"),
    "notes": (b"MThd\0\0\0\6\0\0\0\1\0\x60", "a MIDI file", "play it into a wav file"),
    "a list": (b"#EXTM3U\na.mp3\n", "a playlist", "pass the files that it lists"),
    "text in base64": (b"UklGRiQAAABXQVZFZm10IBAAAAABAAEA", "text in base64", "b64decode"),
    "zeros": (bytes(999), "nothing but zero bytes", "fetch it again"),
    "no known bytes": (b"\x13\x37\xba\xbe" * 30, "begins with 13 37 ba be", "wav, flac, ogg, opus and mp3"),
}


def outcome(content, limits):
    try:
        return read(content, limits)
    except InputError as error:
        return error


@pytest.fixture
def without_av(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)


@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_read_is_named_with_what_helps(without_av, name):
    content, kind, remedy = NAMED[name]
    with pytest.raises(InputError, match="it can't be decoded as audio: it is ") as caught:
        read(content, Limits())
    assert kind in caught.value.fact
    assert remedy in caught.value.remedy
    assert caught.value.lasting == ("mmencode[av]" not in remedy)  # which installing it may change


@needs_av
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_of_pyav_is_read(name):
    rate = FORMATS[name][2]
    found = read(BYTES[name], Limits())
    assert found.rate == rate
    assert -0.05 * COUNT < len(found.samples) - COUNT < 0.2 * COUNT
    strongest = np.abs(np.fft.rfft(found.samples)).argmax() * rate / len(found.samples)
    assert abs(strongest - 440 * rate / RATE) < 10
    assert 0.25 < np.abs(found.samples).max() < 0.4


@needs_av
@pytest.mark.parametrize("name", ["m4a", "mp4", "webm", "matroska", "amr", "3gp", "wavpack", "tta"])
def test_a_file_cut_in_the_middle_is_truncated(name):
    with pytest.raises(InputError, match=r"truncated|FFmpeg says") as caught:
        read(BYTES[name][: len(BYTES[name]) // 2], Limits())
    assert "fetch it again" in caught.value.remedy


@needs_av
def test_a_film_without_sound_is_said():
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=5, width=16, height=16, pix_fmt="yuv420p")
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        file.mux(stream.encode(None))
    with pytest.raises(InputError, match="it is an MP4 file, a video or sound alone without sound"):
        read(buffer.getvalue(), Limits())


@needs_av
@pytest.mark.parametrize("name", ["m4a", "aac", "webm"])
def test_limits_hold_for_what_pyav_decodes(name):
    for limits, words in (
        (Limits(seconds=0.3), "s long, and the limit is 0.3 s"),
        (Limits(samples=9000), "samples in all its channels, and the limit is 9000"),
        (Limits(memory=80_000), "bytes, and the limit is 80000"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            read(BYTES[name], limits)
        assert caught.value.fault == "limit"


@needs_av
@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(sorted(FORMATS)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_damaged_media_are_read_within_limits_or_refused(name, changes, kept):
    content = bytearray(BYTES[name])
    for place, value in changes:
        content[int(place**3 * len(content))] = value
    found = outcome(bytes(content[: int(kept * len(content))]), Limits(samples=10**6))
    if isinstance(found, InputError):
        assert found.fault in ("content", "limit") or "memory" in found.fact
        assert found.remedy
    else:
        assert 0 < len(found.samples) <= 10**6


@needs_av
def test_a_recording_that_stands_in_another_file_is_not_looked_for():
    content = bytearray(BYTES["quicktime"])
    place = content.find(b"dref") + 12  # its first entry: a size, a name, and whether it is this file
    assert content[place + 4 : place + 12] in (b"alis\0\0\0\1", b"url \0\0\0\1")
    content[place + 11] = 0
    assert len(read(bytes(content), Limits()).samples) == COUNT


@needs_av
def test_nothing_is_printed_about_damaged_media(capfd):
    for content in BYTES.values():
        outcome(content[:500] + b"\xff" * 200 + content[700:], Limits())
    assert capfd.readouterr() == ("", "")


@needs_av
def test_a_list_of_other_files_opens_none_of_them(tmp_path):
    path = tmp_path / "a.m4a"
    path.write_bytes(BYTES["m4a"])
    for content in (f"#EXTM3U\n#EXTINF:1,\n{path}\n", f"ffconcat version 1.0\nfile {path}\n"):
        with pytest.raises(InputError, match=r"it is (a playlist|plain text)"):
            read(content.encode(), Limits())


# Which files of a folder are taken

BY_ENDING = {
    **dict.fromkeys((".wav", ".wave", ".bwf"), ("WAV", None)),
    **dict.fromkeys((".ogg", ".oga"), ("OGG", None)),
    **dict.fromkeys((".mp3", ".mpga"), ("MP3", None)),
    **dict.fromkeys((".aif", ".aiff"), ("AIFF", None)),
    **dict.fromkeys((".au", ".snd"), ("AU", None)),
    **dict.fromkeys((".sph", ".nist"), ("NIST", None)),
    **{f".{kind.lower()}": (kind, None) for kind in ("FLAC", "W64", "RF64", "CAF", "VOC", "AVR", "PVF")},
    **{f".{kind.lower()}": (kind, None) for kind in ("PAF", "XI", "HTK")},
    ".opus": ("OGG", "OPUS"),
    ".aifc": ("AIFF", "ULAW"),
}
LAYER_2 = (b"\xff\xfd\x14\xc4" + bytes(92)) * 50  # 32 kbit/s at 48 kHz, mono, silent
NOT_WRITTEN = {".wma", ".awb", ".ape"}  # by any encoder that PyAV brings everywhere


def test_every_ending_that_folders_are_searched_for_is_read(tmp_path):
    assert {*CORE["audio"].endings} == {*BY_ENDING, ".mp2"}
    for ending in CORE["audio"].endings:
        content = LAYER_2 if ending == ".mp2" else made.encoded(*BY_ENDING[ending], samples=TONE)
        (tmp_path / f"a{ending}").write_bytes(content)
        assert len(read(tmp_path / f"a{ending}", Limits()).samples) >= COUNT


def test_every_ending_that_folders_are_searched_for_with_pyav_is_read_by_it():
    assert {ending for ending, _, _ in CORE["audio"].optional} == {
        ending for *_, ending in FORMATS.values() if ending
    } | NOT_WRITTEN
