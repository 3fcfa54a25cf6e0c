"""Whatever JSON comes as input or messages, it becomes items, or an error that says where it is wrong."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmencode.serving.asking import Wanted
from mmencode.serving.faults import RequestError
from mmencode.serving.protocols.shapes import read_input, read_messages

_WORDS = st.sampled_from(
    [
        "type",
        "text",
        "image",
        "image_url",
        "audio_url",
        "input_audio",
        "url",
        "data",
        "format",
        "role",
        "user",
    ]
)
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | _WORDS
JSON = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_WORDS | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def require_items_or_error(read):
    error, found = None, []
    try:
        found = read()
    except RequestError as caught:
        error = caught
    if error is not None:
        place = error.param.split(".")[0]
        assert (error.status in (400, 422), place in ("input", "messages")) == (True, True)
        return
    for each in found if isinstance(found, list) else [found]:
        assert isinstance(each, Wanted)
        assert each.parts
        assert all(isinstance(part.value, str) for part in each.parts)


@given(JSON)
def test_any_input_is_items_or_an_error(value):
    require_items_or_error(lambda: read_input(value, "text", ""))


@given(st.lists(JSON | st.fixed_dictionaries({"role": st.just("user"), "content": JSON}), max_size=3))
def test_any_messages_are_an_item_or_an_error(messages):
    require_items_or_error(lambda: read_messages(messages, ""))
