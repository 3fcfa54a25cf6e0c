"""Pages are read in every form of an item, rendered as the reference renders them, and expanded by number."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from mmencode_documents import items
from mmencode_documents.drawing import A4, draw_figure, make_pdf, probes, write_words
from PIL import Image

from mmencode import Limits
from mmencode.errors import InputError
from mmencode.inputs import list_parts, reader

THREE = make_pdf([draw_figure(seed) for seed in range(3)])
ONE = make_pdf([draw_figure(7)])


@pytest.fixture(autouse=True)
def _installed(installed):
    pass


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "report.pdf"
    path.write_bytes(THREE)
    return path


def read(item, **limits):
    return reader("page")(item, Limits(**limits))


def reference(content, place=0):
    """The page as PDFium renders it in this process, by itself."""
    document = pypdfium2.PdfDocument(content)
    page = document[place]
    bitmap = page.render(scale=items.RESOLUTION / 72)
    pixels = bitmap.to_numpy()[..., ::-1].copy()
    for each in (bitmap, page, document):
        each.close()
    return pixels


def test_each_page_is_rendered_as_the_reference_does(report):
    for place, name in enumerate(list_parts("page", report)):
        found = read(name)
        assert (found.mode, found.size) == ("RGB", (1240, 1755))
        np.testing.assert_array_equal(np.asarray(found), reference(THREE, place))


def test_every_form_of_a_one_page_document_is_the_same_page(tmp_path):
    path = tmp_path / "one.pdf"
    path.write_bytes(ONE)
    expected = np.asarray(read(path))
    with path.open("rb") as file:
        forms = [str(path), f"{path}#page=1", Path(f"{path}#page=1"), ONE, bytearray(ONE), memoryview(ONE)]
        for item in (*forms, io.BytesIO(ONE), file):
            np.testing.assert_array_equal(np.asarray(read(item)), expected)


def test_an_image_of_a_page_is_a_page_in_every_form(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    path = tmp_path / "scan.png"
    Image.fromarray(pixels).save(path)
    for item in (path, str(path), path.read_bytes(), Image.fromarray(pixels), pixels):
        np.testing.assert_array_equal(np.asarray(read(item)), pixels)
    assert list(list_parts("page", path)) == [str(path)]


@pytest.mark.parametrize(
    "name", ["a b.pdf", "rapport été.pdf", "a#page=2.pdf", "~user.pdf", os.fsdecode(b"\xff.pdf")]
)
def test_any_name_of_a_file_is_right(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(THREE)
    monkeypatch.chdir(tmp_path)
    parts = list(list_parts("page", name))
    assert parts == [f"{name}#page={number}" for number in (1, 2, 3)]
    np.testing.assert_array_equal(np.asarray(read(parts[2])), reference(THREE, 2))


def test_a_document_that_changed_is_opened_anew(report):
    first = np.asarray(read(f"{report}#page=1"))
    report.write_bytes(make_pdf([write_words("other words, and another length")]))
    second = np.asarray(read(f"{report}#page=1"))
    assert not np.array_equal(first, second)
    with pytest.raises(InputError, match="page 2 isn't there: it has 1"):
        read(f"{report}#page=2")


def test_large_pages_have_bounded_pixels_and_tiny_ones_some():
    for size in ((14400, 14400), (1, 14400), (14400, 1), (3, 3), (1e6, 5)):
        width, height = read(make_pdf([draw_figure(1)], size)).size
        assert 1 <= min(width, height) <= max(width, height) <= items.LONGEST


def test_threads_render_at_the_same_time_and_right(report):
    names = list(list_parts("page", report)) * 6
    expected = [reference(THREE, place) for place in range(3)] * 6
    with ThreadPoolExecutor(6) as pool:
        for found, right in zip(pool.map(read, names), expected, strict=True):
            np.testing.assert_array_equal(np.asarray(found), right)


def test_rotation_and_filled_forms_are_drawn():
    plain = make_pdf([write_words("upright")])
    turned = plain.replace(b"/Type /Page ", b"/Type /Page /Rotate 90 ")
    assert read(turned).size == (1755, 1240)
    assert A4 == (595, 842)


def test_probes_differ_and_are_the_same_each_time():
    made = probes()
    assert made == probes()
    assert len({np.asarray(read(each)).tobytes() for each in made}) == len(made)


def test_the_processes_are_forgotten_in_a_forked_child():
    read(ONE)
    assert items.renderers().count() == 1
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if read(ONE).size == (1240, 1755) else 2
            items.renderers().close()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert read(ONE).size == (1240, 1755)
