"""Encoders loaded before they are used, several at once where their plugins allow it."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from mmencode.engine.cores import Cores
from mmencode.engine.runtime import Runtime
from mmencode.errors import EncoderError, UnknownModalityError
from mmencode.spaces.space import Space
from mmencode.testing import FakeAudio, FakeImage, FakeText, fake_specs

FAKES = {"text": FakeText, "image": FakeImage, "audio": FakeAudio}
MAKERS = {}


def text():
    return MAKERS["text"]()


def image():
    return MAKERS["image"]()


def audio():
    return MAKERS["audio"]()


@pytest.fixture
def make(monkeypatch):
    """A space of fakes whose targets are what MAKERS has, on two cores."""
    monkeypatch.setattr("mmencode.engine.runtime.count_cores", lambda: Cores(2))

    def do(threadsafe=True, **makers):
        MAKERS.clear()
        MAKERS.update(FAKES | makers)
        specs = [
            replace(spec, target=f"{__name__}:{spec.modality}", threadsafe=threadsafe)
            for spec in fake_specs()
        ]
        return Space("fake", specs, runtime=Runtime("cpu"))

    return do


def test_safe_targets_are_called_at_the_same_time(make):
    both = threading.Barrier(2, timeout=10)  # broken, and so an error, if one is called after the other

    def meet(maker):
        both.wait()
        return maker()

    with make(text=lambda: meet(FakeText), image=lambda: meet(FakeImage)) as space:
        space.preload("text", "image")
        assert space._members.loaded == ("text", "image")
        assert space.id == make().id


def test_other_targets_are_called_in_turn_in_the_callers_thread(make):
    seen = []

    def note(maker):
        seen.append((maker, threading.current_thread()))
        return maker()

    makers = {key: lambda maker=maker: note(maker) for key, maker in FAKES.items()}
    with make(threadsafe=False, **makers) as space:
        space.preload()
        assert [maker for maker, _ in seen] == [FAKES[key] for key in space.keys]
        assert {thread for _, thread in seen} == {threading.current_thread()}
        assert space._members.loaded == space.keys


def test_errors_keep_the_order_of_the_keys_and_hurt_no_other(make):
    def fail(words):
        raise ValueError(words)

    with make(text=lambda: fail("the words"), image=lambda: fail("the picture")) as space:
        for keys, words in ((("text", "image"), "the words"), (("image", "text"), "the picture")):
            with pytest.raises(EncoderError, match=words):
                space.preload(*keys)
        with pytest.raises(EncoderError, match="the words"):
            space.preload("audio", "text")
        assert space._members.loaded == ("audio",)


def test_each_encoder_is_built_once(make):
    built = []

    def count(maker):
        built.append(maker)
        return maker()

    with make(**{key: lambda maker=maker: count(maker) for key, maker in FAKES.items()}) as space:
        space.preload()
        space.preload()
        space.encode("text", ["a cat"])
        assert sorted(built, key=str) == sorted(FAKES.values(), key=str)


def test_unknown_key_is_named(make):
    with make() as space, pytest.raises(UnknownModalityError, match="smell"):
        space.preload("text", "smell")


def test_spaces_of_one_core_load_in_turn(make, monkeypatch):
    threads = []

    def note():
        threads.append(threading.current_thread())
        return FakeText()

    space = make(text=note)
    space.runtime.cores = 1
    space.preload("text", "image")
    assert threads == [threading.current_thread()]
