from __future__ import annotations

import dataclasses
import pickle
import sys

import pytest

from mmencode.errors import SpecError
from mmencode.plugins.spec import EncoderSpec, Identity

GOOD = {"name": "a/b", "modality": "text", "target": "pkg.mod:build", "dim": 4}
FAMILY = EncoderSpec(name="lib/*", modality="image", target="p:f")


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
        ("catalogue", "a:b.tsv"),
        ("card", "card.json"),
        ("card", None),
        ("catalogue", None),
    ],
)
def test_malformed_field_is_named(field, value):
    with pytest.raises(SpecError, match=f"EncoderSpec.{field} is"):
        EncoderSpec(**{**GOOD, field: value})


def test_family_needs_no_dim_and_has_no_alias():
    assert FAMILY.is_family
    with pytest.raises(SpecError, match="aliases"):
        dataclasses.replace(FAMILY, aliases=("x",))


def test_member_of_a_family_fills_the_star_in_both_names():
    family = EncoderSpec(name="lib-image/*", space="lib/*", modality="image", target="p:f")
    member = family.member("ViT-B-32/laion2b")
    assert (member.name, member.space_name) == ("lib-image/ViT-B-32/laion2b", "lib/ViT-B-32/laion2b")
    assert member.variant == "ViT-B-32/laion2b"
    assert not member.is_family


@pytest.mark.parametrize("resource", ["pkg", "pkg:", ":names.tsv", "pkg:../names.tsv", "pkg:/names.tsv"])
def test_catalogue_is_a_file_inside_a_package(resource):
    with pytest.raises(SpecError, match=r'EncoderSpec.catalogue is .*\n.*\n.*"package:file"'):
        dataclasses.replace(FAMILY, catalogue=resource)


@pytest.fixture
def catalogue(tmp_path, monkeypatch):
    """The family of a package whose catalogue holds these words."""

    def make(words: str) -> EncoderSpec:
        package = tmp_path / "listed"
        (package / "lists").mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "lists" / "names.tsv").write_text(words, "utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "listed", raising=False)
        return dataclasses.replace(FAMILY, space="lib-space/*", catalogue="listed:lists/names.tsv")

    return make


def test_members_are_those_of_the_catalogue_with_their_dims(catalogue):
    family = catalogue("# lib 1.0\nsmall\t8\n\nlarge/v2\n")
    small, large = family.members()
    assert (small.name, small.space, small.variant, small.dim) == ("lib/small", "lib-space/small", "small", 8)
    assert (large.name, large.dim) == ("lib/large/v2", None)
    assert small.catalogue == large.catalogue == ""
    assert small.members() == FAMILY.members() == ()


@pytest.mark.parametrize("words", ["small\teight\n", "small 8\t8\t8", "\t8"])
def test_malformed_catalogue_is_an_error_of_the_declaration(catalogue, words):
    with pytest.raises(SpecError, match=r"listed:lists/names.tsv.*can't be read(.|\n)*'lib/\*'"):
        catalogue(words).members()


@pytest.mark.parametrize("resource", ["no_such_package:names.tsv", "mmencode:no-such-file.tsv"])
def test_catalogue_that_is_not_there_is_an_error_only_when_it_is_asked_for(resource):
    family = dataclasses.replace(FAMILY, catalogue=resource)
    assert family.member("small").name == "lib/small"
    with pytest.raises(SpecError, match=r"can't be read: \w*NotFoundError"):
        family.members()


def test_space_defaults_to_the_encoders_own_name():
    assert EncoderSpec(**GOOD).space_name == "a/b"
