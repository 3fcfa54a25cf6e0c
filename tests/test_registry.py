from __future__ import annotations

from dataclasses import replace

import pytest

import mmencode
from mmencode.errors import NameClashError, NoDefaultSpaceError, UnknownNameError
from mmencode.plugins.spec import EncoderSpec
from mmencode.testing import fake_specs

FAMILY = EncoderSpec(name="lib/*", modality="image", target="p:f")
FAKE = fake_specs()
DEFAULT = tuple(replace(spec, aliases=("default",)) for spec in FAKE)


def test_registry_is_a_read_only_mapping_from_name_to_spec(make_registry):
    registry = make_registry(a=FAKE, b=(FAMILY,))
    assert list(registry) == ["fake/audio", "fake/image", "fake/text", "lib/*"]
    assert len(registry) == 4
    assert registry["fake/text"].modality == "text"
    with pytest.raises(TypeError):
        registry["x"] = FAMILY
    assert "lib/resnet18" in registry
    assert "nonsense" not in registry
    assert registry.get("nonsense") is None
    assert registry.distribution("fake/text") == "a"
    assert registry.distribution("lib/x") == "b"
    with pytest.raises(UnknownNameError):
        registry.distribution("nonsense")
    assert len(registry) == 4


def test_member_of_a_family_has_its_own_name_and_space(make_registry):
    registry = make_registry(a=(FAMILY,))
    assert registry["lib/resnet18"].variant == "resnet18"
    assert registry.space("lib/resnet18")[0].space_name == "lib/resnet18"


def test_longest_family_wins(make_registry):
    registry = make_registry(a=(FAMILY, replace(FAMILY, name="lib/deep/*")))
    assert registry["lib/deep/x"].variant == "x"
    assert registry["lib/other"].variant == "other"


def test_family_without_a_member_is_no_encoder(make_registry):
    with pytest.raises(UnknownNameError):
        make_registry(a=(FAMILY,))["lib/"]


def test_space_gathers_its_encoders_by_name_and_alias(make_registry):
    registry = make_registry(a=DEFAULT)
    assert [spec.modality for spec in registry.space("fake")] == ["audio", "image", "text"]
    assert registry.space("default") == registry.space("fake")
    assert registry.spaces == ("fake",)


def test_unknown_name_suggests_the_nearest_and_says_why_the_plugin_of_that_name_failed(make_registry):
    registry = make_registry(**{"a": FAKE, "mmencode-fakes": RuntimeError("boom"), "b": RuntimeError("bang")})
    with pytest.raises(
        UnknownNameError, match=r"fake/txt(.|\n)*mmencode-fakes(.|\n)*boom(.|\n)*fake/text"
    ) as why:
        registry["fake/txt"]
    assert "bang" not in str(why.value)
    assert "1 plugin was set aside: `mmencode plugins` shows why" in str(why.value)
    with pytest.raises(UnknownNameError, match=r"did you mean fake"):
        registry.space("fakes")


def test_one_mistyped_name_does_not_print_the_causes_of_a_dozen_plugins(make_registry):
    broken = {f"broken{number}": RuntimeError("x" * 10_000) for number in range(12)}
    with pytest.raises(UnknownNameError) as why:
        make_registry(a=FAKE, **broken)["fake/txt"]
    assert why.value.culprit == "12 plugins were set aside: `mmencode plugins` shows why"
    assert len(str(why.value)) < 300


def test_a_name_that_nobody_has_says_nothing_of_plugins_when_all_are_well(make_registry):
    with pytest.raises(UnknownNameError) as why:
        make_registry(a=FAKE)["fake/txt"]
    assert why.value.culprit == ""


def test_clash_is_raised_on_use_and_names_both_distributions(make_registry):
    registry = make_registry(first=FAKE, second=(FAKE[0],), third=(FAMILY,))
    assert registry["lib/x"].variant == "x"
    for use in (
        lambda: registry["fake/text"],
        lambda: registry.space("fake"),
        lambda: registry.distribution("fake/text"),
    ):
        with pytest.raises(NameClashError, match="first and second"):
            use()


def test_space_of_two_distributions_is_a_clash_even_for_other_modalities(make_registry):
    smell = EncoderSpec(name="nose", modality="smell", target="p:f", dim=8, space="fake")
    registry = make_registry(first=FAKE, second=(smell,))
    with pytest.raises(NameClashError, match="first and second"):
        registry.space("fake")
    assert registry["fake/text"]


def test_two_defaults_are_a_clash(make_registry):
    other = tuple(replace(spec, name=f"x{spec.name}", space="other") for spec in DEFAULT)
    registry = make_registry(first=DEFAULT, second=other)
    with pytest.raises(NameClashError, match="'default' is declared by first and second"):
        registry.space(registry.default_space())
    assert len(registry.space("other")) == 3


def test_alias_that_is_another_distributions_space_is_a_clash(make_registry):
    registry = make_registry(first=FAKE, second=(replace(FAKE[0], name="x", space="y", aliases=("fake",)),))
    with pytest.raises(NameClashError):
        registry.space("fake")


def test_default_is_the_one_called_so_or_the_only_one(make_registry):
    other = (replace(FAKE[0], name="other", space=""),)
    assert make_registry(a=DEFAULT, b=other).default_space() == "default"
    assert make_registry(a=FAKE, b=(FAMILY,)).default_space() == "fake"
    with pytest.raises(NoDefaultSpaceError, match=r"name one of fake, other"):
        make_registry(a=FAKE, b=other).default_space()
    with pytest.raises(NoDefaultSpaceError, match=r"pip install"):
        make_registry(b=(FAMILY,)).default_space()


def test_installed_registry_is_found_once_and_can_be_found_again():
    assert mmencode.registry() is mmencode.registry()
    before = mmencode.registry()
    mmencode.registry.cache_clear()
    assert mmencode.registry() is not before
