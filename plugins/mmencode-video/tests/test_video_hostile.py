"""Damaged, lying, huge and hostile files are named errors, cost little, and hurt no neighbour."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from films import LIMITS, film, greys, limits, numbers, of_packets, png, recording
from mmencode_video.items import read
from PIL import Image

import mmencode
from mmencode.errors import InputError
from mmencode.inputs import Limits

SECRET = b"the secret of this machine\n" * 40


def refused(item, given=LIMITS, **policy):
    """The error of an item that is read and sampled."""
    with pytest.raises(InputError) as caught:
        read(item, given).sample(**(policy or {"count": 3}))
    return caught.value


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.txt"
    path.write_bytes(SECRET)
    return path


def playlists(path):
    """Texts that make FFmpeg open another file, were it left to guess."""
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10.0,\nfile://{path}\n#EXT-X-ENDLIST\n",
        "hls with a header": f"\n\n#EXTM3U\n#EXTINF:10.0,\nconcat:{path}|{path}\n",
        "concat": f"ffconcat version 1.0\nfile '{path}'\n",
        "metadata": f";FFMETADATA1\ntitle={path}\n",
        "dash": f'<?xml version="1.0"?><MPD><Period><BaseURL>file://{path}</BaseURL></Period></MPD>',
        "smil": f'<smil><body><video src="{path}"/></body></smil>',
        "sdp": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n",
        "address": "http://localhost/film.mp4\n",
        "image sequence": str(path.parent / "%d.png"),
    }


@pytest.mark.parametrize("kind", [*playlists(Path("/"))])
def test_a_text_that_names_other_files_opens_none(kind, secret, monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr("mmencode_video.containers.av.open", lambda *given, **named: opened.append(given))
    path = tmp_path / "film.mp4"
    path.write_text(playlists(secret)[kind])
    for item in (path, path.read_bytes()):
        error = refused(item)
        assert "secret of this machine" not in str(error)
    assert not opened


def test_a_film_that_refers_to_another_file_opens_none(secret):
    content = film(greys(4), "mov", "png")
    place = content.index(b"url \0\0\0\1") + 4  # the flag that says: in this file
    other = content[:place] + b"\0\0\0\0" + content[place + 4 :]
    opened = []

    def watch(event, given):
        if event == "open" and str(secret) in str(given[0]):
            opened.append(given)

    sys.addaudithook(watch)
    with suppress(InputError):
        read(other, LIMITS).sample(count=1)
    assert not opened


@pytest.mark.parametrize(
    "item",
    [
        "https://example.org/a.mp4",
        "rtsp://camera/1",
        "concat:a.mp4|b.mp4",
        "pipe:0",
        "subfile,,start,0,end,9,,:a",
    ],
)
def test_a_string_is_a_path_and_no_address_of_ffmpegs(item):
    assert refused(item).fault in ("content", "access")


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (b"", "0 bytes"),
        (b"\x00\x01junk" * 100, "it is no video"),
        (b"\0\0\0\x20ftypisom" + b"\7" * 3000, "can't be decoded"),
        (b"\x1a\x45\xdf\xa3" + b"\7" * 3000, "can't be decoded"),
        (b"\0\0\0\x1cftypavif" + b"\0" * 100, "it is a picture"),
        (None, "NoneType is no video"),
        (7, "int is no file"),
        ({"path": "a.mp4"}, "dict is no video"),
        (Image.new("RGB", (8, 8)), "a picture is no video"),
        ([], "no frames"),
        ((), "a tuple is"),
        (("a.mp4", 2), "a tuple is"),
        (([np.zeros((4, 4, 3), np.uint8)], 0), "the rate is 0"),
        (([np.zeros((4, 4, 3), np.uint8)], "fast"), "the rate is 'fast'"),
        (([np.zeros((4, 4, 3), np.uint8)], float("nan")), "the rate is nan"),
        ([Image.new("RGB", (8, 8)), Image.new("RGB", (9, 8))], "several sizes, 8 x 8 and 9 x 8"),
        ([Image.new("RGB", (8, 8)), "nothing.png"], "frame 1: there is no such file"),
        (np.zeros((4, 4, 3), np.uint8), r"uint8 \(4, 4, 3\)"),
        (np.zeros((2, 4, 4, 3)), "float64"),
        (np.zeros((0, 4, 4, 3), np.uint8), "it is empty"),
        (np.zeros((2, 3, 4, 4), np.uint8), r"\(2, 3, 4, 4\)"),
        (torch.zeros(2, 4, 4, 3, dtype=torch.uint8), r"\(2, 4, 4, 3\)"),
        (recording(), "without a video in it: nothing but sound"),
        (of_packets([], (64, 48)), "0 bytes|no frames|without a video|can't be decoded"),
    ],
)
def test_what_is_no_video_is_named(item, said):
    error = refused(item)
    assert re.search(said, error.fact)
    assert error.remedy


@pytest.mark.parametrize(
    ("form", "codec", "flags"),
    [
        *(("mp4", "libx264", ""), ("mp4", "libx264", "faststart"), ("matroska", "libx264", "")),
        *(("webm", "libvpx", ""), ("avi", "mpeg4", ""), ("flv", "flv", "")),
    ],
)
def test_a_truncated_video_is_named(form, codec, flags, tmp_path):
    content = film(np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), np.uint8), form, codec)
    if flags:
        content = faststart(content, tmp_path)
    error = refused(content[: len(content) * 6 // 10])
    assert error.fault == "content"
    assert "can't be decoded" in error.fact


def faststart(content, folder):
    """Put the index of an mp4 file before its frames."""
    path = folder / "fast.mp4"
    with (
        av.open(io.BytesIO(content)) as source,
        av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as made,
    ):
        (stream,) = source.streams.video
        copy = made.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.stream = copy
                made.mux(packet)
    return path.read_bytes()


def test_a_damaged_frame_is_named_or_concealed_and_never_ends_the_process():
    content = film(np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), np.uint8), "mp4", "libx264")
    start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    for seed in range(12):
        draw = np.random.default_rng(seed)
        damaged = bytearray(content)
        for place in draw.integers(start + 600, end, 40):
            damaged[place] = int(draw.integers(256))
        with suppress(InputError):
            assert read(bytes(damaged), LIMITS).sample(count=8).pixels.shape == (8, 48, 64, 3)


def test_any_damage_anywhere_is_an_input_error():
    content = film(greys(6, (16, 16)), "mp4", "mpeg4", sound=True)
    for seed in range(150):
        draw = np.random.default_rng(seed)
        damaged = bytearray(content)
        for place in draw.integers(8, len(content), 12):
            damaged[place] = int(draw.integers(256))
        with suppress(InputError):
            video = read(bytes(damaged), LIMITS)
            video.sample(count=3)
            video.sound()


CHECK = """
import resource
from films import LIMITS, of_packets, png
from mmencode_video.items import read
from mmencode.errors import InputError
small, large = png(48, 64), png(9000, 9000)
bombs = [
    of_packets(packets, (64, 48), form)
    for packets in ([large, small], [small, small, large, small]) for form in ("mov", "avi")
]
read(of_packets([small], (64, 48)), LIMITS).sample(count=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for bomb in bombs:
    try:
        print(len(read(bomb, LIMITS).sample(rate=10)))
    except InputError as error:
        print(error.fault)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_a_frame_that_unpacks_to_far_more_than_it_says_takes_no_memory():
    path = os.pathsep.join([os.path.dirname(__file__), *(entry for entry in sys.path if entry)])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", CHECK], capture_output=True, text=True, env=environment, timeout=300
    )
    *faults, grown = done.stdout.split()
    assert faults == ["limit"] * 4, done.stderr + done.stdout
    assert int(grown) < 120  # of the 243 MB that one such frame takes


def test_a_frame_that_unpacks_to_far_more_than_it_says_is_named():
    small, large = png(48, 64), png(600, 600)
    for packets in ([large, small], [small, small, large, small]):
        error = refused(of_packets(packets, (64, 48)), limits(pixels=4000), rate=10)
        assert error.fault == "limit"
        assert "video.pixels" in error.remedy


@pytest.mark.parametrize(
    ("given", "policy", "said"),
    [
        ({"seconds": 1}, {"count": 2}, "3 s long, and 1 s are the most"),
        ({"frames": 20}, {"count": 2}, "more than 20 frames"),
        ({"pixels": 3000}, {"count": 2}, "64 x 48 pixels, and 3000"),
        ({"chosen": 10}, {"rate": 10}, "look at 30 of its frames, and 10"),
        ({"chosen": 10}, {"count": 11}, "look at 11 of its frames, and 10"),
        ({"kept": 9000}, {"count": 3}, "3 of its frames have 9216 pixels"),
    ],
)
def test_each_limit_is_named_with_the_value_that_admits_the_video(given, policy, said):
    content = film(greys(30))
    for item in (content, (greys(30), 10)):
        error = refused(item, limits(**given), **policy)
        assert error.fault == "limit"
        ((name, _),) = given.items()
        assert f"video.{name}" in error.remedy
        if not isinstance(item, bytes):
            continue
        assert said in error.fact
    (name,) = given
    enough = {"seconds": 3, "frames": 30, "pixels": 3072, "chosen": 30, "kept": 9216}[name]
    assert len(read(content, limits(**{name: enough})).sample(**policy)) in (2, 3, 11, 30)


def test_pictures_of_a_list_are_limited_while_they_are_read():
    read_so_far = []

    def frames():
        for _ in range(5):
            read_so_far.append(1)
            yield np.zeros((40, 40, 3), np.uint8)

    assert "kept" in refused([*frames()], limits(kept=4000)).remedy


def test_a_video_of_hours_costs_a_few_frames(monkeypatch):
    """Two hours of a frame each second: what is decoded is what is chosen."""
    from mmencode_video import decoding

    content = film(greys(7100, (16, 16)), "mp4", "mpeg4", rate=1, options={"g": "12"})
    decoded = []
    monkeypatch.setattr(
        decoding._Cursor, "_decode", lambda self, do=decoding._Cursor._decode: decoded.append(1) or do(self)
    )
    video = read(content, LIMITS)
    assert (video.count, video.seconds) == (7100, pytest.approx(7100))
    assert len(video.sample(count=8)) == 8
    assert len(decoded) < 8 * 14
    assert "7100 s long" in refused(content, limits(seconds=3600)).fact


def test_bytes_are_limited_as_of_all_items(tmp_path):
    content = film(greys(30))
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    from films import VIDEO

    small = Limits(bytes=1000).of(VIDEO)
    for item in (content, path):
        assert refused(item, small).fault == "limit"


def test_a_change_of_size_is_named_where_all_frames_are_held():
    small, large = png(48, 64), png(96, 64)
    content = of_packets([small, small, large, large], (64, 48))
    assert "change from 64 x 48 to 64 x 96" in refused(content, count=4).fact
    assert [frame.shape[0] for frame in read(content, LIMITS).each(count=4)] == [48, 48, 96, 96]


def test_neighbours_of_bad_videos_have_the_vectors_they_have_alone(space_with_videos, tmp_path):
    path = tmp_path / "secret.mp4"
    path.write_bytes(SECRET)
    good = [film(greys(4)), (greys(9), 3), film(greys(20), "matroska", "libx264")]
    bad = [path, recording(), b"", film(greys(60))[:900], np.zeros((2, 2)), "missing.mp4"]
    items = [good[0], *bad[:3], good[1], *bad[3:], good[2]]
    found = space_with_videos.encode("video", items, on_error="skip")
    assert found.positions.tolist() == [0, 4, 8]
    assert [error.index for error in found.errors] == [1, 2, 3, 5, 6, 7]
    assert np.array_equal(found.vectors, space_with_videos.encode("video", good).vectors)
    with pytest.raises(InputError) as caught:
        space_with_videos.encode("video", items)
    assert caught.value.index == 1
    assert str(path) in caught.value.source
    assert mmencode.registry().modality("video") is not None
    assert numbers(read(good[0], LIMITS).sample(count=4).pixels) == [0, 1, 2, 3]
