"""Composites that a space of several towers declares as the weighted sum of its parts' vectors."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import mmencode
from mmencode import EncoderSpec, Runtime, Space
from mmencode.card import card_from_dict
from mmencode.errors import (
    ClosedError,
    EncoderError,
    InputError,
    NameClashError,
    SpaceMismatchError,
    SpecError,
    UnknownModalityError,
    UnknownNameError,
)
from mmencode.plugins.spec import Identity
from mmencode.testing import FakeImage, FakeText, fake_multi_specs, fake_omni_specs, fake_specs

FUSED = "image+text"
PHOTOS = [Image.new("RGB", (20 + n, 16), (255 - 30 * n, 40 * n, 7 * n)) for n in range(6)]
TEXTS = ["a", "bb", "a dress", "the same in a longer text", "!", "red and blue"]
ITEMS = list(zip(PHOTOS, TEXTS, strict=True))
EXACT = Runtime("cpu", "float32", batch_size=4, workers=2)


@pytest.fixture(scope="module")
def space():
    with Space("fake", fake_specs("fake"), runtime=EXACT) as space:
        yield space


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@settings(max_examples=15, deadline=None)
@given(weights=st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), scale=st.floats(0.01, 100))
def test_vector_is_the_normalised_weighted_sum_of_the_parts(space, weights, scale):
    fused = space.fuse(FUSED, [weight * scale for weight in weights])
    found = fused.encode(FUSED, ITEMS).vectors
    images, texts = (space.encode(m, items).vectors for m, items in (("image", PHOTOS), ("text", TEXTS)))
    np.testing.assert_allclose(found, unit(weights[0] * images + weights[1] * texts), atol=2e-6)
    assert fused.card.tower(FUSED).digest == space.fuse(FUSED, weights).card.tower(FUSED).digest


def test_absent_part_is_left_out(space):
    fused = space.fuse(FUSED, (1, 9))
    mixed = [(PHOTOS[0], None), (None, "a"), (PHOTOS[0], "a"), (None, "bb")]
    found = fused.encode(FUSED, mixed).vectors
    np.testing.assert_allclose(found[:1], space.encode("image", PHOTOS[:1]).vectors, atol=1e-6)
    np.testing.assert_allclose(found[[1, 3]], space.encode("text", ["a", "bb"]).vectors, atol=1e-6)
    for item, vector in zip(mixed, found, strict=True):
        np.testing.assert_allclose(fused.encode(FUSED, [item]).vectors[0], vector, atol=1e-6)


def test_bad_part_is_named_and_hurts_no_neighbour(space):
    fused = space.fuse(FUSED)
    found = fused.encode(FUSED, [ITEMS[0], (b"nothing", "a"), (PHOTOS[0], ""), ITEMS[1]], on_error="skip")
    assert [(error.index, error.fact[:14]) for error in found.errors] == [
        (1, "part 0 (image)"),
        (2, "part 1 (text):"),
    ]
    np.testing.assert_array_equal(found.vectors, fused.encode(FUSED, ITEMS[:2]).vectors)


def test_three_parts_and_a_part_twice_are_fused(space):
    sound = (np.sin(np.arange(4000)).astype(np.float32), 8000)
    found = space.fuse("audio+image+text", (1, 2, 3)).encode("audio+image+text", [(sound, PHOTOS[1], "a")])
    rows = [
        space.encode(*pair).vectors for pair in (("audio", [sound]), ("image", PHOTOS[1:2]), ("text", ["a"]))
    ]
    np.testing.assert_allclose(found.vectors, unit(rows[0] + 2 * rows[1] + 3 * rows[2]), atol=1e-6)
    twice = space.fuse("text+text").encode("text+text", [("a", "bb")]).vectors
    np.testing.assert_allclose(twice, unit(space.encode("text", ["a", "bb"]).vectors.sum(0)[None]), atol=1e-6)


def test_fusing_changes_neither_the_space_nor_its_id(space):
    before = space.card.to_dict()
    fused = space.fuse(FUSED, (3, 1))
    assert fused.id == space.id
    assert fused.card.fingerprint == space.card.fingerprint
    assert space.card.to_dict() == before
    assert FUSED not in space.specs
    np.testing.assert_array_equal(fused.encode("text", TEXTS).vectors, space.encode("text", TEXTS).vectors)
    assert mmencode.similarity(fused.encode(FUSED, ITEMS), space.encode("text", TEXTS)).shape == (6, 6)


def test_towers_of_the_parts_are_shared_with_the_space(space):
    fused = space.fuse(FUSED)
    fused.encode(FUSED, ITEMS[:1])
    assert fused.tower("image") is fused.tower(FUSED).parts[0]
    space.tower("image")
    assert space.fuse(FUSED).tower(FUSED).parts[0] is space.tower("image")


def test_card_says_the_weights_and_each_weighting_is_a_tower_of_its_own(space):
    towers = [space.fuse(FUSED, weights).card.tower(FUSED) for weights in ((1, 1), (2, 1), (4, 2))]
    assert "normalised sum of 0.5 image + 0.5 text" in towers[0].identity.pooling
    assert towers[0].digest != towers[1].digest == towers[2].digest
    assert "weighted sum, which joined" in str(space.fuse(FUSED).card)
    assert card_from_dict(space.fuse(FUSED).card.to_dict()).tower(FUSED) == towers[0]


@pytest.mark.parametrize("weights", [[], [0.5], "ab", [0.5, "many"], [1, True], None])
def test_card_with_damaged_weights_is_refused(space, weights):
    content = space.fuse(FUSED).card.to_dict()
    content["joined"][FUSED]["report"]["weights"] = weights
    with pytest.raises(ValueError, match="weights"):
        card_from_dict(content)


@pytest.mark.parametrize("weights", [(1,), (1, 2, 3), (1, 0), (1, -1), (1, float("nan")), (1, float("inf"))])
def test_weights_that_are_none_are_refused(space, weights):
    with pytest.raises(ValueError, match="a positive number for each of its 2 parts"):
        space.fuse(FUSED, weights)


def test_composite_that_cannot_be_fused_is_refused(space):
    with pytest.raises(ValueError, match="has no parts to fuse"):
        space.fuse("text")
    with pytest.raises(UnknownModalityError, match="no encoder for 'smell'"):
        space.fuse("smell+text")
    with Space("omni", fake_omni_specs("omni")) as omni:
        with pytest.raises(SpaceMismatchError, match="as a whole"):
            omni.fuse(FUSED)
        assert omni.fuse("text+image").modalities[-1] == "text+image"
    with Space("late", fake_multi_specs("late")) as late, pytest.raises(EncoderError, match="many vectors"):
        late.fuse(FUSED)
    with pytest.raises(ClosedError):
        late.fuse(FUSED)


def test_fused_space_travels_and_is_copied(space):
    fused = space.fuse(FUSED, (1, 3))
    expected = fused.encode(FUSED, ITEMS).vectors
    for other in (pickle.loads(pickle.dumps(fused)), copy.copy(fused), fused.exact()):
        assert other.id == fused.id
        np.testing.assert_allclose(other.encode(FUSED, ITEMS).vectors, expected, atol=1e-6)


def test_fused_space_is_saved_and_loaded(install, tmp_path):
    install(fake=fake_specs("fake"))
    with mmencode.load("fake", device="cpu", dtype="float32") as space:
        fused = space.fuse(FUSED, (1, 3))
        fused.save(tmp_path / "fused")
        expected, digest = fused.encode(FUSED, ITEMS).vectors, fused.card.tower(FUSED).digest
    with mmencode.load(tmp_path / "fused", device="cpu", dtype="float32") as back:
        np.testing.assert_array_equal(back.encode(FUSED, ITEMS).vectors, expected)
        assert back.card.tower(FUSED).digest == digest
        assert back.verify().same
    with mmencode.load(tmp_path / "fused", modalities=(FUSED,)) as only:
        assert {*only.modalities} == {"text", "image", FUSED}


def test_fused_space_goes_on_without_a_part_that_is_gone():
    specs = [*fake_specs("fake")]
    fused = EncoderSpec(name="sum", modality="image+smell", target="", joins="fake", weights=(0.5, 0.5))
    with Space("fake", [*specs, fused]) as space:
        assert space.modalities == ("text", "image", "audio")
        assert len(space.encode("text", ["a"])) == 1
        with pytest.raises(UnknownModalityError, match=r"image\+smell can't be fused"):
            space.encode("image+smell", [(PHOTOS[0], "a")])


@pytest.mark.parametrize(
    "fields",
    [
        {"weights": (0.5,)},
        {"weights": (0.5, 0.0)},
        {"weights": (1, 2)},
        {"weights": [0.5, 0.5]},
        {"modality": "text"},
        {"joins": ""},
        {"target": "a:b"},
        {"projection": "a:b"},
        {"identity": Identity()},
    ],
)
def test_spec_with_weights_that_do_not_fit_is_refused(fields):
    given = {"modality": FUSED, "weights": (0.5, 0.5), "joins": "fake", **fields}
    assert EncoderSpec(name="sum", target="", modality=FUSED, weights=(0.5, 0.5), joins="fake").weights
    with pytest.raises(SpecError):
        EncoderSpec(name="sum", **{"target": "", **given})


class Opposite(FakeImage):
    def forward(self, tensors):
        return -torch.ones(len(tensors["stripes"]), 8)


class Ones(FakeText):
    def forward(self, tensors):
        return torch.ones(len(tensors["hidden"]), 8)


class Nothing(FakeText):
    def forward(self, tensors):
        return torch.zeros(len(tensors["hidden"]), 8)


@pytest.mark.parametrize("text", [Ones, Nothing])
def test_parts_that_cancel_out_or_have_no_direction_are_an_error_of_their_item(text):
    specs = [
        replace(spec, target=f"{__name__}:{kind.__name__}")
        for spec, kind in zip(fake_specs("fake")[:2], (text, Opposite), strict=True)
    ]
    with Space("fake", specs, runtime=EXACT) as plain:
        fused = plain.fuse(FUSED)
        found = fused.encode(FUSED, [ITEMS[0], (PHOTOS[0], None)], on_error="skip")
        assert found.positions.tolist() == [1]
        assert "no direction" in found.errors[0].fact
        with pytest.raises(InputError, match="no direction"):
            fused.encode(FUSED, [(PHOTOS[0], None), ITEMS[0]])


def test_long_batches_keep_their_order(space):
    fused = space.fuse(FUSED)
    items = [(PHOTOS[n % 6] if n % 5 else None, TEXTS[n % 4] * (1 + n % 3)) for n in range(70)]
    expected = np.concatenate([fused.encode(FUSED, [item]).vectors for item in items])
    np.testing.assert_allclose(fused.encode(FUSED, items).vectors, expected, atol=1e-6)
    streamed = np.concatenate([part.vectors for part in fused.stream(FUSED, iter(items), chunk=16)])
    np.testing.assert_allclose(streamed, expected, atol=1e-6)


class Asked(FakeText):
    preprocessing = "characters of a question"

    def preprocess(self, item):
        return super().preprocess(f"query: {item}")


def test_queries_are_fused_of_the_queries_sides_of_their_parts():
    asked = replace(fake_specs("fake")[0], name="fake/asked", role="query", target=f"{__name__}:Asked")
    with Space("fake", [*fake_specs("fake"), asked], runtime=EXACT) as plain:
        fused = plain.fuse(FUSED, (1, 2))
        image = plain.encode("image", PHOTOS[:1]).vectors
        for role in ("", "query"):
            text = plain.encode("text", ["a"], role=role).vectors
            found = fused.encode(FUSED, [(PHOTOS[0], "a")], role=role).vectors
            np.testing.assert_allclose(found, unit(image + 2 * text), atol=1e-6)
        assert fused.id == plain.id
        assert card_from_dict(fused.card.to_dict()).tower(f"{FUSED}:query").role == "query"
        with pytest.raises(TypeError, match="one item"):
            fused.encode(f"{FUSED}:query", (PHOTOS[0], "a"))


def test_part_that_is_replaced_is_another_one_in_the_sum(space):
    fused = space.fuse(FUSED)
    again = space.fuse(FUSED, (1, 5))
    assert fused.fuse(FUSED, (1, 5)).card.tower(FUSED) == again.card.tower(FUSED)
    assert [key for key in fused.fuse(FUSED, (1, 5)).keys if key == FUSED] == [FUSED]


def declared(weights=(1.0, 3.0), name="dresses/sum", **fields):
    """The sum that a plugin declares in a space of another's."""
    given = {"modality": FUSED, "joins": "fake", "target": "", "weights": weights, **fields}
    return EncoderSpec(name=name, **given)


def load_fake():
    return mmencode.load("fake", device="cpu", dtype="float32")


def test_sum_that_a_plugin_declares_is_the_same_as_one_that_the_caller_declares(install, tmp_path):
    install(fake=fake_specs("fake"))
    with load_fake() as plain:
        fused = plain.fuse(FUSED, (1, 3))
        expected, id, digest = fused.encode(FUSED, ITEMS).vectors, plain.id, fused.card.tower(FUSED).digest
    install(fake=fake_specs("fake"), dresses=(declared(),))
    assert not mmencode.registry().left_out
    with load_fake() as space:
        assert space.id == id
        assert space.card.tower(FUSED).digest == digest
        np.testing.assert_array_equal(space.encode(FUSED, ITEMS).vectors, expected)
        assert space.fuse(FUSED, (2, 1)).card.tower(FUSED).digest != digest
        space.save(tmp_path / "saved")
    install(fake=fake_specs("fake"))  # the sum needs nothing of its plugin
    with mmencode.load(tmp_path / "saved", device="cpu", dtype="float32") as back:
        assert back.card.tower(FUSED).digest == digest
        np.testing.assert_array_equal(back.encode(FUSED, ITEMS).vectors, expected)


def test_sum_that_a_plugin_declares_has_a_side_for_queries_where_its_parts_have_one(install):
    asked = replace(fake_specs("fake")[0], name="fake/asked", role="query", target=f"{__name__}:Asked")
    install(fake=(*fake_specs("fake"), asked), dresses=(declared(),))
    with load_fake() as space:
        image = space.encode("image", PHOTOS[:1]).vectors
        for role in ("document", "query"):
            text = space.encode("text", ["a"], role=role).vectors
            found = space.encode(FUSED, [(PHOTOS[0], "a")], role=role).vectors
            np.testing.assert_allclose(found, unit(image + 3 * text), atol=1e-6)
    with mmencode.load("fake", modalities=("text",)) as part:
        assert part.modalities == ("text",)


def test_two_plugins_that_declare_a_sum_are_named_and_the_caller_chooses(install):
    install(fake=fake_specs("fake"), dresses=(declared(),), shoes=(declared((1.0, 1.0), "shoes/sum"),))
    with load_fake() as space:
        assert len(space.encode("text", ["a"])) == 1
        with pytest.raises(NameClashError, match=r"space.fuse\('image\+text', weights=\(1.0, 3.0\)\)"):
            space.encode(FUSED, ITEMS)
        assert len(space.fuse(FUSED).encode(FUSED, ITEMS)) == len(ITEMS)


@pytest.mark.parametrize(
    ("specs", "fields", "error", "words"),
    [
        (fake_specs, {"modality": "image+smell"}, UnknownModalityError, "no encoder for 'smell'"),
        (fake_omni_specs, {}, NameClashError, "defines image\\+text there"),
        (fake_multi_specs, {}, SpecError, "gives each item one vector"),
        (fake_multi_specs, {"outputs": "many"}, EncoderError, "many vectors each, and a sum takes one"),
    ],
)
def test_sum_that_cannot_be_is_left_out_with_the_reason_and_hurts_nobody(
    install, specs, fields, error, words
):
    install(fake=specs("fake"), dresses=(declared(**fields),))
    with load_fake() as space:
        verb = space.encode_multi if specs is fake_multi_specs else space.encode
        assert len(verb("text", ["a"])) == 1
        if error is NameClashError:
            assert words.replace("\\", "") in str(mmencode.registry().left_out[0].error)
            assert len(space.encode(FUSED, ITEMS)) == len(ITEMS)
            return
        with pytest.raises(error, match=words):
            space.encode(fields.get("modality", FUSED), ITEMS)


def test_sum_is_no_encoder_to_join_compose_or_load(install):
    install(fake=fake_specs("fake"), dresses=(declared(),))
    remedy = r"space.fuse\('image\+text', weights=\(1.0, 3.0\)\)"
    with load_fake() as space:
        with pytest.raises(SpaceMismatchError, match=remedy):
            space.join({FUSED: "dresses/sum"})
        with pytest.raises(SpaceMismatchError, match=remedy):
            mmencode.compose("mine", {"text": "fake/text", FUSED: "dresses/sum"})
        mine = mmencode.compose("mine", {"text": space, "image": space, FUSED: space})
        np.testing.assert_allclose(
            mine.encode(FUSED, ITEMS).vectors, space.encode(FUSED, ITEMS).vectors, atol=1e-6
        )
    with pytest.raises(UnknownNameError, match="joins the space 'fake'"):
        mmencode.load("dresses/sum")


def test_weights_that_were_rounded_up_stay_what_they_are_when_saved(install, tmp_path):
    install(fake=fake_specs("fake"))
    with load_fake() as space:
        fused = space.fuse("audio+image+text", (1, 1, 4))
        fused.save(tmp_path / "saved")
        digest = fused.card.tower("audio+image+text").digest
    with mmencode.load(tmp_path / "saved") as back:
        assert back.card.tower("audio+image+text").digest == digest
