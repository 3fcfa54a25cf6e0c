"""The conformance suite on a modality whose files hold several items, and what it catches."""

from __future__ import annotations

from dataclasses import replace

import leaflets
import pytest

from mmencode.testing import EncoderConformance


@pytest.fixture(autouse=True)
def _installed(install):
    install(leaves=(leaflets.SPEC, *leaflets.SPECS))


class TestLeavesConform(EncoderConformance):
    spec = leaflets.SPECS[-1]


class _Leaves(EncoderConformance):
    spec = leaflets.SPECS[-1]


def test_a_count_that_is_one_too_many_is_caught(install):
    install(leaves=(replace(leaflets.SPEC, count="leaflets:one_too_many"), *leaflets.SPECS))
    with pytest.raises(Exception, match="it has 1 lines"):
        _Leaves().test_each_item_of_a_file_is_read_by_its_name()


def test_a_reader_that_takes_any_number_is_caught(install):
    install(leaves=(replace(leaflets.SPEC, reader="leaflets:read_any"), *leaflets.SPECS))
    with pytest.raises(AssertionError, match="was said to have 1 items"):
        _Leaves().test_each_item_of_a_file_is_read_by_its_name()
