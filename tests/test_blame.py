"""Whose fault a failure is: never the items', where it is the encoder's or the process's."""

from __future__ import annotations

import errno
import gc
import signal
import tracemalloc
import warnings
import weakref

import numpy as np
import pytest
import torch

from mmencode.encoder import Encoder
from mmencode.engine.runtime import Runtime
from mmencode.errors import EncoderError, InputError
from mmencode.plugins.spec import EncoderSpec
from mmencode.projection import Projection
from mmencode.spaces.space import Space
from mmencode.testing import FakeAudio, FakeImage, FakeText, sample_items

FAKES = {"text": FakeText, "image": FakeImage, "audio": FakeAudio}
STAGES = ("preprocess", "cost", "collate", "forward")


def space_of(encoder, modality="text", **options):
    globals()["_target"] = encoder
    spec = EncoderSpec(name="test", modality=modality, target=f"{__name__}:_target", dim=8, **options)
    space = Space("test", [spec], runtime=Runtime("cpu", "float32", batch_size=4, workers=2))
    space.tower(modality)  # while the target is this one
    return space


def failing(fake, stage, cause, when=lambda item: True):
    """A fake whose stage raises, always or when it sees such tensors."""

    def fail(self, given):
        if when(given):
            raise cause() if callable(cause) else cause
        return getattr(fake, stage)(self, given)

    return type("Failing", (fake,), {stage: fail})


VERBS = {
    "encode": lambda space, modality, items, on_error: space.encode(modality, items, on_error=on_error),
    "stream": lambda space, modality, items, on_error: list(
        space.stream(modality, iter(items), chunk=2, on_error=on_error)
    ),
    "features": lambda space, modality, items, on_error: list(
        space.features(modality, items, on_error=on_error)
    ),
}


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("modality", FAKES)
def test_encoder_that_fails_on_everything_is_at_fault_itself(modality, stage, on_error, count):
    broken = failing(FAKES[modality], stage, RuntimeError("broken"))
    for verb in VERBS.values():
        with (
            space_of(broken, modality) as space,
            pytest.raises(EncoderError, match=r"encoder 'test' failed on (.|\n)*RuntimeError: broken"),
        ):
            verb(space, modality, sample_items(modality, count), on_error)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_passes_that_give_nothing_are_the_encoders_fault(value, count, on_error):
    class Nothing(FakeImage):
        def forward(self, tensors):
            return super().forward(tensors) * value

    with space_of(Nothing, "image") as space, pytest.raises(EncoderError, match="weights") as caught:
        space.encode("image", sample_items("image", count), on_error=on_error)
    assert "generated items" in str(caught.value)


def test_tokens_of_nan_are_the_encoders_fault():
    class Nothing(FakeText):
        def forward_tokens(self, tensors):
            return tensors["hidden"] * float("nan"), tensors["mask"]

    with space_of(Nothing) as space, pytest.raises(EncoderError, match="aren't finite"):
        space.encode_tokens("text", ["a", "b"], on_error="skip")


class BrokenProjection(Projection):
    width = None
    dim = 8

    def forward(self, features):
        raise RuntimeError("no such product")


def test_projection_that_fails_is_no_items_fault():
    with (
        space_of(FakeText, projection=f"{__name__}:BrokenProjection") as space,
        pytest.raises(EncoderError, match="no such product"),
    ):
        space.encode("text", ["a", "b"], on_error="skip")


@pytest.mark.parametrize("gives", [None, [1], {"features": 1}, np.ones((2, 8)), (torch.ones(2, 8),)])
def test_forward_pass_that_gives_no_tensor_breaks_the_contract(gives):
    class Wrong(FakeText):
        def forward(self, tensors):
            return gives

    with (
        space_of(Wrong) as space,
        pytest.raises(EncoderError, match=f"no tensor, but {type(gives).__name__}"),
    ):
        space.encode("text", ["a", "b"], on_error="skip")


@pytest.mark.parametrize(
    "gives", [None, torch.ones(2, 3, 8), (torch.ones(2, 3, 8), None), (1, torch.ones(2, 3))]
)
def test_tokens_that_are_none_break_the_contract(gives):
    class Wrong(FakeText):
        def forward_tokens(self, tensors):
            return gives

    with space_of(Wrong) as space, pytest.raises(EncoderError):
        space.encode_tokens("text", ["a", "b"], on_error="skip")


@pytest.mark.parametrize("gives", [None, [torch.ones(8)], {"hidden": [1.0]}, "tensors", 7])
def test_preprocess_that_gives_no_tensors_is_at_fault_itself(gives):
    class Wrong(FakeText):
        def preprocess(self, item):
            return gives

    with (
        space_of(Wrong) as space,
        pytest.raises(EncoderError, match="encoder 'test' failed on each of a batch of 2"),
    ):
        space.encode("text", ["a", "b"], on_error="skip")


@pytest.mark.parametrize("gives", [None, "much", float("nan"), [1]])
def test_cost_that_is_no_number_is_the_encoders_fault(gives):
    class Wrong(FakeText):
        def cost(self, tensors):
            return gives

    with space_of(Wrong) as space, pytest.raises(EncoderError, match="failed on each"):
        space.encode("text", ["a", "b"], on_error="skip")


def marked(given):
    """Whether an item, or tensors of it, are those that an encoder fails on."""
    if isinstance(given, str):
        return "bad" in given
    rows = given if isinstance(given, list) else [given]
    mark = FakeText().preprocess("bad")["hidden"]
    tensors = [row["hidden"].reshape(-1, row["hidden"].shape[-2], 8) for row in rows]
    return any(torch.equal(one[: len(mark)], mark) for tensor in tensors for one in tensor)


class Skipped(BaseException):
    """As pytest's: no Exception."""


class Unreadable(Exception):
    def __str__(self):
        raise ValueError("no words")

    __repr__ = __str__


CAUSES = {
    "RuntimeError": lambda: RuntimeError("broken"),
    "SystemExit": SystemExit,
    "GeneratorExit": GeneratorExit,
    "StopIteration": StopIteration,
    "a BaseException": lambda: Skipped("skipped"),
    "without words": Unreadable,
    "of 50 MB": lambda: ValueError("x" * 50_000_000),
    "with escapes": lambda: ValueError("\x1b[31mred\x1b[0m\r\n\x07"),
    "of memory": lambda: MemoryError(),
    "of the disk": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "a warning": lambda: UserWarning("beware"),
    "its own": lambda: InputError("it is no use", source="", fault="content"),
}
FAULTS = {"of memory": "process", "of the disk": "process", "a warning": "process", "its own": "content"}


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("stage", STAGES)
def test_one_item_that_an_encoder_fails_on_costs_its_neighbours_nothing(stage, cause):
    items = ["a", "b", "bad one", "cc", "d"]
    with space_of(failing(FakeText, stage, CAUSES[cause], marked)) as space, space_of(FakeText) as plain:
        found = space.encode("text", items, on_error="skip")
        expected = plain.encode("text", ["a", "b", "cc", "d"]).vectors
        assert found.positions.tolist() == [0, 1, 3, 4]
        np.testing.assert_allclose(found.vectors, expected, atol=1e-6)
        (error,) = found.errors
        assert (error.index, error.source, error.fault) == (2, "bad one", FAULTS.get(cause, "encoder"))
        assert error.remedy or cause == "its own"
        assert len(str(error)) < 2000
        assert "\x1b" not in str(error)
        with pytest.raises(InputError) as caught:
            space.encode("text", items)
        assert caught.value.index == 2
        (alone,) = space.encode("text", ["bad one"], on_error="skip").errors  # as one new item a day is
        assert (alone.index, alone.fault) == (0, FAULTS.get(cause, "encoder"))
        with pytest.raises(InputError):
            space.encode("text", ["bad one"])


def test_first_item_at_fault_is_named_though_a_later_one_fails_in_an_earlier_stage():
    picky = failing(FakeText, "forward", ValueError("too many"), lambda tensors: tensors["mask"].sum() > 12)
    with space_of(picky) as space, pytest.raises(InputError, match="too many") as caught:
        space.encode("text", ["good", "word " * 8, ""])
    assert caught.value.index == 1


def test_good_items_before_a_bad_one_are_delivered_first():
    with space_of(FakeText) as space:
        stream = space.stream("text", ["good", "better", "", "best"], chunk=100)
        assert len(next(stream)) == 2
        with pytest.raises(InputError, match="blank"):
            next(stream)


def test_several_items_that_an_encoder_fails_on_are_to_blame_where_it_works_on_others():
    with space_of(failing(FakeText, "preprocess", KeyError("bad"), marked)) as space:
        found = space.encode("text", ["bad"] * 5, on_error="skip")
        assert [(error.index, error.fault) for error in found.errors] == [(n, "encoder") for n in range(5)]
        assert not any(error.lasting for error in found.errors)


class Boxed(Encoder):
    width = 8
    preprocessing = "none"

    def preprocess(self, item):
        if item["bad"]:
            raise ValueError(item["bad"])
        return {"values": torch.ones(8)}

    def forward(self, tensors):
        return tensors["values"]


def test_without_generated_items_several_that_fail_alike_are_the_encoders():
    bad, other, good = {"bad": "broken"}, {"bad": "in another way"}, {"bad": ""}
    with space_of(Boxed, "box") as space:
        with pytest.raises(EncoderError, match="on each of a batch of 2: ValueError: broken"):
            space.encode("box", [bad, bad], on_error="skip")
        assert len(space.encode("box", [bad], on_error="skip").errors) == 1
        assert len(space.encode("box", [bad, other], on_error="skip").errors) == 2
        assert len(space.encode("box", [bad, bad, good], on_error="skip").errors) == 2
        parts = list(space.stream("box", [good, bad, bad, bad, bad], chunk=2, on_error="skip"))
        assert [len(part.errors) for part in parts] == [1, 2, 1]


def test_encoder_that_refuses_generated_items_isnt_at_fault_for_that():
    class Choosy(FakeText):
        def preprocess(self, item):
            if not item.startswith("code:"):
                raise InputError("it is no code", source=item)
            if "bad" in item:
                raise KeyError("bad")
            return super().preprocess(item)

    with space_of(Choosy) as space:
        (error,) = space.encode("text", ["code: bad"], on_error="skip").errors
        assert (error.fault, error.index) == ("encoder", 0)
        (error,) = space.encode("text", ["words"], on_error="skip").errors
        assert (error.fact, error.fault) == ("it is no code", "content")
        with pytest.raises(EncoderError, match="each of a batch of 2: KeyError: 'bad'"):
            space.encode("text", ["code: bad", "code: bad"], on_error="skip")


def test_disk_that_is_full_for_all_is_the_processs_fault():
    def full():
        return OSError(errno.ENOSPC, "No space left on device")

    class Reading(FakeText):
        def preprocess(self, item):
            if item[0] == "p":  # generated items begin otherwise
                raise full()
            return super().preprocess(item)

    with space_of(Reading) as space:
        with pytest.raises(
            EncoderError, match=r"this process failed on each of a batch of 3: OSError(.|\n)*room on the"
        ):
            space.encode("text", ["p1", "p2", "p3"], on_error="skip")
        (error,) = space.encode("text", ["p1"], on_error="skip").errors
        assert (error.fault, error.lasting) == ("process", False)
    with (
        space_of(failing(FakeText, "preprocess", full)) as space,
        pytest.raises(EncoderError, match="No space"),
    ):
        space.encode("text", ["p1"], on_error="skip")


def test_warnings_that_are_errors_are_the_processs_fault():
    class Warning_(FakeText):
        def preprocess(self, item):
            warnings.warn("old tensors", UserWarning, stacklevel=1)
            return super().preprocess(item)

    with space_of(Warning_) as space:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for items in (["a"], ["a", "b"]):
                with pytest.raises(EncoderError, match=r"UserWarning: old tensors(.|\n)*without -W error"):
                    space.encode("text", items, on_error="skip")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert len(space.encode("text", ["a", "b"])) == 2


def test_good_items_of_earlier_parts_are_delivered_before_the_encoder_is_blamed():
    class Tiring(FakeText):
        done = 0

        def preprocess(self, item):
            Tiring.done += 1
            if Tiring.done > 4:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().preprocess(item)

    globals()["_target"] = Tiring
    spec = EncoderSpec(name="test", modality="text", target=f"{__name__}:_target", dim=8)
    with Space("test", [spec], runtime=Runtime("cpu", workers=1)) as space:
        delivered = []
        with pytest.raises(EncoderError, match="Too many open files"):
            delivered.extend(space.stream("text", iter("abcdefgh"), chunk=2, on_error="skip"))
    assert [part.positions.tolist() for part in delivered] == [[0, 1], [2, 3]]


def test_ctrl_c_in_a_forward_pass_ends_the_call():
    with space_of(failing(FakeText, "forward", KeyboardInterrupt)) as space, pytest.raises(KeyboardInterrupt):
        space.encode("text", ["a", "b"], on_error="skip")


@pytest.mark.parametrize("raised", [SystemExit(3), TimeoutError("the user's own")])
def test_what_a_signal_handler_raises_is_the_users_and_no_items(raised):
    def stop(number, frame):
        raise raised

    class Signalled(FakeText):
        def forward(self, tensors):
            signal.raise_signal(signal.SIGTERM)
            return super().forward(tensors)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with space_of(Signalled) as space, pytest.raises(type(raised)) as caught:
            space.encode("text", ["a", "b"], on_error="skip")
        assert caught.value is raised
    finally:
        signal.signal(signal.SIGTERM, before)


class Box:
    """An item that can be watched."""


class Refusing(Encoder):
    width = 8
    preprocessing = "none"

    def preprocess(self, item):
        content = bytearray(8_000_000)
        if getattr(item, "good", False):
            return {"values": torch.ones(8)}
        try:
            raise AttributeError("no such thing", obj=item, name="thing")
        except AttributeError as cause:
            raise KeyError(item, bytes(content)) from cause

    def forward(self, tensors):
        return tensors["values"]


@pytest.mark.parametrize("verb", ["encode", "stream"])
def test_errors_that_are_kept_hold_no_item(verb):
    items = [Box() for _ in range(5)]
    items[0].good = True
    watched = [weakref.ref(item) for item in items]
    with space_of(Refusing, "box") as space:
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        result = VERBS[verb](space, "box", items, "skip")
        errors = [e for part in (result if verb == "stream" else [result]) for e in part.errors]
        del items, result
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert [error.index for error in errors] == [1, 2, 3, 4]
    assert not any(one() for one in watched)
    assert after - before < 4_000_000


def test_errors_of_damaged_files_hold_no_bytes():
    with space_of(FakeImage, "image") as space:
        space.encode("image", sample_items("image", 2))
        content = b"\xff\xd8\xff" + bytes(4_000_000)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        found = space.encode("image", [content + bytes([n]) for n in range(5)], on_error="skip")
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(found.errors) == 5
    assert after - before < 2_000_000


SHARED = InputError("it is the same every time", source="")


def test_error_that_an_encoder_raises_again_and_again_has_each_items_place():
    with space_of(failing(FakeText, "preprocess", SHARED, marked)) as space:
        found = space.encode("text", ["bad 0", "a", "bad 2", "bad 3"], on_error="skip")
    assert [(error.index, error.source) for error in found.errors] == [
        (0, "bad 0"),
        (2, "bad 2"),
        (3, "bad 3"),
    ]
    assert SHARED.index is None


def test_encoder_is_asked_about_generated_items_only_in_doubt():
    seen = []

    class Watched(FakeText):
        def preprocess(self, item):
            seen.append(item)
            if "bad" in item:
                raise KeyError(item)
            return super().preprocess(item)

    with space_of(Watched) as space:
        space.encode("text", ["a", "bad", "c", None, ""], on_error="skip")
        assert sorted(seen) == ["a", "bad", "c"]
        space.encode("text", [None, ""], on_error="skip")
        assert len(seen) == 3
