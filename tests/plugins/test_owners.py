"""Whose a name is: a newcomer is set aside by what it claims of others, and those don't notice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from distributions import hook, spec

import mmencode
from mmencode.errors import NameClashError, NoDefaultSpaceError, PluginError
from mmencode.plugins.owners import HOMES
from mmencode.plugins.spec import EncoderSpec
from mmencode.testing import fake_specs

PLAIN = EncoderSpec(name="zoo/words", modality="text", target="p:f", dim=8)
OFFLINE = tuple(
    replace(one, name=one.name.replace("fake", "offline"), aliases=("default",))
    for one in fake_specs("offline")
)
FAMILY = EncoderSpec(name="timm/*", modality="image", target="p:f")


def own(**fields):
    return replace(PLAIN, **fields)


@pytest.fixture
def claims(make_registry):
    """A registry of distributions by their real names, which have dashes."""
    return lambda distributions: make_registry(**distributions)


@pytest.mark.parametrize("newcomer", ["aaa", "mmencode-aaa", "zzz", "mmencode-zoo", "offline", "default"])
@pytest.mark.parametrize(
    "intruding",
    [
        own(space="offline"),
        own(space="offline", modality="video"),
        own(name="offline/text"),
        own(name="offline"),
        own(name="offline/text", space="zoo"),
        own(name="default"),
        own(space="default"),
        own(name="offline/*", dim=None),
        own(name="zoo/*", space="offline/*", dim=None),
    ],
)
def test_an_encoder_in_the_place_of_the_default_spaces_is_set_aside_alone(claims, newcomer, intruding):
    good = own(name="zoo/good")
    registry = claims({newcomer: (intruding, good), "mmencode-offline": OFFLINE})
    assert registry.default_space() == "default"
    assert (
        registry.space("default")
        == registry.space("offline")
        == tuple(sorted(OFFLINE, key=lambda s: s.modality))
    )
    assert registry["zoo/good"] == good
    assert dict(registry) == {one.name: one for one in (*OFFLINE, good)}
    (lost,) = registry.set_aside
    assert (lost.distribution, lost.spec, lost.owner) == (newcomer, intruding, "mmencode-offline")
    assert f"of {newcomer} is set aside" in str(lost.error)
    assert f"pip uninstall {newcomer}" in lost.error.remedy
    assert "mmencode-offline" not in lost.error.remedy


@pytest.mark.parametrize("alias", ["default", "offline", "offline/text"])
def test_an_alias_that_belongs_to_another_is_set_aside_and_its_encoder_is_not(claims, alias):
    registry = claims({"aaa": (own(aliases=("mine", alias)),), "mmencode-offline": OFFLINE})
    assert registry.space("default") == registry.space("offline")
    assert registry.space("default")[0].name == "offline/audio"
    assert registry["zoo/words"].aliases == ("mine",)
    assert registry.space("mine") == registry.space("zoo/words") == (registry["zoo/words"],)
    (lost,) = registry.set_aside
    assert lost.alias
    assert f"its alias {alias!r} belongs to mmencode-offline" in str(lost.error)


@pytest.mark.parametrize("intruding", ["timm/vit_x", "timm/*", "timm/vit/*", "timm"])
def test_a_family_is_not_overshadowed_by_a_strangers_encoder_or_family(claims, intruding):
    stranger = replace(FAMILY, name=intruding, dim=None if intruding.endswith("*") else 8, target="evil:f")
    registry = claims({"aaa": (stranger,), "mmencode": (FAMILY,)})
    for name in ("timm/vit_x", "timm/vit/x", "timm/other"):
        assert registry[name].target == "p:f"
        assert registry.distribution(name) == "mmencode"
    if intruding == "timm":  # stands before nothing
        assert registry.set_aside == ()
    else:
        assert [lost.owner for lost in registry.set_aside] == ["mmencode"]


def test_a_strangers_family_does_not_stand_before_single_encoders_of_their_owner(claims):
    registry = claims({"aaa": (own(name="birds/*", dim=None),), "mmencode-birds": (own(name="birds/words"),)})
    assert list(registry) == ["birds/words"]
    with pytest.raises(NameClashError, match=r"'birds/\*' of aaa is set aside"):
        registry["birds/others"]


def test_the_owner_may_have_families_within_families(claims):
    inner = replace(FAMILY, name="timm/deep/*", target="p:g")
    registry = claims({"mmencode": (FAMILY, inner)})
    assert (registry["timm/deep/x"].target, registry["timm/x"].target) == ("p:g", "p:f")
    assert registry.set_aside == ()


@pytest.mark.parametrize(("word", "home"), HOMES.items())
def test_words_that_mmencodes_own_plugins_hold_belong_to_them(claims, word, home):
    claim = own(name=f"{word}/x")
    registry = claims({f"mmencode-{word}": (claim,), word: (claim,), home: (claim,), "aaa": (claim,)})
    assert registry.distribution(f"{word}/x") == home
    assert {lost.distribution for lost in registry.set_aside} == {f"mmencode-{word}", word, "aaa"}


def test_the_distribution_called_after_mmencode_and_the_word_goes_before_the_word_alone(claims):
    claim = own(name="Birds_of/x")
    registry = claims({"birds-of": (claim,), "mmencode-birds.of": (claim,)})
    assert registry.distribution("Birds_of/x") == "mmencode-birds.of"


def test_of_two_strangers_nobody_can_say_and_the_one_name_alone_is_refused(claims):
    one, two = own(name="birds/x"), own(name="birds/x", modality="image")
    registry = claims({"aaa": (one, own(name="aaa/y")), "bbb": (two, own(name="bbb/y"))})
    assert list(registry) == ["aaa/y", "bbb/y"]
    assert len(registry) == len(dict(registry)) == 2
    assert "birds/x" not in registry
    assert registry.spaces == ("aaa/y", "bbb/y")
    assert registry.contested == {"birds/x": ("aaa", "bbb")}
    for use in (lambda: registry["birds/x"], lambda: registry.space("birds/x")):
        with pytest.raises(NameClashError, match="declared by aaa and bbb") as refused:
            use()
        assert "MMENCODE_PLUGINS=-aaa" in refused.value.remedy
        assert "pip uninstall aaa" in refused.value.remedy


def test_two_strangers_in_one_space_keep_their_encoders_apart(claims):
    registry = claims(
        {"aaa": (own(space="birds"),), "bbb": (own(name="b", space="birds", modality="image"),)}
    )
    with pytest.raises(NameClashError, match="aaa and bbb"):
        registry.space("birds")
    assert registry["zoo/words"].space == "birds"


def test_a_member_that_a_stranger_declares_is_contested_and_the_rest_of_the_family_is_not(claims):
    family = own(name="birds/*", dim=None)
    registry = claims({"aaa": (family,), "bbb": (own(name="birds/x"), own(name="birds/deep/*", dim=None))})
    assert registry["birds/y"].variant == "y"
    for name in ("birds/x", "birds/deep/z"):
        with pytest.raises(NameClashError, match="aaa and bbb"):
            registry[name]
        with pytest.raises(NameClashError, match="aaa and bbb"):
            registry.space(name)


def test_two_defaults_of_strangers_leave_the_choice_to_the_user(claims):
    one, two = own(name="a/x", aliases=("default",)), own(name="b/x", aliases=("default",))
    registry = claims({"aaa": (one,), "bbb": (two,)})
    with pytest.raises(NameClashError, match="'default' is declared by aaa and bbb") as refused:
        registry.space(registry.default_space())
    assert "load a space by its own name, a/x or b/x" in refused.value.remedy
    assert registry.space("a/x") == (one,)
    assert registry.space("b/x") == (two,)


def test_a_stranger_is_the_default_where_the_default_space_is_not_installed(claims):
    registry = claims({"aaa": (own(aliases=("default",)),)})
    assert registry.space(registry.default_space())[0].name == "zoo/words"


def test_a_stranger_does_not_silently_take_over_when_the_default_space_is_broken(claims):
    stranger = own(aliases=("default",))
    registry = claims({"aaa": (stranger, own(name="offline")), "mmencode-offline": PluginError("it is torn")})
    with pytest.raises(
        NoDefaultSpaceError, match=r"mmencode-offline 1\.0 failed to load: PluginError: it is torn"
    ):
        registry.default_space()
    for name in ("default", "offline"):
        with pytest.raises(
            NameClashError, match="belongs to mmencode-offline, which failed to load"
        ) as refused:
            registry.space(name)
        assert "it is torn" in str(refused.value)
    assert registry.space("zoo/words")[0].aliases == ()


def test_the_only_space_is_not_the_default_while_the_default_space_is_broken(claims):
    with pytest.raises(NoDefaultSpaceError, match="name one of zoo/words"):
        claims({"aaa": (PLAIN,), "mmencode-offline": PluginError("torn")}).default_space()
    assert claims({"aaa": (PLAIN,), "other": PluginError("torn")}).default_space() == "zoo/words"


def test_a_set_aside_encoder_asked_for_by_name_says_why(claims):
    registry = claims({"aaa": (own(space="offline", modality="video"),), "mmencode-offline": OFFLINE})
    assert "zoo/words" not in registry
    with pytest.raises(
        NameClashError, match=r"'zoo/words' of aaa is set aside: its space 'offline' belongs to"
    ):
        registry["zoo/words"]


def test_a_member_of_a_family_that_was_set_aside_says_why(claims):
    registry = claims({"aaa": (own(name="zoo/*", space="offline/*", dim=None),), "mmencode-offline": OFFLINE})
    for use in (lambda: registry["zoo/x"], lambda: registry.space("offline/x")):
        with pytest.raises(NameClashError, match=r"'zoo/\*' of aaa is set aside"):
            use()


def test_an_entry_point_that_names_another_distributions_module_changes_nothing(site, registry):
    site.add("aaa", entry_points="[mmencode]\na = mmencode_offline\nb = mmencode.encoders\n")
    known = registry()
    assert known.distribution("offline/minilm") == "mmencode-offline"
    assert known.distribution("timm/resnet18") == "mmencode"
    assert {lost.distribution for lost in known.set_aside} == {"aaa"}


def test_what_is_whose_does_not_depend_on_the_order_of_plugins(claims):
    plugins = {
        "mmencode-offline": OFFLINE,
        "aaa": (own(space="offline"), own(name="birds/x")),
        "zzz": (own(name="birds/x"), own(name="z", aliases=("default",))),
    }
    one, two = claims(plugins), claims(dict(reversed(plugins.items())))
    assert dict(one) == dict(two)
    assert one.contested == two.contested
    assert set(one.set_aside) == set(two.set_aside)


def test_a_crowd_of_long_names_is_settled_at_once(claims):
    deep = tuple(own(name="/".join(["a"] * 90 + [str(number)])) for number in range(500))
    assert len(claims({"aaa": deep, "bbb": (own(name="b"),)})) == 501


INTRUDER = hook(
    spec("zoo/text", space="offline"),
    spec("zoo/video", "video", space="offline"),
    spec("zoo/default", aliases=("default",)),
    spec("offline/minilm"),
    spec("timm/vit_small_patch16_224.dino", "image"),
)


def test_the_default_space_works_beside_an_intruder_that_is_really_installed(site):
    expected = mmencode.load("offline").id
    site.add("aaa-zoo", INTRUDER)
    mmencode.registry.cache_clear()
    try:
        assert len(mmencode.registry().set_aside) == 5
        assert mmencode.load().id == mmencode.load("default").id == expected
        assert mmencode.load("zoo/default").specs["text"].target == "mmencode.testing.fakes:FakeText"
    finally:
        mmencode.registry.cache_clear()


def test_the_doctor_names_the_newcomer_and_the_innocent_is_well(site):
    site.add("aaa-zoo", INTRUDER)
    states = site.states()
    assert states["mmencode-offline"] == states["mmencode"] == "ok"
    assert (
        "encoder 'zoo/text' of aaa-zoo is set aside: its space 'offline' belongs to mmencode-offline"
        in (states["aaa-zoo"])
    )
    assert "pip uninstall aaa-zoo" in states["aaa-zoo"]
