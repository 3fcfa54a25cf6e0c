"""Items whose source uses the same object again: each row is that of the item as it was when it was given."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import mmencode
from mmencode import Waveform
from mmencode.encoder import Encoder
from mmencode.engine.runtime import Runtime
from mmencode.errors import InputError
from mmencode.inputs.owning import own, own_each
from mmencode.plugins.spec import EncoderSpec
from mmencode.spaces.space import Space
from mmencode.testing import fake_specs

COUNT = 13


def space_of_fakes():
    return Space("fake", fake_specs(), runtime=Runtime("cpu", "float32", batch_size=4, workers=3))


def arrays(shape=(6, 8, 3)):
    return list(np.random.default_rng(0).integers(0, 256, (COUNT, *shape), np.uint8))


def waves():
    return list(np.random.default_rng(0).normal(0, 0.1, (COUNT, 4000)).astype(np.float32))


def encoded(image, kind):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def reused_array():
    buffer = np.empty_like(arrays()[0])
    for array in arrays():
        buffer[:] = array
        yield buffer


def reused_view():
    buffer = np.empty((2, 6, 8, 3), np.uint8)
    for array in arrays():
        buffer[1] = array
        yield buffer[1]


def reused_tensor():
    buffer = torch.empty(3, 6, 8, dtype=torch.uint8)
    for array in arrays():
        buffer.copy_(torch.from_numpy(array).permute(2, 0, 1))
        yield buffer


def image_over_a_buffer():
    buffer = np.empty((6, 8, 4), np.uint8)
    buffer[..., 3] = 255
    for array in arrays():
        buffer[..., :3] = array
        yield Image.frombuffer("RGBA", (8, 6), buffer, "raw", "RGBA", 0, 1)


def pasted_image():
    image = Image.new("RGB", (8, 6))
    for array in arrays():
        image.paste(Image.fromarray(array))
        yield image


def frames(kind):
    pages = [Image.fromarray(array) for array in arrays()]
    buffer = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    pages[0].save(buffer, kind, save_all=True, append_images=pages[1:], **options)
    return Image.open(buffer)


def seeking(kind):
    image = frames(kind)
    for page in range(COUNT):
        image.seek(page)
        yield image


def alone(kind):
    found = []
    for page in range(COUNT):
        image = frames(kind)
        image.seek(page)
        found.append(image.convert("RGB"))
    return found


def png_in_a_bytearray():
    buffer = bytearray()
    for array in arrays():
        buffer[:] = encoded(Image.fromarray(array), "PNG")
        yield buffer


def png_in_a_view():
    buffer = bytearray(1000)
    for array in arrays():
        content = encoded(Image.fromarray(array), "PNG")
        buffer[: len(content)] = content
        yield memoryview(buffer)[: len(content)]


def reused_file():
    file = io.BytesIO()
    for array in arrays():
        file.seek(0)
        file.truncate()
        file.write(encoded(Image.fromarray(array), "PNG"))
        file.seek(0)
        yield file


def lazy_images_of_one_file():
    yield from map(Image.open, reused_file())


class Camera:
    """A file object of somebody's own."""

    def __init__(self):
        self.content = b""

    def read(self, size=-1):
        content, self.content = self.content, b""
        return content


def somebodys_file():
    camera = Camera()
    for array in arrays():
        camera.content = encoded(Image.fromarray(array), "PNG")
        yield camera


class DataSet(Sequence):
    """A map-style data set, which gives the same buffer whatever it is asked for."""

    def __init__(self):
        self.buffer = np.empty_like(arrays()[0])

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        if index >= COUNT:
            raise IndexError(index)
        self.buffer[:] = arrays()[index]
        return self.buffer


def of_arrays():
    return arrays()


IMAGES = {
    "an array": (reused_array, of_arrays),
    "a view of an array": (reused_view, of_arrays),
    "a tensor": (reused_tensor, of_arrays),
    "an image over a buffer": (image_over_a_buffer, of_arrays),
    "an image that is pasted into": (pasted_image, of_arrays),
    "the pages of a TIFF": (lambda: seeking("TIFF"), lambda: alone("TIFF")),
    "the frames of a GIF": (lambda: seeking("GIF"), lambda: alone("GIF")),
    "the frames of a WebP": (lambda: seeking("WEBP"), lambda: alone("WEBP")),
    "the frames of a PNG": (lambda: seeking("PNG"), lambda: alone("PNG")),
    "a bytearray": (png_in_a_bytearray, of_arrays),
    "a view of bytes": (png_in_a_view, of_arrays),
    "a file": (reused_file, of_arrays),
    "lazy images of one file": (lazy_images_of_one_file, of_arrays),
    "somebody's own file": (somebodys_file, of_arrays),
    "a data set": (DataSet, of_arrays),
}


def reused_wave():
    buffer = np.empty_like(waves()[0])
    for wave in waves():
        buffer[:] = wave
        yield buffer, 16000


def reused_wave_tensor():
    buffer = torch.empty(4000)
    for wave in waves():
        buffer.copy_(torch.from_numpy(wave))
        yield buffer, 16000


def reused_waveform():
    waveform = Waveform(np.zeros_like(waves()[0]), 16000)
    for wave in waves():
        waveform.samples[:] = wave
        yield waveform


def reused_wav():
    file = io.BytesIO()
    for wave in waves():
        file.seek(0)
        file.truncate()
        soundfile.write(file, wave, 16000, format="WAV", subtype="FLOAT")
        file.seek(0)
        yield file


def of_waves():
    return [(wave, 16000) for wave in waves()]


SOUNDS = {
    "an array": (reused_wave, of_waves),
    "a tensor": (reused_wave_tensor, of_waves),
    "a waveform": (reused_waveform, of_waves),
    "a file": (reused_wav, of_waves),
}


class Box:
    """An item that only its plugin knows."""

    def __init__(self):
        self.values = np.zeros(8, np.float32)


class Boxed(Encoder):
    """Takes whatever holds eight numbers, in however many wrappings."""

    width = 8
    preprocessing = "none"

    def preprocess(self, item):
        while not isinstance(item, np.ndarray):
            item = (
                item.values
                if isinstance(item, Box)
                else item["values"]
                if isinstance(item, dict)
                else item[0]
            )
        for _ in range(50):
            torch.ones(50, 50) @ torch.ones(50, 50)  # long enough for its source to go on
        return {"values": torch.from_numpy(item.copy())}

    def forward(self, tensors):
        return tensors["values"]


def rows():
    return list(np.random.default_rng(0).normal(0, 1, (COUNT, 8)).astype(np.float32))


def boxed(wrap):
    buffer = np.zeros(8, np.float32)
    wrapped = wrap(buffer)
    for row in rows():
        buffer[:] = row
        yield wrapped


def box():
    one = Box()
    for row in rows():
        one.values[:] = row
        yield one


BOXES = {
    "a dict": lambda: boxed(lambda array: {"values": array}),
    "a list": lambda: boxed(lambda array: [array]),
    "a tuple in a dict in a list": lambda: boxed(lambda array: [{"values": (array,)}]),
    "an array of objects": lambda: boxed(lambda array: np.array([[array], 0], object)[0]),
    "an object": box,
}


def one_by_one(space, modality, items):
    return np.concatenate([space.encode(modality, [item]).vectors for item in items])


def both_verbs(space, modality, source):
    """What each verb makes of a source, for which a new one is made each time."""
    yield space.encode(modality, source()).vectors
    for chunk in (1, 2, 5, "auto"):
        yield np.concatenate([part.vectors for part in space.stream(modality, source(), chunk=chunk)])
    yield np.concatenate([part.vectors for part in space.stream(modality, iter(source()), chunk=3)])


def assert_rows(space, modality, source, expected):
    for number, found in enumerate(both_verbs(space, modality, source)):
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=f"call {number}")


@pytest.mark.parametrize("kind", IMAGES)
def test_image_whose_source_goes_on_has_its_own_row(kind):
    source, items = IMAGES[kind]
    with space_of_fakes() as space:
        assert_rows(space, "image", source, one_by_one(space, "image", items()))


@pytest.mark.parametrize("kind", SOUNDS)
def test_recording_whose_source_goes_on_has_its_own_row(kind):
    source, items = SOUNDS[kind]
    with space_of_fakes() as space:
        assert_rows(space, "audio", source, one_by_one(space, "audio", items()))


@pytest.mark.parametrize("kind", BOXES)
def test_item_of_a_plugin_whose_source_goes_on_has_its_own_row(kind):
    spec = EncoderSpec(name="boxes", modality="box", target=f"{__name__}:Boxed", dim=8)
    with Space("boxes", [spec], runtime=Runtime("cpu", workers=3)) as space:
        expected = one_by_one(space, "box", [[row] for row in rows()])
        assert_rows(space, "box", BOXES[kind], expected)


class Pairs(Sequence):
    """Pairs of a data set that uses one buffer."""

    def __init__(self):
        self.images = DataSet()

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return "image", self.images[index]


def test_pairs_whose_source_goes_on_have_their_own_rows():
    with space_of_fakes() as space:
        expected = one_by_one(space, "image", arrays())
        np.testing.assert_allclose(space.encode_mixed(Pairs()).vectors, expected, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from(["array", "tensor", "png", "file", "bad"]), max_size=30), st.integers(1, 40))
def test_any_mixture_of_kinds_that_are_used_again_shifts_and_changes_nothing(kinds, chunk):
    draw = np.random.default_rng(len(kinds))
    pixels = [draw.integers(0, 256, (6, 8, 3), np.uint8) for _ in kinds]
    array, tensor = np.empty((6, 8, 3), np.uint8), torch.empty(3, 6, 8, dtype=torch.uint8)
    content, file = bytearray(), io.BytesIO()

    def source():
        for kind, one in zip(kinds, pixels, strict=True):
            array[:] = one
            tensor.copy_(torch.from_numpy(one).permute(2, 0, 1))
            content[:] = encoded(Image.fromarray(one), "PNG")
            file.seek(0)
            file.truncate()
            file.write(content)
            file.seek(0)
            yield {"array": array, "tensor": tensor, "png": content, "file": file, "bad": b"no picture"}[kind]

    good = [place for place, kind in enumerate(kinds) if kind != "bad"]
    with space_of_fakes() as space:
        parts = list(space.stream("image", source(), chunk=chunk, on_error="skip"))
        expected = [space.encode("image", [pixels[place]]).vectors for place in good]
    assert [place for part in parts for place in part.positions] == good
    assert [e.index for part in parts for e in part.errors] == [n for n, k in enumerate(kinds) if k == "bad"]
    found = np.concatenate([part.vectors for part in parts]) if parts else np.empty((0, 8))
    np.testing.assert_allclose(found, np.concatenate([np.empty((0, 8)), *expected]), atol=1e-6)


def test_index_has_the_row_of_each_item_of_a_source_that_goes_on(tmp_path):
    pytest.importorskip("lancedb")
    names = [f"frame {number}" for number in range(COUNT)]
    with space_of_fakes() as space, mmencode.Index.create(tmp_path / "index", space) as index:
        index.add("image", reused_array(), keys=names)
        hits = index.search("image", arrays(), k=1)
    assert [found[0].key for found in hits] == names
    assert min(found[0].score for found in hits) > 1 - 1e-5


def test_what_is_drawn_long_before_it_is_read_is_copied_or_refused():
    copied = list(own_each(reused_array()))
    np.testing.assert_array_equal(copied, arrays())
    pairs = list(own_each((buffer, "text") for buffer in reused_array()))
    np.testing.assert_array_equal([array for array, _ in pairs], arrays())
    listed = [np.zeros(2)] * 3
    assert all(one is listed[0] for one in own_each(listed))
    assert (
        len(list(own_each(Image.open(io.BytesIO(b)) for b in [encoded(Image.new("L", (2, 2)), "PNG")] * 3)))
        == 3
    )
    with pytest.raises(InputError, match="same object again") as caught:
        list(own_each(seeking("GIF")))
    assert caught.value.index == 1


def test_what_nobody_else_can_change_is_not_copied():
    text, array = "a" * 100, np.zeros(8)
    assert own(text) == (text, True)
    copied, owned = own(array)
    assert owned
    assert copied is not array
    assert own(iter(()))[1] is False
    assert own(io.BytesIO(b"alone"))[1] is True
    held = io.BytesIO(b"held by a name")
    assert own(held)[1] is False


def test_lists_are_taken_as_they_are(monkeypatch):
    def fail(item):
        raise AssertionError("copied")

    monkeypatch.setattr("mmencode.engine.feeding.own", fail)
    with space_of_fakes() as space:
        assert len(space.encode("image", arrays())) == COUNT
        assert len(space.encode("image", np.stack(arrays()))) == COUNT
        assert sum(len(part) for part in space.stream("image", arrays(), chunk=4)) == COUNT
