from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import composing
import numpy as np
import pytest
import torch
from composing import FAMILY, OTHER, SOUND, TEXT, WIDE, anchored, declared, on_cpu
from torch.nn.functional import normalize

import mmencode
from mmencode import Embeddings, IdentityProjection, Limits, Linear, Runtime, Truncation, compose
from mmencode.encoder import identify
from mmencode.errors import (
    EncoderError,
    IdentityError,
    InputError,
    MissingPackageError,
    SpaceMismatchError,
    SpecError,
    UnknownModalityError,
    UnknownNameError,
)
from mmencode.projection import moments, whitening
from mmencode.testing import FakeText, sample_items

IMAGES = sample_items("image", 3)
KNOWN_TEXT = replace(TEXT, identity=identify(FakeText()))


@pytest.fixture(autouse=True)
def installed(install):
    install(words=(TEXT, SOUND), pictures=(OTHER, WIDE), family=(FAMILY,))


@pytest.fixture
def words():
    with on_cpu(TEXT, SOUND) as space:
        yield space


def with_into(projection, into):
    projection.into = into
    return projection


def linear(width, dim, into=""):
    return with_into(Linear(torch.eye(dim, width), torch.zeros(dim)), into)


def test_encoders_of_one_declared_space_are_that_space_under_another_name(words):
    mine = compose("mine", {"text": "words/text", "audio": "words/audio"})
    assert (mine.name, mine.modalities) == ("mine", ("text", "audio"))
    assert mine.card.fingerprint == words.card.fingerprint
    np.testing.assert_array_equal(mine.encode("text", ["a"]), words.encode("text", ["a"]))


def test_projection_leads_the_encoder_of_another_package_into_the_space(words):
    projection = anchored(words)
    mine = compose("mine", {"text": "words/text", "image": ("wide", projection)})
    features = torch.cat([torch.from_numpy(part.rows) for part in on_cpu(WIDE).features("image", IMAGES)])
    with torch.no_grad():
        expected = normalize(projection(features), dim=-1)
    np.testing.assert_allclose(mine.encode("image", IMAGES), expected, atol=1e-6)
    assert mine.dim == 8
    assert mmencode.similarity(mine.encode("image", IMAGES), mine.encode("text", ["a"])).shape == (3, 1)


@pytest.mark.parametrize("known", [False, True], ids=["found on loading", "declared"])
def test_encoder_may_be_given_by_its_name_its_spec_or_the_space_that_has_it(install, words, known):
    text, wide = (KNOWN_TEXT, declared(WIDE)) if known else (TEXT, WIDE)
    install(words=(text, SOUND), pictures=(wide,))
    way = anchored(words)
    first = compose("mine", {"text": "words/text", "image": ("wide", way)})
    for part in (text, words, mmencode.load("words"), first):
        image = first if part is first else (wide, way)
        other = compose("other", {"text": part, "image": image})
        assert other.card.fingerprint == first.card.fingerprint
        np.testing.assert_array_equal(other.encode("image", IMAGES), first.encode("image", IMAGES))


def test_labels_encoded_by_the_encoder_alone_lead_into_its_space(words):
    with on_cpu(TEXT) as alone:
        assert alone.id != words.id
        mine = compose("mine", {"text": "words/text", "image": ("wide", anchored(alone))})
    assert len(mine.encode("image", IMAGES)) == 3


@pytest.mark.parametrize("again", [False, True], ids=["composed", "loaded from its folder"])
def test_projection_of_a_space_s_encoder_is_replaced_by_another(words, tmp_path, again):
    mine = compose("mine", {"text": words, "image": ("wide", anchored(words))})
    mine.save(tmp_path / "mine")
    space = mmencode.load(tmp_path / "mine") if again else mine
    other = anchored(words, seed=1)
    found = compose("mine", {"text": words, "image": (space.spec("image"), other)})
    expected = compose("mine", {"text": words, "image": ("wide", other)})
    assert found.id == expected.id
    np.testing.assert_array_equal(found.encode("image", IMAGES), expected.encode("image", IMAGES))


def test_modality_is_added_to_a_composed_space(words):
    mine = compose("mine", {"text": "words/text"})
    more = compose("more", {"text": mine, "image": ("wide", anchored(mine))})
    most = compose("most", {"text": more, "image": more, "audio": (SOUND, linear(8, 8, into=more.id))})
    assert most.modalities == ("text", "image", "audio")
    assert len({mine.id, more.id, most.id}) == 3


@pytest.mark.parametrize("image", ["other", OTHER, "lib/any"])
def test_encoder_that_lives_elsewhere_is_refused_without_a_projection(image):
    with pytest.raises(
        SpaceMismatchError, match=r"text: words/text into words@.*; image: .* into .*@(.|\n)*fit a"
    ):
        compose("mine", {"text": "words/text", "image": image})


@pytest.mark.parametrize(
    ("projection", "others"),
    [
        (linear(12, 8), {}),
        (linear(12, 8), {"text": "words/text"}),
        (Truncation(8), {"text": "words/text"}),
        (IdentityProjection(), {"text": "words/text"}),
        (whitening(moments([(torch.randn(50, 12), torch.zeros(50, 1))]), 8), {"text": "words/text"}),
    ],
)
def test_projection_that_was_never_fitted_into_the_space_is_refused(projection, others):
    with pytest.raises(SpaceMismatchError, match=r"lead(.|\n)*mmencode.align"):
        compose("mine", {**others, "image": ("wide", projection)})


@pytest.mark.parametrize(
    "projection",
    [Truncation(8), IdentityProjection(), whitening(moments([(torch.randn(50, 12), torch.zeros(50, 1))]), 8)],
)
def test_features_of_one_encoder_make_a_space_whole_or_cut_or_whitened(projection, tmp_path):
    items = sample_items("image", 3)
    with compose("mine", {"image": ("wide", projection)}) as mine, on_cpu(WIDE) as wide:
        (part,) = wide.features("image", items)
        expected = normalize(projection(torch.from_numpy(part.rows)), dim=-1)
        np.testing.assert_allclose(mine.encode("image", items), expected, atol=1e-6)
        mine.save(tmp_path / "mine")
        assert mmencode.load(tmp_path / "mine").id == mine.id != wide.id


def test_projection_into_another_space_is_refused(words):
    into = f"other@{words.id.rpartition('@')[2][::-1]}"
    with pytest.raises(SpaceMismatchError, match=f"image: wide into {into}"):
        compose("mine", {"text": words, "image": ("wide", linear(12, 8, into=into))})


def test_projections_into_two_spaces_are_refused(words):
    parts = {
        "image": ("wide", linear(12, 8, into=words.id)),
        "audio": (SOUND, linear(8, 8, into=on_cpu(TEXT).id)),
    }
    with pytest.raises(SpaceMismatchError, match=r"image: wide into words@.*; audio: words/audio into"):
        compose("mine", parts)


def test_spec_that_only_says_that_it_is_of_a_space_is_none_of_it(words):
    own = replace(TEXT, name="own")
    assert own.space_name == "words"
    with pytest.raises(SpaceMismatchError, match="text: own into words@"):
        compose("mine", {"text": own, "audio": "words/audio"})


def test_projection_into_truncated_vectors_is_refused(words):
    into = words.encode("text", ["a"]).truncate(4, force=True).space
    with pytest.raises(SpaceMismatchError, match="first4"):
        compose("mine", {"text": words, "image": ("wide", linear(12, 8, into=into))})


def test_projection_of_other_features_is_refused_before_anything_is_loaded(words):
    wide = replace(WIDE, target="no_such_module:build")
    with pytest.raises(EncoderError, match=r"'wide' gives features of width 12, and its projection takes 7"):
        compose("mine", {"text": words, "image": (wide, linear(7, 8, into=words.id))})


def test_projection_of_other_features_is_refused_when_a_width_shows_on_loading(words):
    mine = compose("mine", {"text": "words/text", "image": ("lib/any", linear(7, 8, into=words.id))})
    with pytest.raises(
        EncoderError, match=r"'lib/any' gives features of width 12, and its projection takes 7"
    ):
        mine.encode("image", IMAGES)


def test_projection_of_another_width_than_the_space_is_refused(words):
    with pytest.raises(EncoderError, match="'mine' have widths text: 8, image: 5"):
        compose("mine", {"text": "words/text", "image": ("wide", linear(12, 5, into=words.id))})


def test_width_that_shows_on_loading_is_refused_then(words):
    projection = with_into(IdentityProjection(), words.id)
    mine = compose("mine", {"text": words, "image": ("lib/any", projection)})
    with pytest.raises(EncoderError, match=r"'mine' have widths \[8, 12\]"):
        mine.encode("image", IMAGES)


def test_encoder_of_another_modality_is_refused():
    with pytest.raises(
        SpecError, match=r"'words/audio' is for audio, not for image(.|\n)*give it as 'audio'"
    ):
        compose("mine", {"image": "words/audio"})


def test_unknown_names_are_said(words):
    with pytest.raises(UnknownNameError, match="did you mean words/text"):
        compose("mine", {"text": "words/texts"})
    with pytest.raises(UnknownModalityError, match="it has text, audio"):
        compose("mine", {"image": words})


@pytest.mark.parametrize("name", ["", "a@b", "my space", "lib/*", "../mine", "-"])
def test_space_has_a_proper_name(name):
    with pytest.raises(SpecError, match=r"can't be called(.|\n)*words of letters"):
        compose(name, {"text": "words/text"})


def test_space_has_an_encoder():
    with pytest.raises(ValueError, match="'mine' has no encoders"):
        compose("mine", {})


@pytest.mark.parametrize(
    "part",
    [None, Path("wide"), ("wide",), ("wide", "wide"), ("wide", None), [WIDE, WIDE, WIDE], Truncation(3)],
)
def test_what_is_no_encoder_is_said(part):
    with pytest.raises(TypeError, match=r"the encoder for image is .*: give its name"):
        compose("mine", {"image": part})


def test_declared_encoders_are_composed_without_being_loaded(install, words):
    nowhere = "no_such_module:build"
    text, wide = replace(KNOWN_TEXT, target=nowhere), replace(declared(WIDE), target=nowhere)
    install(words=(text,), pictures=(wide,))
    into = on_cpu(KNOWN_TEXT).id
    mine = compose("mine", {"text": "words/text", "image": ("wide", linear(12, 8, into=into))})
    assert (mine.dim, mine.modalities) == (8, ("text", "image"))
    assert mine.id.startswith("mine@")


def test_encoders_of_one_family_member_are_composed_without_being_loaded(install):
    family = [
        replace(FAMILY, target="no_such_module:build"),
        replace(FAMILY, name="lib-text/*", modality="text"),
    ]
    install(family=(family[0], replace(family[1], space="lib/*", target="no_such_module:build")))
    mine = compose("mine", {"image": "lib/one", "text": "lib-text/one"})
    assert mine.modalities == ("image", "text")


def test_member_of_a_family_is_found_to_be_where_a_projection_leads(install):
    text = replace(TEXT, name="lib-text/*", space="lib/*", dim=None, target="test_composition:any_text")
    install(family=(text,), pictures=(WIDE,))
    whole = mmencode.load("lib/one", device="cpu")
    mine = compose("mine", {"text": "lib-text/one", "image": ("wide", anchored(whole))})
    assert len(mine.encode("text", ["a"])) == 1


def any_text(variant):
    return FakeText()


def test_projection_takes_the_place_of_that_which_the_plugin_declares(install, words):
    own = declared(replace(WIDE, projection="test_composition:own_projection", dim=5))
    install(words=(TEXT, SOUND), pictures=(own,))
    assert mmencode.load("wide").dim == 5
    way = anchored(words)
    mine = compose("mine", {"text": "words/text", "image": ("wide", way)})
    plain = compose("mine", {"text": "words/text", "image": (WIDE, way)})
    np.testing.assert_array_equal(mine.encode("image", IMAGES), plain.encode("image", IMAGES))
    assert mine.id == plain.id


def own_projection():
    return linear(12, 5)


def test_change_of_a_projection_afterwards_changes_no_space(install, words):
    install(words=(TEXT,), pictures=(declared(WIDE),))
    projection = anchored(on_cpu(TEXT))
    mine = compose("mine", {"text": "words/text", "image": ("wide", projection)})
    expected = compose("mine", {"text": "words/text", "image": ("wide", projection)}).encode("image", IMAGES)
    projection.anchors.add_(1)
    np.testing.assert_array_equal(mine.encode("image", IMAGES), expected)


def test_weights_that_changed_since_they_were_declared_are_another_encoder(install, words, monkeypatch):
    install(words=(TEXT, SOUND), pictures=(declared(WIDE),))
    mine = compose("mine", {"text": "words/text", "image": ("wide", anchored(words))})
    real = composing.Wide.__init__
    monkeypatch.setattr(composing.Wide, "__init__", lambda self: (real(self), self.gain.data.add_(1e-6))[0])
    with pytest.raises(IdentityError, match="weights: declared"):
        mine.encode("image", IMAGES)


def test_spec_that_no_plugin_declares_is_composed_with_what_is_led_to_it():
    own = replace(TEXT, name="own", space="")
    with on_cpu(own) as alone:
        mine = compose("mine", {"text": own, "image": ("wide", anchored(alone))})
    assert len(mine.encode("image", IMAGES)) == 3
    with pytest.raises(SpaceMismatchError, match="text: own into own@"):
        compose("mine", {"text": own, "audio": "words/audio"})


def test_encoder_whose_space_lacks_a_package_says_so(install, words):
    install(words=(TEXT, replace(SOUND, requires=("no-such-package",))), pictures=(WIDE,))
    with pytest.raises(MissingPackageError, match="no-such-package"):
        compose("mine", {"text": "words/text", "image": ("wide", linear(12, 8, into=words.id))})


def test_vectors_of_composed_and_plain_spaces_of_one_width_are_never_compared(words):
    mine = compose("mine", {"text": "words/text", "image": ("wide", anchored(words))})
    theirs, ours = on_cpu(OTHER).encode("image", IMAGES), mine.encode("image", IMAGES)
    assert theirs.dim == ours.dim
    plain = words.encode("text", ["a"])
    uses = (
        mmencode.similarity,
        mmencode.search,
        lambda a, b: Embeddings.concatenate([a, b]),
        lambda a, b: mine.search(a, b),
    )
    for other in (theirs, plain):
        for use in uses:
            for pair in ((ours, other), (other, ours)):
                with pytest.raises(SpaceMismatchError):
                    use(*pair)
    assert mmencode.similarity(ours, mine.encode("text", ["a"])).shape == (3, 1)


def test_reservation_about_a_projection_stands_in_the_card(words):
    plain = compose("mine", {"text": words, "image": ("wide", anchored(words))})
    doubtful = anchored(words)
    doubtful.note = "not above chance on held-out pairs"
    forced = compose("mine", {"text": words, "image": ("wide", doubtful)})
    assert "not above chance on held-out pairs, sha256:" in str(forced.card)
    assert forced.id != plain.id


def test_options_are_those_of_the_space():
    runtime = Runtime("cpu", batch_size=3)
    mine = compose("mine", {"text": "words/text"}, runtime=runtime, limits=Limits(characters=3), fast=True)
    assert mine.runtime is runtime
    assert mine.fast
    with pytest.raises(InputError, match="the limit is 3"):
        mine.encode("text", ["abcd"])
