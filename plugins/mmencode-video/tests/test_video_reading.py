"""Videos of every form and format become the right frames, and none but those that were chosen are held."""

from __future__ import annotations

import io

import av
import films
import numpy as np
import pytest
import torch
from films import LIMITS, film, greys, numbers
from mmencode_video.items import preview, read
from PIL import Image

from mmencode.errors import InputError

FORMATS = (
    *(("mp4", "mpeg4"), ("mp4", "libx264"), ("mp4", "libx265"), ("matroska", "libx264"), ("mov", "png")),
    *(
        ("webm", "libvpx"),
        ("webm", "libvpx-vp9"),
        ("webm", "libsvtav1"),
        ("avi", "mpeg4"),
        ("avi", "libx264"),
    ),
    *(("avi", "mjpeg"), ("mpegts", "libx264"), ("mpeg", "mpeg1video"), ("mpeg1video", "mpeg1video")),
    *(("flv", "flv"), ("asf", "wmv2"), ("mov", "prores_ks"), ("mov", "qtrle"), ("mxf", "mpeg2video")),
    *(("ivf", "libvpx"), ("yuv4mpegpipe", "rawvideo"), ("dv", "dvvideo"), ("gif", "gif")),
)
QUIET = {"libx265": {"x265-params": "log-level=none"}, "libx264": {"bf": "3"}}


@pytest.mark.parametrize(("form", "codec"), FORMATS)
def test_frames_of_every_format_are_those_that_were_chosen(form, codec, monkeypatch):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV encodes no {codec}")
    monkeypatch.setenv("SVT_LOG", "0")
    rate = 25 if form in ("mpegts", "mpeg", "mpeg1video", "mxf", "dv") else 10
    size = {"dv": (576, 720), "webm": (96, 128)}.get(form, (48, 64))
    pixels = {"prores_ks": "yuv422p10le", "gif": "gray"}.get(codec, "")
    frames = greys(20, size)
    content = film(frames, form, codec, rate=rate, pixels=pixels, options=QUIET.get(codec, {}))
    video = read(content, LIMITS)
    assert (video.count, video.seconds) == (20, pytest.approx(20 / rate, abs=0.011))
    found = video.sample(count=5)
    assert numbers(found.pixels) == [2, 6, 10, 14, 18]
    assert found.times == pytest.approx(np.array([2, 6, 10, 14, 18]) / rate, abs=0.011)
    assert found.pixels.dtype == np.uint8
    everything = video.sample(rate=rate)
    assert numbers(everything.pixels) == [*range(20)]


def test_every_form_of_an_item_is_the_same_video(tmp_path):
    content = film(greys(10), "mov", "png")
    path = tmp_path / "film.mov"
    path.write_bytes(content)
    frames = greys(10)
    with path.open("rb") as file:
        items = [
            *(path, str(path), content, bytearray(content), memoryview(content), io.BytesIO(content), file),
            *(frames, (frames, 10), [*frames], [Image.fromarray(frame) for frame in frames]),
            *(torch.from_numpy(frames).permute(0, 3, 1, 2), ([*frames], 10.0)),
        ]
        for item in items:
            found = read(item, LIMITS).sample(count=4)
            assert np.array_equal(found.pixels, frames[[1, 3, 6, 8]])
    assert len(read(content, LIMITS).sample(count=4)) == 4


def test_pixels_are_those_that_others_get_of_pyav():
    draw = np.random.default_rng(0)
    content = film(draw.integers(0, 256, (6, 48, 64, 3), np.uint8), "mp4", "libx264")
    with av.open(io.BytesIO(content)) as container:
        expected = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert np.array_equal(read(content, LIMITS).sample(rate=10).pixels, expected)


@pytest.mark.parametrize("form", ["mp4", "matroska"])
def test_frames_of_a_variable_rate_are_chosen_by_the_times_at_which_they_are_shown(form):
    times = [0, 1, 2, 3, 4, 5, 60, 61, 62, 100]  # tenths of a second
    content = film(greys(10), form, "libx264", times=times)
    video = read(content, LIMITS)
    assert video.count == 10
    assert 10.0 <= video.seconds < 14
    found = video.sample(rate=0.5)
    shown = [max(at for at, time in enumerate(times) if time <= 20 * step) for step in range(len(found))]
    assert numbers(found.pixels) == shown
    assert found.times == pytest.approx([times[at] / 10 for at in shown], abs=1e-3)


def test_far_frames_are_sought_and_are_the_same_as_when_all_are_decoded(monkeypatch):
    from mmencode_video import decoding

    shades = np.random.default_rng(1).integers(0, 256, (400, 16, 16, 3), np.uint8)
    content = film(shades, "mp4", "libx264", options={"g": "20", "bf": "3"})
    decoded = []
    monkeypatch.setattr(
        decoding._Cursor, "_decode", lambda self, do=decoding._Cursor._decode: decoded.append(1) or do(self)
    )
    few = read(content, LIMITS).sample(count=4).pixels
    assert len(decoded) < 120
    monkeypatch.setattr(decoding, "_NEAR", 10**9)
    assert np.array_equal(read(content, LIMITS).sample(count=4).pixels, few)
    assert len(decoded) > 300


def test_a_policy_counts_or_paces():
    video = read((greys(20), 10), LIMITS)
    assert video.choose(count=5) == [2, 6, 10, 14, 18]
    assert video.choose(rate=2) == [0, 5, 10, 15]
    assert video.choose(count=1) == [10]
    assert video.sample(rate=2).times.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert read(greys(2), LIMITS).choose(count=4) == [0, 0, 1, 1]
    assert read((greys(3), 1.5), LIMITS).choose(rate=30) == [at // 20 for at in range(60)]
    assert np.isnan(read(greys(2), LIMITS).sample(count=2).times).all()
    for wrong in ({}, {"count": 2, "rate": 2.0}):
        with pytest.raises(TypeError, match="either a count or a rate"):
            video.sample(**wrong)
    for wrong in ({"count": 0}, {"rate": 0.0}, {"rate": float("nan")}):
        with pytest.raises(ValueError, match="make it"):
            video.sample(**wrong)
    with pytest.raises(InputError, match="nobody says how fast"):
        read(greys(4), LIMITS).sample(rate=2)


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (180, 2), (270, 3), (-90, 3)])
def test_a_rotated_video_is_upright(rotation, turns):
    frames = np.zeros((3, 32, 64, 3), np.uint8)
    frames[:, :16, :32] = (255, 0, 0)
    content = film(frames, "mov", "png", rotation=rotation)
    found = read(content, LIMITS).sample(count=1).pixels[0]
    assert np.array_equal(found, np.rot90(frames[0], turns))


def test_a_mirrored_video_is_as_it_is_shown():
    frames = np.zeros((2, 16, 32, 3), np.uint8)
    frames[:, :, :16] = 255
    content = film(frames, "mov", "png", rotation=180)
    track = content.index(b"tkhd") + 4 + 40  # the matrix of the track, which turned by half
    turned = bytearray(content)
    turned[track + 16 : track + 20] = (0x10000).to_bytes(4, "big")  # upside up again, still mirrored
    found = read(bytes(turned), LIMITS).sample(count=1).pixels[0]
    assert np.array_equal(found, frames[0][:, ::-1])


def test_pixels_that_are_not_square_are_made_square():
    frames = greys(2, (32, 32))
    found = read(film(frames, "mov", "png", ratio=(2, 1)), LIMITS).sample(count=1)
    assert found.pixels.shape == (1, 32, 64, 3)


@pytest.mark.parametrize(
    ("form", "codec", "pixels"),
    [
        *(("mov", "qtrle", "gray"), ("matroska", "ffv1", "yuv444p16le"), ("matroska", "ffv1", "gbrp12le")),
        *(("matroska", "ffv1", "yuv410p"), ("matroska", "ffv1", "gray16le"), ("matroska", "ffv1", "bgra")),
        *(
            ("avi", "ffvhuff", "yuv422p"),
            ("avi", "rawvideo", "bgr24"),
            ("matroska", "libx264", "yuvj444p"),
        ),
        *(("mov", "prores_ks", "yuva444p10le"), ("matroska", "libx264", "yuv420p10le")),
    ],
)
def test_odd_formats_of_pixels_are_right(form, codec, pixels):
    content = film(greys(8), form, codec, pixels=pixels)
    assert numbers(read(content, LIMITS).sample(count=8).pixels) == [*range(8)]


def test_the_full_range_of_a_video_is_heeded():
    frames = greys(32, (16, 16))
    content = film(frames, "mp4", "libx264", pixels="yuvj420p", colours={"color_range": 2})
    found = read(content, LIMITS).sample(count=32).pixels.mean(axis=(1, 2, 3))
    assert found == pytest.approx(np.arange(32) * 8, abs=2.5)  # of the limited range, 40 would be 28


def signal(light, transfer):
    """The signal, 0 to 1, of a display's light in cd/m2, by the inverse functions of BT.2100."""
    if transfer == "pq":
        power = (np.asarray(light) / 10_000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    scene = (np.asarray(light) / 1000) ** (1 / 1.2)
    low = np.sqrt(3 * scene)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, low, high)


@pytest.mark.parametrize(("transfer", "number"), [("pq", 16), ("hlg", 18)])
def test_high_dynamic_range_is_brought_to_the_standard_one(transfer, number):
    light = np.array([0, 10, 50, 101.5, 203, 600, 1000])  # cd/m2; 203 is white
    frames = np.zeros((7, 32, 32, 3), np.uint16)
    frames[:] = np.round(signal(light, transfer) * 65535).astype(np.uint16)[:, None, None, None]
    colours = {"color_trc": number, "color_primaries": 9, "colorspace": 9, "color_range": 1}
    content = film(frames, "mp4", "libx265", pixels="yuv420p10le", colours=colours, options=QUIET["libx265"])
    found = read(content, LIMITS).sample(count=7).pixels.mean(axis=(1, 2, 3))
    shown = light / 203
    over, peak = np.maximum(shown - 0.5, 0) / 0.5, (1000 / 203 - 0.5) / 0.5
    linear = np.minimum(shown, 0.5 + 0.5 * over * (1 + over / peak**2) / (1 + over))
    linear = np.where(shown > 0.5, 0.5 + 0.5 * over * (1 + over / peak**2) / (1 + over), linear).clip(0, 1)
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert found == pytest.approx(expected, abs=3)
    assert (np.diff(found) > 0).all()


def test_colours_of_high_dynamic_range_keep_their_hue():
    from mmencode_video import hdr

    red = np.array([0.6274, 0.0691, 0.0164]) * 80  # BT.709's red of 80 cd/m2, in BT.2020's primaries
    pixels = np.round(signal(red, "pq") * 65535).astype(np.uint16).reshape(1, 1, 3)
    found = hdr.to_standard(pixels, hdr.PQ)[0, 0]
    assert found[0] > 150
    assert found[1:].max() < 12


def test_colours_that_nobody_converts_are_refused():
    content = film(greys(3), "mov", "libx264").replace(b"avc1", b"dvh1")
    with pytest.raises(InputError, match=r"Dolby Vision|can't decode|can't be decoded"):
        read(content, LIMITS).sample(count=1)


def test_transparent_frames_lie_over_white():
    frames = np.zeros((2, 16, 16, 4), np.uint8)
    frames[:, 8:, :, 3] = 255
    found = read(film(frames, "mov", "png", pixels="rgba"), LIMITS).sample(count=1).pixels[0]
    assert (found[:8] == 255).all()
    assert (found[8:] == 0).all()


def test_the_sound_track_is_read_when_it_is_asked_for():
    video = read(film(greys(20), sound=True), LIMITS)
    sound = video.sound()
    assert sound.rate == 16000
    assert sound.seconds == pytest.approx(2.0, abs=0.2)
    middle = sound.samples[8000:24000]
    assert np.abs(np.fft.rfft(middle)).argmax() == 440
    assert numbers(video.sample(count=2).pixels) == [5, 15]
    assert read(film(greys(4)), LIMITS).sound() is None
    assert read(greys(4), LIMITS).sound() is None


def test_the_preview_is_a_sheet_of_four_frames():
    sheet = np.asarray(preview(film(greys(20), "mov", "png"), LIMITS))
    assert sheet.shape == (96, 128, 3)
    tiles = [sheet[top : top + 48, left : left + 64] for top in (0, 48) for left in (0, 64)]
    assert numbers(np.stack(tiles)) == [2, 7, 12, 17]
    assert preview(greys(1, (700, 900)), LIMITS).size == (320, 249)


def test_a_file_of_a_path_is_not_read_into_memory(tmp_path, monkeypatch):
    path = tmp_path / "film.mp4"
    path.write_bytes(film(greys(10)))
    monkeypatch.setattr("mmencode.inputs.source._read_all", lambda *given: pytest.fail("it was read whole"))
    assert len(read(path, LIMITS).sample(count=2)) == 2


def test_probes_and_samples_are_the_same_each_time():
    from mmencode_video.probes import probes, samples

    assert all(
        np.array_equal(one[0], two[0]) and one[1] == two[1]
        for one, two in zip(probes(), probes(), strict=True)
    )
    assert samples(9)[5:] == samples(9)[5:]
    assert all(len(read(item, LIMITS).sample(count=2)) == 2 for item in samples(9))
    assert films.VIDEO.name == "video"
