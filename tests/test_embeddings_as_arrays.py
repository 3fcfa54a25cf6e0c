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
