"""Items as data sets hold them: files as bytes and a path, samples with their rate, data sets by place."""

from __future__ import annotations

import io

import numpy as np
import pyarrow
import pytest
import soundfile
import torch

from mmencode import Index
from mmencode.errors import InputError
from mmencode.testing import sample_items

IMAGES = sample_items("image", 3)
RATE = 16000
TONE = np.sin(np.arange(RATE) / 10).astype(np.float32)


def png(image):
    image.save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def wav(samples):
    soundfile.write(file := io.BytesIO(), samples, RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


FILES = [png(image) for image in IMAGES]


def stored(files):
    return [{"bytes": content, "path": f"{place}.png"} for place, content in enumerate(files)]


def test_bytes_with_a_path_are_the_file(space):
    found = space.encode("image", stored(FILES))
    np.testing.assert_array_equal(found, space.encode("image", FILES))
    recording = space.encode("audio", [{"bytes": wav(TONE), "path": None}])
    np.testing.assert_allclose(recording, space.encode("audio", [(TONE, RATE)]), atol=1e-6)


def test_path_without_bytes_is_the_file(space, tmp_path):
    (tmp_path / "a.png").write_bytes(FILES[0])
    items = [{"bytes": None, "path": str(tmp_path / "a.png")}, {"path": tmp_path / "a.png"}]
    np.testing.assert_array_equal(space.encode("image", items), space.encode("image", FILES[:1] * 2))


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"bytes": None, "path": None}, "it has neither bytes nor a path"),
        ({"path": "missing.png"}, r"there is no such file(.|\n)*missing.png"),
        ({"bytes": b"nothing", "path": "bad.png"}, r"can't be decoded(.|\n)*bad.png"),
        ({"bytes": 3, "path": None}, "int is no image"),
        ({"path": "https://example.org/a.png"}, "mmencode fetches nothing"),
        ({"file": b"a"}, "dict is no image"),
        ({}, "dict is no image"),
    ],
)
def test_what_is_no_file_is_that_items_error(space, item, words):
    found = space.encode("image", [FILES[0], item], on_error="skip")
    assert (found.positions.tolist(), found.errors[0].index) == ([0], 1)
    with pytest.raises(InputError, match=words):
        space.encode("image", [item])


def test_texts_are_never_files(space):
    with pytest.raises(InputError):
        space.encode("text", [{"path": "a.txt"}])


@pytest.mark.parametrize("chunked", [False, True])
def test_column_of_files_is_a_batch(space, chunked):
    column = pyarrow.array(stored(FILES))
    column = pyarrow.chunked_array([column[:1], column[1:]]) if chunked else column
    np.testing.assert_array_equal(space.encode("image", column), space.encode("image", FILES))


def test_column_of_recordings_is_a_batch(space):
    items = [{"array": TONE[:start].tolist(), "sampling_rate": RATE, "path": "x"} for start in (8000, 16000)]
    expected = space.encode("audio", [(TONE[:8000], RATE), (TONE, RATE)])
    np.testing.assert_allclose(space.encode("audio", pyarrow.array(items)), expected, atol=1e-6)


def test_column_of_other_structs_is_a_table(space):
    with pytest.raises(TypeError, match="with the columns 'label', 'picture'"):
        space.encode("image", pyarrow.array([{"label": 1, "picture": FILES[0]}]))


class Pictures(torch.utils.data.Dataset):
    """A map-style data set, which raises no IndexError at its end."""

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, place):
        return IMAGES[place % len(IMAGES)]


def test_data_set_of_torch_is_asked_for_its_items_by_place(space):
    expected = space.encode("image", IMAGES)
    np.testing.assert_array_equal(space.encode("image", Pictures()), expected)
    subset = torch.utils.data.Subset(Pictures(), [2, 0])
    np.testing.assert_array_equal(space.encode("image", subset), expected[[2, 0]])
    parts = list(space.stream("image", Pictures(), chunk=2))
    np.testing.assert_array_equal(np.concatenate(parts), expected)


class Labelled(Pictures):
    def __getitem__(self, place):
        return super().__getitem__(place), place


def test_pictures_with_labels_are_refused_with_the_way_to_take_them(space):
    with pytest.raises(InputError, match="it is a picture with its label"):
        space.encode("image", Labelled())
    data = Labelled()
    pictures = (data[place][0] for place in range(len(data)))
    np.testing.assert_array_equal(space.encode("image", pictures), space.encode("image", IMAGES))


def test_index_knows_the_content_of_stored_files(space, tmp_path):
    pytest.importorskip("lancedb")
    with Index.create(tmp_path / "index", space) as index:
        assert index.add("image", stored(FILES), keys=["a", "b", "c"]).added == 3
        assert index.add("image", stored(FILES), keys=["a", "b", "c"]).unchanged == 3
        assert index.add("image", stored(FILES[::-1]), keys=["a", "b", "c"]).added == 2


@pytest.mark.hosts
@pytest.mark.parametrize("decode", [True, False])
def test_columns_of_datasets_are_batches(space, decode):
    datasets = pytest.importorskip("datasets", reason="datasets: .ci/run hosts installs it")
    features = datasets.Features({"picture": datasets.Image(decode=decode), "text": datasets.Value("string")})
    data = datasets.Dataset.from_dict({"picture": stored(FILES), "text": ["a", "b", "c"]}, features=features)
    expected = space.encode("image", FILES)
    np.testing.assert_array_equal(space.encode("image", data["picture"]), expected)
    np.testing.assert_array_equal(space.encode("image", (row["picture"] for row in data)), expected)
    np.testing.assert_array_equal(space.encode("image", data.data["picture"]), expected)
    np.testing.assert_array_equal(space.encode("text", data["text"]), space.encode("text", ["a", "b", "c"]))
    with pytest.raises(TypeError, match="with the columns 'picture', 'text'"):
        space.encode("image", data)


@pytest.mark.hosts
def test_recordings_of_datasets_are_batches(space):
    datasets = pytest.importorskip("datasets", reason="datasets: .ci/run hosts installs it")
    data = datasets.Dataset.from_dict({"clip": [{"bytes": wav(TONE), "path": "a.wav"}]})
    data = data.cast_column("clip", datasets.Audio(decode=False))
    expected = space.encode("audio", [(TONE, RATE)])
    np.testing.assert_allclose(space.encode("audio", data["clip"]), expected, atol=1e-6)
