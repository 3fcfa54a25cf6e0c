"""A space is loaded only where it is the one that vectors were made with."""

from __future__ import annotations

import pytest

import mmencode
from mmencode.errors import SpaceMismatchError
from mmencode.testing import fake_specs


def test_a_space_of_the_expected_id_is_loaded_whatever_its_name_is(install):
    install(fakes=fake_specs())
    with mmencode.load("fake") as space:
        found = space.id
    with mmencode.load("fake", id="photos@" + found.rpartition("@")[2]) as again:
        assert again.id == found


@pytest.mark.parametrize("expected", ["fake@0123456789abcdef", "fake", ""])
def test_another_id_is_refused_and_both_are_named(expected, install):
    install(fakes=fake_specs())
    with pytest.raises(SpaceMismatchError) as caught:
        mmencode.load("fake", id=expected)
    with mmencode.load("fake") as space:
        assert f"{space.id} here, and {expected!r} is expected" in str(caught.value)
