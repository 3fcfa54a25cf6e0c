"""Whatever changes a space's vectors shows, also where no name or digest does."""

from __future__ import annotations

import hashlib
import math
import sys
from dataclasses import replace

import composing
import numpy as np
import pytest
import torch
from composing import SOUND, TEXT, WIDE, Wide, anchored, on_cpu
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import mmencode
from mmencode import Runtime, Space, compose
from mmencode.engine.generated import generated_items
from mmencode.errors import ClosedError, IdentityError, WeightsError
from mmencode.spaces.verification import Verification, largest_angle


@pytest.fixture(autouse=True)
def installed(install):
    install(words=(TEXT, SOUND), pictures=(WIDE,))


@pytest.fixture
def mine():
    with compose("mine", {"text": "words/text", "image": ("wide", anchored(on_cpu(TEXT, SOUND)))}) as space:
        yield space


@pytest.fixture
def folder(mine, tmp_path):
    mine.save(tmp_path / "mine")
    return tmp_path / "mine"


def other_resize(self, item):
    stripes = np.asarray(item.resize((8, 1), Image.Resampling.NEAREST), np.float32)
    return {"stripes": torch.from_numpy(stripes[0].mean(axis=1) / 255 + 0.01)}


@pytest.fixture
def change_weights(monkeypatch):
    def do(by):
        real = Wide.__init__
        monkeypatch.setattr(Wide, "__init__", lambda self: (real(self), self.gain.data[::2].add_(by))[0])

    return do


@pytest.fixture
def ship(install, tmp_path, monkeypatch):
    """Install the words' encoders with a card in their package, which is written by the space itself."""
    with on_cpu(TEXT, SOUND) as words:
        words.save(tmp_path / "saved")

    def do(card="shipped_words:card.json", change=lambda text: text):
        package = tmp_path / "shipped_words"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "card.json").write_text(change((tmp_path / "saved" / "card.json").read_text()))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "shipped_words", raising=False)
        install(words=(replace(TEXT, card=card), SOUND))
        return mmencode.load("words", device="cpu", dtype="float32")

    return do


def test_installed_space_is_compared_with_the_card_that_its_plugin_ships(ship):
    with ship() as words:
        found = words.verify()
        assert found.same
        assert set(found.angles) == {"text", "audio"}


def test_shipped_card_is_not_that_of_a_space_composed_of_its_encoders(ship):
    words = ship()
    refusal = pytest.raises(IdentityError, match="no vectors to compare with")
    with words, compose("mine", {"text": "words/text"}) as mine, refusal:
        mine.verify()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"card": "no_such_package:card.json"}, WeightsError, "EncoderSpec.card .* can't be found"),
        ({"card": "shipped_words:other.json"}, WeightsError, "there is no card of a space"),
        ({"change": lambda text: text[:-10]}, WeightsError, "can't be read"),
        ({"change": lambda text: text.replace('"dim": 8', '"dim": 9')}, IdentityError, "isn't as it was"),
    ],
)
def test_shipped_card_that_is_no_card_is_named(ship, options, error, words):
    with ship(**options) as found, pytest.raises(error, match=words):
        found.verify()


def test_unchanged_space_is_the_same(mine, folder):
    found = mine.verify(folder)
    assert found.same
    assert found.space == found.card == mine.id
    assert set(found.angles) == {"text", "image"}
    assert max(found.angles.values()) < 1e-3
    assert found.skipped == ()
    assert str(found).splitlines()[1].endswith("degrees at most: same")


def test_card_may_be_its_folder_its_file_itself_or_that_of_the_loaded_space(mine, folder):
    back = mmencode.load(folder)
    angles = mine.verify(folder).angles
    assert mine.verify(str(folder)).angles == angles
    assert mine.verify(folder / "card.json").angles == angles
    assert mine.verify(back.card).angles == angles
    assert back.verify().angles == angles


def test_other_resize_shows_where_no_digest_does(folder, monkeypatch):
    monkeypatch.setattr(composing.Wide, "preprocess", other_resize)
    with mmencode.load(folder) as back:
        assert len(back.encode("image", generated_items("image"))) == 4
        found = back.verify()
    assert not found.same
    assert found.angles["image"] > 0.5
    assert found.angles["text"] < 1e-3
    assert found.changes == {"text": (), "image": ()}
    assert "CHANGED, 0.1 is allowed" in str(found)


def test_other_weights_are_measured_and_named(folder, change_weights):
    change_weights(0.5)
    found = mmencode.load(folder).verify()
    assert not found.same
    assert found.angles["image"] > 0.1
    assert found.changes == {"text": (), "image": ("weights",)}
    assert "CHANGED, 0.1 is allowed; weights" in str(found)


def test_weights_that_hardly_turn_a_vector_are_others_all_the_same(folder, change_weights):
    change_weights(1e-6)
    found = mmencode.load(folder).verify()
    assert found.angles["image"] < found.tolerance
    assert found.changes["image"] == ("weights",)
    assert not found.same


def test_other_words_of_an_encoder_are_named(folder, monkeypatch):
    monkeypatch.setattr(Wide, "preprocessing", "as before, in other words")
    found = mmencode.load(folder).verify()
    assert found.changes["image"] == ("preprocessing",)
    assert not found.same


def test_other_projection_is_named(folder):
    parts = {"text": "words/text", "image": ("wide", anchored(on_cpu(TEXT, SOUND), seed=1))}
    found = compose("mine", parts).verify(folder)
    assert found.changes == {"text": (), "image": ("projection",)}
    assert found.angles["image"] > 0.1
    assert found.space != found.card


def test_device_and_dtype_of_the_space_do_not_matter(folder):
    parts = {"text": "words/text", "image": ("wide", anchored(on_cpu(TEXT, SOUND)))}
    space = compose("mine", parts, runtime=Runtime("cpu", "bfloat16", batch_size=1))
    found = space.verify(folder)
    assert found.same
    assert max(found.angles.values()) < 1e-3


def test_what_both_have_is_compared_and_the_rest_is_said(folder):
    with on_cpu(TEXT, SOUND) as words:
        found = words.verify(folder)
    assert found.same
    assert (set(found.angles), found.skipped) == ({"text"}, ("image",))
    assert "  image    not compared" in str(found)


def test_modality_whose_package_is_missing_is_skipped(install, folder):
    install(words=(TEXT, SOUND), pictures=(replace(WIDE, requires=("no-such-package",)),))
    found = mmencode.load(folder).verify()
    assert found.same
    assert (set(found.angles), found.skipped) == ({"text"}, ("image",))


def test_modality_that_only_a_plugin_knows_is_skipped(install, tmp_path):
    smell = replace(TEXT, name="nose", modality="smell")
    install(words=(TEXT, smell))
    with mmencode.load("words") as space:
        space.save(tmp_path / "words")
        found = space.verify(tmp_path / "words")
    assert (set(found.angles), found.skipped) == ({"text"}, ("smell",))


def test_card_without_vectors_is_refused(mine, folder):
    for card in (mine.card, replace(mmencode.load(folder).card, probes={}), None):
        with pytest.raises(IdentityError, match=r"has no vectors to compare with(.|\n)*Space\.save"):
            mine.verify(card)


def test_card_of_other_modalities_is_refused(folder):
    with Space("ears", [replace(SOUND, space="")]) as ears, pytest.raises(IdentityError, match="no vectors"):
        ears.verify(folder)


def test_card_that_is_not_there_is_said(mine, tmp_path):
    with pytest.raises(WeightsError, match=r"there is no card(.|\n)*nowhere"):
        mine.verify(tmp_path / "nowhere")


def test_space_of_another_width_has_changed(folder):
    with on_cpu(WIDE) as wide:
        found = wide.verify(folder)
    assert found.angles == {"image": 180.0}
    assert not found.same


def test_closed_space_is_not_verified(mine, folder):
    mine.close()
    with pytest.raises(ClosedError):
        mine.verify(folder)


def test_verifying_leaves_the_space_usable(mine, folder):
    before = mine.encode("text", ["a"])
    mine.verify(folder)
    np.testing.assert_array_equal(mine.encode("text", ["a"]), before)


@pytest.mark.parametrize(("angle", "same"), [(0.0, True), (0.1, True), (0.1001, False), (math.nan, False)])
def test_tenth_of_a_degree_is_allowed(angle, same):
    assert Verification("a@1", "a@1", {"text": angle}, {"text": ()}).same == same


@given(st.floats(-9, math.log10(180)).map(lambda exponent: 10**exponent), st.integers(0, 2**32))
def test_angles_are_measured_down_to_the_smallest(degrees, seed):
    first, second = np.linalg.qr(np.random.default_rng(seed).normal(size=(9, 2)))[0].T
    turned = math.cos(math.radians(degrees)) * first + math.sin(math.radians(degrees)) * second
    straight = np.stack([first, second])
    found = largest_angle(straight, np.stack([turned, second]))
    assert found == pytest.approx(degrees, rel=1e-3, abs=1e-6)


def test_probes_are_what_cards_were_made_of():
    total = hashlib.sha256()
    for text in generated_items("text"):
        total.update(text.encode())
    for image in generated_items("image"):
        total.update(np.asarray(image).tobytes())
    for sound in generated_items("audio"):
        total.update((sound.samples * 2**15).round().astype(np.int32).tobytes())
    message = "the generated items are others, so that every saved card would say that its space has changed"
    assert total.hexdigest() == PROBES, message


PROBES = "735edac07a80e7f51086be12fec5517b0d2057aeeeeb0648fbb622ce48edab01"
