"""Who may join a space, by declarations alone: nothing here imports torch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmencode.errors import NameClashError, SpecError, UnknownNameError
from mmencode.plugins.spec import EncoderSpec, Identity

FRAME = tuple(
    EncoderSpec(
        name=f"words/{modality}", modality=modality, target="p:f", dim=8, space="words", aliases=("w",)
    )
    for modality in ("text", "image")
)
CLIP = EncoderSpec(
    name="clips/mean",
    modality="clip",
    target="p:f",
    dim=8,
    joins="words",
    projection="clips:fit.safetensors",
    identity=Identity(weights="sha256:0"),
)
FAMILY = EncoderSpec(name="zoo/*", modality="text", target="p:f")


def test_a_joiner_is_among_the_encoders_of_the_space_and_claims_no_name(make_registry):
    known = make_registry(words=FRAME, clips=(CLIP,))
    assert [spec.modality for spec in known.space("words")] == ["clip", "image", "text"]
    assert known.space("w") == known.space("words")
    assert known.set_aside == known.left_out == ()
    assert known.spaces == ("words",)
    assert known["clips/mean"] == CLIP
    assert known.default_space() == "words"


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ({"modality": "text"}, NameClashError, "'words/text' of words defines text"),
        ({"identity": None}, SpecError, "doesn't declare an identity"),
        ({"projection": ""}, SpecError, "doesn't declare a projection in a file"),
        ({"projection": "clips:fit"}, SpecError, "doesn't declare a projection in a file"),
        ({"dim": 9}, SpecError, "vectors have 9 numbers, and those of the space 8"),
        ({"outputs": "many"}, SpecError, "gives each item many vectors"),
        ({"modality": "mixed"}, SpecError, "rows of several modalities"),
        ({"joins": "w"}, SpecError, "that is an alias"),
    ],
)
def test_what_cant_join_is_left_out_alone(make_registry, bad, error, words):
    known = make_registry(
        words=FRAME, clips=(replace(CLIP, **bad),), other=(replace(CLIP, name="o/c", modality="b"),)
    )
    assert [spec.modality for spec in known.space("words")] == ["b", "image", "text"]
    (left,) = known.left_out
    assert (left.distribution, type(left.error)) == ("clips", error)
    assert words in str(left.error)
    assert known["clips/mean"].name == "clips/mean"


def test_two_that_bring_one_modality_are_left_out_both_unless_one_is_the_frames_own(make_registry):
    other = replace(CLIP, name="other/clips")
    known = make_registry(words=FRAME, clips=(CLIP,), other=(other,))
    assert [spec.modality for spec in known.space("words")] == ["image", "text"]
    assert {left.distribution for left in known.left_out} == {"clips", "other"}
    assert "clips and other" in str(known.absent("words")["clip"])
    known = make_registry(words=(*FRAME, replace(CLIP, name="words/clip")), clips=(CLIP,), other=(other,))
    assert [spec.name for spec in known.joiners("words")] == ["words/clip"]
    assert {left.distribution for left in known.left_out} == {"clips", "other"}


def test_who_joins_doesnt_depend_on_the_order_of_plugins(make_registry):
    plugins = {"words": FRAME, "clips": (CLIP,), "zzz": (replace(CLIP, name="zzz/clips"),)}
    one, two = make_registry(**plugins), make_registry(**dict(reversed(plugins.items())))
    assert one.space("words") == two.space("words")
    assert str(one.absent("words")["clip"]) == str(two.absent("words")["clip"])


def test_an_intruder_that_would_redefine_the_space_is_set_aside_and_the_joiner_stays(make_registry):
    intruder = replace(FRAME[0], name="zzz/text", aliases=())
    known = make_registry(
        words=FRAME, clips=(CLIP,), zzz=(intruder, replace(intruder, name="zzz/clip", modality="clip"))
    )
    assert [spec.name for spec in known.space("words")] == ["clips/mean", "words/image", "words/text"]
    assert {lost.distribution for lost in known.set_aside} == {"zzz"}


def test_a_joiner_of_a_space_that_isnt_there_waits(make_registry):
    known = make_registry(clips=(CLIP,), zoo=(FAMILY,))
    assert known.joiners("words") == (CLIP,)
    with pytest.raises(UnknownNameError):
        known.space("words")
    member = replace(CLIP, joins="zoo/one")
    known = make_registry(clips=(member,), zoo=(FAMILY,))
    assert [spec.name for spec in known.space("zoo/one")] == ["clips/mean", "zoo/one"]
    assert [spec.name for spec in known.space("zoo/two")] == ["zoo/two"]


@pytest.mark.parametrize(
    "bad",
    [
        {"joins": "no name"},
        {"joins": "words/*"},
        {"space": "mine"},
        {"aliases": ("mine",)},
        {"card": "clips:card.json"},
        {"name": "clips/*"},
        {"projection": "clips fit.safetensors"},
        {"joins": None},
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(bad):
    with pytest.raises(SpecError):
        replace(CLIP, **bad)
