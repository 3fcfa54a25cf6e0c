"""Items whose own code misbehaves, among good ones: each has its own error, and the others their rows."""

from __future__ import annotations

import io
import os
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmencode.engine.runtime import Runtime
from mmencode.errors import InputError
from mmencode.inputs import Limits
from mmencode.inputs.source import describe, is_source
from mmencode.plugins.spec import EncoderSpec
from mmencode.spaces.space import Space
from mmencode.testing import FakeText, fake_specs, sample_items

MODALITIES = ("text", "image", "audio")
RELEASED = threading.Event()


class Raises:
    """An object all of whose code raises."""

    def __init__(self, kind=RuntimeError):
        object.__setattr__(self, "kind", kind)

    def _fail(self, *_):
        raise object.__getattribute__(self, "kind")("no")

    __fspath__ = __len__ = __str__ = __repr__ = __iter__ = __bool__ = __array__ = __eq__ = __copy__ = _fail
    __class__ = nbytes = shape = dtype = read = property(_fail)
    __hash__ = None

    def __getattr__(self, name):
        raise RuntimeError(name)


class NoPath(os.PathLike):
    def __init__(self, gives):
        self.gives = gives

    def __fspath__(self):
        if isinstance(self.gives, BaseException):
            raise self.gives
        return self.gives


class Slow:
    """An object that takes its time over everything it is asked."""

    def _wait(self, *_):
        RELEASED.wait(30)
        raise RuntimeError("too late")

    __fspath__ = __len__ = __str__ = __repr__ = _wait
    nbytes = read = property(_wait)


class BadArray(np.ndarray):
    @property
    def nbytes(self):
        raise ValueError("no size")

    def __array_finalize__(self, other):
        return None

    def copy(self, *_):
        raise ValueError("no copy")


class BadText(str):
    def __len__(self):
        raise ValueError("no length")

    __str__ = __repr__ = strip = encode = __fspath__ = __len__


class BadBytes(bytes):
    def __len__(self):
        raise ValueError("no length")


class BadFile(io.BytesIO):
    def read(self, *_):
        raise SystemExit("no read")


class BadReading:
    @property
    def read(self):
        raise KeyError("read")


def blocked_image():
    """A lazily opened picture whose file never gives the rest of it."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(buffer, "PNG")

    class Blocking(io.BytesIO):
        armed = False

        def read(self, *size):
            if self.armed:
                RELEASED.wait(30)
            return super().read(*size)

    file = Blocking(buffer.getvalue())
    image = Image.open(file)
    file.armed = True
    return image


def released_view():
    view = memoryview(b"content")
    view.release()
    return view


ODD = {
    "raises everywhere": Raises,
    "raises SystemExit everywhere": lambda: Raises(SystemExit),
    "a path that raises": lambda: NoPath(RuntimeError("no path")),
    "a path that raises SystemExit": lambda: NoPath(SystemExit()),
    "a path that is an int": lambda: NoPath(3),
    "a path that is None": lambda: NoPath(None),
    "a path that is nowhere": lambda: NoPath("/nowhere/at all"),
    "a sparse tensor": lambda: torch.eye(5).to_sparse(),
    "a meta tensor": lambda: torch.ones(3, 5, 5, device="meta"),
    "a tensor of no numbers": lambda: torch.ones(3, 5, 5, dtype=torch.complex64),
    "an odd array": lambda: np.zeros((3, 3, 7), np.uint8).view(BadArray),
    "an array of objects": lambda: _objects(),
    "an array of dimension 0": lambda: np.array(3),
    "an odd text": lambda: BadText("odd"),
    "odd bytes": lambda: BadBytes(b"odd"),
    "an odd file": BadFile,
    "an odd file to look at": BadReading,
    "a view that was released": released_view,
    "a view of dimension 0": lambda: memoryview(np.array(3)),
    "a closed picture": lambda: _closed(),
    "a class": lambda: Raises,
    "None": lambda: None,
    "a pair of odd things": lambda: (Raises(), Raises()),
    "a pair of an odd array": lambda: (np.zeros((3, 3, 3), np.uint8).view(BadArray), 16000),
    "a list that holds itself": lambda: _cycle(),
}
SLOW = {"takes its time": Slow, "a pair of slow things": lambda: (Slow(), 16000)}


def _closed():
    image = Image.open(io.BytesIO(_png()))
    image.fp.close()
    return image


def _png():
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    return buffer.getvalue()


def _objects():
    array = np.empty(2, object)
    array[0] = Raises()
    return array


def _cycle():
    one = []
    one.append(one)
    return one


@pytest.fixture(autouse=True)
def released():
    RELEASED.clear()
    yield
    RELEASED.set()


def space_of_fakes(wait=20.0):
    runtime = Runtime("cpu", "float32", batch_size=3, workers=2)
    return Space("fake", fake_specs(), runtime=runtime, limits=Limits(wait=wait))


def calls(space, modality, items):
    """What both verbs make of items: positions, indices of errors, vectors."""
    found = space.encode(modality, items, on_error="skip")
    yield found.positions.tolist(), [error.index for error in found.errors], found.vectors
    for source in (list(items), iter(items)):
        parts = list(space.stream(modality, source, chunk=3, on_error="skip"))
        positions = [place for part in parts for place in part.positions.tolist()]
        errors = [error.index for part in parts for error in part.errors]
        yield positions, errors, np.concatenate([part.vectors for part in parts])


def assert_only_odd_fails(space, modality, items, odd):
    good = [place for place in range(len(items)) if place not in odd]
    expected = [space.encode(modality, [items[place]]).vectors for place in good]
    expected = np.concatenate([np.empty((0, 8)), *expected])
    for positions, errors, vectors in calls(space, modality, items):
        assert positions == good
        assert errors == sorted(odd)
        np.testing.assert_allclose(vectors, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("modality", MODALITIES)
def test_odd_item_has_its_own_error_and_costs_the_others_nothing(modality, kind):
    if (modality, kind) == ("text", "an odd text"):
        pytest.skip("the one odd thing that is a text")
    items = sample_items(modality, 7)
    items[3] = ODD[kind]()
    with space_of_fakes() as space:
        assert_only_odd_fails(space, modality, items, [3])
        with pytest.raises(InputError) as caught:
            space.encode(modality, items)
        assert caught.value.index == 3
        assert str(caught.value)
        (error,) = space.encode(modality, [ODD[kind]()], on_error="skip").errors
        assert error.index == 0


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.parametrize("modality", ["image", "audio"])
def test_item_whose_own_code_is_slow_is_given_up(modality, kind):
    items = sample_items(modality, 5)
    items[2] = SLOW[kind]()
    with space_of_fakes(wait=0.4) as space:
        found = space.encode(modality, items, on_error="skip")
        assert found.positions.tolist() == [0, 1, 3, 4]
        assert [error.index for error in found.errors] == [2]


def test_picture_whose_file_blocks_delays_no_other():
    pictures = [Image.open(io.BytesIO(_png())) for _ in range(8)]
    with space_of_fakes(wait=0.5) as space, space_of_fakes(wait=20) as other:
        found = space.encode("image", [*pictures[:4], blocked_image(), *pictures[4:]], on_error="skip")
        assert found.positions.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
        assert [(error.index, error.fault) for error in found.errors] == [(4, "time")]
        assert len(other.encode("image", [Image.open(io.BytesIO(_png()))])) == 1


def test_picture_whose_file_blocks_may_stand_twice():
    blocked = blocked_image()
    with space_of_fakes(wait=0.5) as space:
        found = space.encode("image", [blocked, *sample_items("image", 3), blocked], on_error="skip")
        assert found.positions.tolist() == [1, 2, 3]
        assert [(error.index, error.fault) for error in found.errors] == [(0, "time"), (4, "time")]


def test_lazy_pictures_that_stand_twice_or_share_a_file_have_their_own_rows():
    pixels = [np.random.default_rng(n).integers(0, 255, (300, 300, 3), np.uint8) for n in range(6)]
    with space_of_fakes() as space:
        expected = space.encode("image", pixels).vectors
        for _ in range(5):
            lazy = []
            for one in pixels:
                buffer = io.BytesIO()
                Image.fromarray(one).save(buffer, "PNG")
                lazy += [Image.open(buffer), Image.open(buffer)]
            found = space.encode("image", lazy + lazy).vectors
            np.testing.assert_allclose(found, np.tile(expected.repeat(2, axis=0), (2, 1)), atol=1e-6)


@pytest.mark.parametrize("kind", [*ODD, *SLOW])
def test_describing_an_item_runs_none_of_its_code(kind):
    item = (ODD | SLOW)[kind]()
    start = time.monotonic()
    assert isinstance(describe(item), str)
    assert time.monotonic() - start < 10
    if kind not in SLOW:
        assert is_source(item) in (True, False)


def test_path_of_somebody_elses_type_is_named_in_messages(tmp_path):
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG damaged")
    with space_of_fakes() as space:
        (error,) = space.encode("image", [NoPath(str(tmp_path / "damaged.png"))], on_error="skip").errors
    assert error.source == str(tmp_path / "damaged.png")


class Mixed(FakeText):
    """Fails on some texts, in preprocess, in the forward pass or by what it gives."""

    def preprocess(self, item):
        if item.startswith("raises"):
            raise SystemExit(item)
        tensors = super().preprocess(item)
        return {"hidden": tensors["hidden"] * float("nan")} if item.startswith("nan") else tensors

    def forward_tokens(self, tensors):
        mark = super().preprocess("breaks")["hidden"]
        if any(torch.equal(row[: len(mark)], mark) for row in tensors["hidden"]):
            raise GeneratorExit
        return super().forward_tokens(tensors)


good_texts = st.text("abcdef ", min_size=1, max_size=12).filter(str.strip)
BAD = {text: text for text in ("raises", "nan", "breaks", "")} | {"nothing": None, "a surrogate": "\ud800"}
kinds_of_bad = st.sampled_from(sorted({*BAD, *ODD} - {"an odd text"}))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.one_of(st.tuples(good_texts, st.none()), st.tuples(st.none(), kinds_of_bad)), max_size=40),
    st.integers(1, 45),
    st.integers(1, 4),
    st.integers(1, 9),
)
def test_any_batch_of_texts_keeps_rows_positions_and_errors(pairs, chunk, workers, batch_size):
    items = [text or (BAD[kind] if kind in BAD else ODD[kind]()) for text, kind in pairs]
    good = [place for place, (text, _) in enumerate(pairs) if text]
    bad = [place for place, (text, _) in enumerate(pairs) if not text]
    spec = EncoderSpec(name="test", modality="text", target=f"{__name__}:Mixed", dim=8)
    runtime = Runtime("cpu", "float32", workers=workers, batch_size=batch_size)
    with Space("test", [spec], runtime=runtime) as space:
        alone = {place: space.encode("text", [items[place]]).vectors[0] for place in good}
        expected = np.array([alone[place] for place in good]).reshape(-1, 8)
        whole = space.encode("text", items, on_error="skip")
        parts = list(space.stream("text", iter(items), chunk=chunk, on_error="skip"))
        tokens = space.encode_tokens("text", items, on_error="skip")
        if bad:
            with pytest.raises(InputError) as caught:
                space.encode("text", items)
            assert caught.value.index == bad[0]
        mixed = space.encode_mixed([("text", item) for item in items], on_error="skip")
    for found in (whole, mixed):
        assert found.positions.tolist() == good
        assert [error.index for error in found.errors] == bad
        np.testing.assert_allclose(found.vectors, expected, atol=1e-6)
    assert [place for part in parts for place in part.positions.tolist()] == good
    assert [error.index for part in parts for error in part.errors] == bad
    assert [len(part) + len(part.errors) for part in parts[:-1]] == [chunk] * (len(parts) - 1)
    found = np.concatenate([np.empty((0, 8)), *(part.vectors for part in parts)])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert tokens.positions.tolist() == good
    assert [error.index for error in tokens.errors] == bad
    assert [len(one) for one in tokens] == [len(items[place]) for place in good]


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(["image", "audio"]),
    st.lists(st.sampled_from(["good", *sorted(ODD)]), max_size=20),
    st.integers(1, 25),
)
def test_any_batch_of_media_keeps_rows_positions_and_errors(modality, kinds, chunk):
    samples = sample_items(modality, max(1, len(kinds)))
    items = [samples[place] if kind == "good" else ODD[kind]() for place, kind in enumerate(kinds)]
    with space_of_fakes() as space:
        odd = [place for place, kind in enumerate(kinds) if kind != "good"]
        good = [place for place, kind in enumerate(kinds) if kind == "good"]
        parts = list(space.stream(modality, items, chunk=chunk, on_error="skip"))
        assert [place for part in parts for place in part.positions.tolist()] == good
        assert [error.index for part in parts for error in part.errors] == odd
        expected = [space.encode(modality, [items[place]]).vectors for place in good]
        found = [part.vectors for part in parts]
        np.testing.assert_allclose(
            np.concatenate([np.empty((0, 8)), *found]),
            np.concatenate([np.empty((0, 8)), *expected]),
            atol=1e-6,
        )


def test_threads_that_are_killed_cost_no_item():
    """Whatever ends a thread from outside, the items it had are done by another."""
    import ctypes

    killed = []

    class Working(FakeText):
        def preprocess(self, item):
            time.sleep(0.002)
            return super().preprocess(item)

    def kill():
        while not done.wait(0.01):
            for thread in threading.enumerate():
                if thread.name == "mmencode" and thread.ident and len(killed) < 20:
                    killed.append(thread.ident)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
                    )

    texts = sample_items("text", 300)
    with space_of_fakes() as space:
        expected = space.encode("text", texts).vectors
        space.tower("text").encoder.__class__ = Working
        done = threading.Event()
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            found = space.encode("text", texts, on_error="skip")
        finally:
            done.set()
            killer.join(60)
    assert killed
    struck = [error.index for error in found.errors]  # those in whose midst it came
    assert len(struck) <= len(killed)
    assert sorted([*found.positions.tolist(), *struck]) == list(range(300))
    np.testing.assert_allclose(found.vectors, expected[found.positions], atol=1e-6)
