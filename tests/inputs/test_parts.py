"""Files that hold several items: their names, their number, and what can go wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import leaflets
import pytest

from mmencode import Limits, ModalitySpec
from mmencode.errors import EncoderError, InputError, SpecError
from mmencode.inputs import list_parts, reader, split_part


@pytest.fixture(autouse=True)
def _installed(install):
    install(leaves=(leaflets.SPEC, *leaflets.SPECS))


@pytest.fixture
def three(tmp_path):
    path = tmp_path / "three.leaves"
    path.write_text("red\ngreen\nblue")
    return path


@pytest.mark.parametrize(
    ("item", "path", "number"),
    [
        ("a.leaves#line=3", "a.leaves", 3),
        ("a#line=1.leaves#line=12", "a#line=1.leaves", 12),
        ("line\nbreak#line=1", "line\nbreak", 1),
        ("a.leaves#line=0", "a.leaves", 0),
        (PurePosixPath("x/a.leaves#line=3"), "x/a.leaves", 3),
        ("a.leaves", "a.leaves", None),
        ("#line=3", "#line=3", None),
        ("a.leaves#line=", "a.leaves#line=", None),
        ("a.leaves#line=-1", "a.leaves#line=-1", None),
        ("a.leaves#line=" + "9" * 5000, "a.leaves#line=" + "9" * 5000, None),
        ("a.leaves#page=3", "a.leaves#page=3", None),
        (b"a.leaves#line=3", b"a.leaves#line=3", None),
        (None, None, None),
    ],
)
def test_a_name_is_a_path_and_a_number_or_none(item, path, number):
    assert split_part("leaf", item) == (path, number)


def test_other_modalities_have_no_numbers():
    assert split_part("image", "a.png#line=3") == ("a.png#line=3", None)
    assert split_part("unheard", "a#line=3") == ("a#line=3", None)
    assert list(list_parts("image", Path("a.png"))) == ["a.png"]


def test_the_items_of_a_file_are_named_one_by_one_and_can_be_read(three):
    names = list(list_parts("leaf", three))
    assert names == [f"{three}#line={number}" for number in (1, 2, 3)]
    assert [reader("leaf")(name, Limits()) for name in names] == ["red", "green", "blue"]
    assert list(list_parts("leaf", names[1])) == [names[1]]


def test_a_file_may_be_a_single_item(tmp_path):
    path = tmp_path / "one.leaf"
    path.write_text("one")
    assert list(list_parts("leaf", path)) == [str(path)]


def test_naming_holds_no_more_than_one(three):
    three.write_text("x\n" * 40)
    names = list_parts("leaf", three)
    assert iter(names) is names
    assert next(names).endswith("#line=1")


@pytest.mark.parametrize(
    ("content", "fact", "fault"),
    [
        ("!", "it is torn", "content"),
        ("?", "it can't be reached", "access"),
        ("x\n" * 60, "it has 60 lines", "limit"),
        ("raise", "its parts raised RuntimeError: dropped it", "encoder"),
        ("many", "it counted 1152921504606846976 parts, and not 0 to", "encoder"),
    ],
)
def test_what_cant_be_counted_is_named(three, content, fact, fault):
    three.write_text(content)
    with pytest.raises(InputError) as caught:
        list_parts("leaf", three)
    assert fact in caught.value.fact
    assert (caught.value.source, caught.value.fault) == (str(three), fault)


def test_limits_apply(three):
    with pytest.raises(InputError, match="it has 3 lines"):
        list_parts("leaf", three, Limits(declared={"leaf.lines": 2}))


def test_counting_that_hangs_is_given_up(three):
    three.write_text("slow")
    with pytest.raises(InputError, match=r"counting its parts takes more than 0\.2 s") as caught:
        list_parts("leaf", three, Limits(wait=0.2))
    assert caught.value.fault == "time"


def test_a_count_that_isnt_there_is_the_plugins_fault(three, install):
    install(leaves=(replace(leaflets.SPEC, count="leaflets:missing"),))
    with pytest.raises(EncoderError, match="its count 'leaflets:missing' raised AttributeError"):
        list_parts("leaf", three)


@pytest.mark.parametrize(
    "fields",
    [
        {"part": "line"},
        {"count": "leaflets:count"},
        {"part": "a line", "count": "leaflets:count"},
        {"part": "Line", "count": "leaflets:count"},
        {"part": "line", "count": "leaflets"},
        {"part": "line", "count": "leaflets:count", "inline": True},
    ],
)
def test_a_malformed_declaration_is_refused(fields):
    with pytest.raises(SpecError, match=r"ModalitySpec\.(part|count)"):
        ModalitySpec(name="leaf", reader="leaflets:read", **fields)
