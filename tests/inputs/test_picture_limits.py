"""The caller's limits are the limits: Pillow's own guard neither undercuts nor replaces them."""

from __future__ import annotations

import io
import os
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import hostile
import numpy as np
import pytest
from hostile import encoded
from PIL import Image, ImageFile

from mmencode.errors import InputError
from mmencode.inputs import Limits
from mmencode.inputs.gate import Gate, common_gate, memory
from mmencode.inputs.image import read

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
PICTURE = Image.fromarray(PIXELS)


def files():
    found = {kind: encoded(PICTURE, kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "PPM")}
    found["WEBP"] = encoded(PICTURE, "WEBP", lossless=True)
    found["RGBA"] = encoded(PICTURE.convert("RGBA"), "PNG")
    found["sixteen bits"] = encoded(Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257), "PNG")
    found["TIFF"] = encoded(PICTURE, "TIFF")
    found["packed TIFF"] = encoded(PICTURE, "TIFF", compression="tiff_lzw")
    frames = [PICTURE, PICTURE.rotate(180)]
    found["frames that go"] = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], disposal=3)
    found["frame beyond its screen"] = found["GIF"][:6] + b"\x08\0\x08\0" + found["GIF"][10:]
    if hostile.AVIF:
        found["AVIF"] = encoded(PICTURE, "AVIF", speed=10)
    return found


FILES = files()


@pytest.mark.parametrize("most", [None, 1, 600, 1100])
@pytest.mark.parametrize("name", FILES)
def test_pillows_own_guard_makes_no_difference(name, most, monkeypatch):
    expected = np.asarray(read(FILES[name], Limits()))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(np.asarray(read(FILES[name], Limits())), expected)
        with pytest.raises(InputError, match="1200 pixels, and the limit is 1199"):
            read(FILES[name], Limits(pixels=1199))
    assert most == Image.MAX_IMAGE_PIXELS


def test_pillows_own_guard_stays_on_for_others(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with ThreadPoolExecutor(4) as pool:
        reading = pool.map(lambda content: read(content, Limits()).size, [*FILES.values()] * 20)
        for content in FILES.values():
            with pytest.raises(Image.DecompressionBombError):
                Image.open(io.BytesIO(content))
        assert {*reading} == {(40, 30)}
    assert Image.MAX_IMAGE_PIXELS == 100


def test_photograph_of_two_hundred_megapixels_is_within_the_limits():
    content = hostile.jpeg_of(16320, 12240) + bytes(2**21)  # its pixels are those zeros
    assert read(content, Limits(), least=100).size == (2040, 1530)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"progressive": True, "subsampling": 0}, {"exif": 6}])
def test_photograph_of_two_hundred_megapixels_is_read(options, monkeypatch):
    if "exif" in options:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 6
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (306, 408, 3), np.uint8))
    content = encoded(small.resize((16320, 12240)), "JPEG", quality=75, **options)
    assert sorted(read(content, Limits()).size) == [12240, 16320]


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "kind"), [(1, 0), (8, 2), (16, 0)])
def test_raised_limit_is_the_limit(depth, kind):
    content = hostile.png(20000, 10500, depth, kind)
    for limits in (Limits(), Limits(pixels=209_999_999)):
        with pytest.raises(InputError, match="210000000 pixels, and the limit is"):
            read(content, limits)
    assert read(content, Limits(pixels=210_000_000)).size == (20000, 10500)


def test_blank_picture_may_take_more_where_the_limit_on_pixels_is_raised():
    content = hostile.png(9000, 9000, 8, 0)
    with pytest.raises(InputError, match=r"1/8 of Limits\.memory"):
        read(content, Limits())
    assert read(content, Limits(pixels=300_000_000)).size == (9000, 9000)


BEYOND = {
    "bytes": (FILES["PNG"], Limits(bytes=100)),
    "pixels": (FILES["PNG"], Limits(pixels=100)),
    "memory": (FILES["PNG"], Limits(memory=1000)),
    "memory of a webp": (FILES["WEBP"], Limits(memory=1000)),
    "memory of an array": (PIXELS[..., 0], Limits(memory=1000)),
    "memory of an image": (PICTURE.convert("CMYK"), Limits(memory=1000)),
    "memory for little": (hostile.png(1000, 1000), Limits(memory=10_000_000)),
    "pixels of a packed bmp": (hostile.packed_bmp(40, 30, 1, 1), Limits(pixels=2000)),
    "scans": (encoded(PICTURE, "JPEG", progressive=True), Limits(scans=3)),
}


@pytest.mark.parametrize("name", BEYOND)
def test_limit_that_is_raised_as_the_message_says_lets_the_item_through(name):
    item, limits = BEYOND[name]
    with pytest.raises(InputError) as caught:
        read(item, limits)
    assert caught.value.fault == "limit"
    field, _, number = caught.value.remedy.partition("limits=Limits(")[2].partition(")")[0].partition("=")
    assert f"--limit {field}={number}" in caught.value.remedy
    with pytest.raises(InputError):
        read(item, replace(limits, **{field: int(number) - 1}))
    assert read(item, replace(limits, **{field: int(number)})).mode == "RGB"


def test_large_picture_may_have_fewer_scans():
    content = hostile.scanned_jpeg(40, 30, 60)
    assert read(content, Limits(pixels=4000)).size == (40, 30)
    with pytest.raises(
        InputError, match=r"60 scans, passes over 72000 pixels in all; the limit is 60000"
    ) as caught:
        read(content, Limits(pixels=3000))
    assert "Limits(pixels=3600)" in caught.value.remedy
    assert read(content, Limits(pixels=3600)).size == (40, 30)


def test_ordinary_progressive_photograph_has_few_scans():
    for options in ({}, {"subsampling": 0}, {"quality": 100}):
        assert read(encoded(PICTURE, "JPEG", progressive=True, **options), Limits(scans=10)).size == (40, 30)


def test_scans_of_pictures_behind_the_first_do_not_count():
    behind = hostile.scanned_jpeg(40, 30, 600)
    assert read(encoded(PICTURE, "JPEG", progressive=True) + behind, Limits()).size == (40, 30)


def test_sequential_jpeg_of_many_scans_is_refused():
    content = encoded(PICTURE.convert("L"), "JPEG")
    start, end = next((start, end) for marker, start, end in hostile.jpeg_segments(content) if marker == 0xDA)
    place = content.index(b"\xff\xc0")
    colours = content[:place] + b"\xff\xc0\0\x11" + content[place + 4 : place + 9]
    colours += b"\x03\x01\x11\0\x02\x11\0\x03\x11\0" + content[place + 13 : -2]
    with pytest.raises(InputError, match="601 scans"):
        read(colours + content[start:end] * 600 + b"\xff\xd9", Limits())


def test_size_that_an_avif_hides_counts():
    if not hostile.AVIF:
        pytest.skip("this Pillow writes no AVIF")
    for options in ({}, {"save_all": True, "append_images": [PICTURE]}):
        content = hostile.renamed_size(encoded(PICTURE, "AVIF", speed=10, **options), 8, 8)
        with pytest.raises(InputError, match=r"for 1200 pixels|about \d{4,} bytes of memory"):
            read(content, Limits(memory=9000))


def test_what_an_opened_image_takes_is_bounded_too():
    lazy = Image.open(io.BytesIO(FILES["PNG"]))
    with pytest.raises(InputError, match="1200 pixels"):
        read(lazy, Limits(pixels=1199))
    with pytest.raises(InputError, match="bytes of memory"):
        read(lazy, Limits(memory=1199))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (hostile.scanned_jpeg(40, 30, 600), "600 scans"),
        (hostile.tiled_tiff(10000), "bytes of memory"),
        (hostile.webp(9000, 9000), "bytes of memory"),
        (hostile.png(9000, 9000, 16, 0), "bytes of memory"),
    ],
    ids=["scans", "tile", "canvas", "deep"],
)
def test_what_an_opened_image_would_take_is_seen_in_its_file(content, words, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(content)
    for file in (path, io.BytesIO(content)):
        with Image.open(file) as lazy, pytest.raises(InputError, match=words) as caught:
            read(lazy, Limits())
        assert caught.value.fault == "limit"


def test_opened_image_is_read_as_it_was_though_its_file_was_looked_at(tmp_path):
    for content in FILES.values():
        with Image.open(io.BytesIO(content)) as lazy:
            np.testing.assert_array_equal(
                np.asarray(read(lazy, Limits())), np.asarray(read(content, Limits()))
            )
    frames = [PICTURE, Image.new("RGB", (40, 30), "red")]
    with Image.open(io.BytesIO(encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]))) as lazy:
        lazy.seek(1)
        assert read(lazy, Limits()).getpixel((3, 3)) == (255, 0, 0)


def together(gate, sizes, seconds=20.0, hold=0.02):
    """How many bytes hold the gate at most, when a thread for each of these sizes does."""
    lock, held, most = threading.Lock(), [0], [0]

    def work(size):
        with gate.holding(size, seconds, "an item"):
            with lock:
                held[0] += size
                most[0] = max(most[0], held[0])
            time.sleep(hold)
            with lock:
                held[0] -= size

    with ThreadPoolExecutor(len(sizes)) as pool:
        list(pool.map(work, sizes))
    return most[0]


def a_gate(capacity):
    made = Gate()
    made.capacity = capacity
    return made


def test_gate_lets_no_more_in_than_it_holds():
    assert together(a_gate(100), [60, 50, 40, 30, 20, 10] * 4) <= 100
    assert together(a_gate(100), [10] * 8, hold=0.2) == 80


def test_item_larger_than_the_gate_comes_in_alone():
    assert together(a_gate(100), [500, 10, 500, 10]) <= 500


def test_item_that_finds_no_room_is_named_and_can_be_tried_again():
    gate = a_gate(100)
    with gate.holding(70, 60, "the first"):
        begun = time.monotonic()
        with pytest.raises(InputError, match="31 bytes, and others hold 70 of 100") as caught:
            gate.holding(31, 0.2, "the second").__enter__()
        assert time.monotonic() - begun < 10
        assert (caught.value.fault, caught.value.source) == ("process", "the second")
        with gate.holding(30, 0.2, "a smaller one"):
            pass
    with gate.holding(31, 0.2, "the second"):
        pass


def test_item_that_hangs_holds_the_gate_no_longer_than_it_may_take():
    gate = a_gate(100)
    gate.holding(100, 0.1, "one that hangs").__enter__()
    with gate.holding(100, 30, "the next"):
        pass


def test_time_without_a_limit_is_no_wait_without_one(monkeypatch):
    gate, now = a_gate(100), time.monotonic()
    gate.holding(100, float("inf"), "one that hangs").__enter__()
    monkeypatch.setattr(time, "monotonic", lambda: now + 700)
    with gate.holding(100, 0.1, "the next"):
        pass


def test_error_gives_its_room_back():
    gate = a_gate(100)
    with pytest.raises(KeyError), gate.holding(100, 1, "one"):
        raise KeyError
    with gate.holding(100, 1, "another"):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")
def test_forked_process_holds_nothing(monkeypatch):
    monkeypatch.setattr(common_gate, "capacity", 100)
    with common_gate.holding(100, 60, "the parent's"):
        child = os.fork()
        if not child:
            try:
                with common_gate.holding(100, 1, "the child's"):
                    os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0


def test_pictures_are_decoded_one_by_one_where_memory_is_short(monkeypatch):
    under_way, most, real = [], [], ImageFile.ImageFile.load

    def load(image):
        under_way.append(image)
        most.append(len(under_way))
        time.sleep(0.005)
        under_way.remove(image)
        return real(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    monkeypatch.setattr(common_gate, "capacity", 1000)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: read(FILES["PNG"], Limits()), range(8)))
    assert max(most) == 1


def test_memory_is_what_the_machine_or_its_container_has(tmp_path):
    assert 2**26 < memory() < 2**50
    (tmp_path / "max").write_text("max\n")
    (tmp_path / "limit").write_text("123456789\n")
    assert memory([str(tmp_path / "max"), str(tmp_path / "limit")]) == 123456789
