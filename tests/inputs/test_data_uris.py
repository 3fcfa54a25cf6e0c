"""Base64 and data: URIs are decoded strictly: one text for one sequence of bytes, within limits."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmencode.errors import InputError
from mmencode.inputs import Limits, data_uris
from mmencode.inputs.data_uris import is_data_uri, read_base64, read_data_uri

LIMITS = Limits()
CONTENT = b"\x89PNG and more"
ENCODED = base64.b64encode(CONTENT).decode()


@given(st.binary(min_size=1, max_size=200))
def test_bytes_come_back_as_they_were(content):
    assert read_base64(base64.b64encode(content).decode(), LIMITS) == content


@given(st.text("ABab01+/=-_ \n", min_size=1, max_size=12))
def test_what_is_read_is_the_one_text_for_its_bytes(text):
    try:
        content = read_base64(text, LIMITS)
    except InputError:
        return
    assert base64.b64encode(content).decode() == text


def test_bytes_of_many_pieces_come_back_as_they_were(monkeypatch):
    monkeypatch.setattr(data_uris, "_PIECE", 8)
    for count in range(1, 40):
        content = bytes(range(count))
        assert read_base64(base64.b64encode(content).decode(), LIMITS) == content


def test_padding_before_the_end_of_many_pieces_is_refused(monkeypatch):
    monkeypatch.setattr(data_uris, "_PIECE", 8)
    with pytest.raises(InputError, match="isn't valid"):
        read_base64("QUJDRA==QUJD", LIMITS)


@pytest.mark.parametrize(
    "text",
    ["QQ", "QQ=", "Q===", "QR==", "QQ==\n", "Q Q=", "QQ==QQ==", "_-8=", "é===", "====", "QQ=A", "\udc00QQ="],
)
def test_base64_that_isnt_canonical_is_refused(text):
    with pytest.raises(InputError, match="isn't valid"):
        read_base64(text, LIMITS)


def test_nothing_in_base64_is_refused():
    with pytest.raises(InputError, match="empty"):
        read_base64("", LIMITS)


def test_base64_beyond_the_limit_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(data_uris.binascii, "a2b_base64", None)
    with pytest.raises(InputError, match="more than 9 bytes") as caught:
        read_base64("QUJD" * 6, Limits(bytes=9))
    assert caught.value.fault == "limit"


@pytest.mark.parametrize("size", [8, 9, 10, 11])
def test_the_limit_is_exact(size):
    text = base64.b64encode(bytes(size)).decode()
    if size <= 9:
        assert len(read_base64(text, Limits(bytes=9))) == size
    else:
        with pytest.raises(InputError, match="more than 9 bytes"):
            read_base64(text, Limits(bytes=9))


@pytest.mark.parametrize(
    "head",
    [
        "data:image/png;base64,",
        "DATA:IMAGE/PNG;BASE64,",
        "data:;base64,",
        "data:application/octet-stream;base64,",
        "data:image/svg+xml;charset=utf-8;base64,",
    ],
)
def test_a_data_uri_gives_its_bytes(head):
    assert read_data_uri(head + ENCODED, "image", LIMITS) == CONTENT


@pytest.mark.parametrize(
    "head",
    [
        "data:image/png,",
        "data:image/png;base64",
        "data:image;base64,",
        "data: image/png;base64,",
        "data:image/png;base64;x=1,",
        "data:" + "a" * 600 + "/png;base64,",
        "data:image/png\r\n;base64,",
        "",
    ],
)
def test_another_data_uri_is_refused(head):
    with pytest.raises(InputError, match="no data: URI"):
        read_data_uri(head + ENCODED, "image", LIMITS)


def test_a_sound_is_refused_as_a_picture():
    with pytest.raises(InputError, match="media type"):
        read_data_uri("data:audio/wav;base64," + ENCODED, "image", LIMITS)


def test_a_modality_of_a_plugin_takes_any_media_type():
    assert read_data_uri("data:chemical/x-mdl;base64," + ENCODED, "molecule", LIMITS) == CONTENT


def test_errors_hold_nothing_of_the_input():
    secret = "c2VjcmV0LXNlY3JldC"
    for text in (
        f"data:image/{secret};base64,{secret}%",
        f"data:{secret},",
        f"data:audio/{secret};base64,QQ==",
    ):
        with pytest.raises(InputError) as caught:
            read_data_uri(text, "image", LIMITS)
        assert not re.search(secret, str(caught.value), re.IGNORECASE)


@pytest.mark.parametrize(
    ("text", "is_one"), [("data:,", True), ("DATA:x", True), ("a data:", False), ("", False)]
)
def test_a_data_uri_is_told_by_its_first_letters(text, is_one):
    assert is_data_uri(text) is is_one
