"""The checks of sides, instructions and widths pass what keeps the contract, and catch what breaks it."""

from __future__ import annotations

from dataclasses import replace
from unittest import SkipTest

import pytest
import torch
from test_roles import Asking, separate, spec, trunk

from mmencode.testing import EncoderConformance, FakeText, fake_specs

BOTH = "test_each_side_has_its_own_vectors_beside_the_other"
INSTRUCTION = "test_an_instruction_changes_the_vectors"
WIDTHS = "test_vectors_can_be_cut_to_each_declared_width"


def mingled(modalities, instruction=""):
    """Both sides are one encoder, which has the prompt of the last."""
    one = Asking(trunk(), "passage: " if modalities == ("text",) else "query: ")
    return dict.fromkeys(modalities, one)


def deaf(modalities, instruction=""):
    """An instruction is taken, and forgotten."""
    return {key: Asking(trunk(), "query: ") for key in modalities}


class Nested(FakeText):
    """A text encoder whose first numbers tell texts apart."""

    widths = (2, 4)


class Wide(FakeText):
    """A text encoder that declares a width which its vectors don't have."""

    widths = (2, 16)


class Behind(FakeText):
    """A text encoder whose first numbers are the same for all texts."""

    widths = (2,)

    def forward(self, tensors):
        found = super().forward(tensors)
        return torch.cat([torch.ones_like(found[:, :2]), found[:, 2:]], dim=1)


@pytest.fixture
def check(install):
    """Run one check of an encoder, whose space has these specs installed."""

    def do(name, asked, *others):
        install(two=(asked, *others))

        class Suite(EncoderConformance):
            spec = asked

        try:
            getattr(Suite(), name)()
        finally:
            Suite.teardown_class()

    return do


def broken(role="", **changes):
    return replace(spec(role), target=f"test_conformance_of_sides:{changes['target']}")


def test_sides_that_keep_apart_pass(check):
    check(BOTH, spec(), spec("query"))
    check(BOTH, spec("query"), spec())
    check(BOTH, *separate())
    with pytest.raises(SkipTest):
        check(BOTH, spec())


def test_sides_that_share_one_encoder_are_caught(check):
    with pytest.raises(AssertionError, match="beside 'two/query'"):
        check(BOTH, broken(target="mingled"), broken("query", target="mingled"))


def test_an_instruction_that_is_heeded_passes_and_one_forgotten_is_caught(check):
    check(INSTRUCTION, spec("query"))
    with pytest.raises(SkipTest):
        check(INSTRUCTION, spec())
    with pytest.raises(AssertionError, match="changes no vector"):
        check(INSTRUCTION, broken("query", target="deaf"))


def nested(target, **changes):
    return replace(fake_specs()[0], target=f"test_conformance_of_sides:{target}", **changes)


def test_widths_that_suffice_pass_and_others_are_caught(check):
    check(WIDTHS, nested("Nested"))
    check(WIDTHS, replace(fake_specs()[0], widths=(2, 4)))
    with pytest.raises(SkipTest):
        check(WIDTHS, fake_specs()[0])
    with pytest.raises(AssertionError, match=r"widths are \(2, 16\), and vectors have 8 numbers"):
        check(WIDTHS, nested("Wide"))
    with pytest.raises(AssertionError, match="one vector at a width of 2"):
        check(WIDTHS, nested("Behind"))
