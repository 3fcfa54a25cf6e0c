"""Links of a page lead to files that are there, and to nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import leaflets
import pytest

from mmencode.pages import GalleryItem, Preview, gallery_page, make_link


def test_a_file_is_linked_by_its_path_as_an_address(tmp_path, monkeypatch):
    path = tmp_path / "a b#c?é.png"
    path.write_bytes(b"x")
    address = f"{tmp_path.as_uri()}/a%20b%23c%3F%C3%A9.png"
    assert make_link("image", path) == make_link("image", str(path)) == address
    monkeypatch.chdir(tmp_path)
    assert make_link("image", path.name) == address


def test_an_item_in_a_file_is_linked_with_its_number(tmp_path, install):
    install(leaves=(leaflets.SPEC, *leaflets.SPECS))
    path = tmp_path / "a.leaves"
    path.write_text("one\ntwo")
    assert make_link("leaf", f"{path}#line=2") == f"{path.as_uri()}#line=2"


def test_a_name_of_bytes_is_linked(tmp_path):
    name = os.fsdecode(b"\xff.png")
    (tmp_path / name).write_bytes(b"x")
    assert make_link("image", tmp_path / name) == f"{tmp_path.as_uri()}/%FF.png"


@pytest.mark.parametrize(
    "item",
    [
        "javascript:alert(1)",
        "https://example.org/a.png",
        "none.png",
        "",
        "a\0.png",
        b"bytes",
        None,
        Path("/"),
        3,
    ],
)
def test_what_is_no_file_has_no_link(item):
    assert make_link("image", item) == ""


def test_texts_and_unknown_modalities_have_none(tmp_path):
    (tmp_path / "a").write_text("x")
    assert make_link("text", str(tmp_path / "a")) == make_link("unheard", str(tmp_path / "a")) == ""


def test_a_caption_is_the_link_with_its_address_escaped():
    item = GalleryItem(key='<b>"', modality="image", preview=Preview(fault="gone"), link='file:///"<a>')
    content = gallery_page([item], title="t")
    assert '<figcaption><bdi><a href="file:///&quot;&lt;a&gt;">&lt;b&gt;&quot;</a></bdi>' in content
