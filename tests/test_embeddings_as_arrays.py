"""Other libraries take Embeddings for what they are, an array [n, dim], and never row by row."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from mmencode import Embeddings
from mmencode.errors import InputError


class Whole(Embeddings):
    """Embeddings whose rows mustn't be asked for one by one."""

    __slots__ = ()

    def __getitem__(self, rows):
        raise AssertionError(f"row {rows} was asked for")


def embeddings(count=5, kind=Embeddings):
    vectors = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    return kind(vectors, space="a@1", modality="text", keys=[str(row) for row in range(count)])


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize(
    "take",
    [torch.as_tensor, torch.tensor, torch.asarray, torch.from_dlpack, np.asarray, np.array, np.from_dlpack],
    ids=lambda take: f"{take.__module__}.{take.__name__}",
)
def test_array_of_embeddings_is_their_vectors(take, count):
    found = embeddings(count, Whole)
    array = take(found)
    assert tuple(array.shape) == (count, 8)
    np.testing.assert_array_equal(np.asarray(array), found.vectors)
    assert np.asarray(array).dtype == np.float32


def test_tensor_of_embeddings_is_in_their_memory():
    found = embeddings()
    torch.as_tensor(found)[0] = 3
    assert (found.vectors[0] == 3).all()
    assert torch.tensor(found).data_ptr() != found.vectors.ctypes.data


def test_memory_that_must_not_be_written_is_copied():
    vectors = np.ones((2, 8), np.float32)
    vectors.flags.writeable = False
    found = torch.as_tensor(Embeddings(vectors, space="a@1", modality="text"))
    found[0] = 3
    assert (vectors == 1).all()


def test_dtype_and_device_may_be_said():
    found = torch.as_tensor(embeddings(), dtype=torch.float64, device="cpu")
    assert (found.dtype, tuple(found.shape)) == (torch.float64, (5, 8))


@pytest.mark.parametrize("workers", [0, 1])
def test_loader_of_embeddings_gives_batches_of_vectors(workers):
    found = embeddings()
    batches = list(DataLoader(found, batch_size=2, num_workers=workers, multiprocessing_context=None))
    assert [tuple(batch.shape) for batch in batches] == [(2, 8), (2, 8), (1, 8)]
    np.testing.assert_array_equal(torch.cat(batches), found.vectors)


def test_embeddings_go_into_a_data_set():
    labels = torch.arange(5)
    data = TensorDataset(torch.as_tensor(embeddings()), labels)
    rows, found = next(iter(DataLoader(data, batch_size=5)))
    assert tuple(rows.shape) == (5, 8)
    assert torch.equal(found, labels)


def test_array_says_its_shape_and_type():
    found = embeddings()
    assert (found.shape, found.ndim, found.dtype) == ((5, 8), 2, np.float32)


def test_iteration_gives_one_vector_after_the_other():
    found = list(embeddings())
    assert [row.shape for row in found] == [(8,)] * 5
    np.testing.assert_array_equal(np.stack(found), embeddings().vectors)


def test_rows_may_be_picked_as_scikit_learn_picks_them():
    found = embeddings()
    assert found[np.array([3, 1]), ...].keys == found[[3, 1], :].keys == ("3", "1")
    with pytest.raises(TypeError, match="are indexed by their rows"):
        found[:, 2]


@pytest.mark.parametrize("array", [lambda found: found.vectors, np.asarray, lambda found: found.positions])
def test_vectors_cannot_be_changed_by_accident(array):
    with pytest.raises(ValueError, match="read-only"):
        array(embeddings())[0] = 3


@pytest.mark.parametrize("name", ["space", "vectors", "keys", "positions", "modality", "errors", "dim"])
def test_what_vectors_belong_to_cannot_be_changed_by_accident(name):
    found = embeddings()
    with pytest.raises(AttributeError, match=f"{name} of Embeddings can't be changed"):
        setattr(found, name, getattr(found, name))
    with pytest.raises(AttributeError):
        delattr(found, name)
    with pytest.raises(AttributeError):
        found.another = 1


def test_array_that_embeddings_are_made_of_stays_its_owners():
    vectors = np.eye(3, 8, dtype=np.float32)
    found = Embeddings(vectors, space="a@1", modality="text")
    assert found.vectors.ctypes.data == vectors.ctypes.data
    vectors[0] = 1  # which may still be written to


@pytest.mark.filterwarnings("error")
def test_tensor_of_rows_in_memory_that_is_only_read_gives_no_warning():
    vectors = np.ones((2, 8), np.float32)
    vectors.flags.writeable = False
    found = Embeddings(vectors, space="a@1", modality="text")
    found.torch()[0] = 3
    next(iter(DataLoader(found, batch_size=2)))[0] = 3
    assert (found.vectors == 1).all()


@pytest.mark.parametrize("again", [lambda value: pickle.loads(pickle.dumps(value)), copy.deepcopy, copy.copy])
def test_embeddings_travel_with_all_that_they_know(again):
    error = InputError("it is blank", source="b.txt", index=3)
    one = Embeddings(
        np.eye(2, 8), space="a@1", modality="text", positions=[0, 2], errors=[error], keys=["x", "y"]
    )
    other = again(one)
    np.testing.assert_array_equal(one, other)
    assert (other.space, other.modality, other.keys) == ("a@1", "text", ("x", "y"))
    assert other.positions.tolist() == [0, 2]
    assert (other.errors[0].fact, other.errors[0].index) == ("it is blank", 3)
