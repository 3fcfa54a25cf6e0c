from __future__ import annotations

import dataclasses
import pickle

import pytest

from mmencode.errors import SpecError
from mmencode.spec import EncoderSpec, Identity

GOOD = {"name": "a/b", "modality": "text", "target": "pkg.mod:build", "dim": 4}


def test_spec_is_frozen_hashable_and_picklable():
    spec = EncoderSpec(**GOOD, identity=Identity(weights="sha256:0"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "c"
    assert hash(spec) == hash(pickle.loads(pickle.dumps(spec)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a b"),
        ("name", "/a"),
        ("name", "*"),
        ("name", None),
        ("modality", "two words"),
        ("target", "pkg.mod"),
        ("target", "pkg.mod:"),
        ("target", "pkg mod:f"),
        ("projection", "nonsense"),
        ("dim", 0),
        ("dim", None),
        ("dim", 4.0),
        ("dim", True),
        ("space", "a/*"),
        ("space", "what ever"),
        ("aliases", "default"),
        ("aliases", ["default"]),
        ("requires", (1,)),
        ("identity", {"weights": "x"}),
        ("prompt", "a photo"),
        ("bf16_cosine", 2.0),
        ("bf16_cosine", "high"),
    ],
)
def test_malformed_field_is_named(field, value):
    with pytest.raises(SpecError, match=f"EncoderSpec.{field} is"):
        EncoderSpec(**{**GOOD, field: value})


def test_family_needs_no_dim_and_has_no_alias():
    family = EncoderSpec(name="lib/*", modality="image", target="p:f")
    assert family.is_family
    with pytest.raises(SpecError, match="aliases"):
        dataclasses.replace(family, aliases=("x",))


def test_member_of_a_family_fills_the_star_in_both_names():
    family = EncoderSpec(name="lib-image/*", space="lib/*", modality="image", target="p:f")
    member = family.member("ViT-B-32/laion2b")
    assert (member.name, member.space_name) == ("lib-image/ViT-B-32/laion2b", "lib/ViT-B-32/laion2b")
    assert member.variant == "ViT-B-32/laion2b"
    assert not member.is_family


def test_space_defaults_to_the_encoders_own_name():
    assert EncoderSpec(**GOOD).space_name == "a/b"
