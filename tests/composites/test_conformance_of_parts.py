"""Each check of composites catches the encoder that breaks what it protects."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
import torch
from torch import nn

from mmencode.encoder import pad_rows
from mmencode.errors import InputError
from mmencode.plugins.spec import EncoderSpec
from mmencode.testing import EncoderConformance, FakeFused, sample_items

SPEC = EncoderSpec(name="zoo", modality="image+text", target=f"{__name__}:ZOO.build", dim=8)
INTERLEAVED = replace(SPEC, modality="interleaved", parts=("image", "text"))


class ZOO:
    """Where the encoder under test is put, so that a spec's target can name it."""

    kind: type[FakeFused] = FakeFused
    modality = "image+text"

    @classmethod
    def build(cls) -> FakeFused:
        network = nn.Linear(8, 8, bias=False)
        network.weight = nn.Parameter(torch.diag(torch.linspace(1, 2, 8)))
        return cls.kind(network, cls.modality)


class IgnoresTheText(FakeFused):
    def preprocess(self, item):
        image, text = item
        return super().preprocess((image, text and "the same"))


class NeedsAll(FakeFused):
    def preprocess(self, item):
        image, text = item
        return super().preprocess((image.copy(), text.strip()))


class RefusesWithReason(FakeFused):
    def preprocess(self, item):
        if None in item:
            raise InputError("it needs both", source="", remedy="give both")
        return super().preprocess(item)


class BorrowsFromTheNeighbour(FakeFused):
    def collate(self, items):
        longest = max((item["parts"] for item in items), key=len)
        filled = [torch.cat([item["parts"], longest[len(item["parts"]) :]]) for item in items]
        return super().collate([{"parts": parts} for parts in filled])


class MeanOverAbsent(FakeFused):
    def collate(self, items):
        parts, mask = pad_rows([item["parts"] for item in items], value=0.5)
        return {"parts": parts, "mask": torch.ones_like(mask)}


class FirstOfEach(FakeFused):
    def preprocess(self, item):
        return super().preprocess(list({name: (name, part) for name, part in reversed(item)}.values()))


class ScribblesOnAPart(FakeFused):
    def preprocess(self, item):
        image, text = item
        if image is not None:
            image.putpixel((0, 0), (1, 2, 3))
        return super().preprocess((image, text))


CAUGHT_BY = [
    (IgnoresTheText, SPEC, "every_part_counts"),
    (NeedsAll, SPEC, "absent_part_is_left_out_or_refused"),
    (BorrowsFromTheNeighbour, SPEC, "items_with_other_parts_are_no_neighbours_in_a_vector"),
    (MeanOverAbsent, SPEC, "items_with_other_parts_are_no_neighbours_in_a_vector"),
    (FirstOfEach, INTERLEAVED, "parts_that_repeat_count"),
    (ScribblesOnAPart, SPEC, "preprocess_leaves_its_item_alone"),
]


@pytest.fixture
def conformance(monkeypatch):
    def make(encoder, spec):
        monkeypatch.setattr(ZOO, "kind", encoder)
        monkeypatch.setattr(ZOO, "modality", spec.modality)
        spec = replace(spec, name=f"zoo-{encoder.__name__}")
        return type("Suite", (EncoderConformance,), {"spec": spec})()

    yield make
    EncoderConformance.teardown_class()


@pytest.mark.parametrize(
    ("encoder", "spec", "check"), CAUGHT_BY, ids=lambda value: getattr(value, "__name__", None)
)
def test_broken_encoder_is_caught_by_the_check_that_should(conformance, encoder, spec, check):
    getattr(conformance(FakeFused, spec), f"test_{check}")()
    suite = conformance(encoder, spec)
    with contextlib.suppress(Exception):  # as other checks do before it
        suite.encode(suite.samples())
    with pytest.raises(AssertionError):
        getattr(suite, f"test_{check}")()


def test_encoder_that_refuses_absent_parts_with_a_reason_keeps_the_contract(conformance):
    suite = conformance(RefusesWithReason, SPEC)
    suite.test_absent_part_is_left_out_or_refused()
    suite.test_items_with_other_parts_are_no_neighbours_in_a_vector()


@pytest.mark.parametrize(("modality", "parts"), [("image+text", ()), ("interleaved", ("audio", "text"))])
def test_sample_items_of_a_composite_have_a_sample_of_each_part(modality, parts):
    items = sample_items(modality, 4, parts=parts)
    texts = sample_items("text", 4)
    assert len(items) == 4
    assert [item[1] for item in items] == (texts if not parts else [("text", text) for text in texts])
