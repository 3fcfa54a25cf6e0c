"""Encoders loaded before they are used, several at once where their plugins allow it."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace

import pytest

from mmencode.engine.cores import Cores
from mmencode.engine.runtime import Runtime
from mmencode.errors import ClosedError, EncoderError, UnknownModalityError
from mmencode.spaces.claiming import group_keys
from mmencode.spaces.fusing import fused_spec
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


def pair(modalities):
    return MAKERS["pair"](modalities)


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


@pytest.fixture
def declared(make):
    """As `make`, of specs that declare their identities, so that a space's id is known without loading."""
    with Space("fake", fake_specs()) as known:
        identities = {key: known.tower(key).card.identity for key in known.keys}

    def do(threadsafe=True, **makers):
        made = make(threadsafe, **makers)
        specs = [replace(spec, identity=identities[key]) for key, spec in made.specs.items()]
        return Space("fake", specs, runtime=made.runtime)

    return do


class Slow:
    """A target that says when it was begun, and gives its encoder when it may be done."""

    def __init__(self, maker):
        self.maker, self.begun, self.may_end = maker, threading.Event(), threading.Event()

    def __call__(self):
        self.begun.set()
        assert self.may_end.wait(10)
        return self.maker()


def started(work, *arguments):
    thread = threading.Thread(target=work, args=arguments)
    thread.start()
    return thread


@pytest.mark.parametrize("loaded", [True, False])
def test_text_is_encoded_while_the_image_tower_loads(declared, loaded):
    slow = Slow(FakeImage)
    with declared(image=slow) as space:
        if loaded:
            space.preload("text")
        thread = started(space.encode, "image", [])
        assert slow.begun.wait(10)
        assert len(space.encode("text", ["a cat"])) == 1
        assert space._members.loaded == ("text",)
        slow.may_end.set()
        thread.join(10)
        assert space._members.loaded == ("text", "image")


def test_text_that_is_loaded_is_encoded_while_an_unsafe_target_is_called(declared):
    slow = Slow(FakeImage)
    with declared(threadsafe=False, image=slow) as space:
        space.preload("text")
        thread = started(space.encode, "image", [])
        assert slow.begun.wait(10)
        assert len(space.encode("text", ["a cat"])) == 1
        slow.may_end.set()
        thread.join(10)


def test_unsafe_target_is_called_by_itself_whichever_threads_ask(declared):
    slow, called = Slow(FakeImage), threading.Event()

    def note():
        called.set()
        return FakeText()

    with declared(threadsafe=False, image=slow, text=note) as space:
        threads = [started(space.encode, "image", [])]
        assert slow.begun.wait(10)
        threads.append(started(space.encode, "text", []))
        assert not called.wait(0.2)
        slow.may_end.set()
        for thread in threads:
            thread.join(10)
        assert called.is_set()


def test_text_is_ready_before_the_last_of_what_is_preloaded(declared):
    slow = Slow(FakeImage)
    with declared(image=slow) as space:
        thread = started(space.preload)
        assert slow.begun.wait(10)
        assert len(space.encode("text", ["a cat"])) == 1
        slow.may_end.set()
        thread.join(10)


def test_sum_waits_for_its_parts_and_others_for_neither(declared):
    slow = Slow(FakeImage)
    with declared(image=slow) as plain:
        space, done = plain.fuse("image+text"), []
        threads = [
            started(lambda: done.append(len(space.encode("image+text", [(None, "a cat")])))),
            started(lambda: done.append(len(space.encode("text", ["a cat"])))),
        ]
        assert slow.begun.wait(10)
        assert len(space.encode("audio", [])) == 0
        slow.may_end.set()
        for thread in threads:
            thread.join(10)
        assert done == [1, 1]


def test_encoders_of_one_target_are_built_once_for_several_threads(monkeypatch):
    built = []

    def together(modalities):
        built.append(modalities)
        threading.Event().wait(0.05)
        return {key: FAKES[key]() for key in modalities}

    monkeypatch.setitem(MAKERS, "pair", together)
    specs = [
        replace(spec, target=f"{__name__}:pair", shared=True)
        for spec in fake_specs()
        if spec.modality != "audio"
    ]
    with Space("fake", specs) as space:
        for thread in [started(space.encode, key, []) for key in ("text", "image") * 4]:
            thread.join(10)
        assert len(built) == 1


def test_closing_waits_for_what_loads_and_lets_it_go(declared):
    slow = Slow(FakeImage)
    space = declared(image=slow)

    def encode():
        with suppress(ClosedError):
            space.encode("image", [])

    threads = [started(encode)]
    assert slow.begun.wait(10)
    threads.append(started(space.close))
    slow.may_end.set()
    for thread in threads:
        thread.join(10)
    assert space._members.loaded == ()
    with pytest.raises(ClosedError):
        space.encode("image", [])


def test_what_joins_a_space_of_unknown_identity_is_loaded_under_the_locks_of_its_encoders():
    specs = {spec.modality: spec for spec in fake_specs()}
    specs["audio"] = replace(specs["audio"], joins="fake", space="")
    groups = group_keys(specs, ("text", "image"), framed=False)
    assert groups == {"text": {"text"}, "image": {"image"}, "audio": {"text", "image", "audio"}}
    assert group_keys(specs, ("text", "image"), framed=True)["audio"] == {"audio"}


def test_no_lock_that_is_taken_within_another_is_of_more_encoders():
    specs = {spec.modality: spec for spec in fake_specs()}
    specs["audio"] = replace(specs["audio"], joins="fake", space="")
    specs["audio+text"] = fused_spec("fake", "audio+text", (1.0, 1.0))
    groups = group_keys(specs, ("text", "image"), framed=False)
    for group in groups.values():
        assert all(groups[key] <= group for key in group)
    assert groups["image"] == {"image"}
