"""A family whose checkpoints differ: the space of one has the modalities that its checkpoint has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mmencode
from mmencode.errors import EncoderError, SpecError, UnknownModalityError
from mmencode.plugins.spec import EncoderSpec
from mmencode.testing import FakeAudio, FakeImage, FakeText, sample_items

KINDS = {"text": FakeText, "image": FakeImage, "audio": FakeAudio}
SPECS = tuple(
    EncoderSpec(
        name=f"both/{modality}/*",
        modality=modality,
        target=f"{__name__}:build",
        offers=f"{__name__}:offers",
        space="both/*",
        shared=True,
    )
    for modality in KINDS
)
asked: list[str] = []


def build(variant, modalities):
    return {modality: KINDS[modality]() for modality in modalities}


def offers(variant):
    asked.append(variant)
    return {"nothing": (), "words": "text", "broken": 7}.get(variant, tuple(variant.split("-")))


@pytest.fixture(autouse=True)
def installed(install):
    asked.clear()
    install(both=SPECS)


def load(name):
    return mmencode.load(name, device="cpu", dtype="float32")


def test_a_space_has_the_modalities_of_its_checkpoint():
    with load("both/text-image") as space:
        assert space.modalities == ("image", "text")
        assert [tower.modality for tower in space.card.towers] == ["image", "text"]
        np.testing.assert_array_equal(
            space.encode("text", ["a"]).vectors, load("both/text").encode("text", ["a"]).vectors
        )
    assert asked == ["text-image", "text"]  # once for all encoders of a space


def test_interleaved_items_have_the_parts_that_the_checkpoint_has(install):
    mixed = replace(SPECS[0], name="both/mixed/*", modality="interleaved", parts=("audio", "image", "text"))
    install(both=(*SPECS, mixed))
    with load("both/text-image-interleaved") as space:
        assert space.modalities == ("image", "interleaved", "text")
        assert space.specs["interleaved"].parts == ("image", "text")


def test_a_modality_that_the_checkpoint_lacks_is_named_with_those_it_has():
    with (
        load("both/text-image") as space,
        pytest.raises(UnknownModalityError, match="nothing for 'audio'") as found,
    ):
        space.encode("audio", sample_items("audio"))
    assert "it takes image, text" in str(found.value)
    with pytest.raises(UnknownModalityError, match="nothing for 'audio'"):
        mmencode.load("both/text-image", modalities=("audio",), device="cpu")


def test_a_saved_space_asks_no_checkpoint_again(tmp_path):
    with load("both/text-image") as space:
        space.save(tmp_path / "saved")
        asked.clear()
        with mmencode.load(tmp_path / "saved", trust="names", device="cpu", dtype="float32") as again:
            assert again.modalities == ("image", "text")
            assert again.id == space.id
    assert not asked


@pytest.mark.parametrize(
    ("name", "error", "fact"),
    [
        ("nothing", UnknownModalityError, "nothing for"),
        ("words", EncoderError, "gave 'text'"),
        ("broken", EncoderError, "gave 7"),
    ],
)
def test_an_answer_without_modalities_is_an_error(name, error, fact):
    with pytest.raises(error, match=fact):
        load(f"both/{name}")


def test_only_families_offer():
    with pytest.raises(SpecError, match="offers"):
        replace(SPECS[0], name="both/text", space="both", dim=8)
    with pytest.raises(SpecError, match="offers"):
        replace(SPECS[0], offers="no target")
