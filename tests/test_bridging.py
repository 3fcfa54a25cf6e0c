"""Spaces of one modality in common become one; on fakes whose vectors follow from one number in each item."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mmencode
from mmencode.engine.runtime import Runtime
from mmencode.errors import FitError, SpaceMismatchError, UnknownModalityError
from mmencode.plugins.spec import EncoderSpec
from mmencode.spaces.recall import recall
from mmencode.spaces.space import Space

DIM = 16
GAP = 1.0


class Points(mmencode.Encoder):
    """Each item is a point of its own, `moved` by one step for all and turned by a rotation of the class."""

    width, preprocessing, pooling = DIM, "its number", "none"
    seed, moved = 0, 0.0

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(self.seed)
        self.turn = torch.nn.Parameter(torch.linalg.qr(torch.randn(DIM, DIM, generator=draw))[0])
        self.step = torch.nn.Parameter(torch.full((DIM,), self.moved / DIM**0.5))

    def preprocess(self, item):
        point = np.random.default_rng(int(str(item).split()[-1])).normal(size=DIM)
        return {"point": torch.from_numpy((point / np.linalg.norm(point)).astype(np.float32))}

    def forward(self, tensors):
        return (tensors["point"] + self.step) @ self.turn.T


class Smells(Points):
    """Another modality of the same space as Points, in a region of its own."""

    moved = GAP


class Others(Points):
    seed = 1


def spec(encoder, modality, space):
    name = f"{space}/{modality}"
    return EncoderSpec(
        name=name, modality=modality, target=f"{__name__}:{encoder.__name__}", dim=DIM, space=space
    )


RUNTIME = Runtime("cpu", "float32")
CORPUS = [f"text {number}" for number in range(400)]
NEW = [str(number) for number in range(1000, 1060)]


@pytest.fixture(scope="module")
def source():
    with Space(
        "ours", [spec(Points, "text", "ours"), spec(Smells, "smell", "ours")], runtime=RUNTIME
    ) as space:
        yield space


@pytest.fixture(scope="module")
def target():
    with Space("theirs", [spec(Others, "text", "theirs")], runtime=RUNTIME) as space:
        yield space


def found(space):
    """How often a smell's own text is the first."""
    smells, texts = space.encode("smell", NEW).vectors, space.encode("text", NEW).vectors
    return recall([(smells, texts)]).at[1]


@pytest.mark.parametrize(
    "method", ["ridge", "procrustes", pytest.param("contrastive", marks=pytest.mark.slow)]
)
def test_modality_that_was_never_paired_is_found_over_the_bridge(method, source, target):
    with mmencode.bridge("both", source, target, CORPUS, method=method) as space:
        assert set(space.modalities) == {"text", "smell"}
        assert space.spec("text").name == "theirs/text"
        assert found(space) > 0.3
        assert space.projections["smell"].report["forward"]["at"]["1"] > 0.8


def test_moving_the_mean_over_the_gap_helps(source, target):
    with (
        mmencode.bridge("bare", source, target, CORPUS) as bare,
        mmencode.bridge("moved", source, target, CORPUS, unpaired={"smell": NEW}) as moved,
    ):
        assert found(moved) > found(bare)
        assert bare.id != moved.id


def test_held_out_pairs_say_what_the_bridge_gives_for_what_was_never_paired(source, target):
    pairs = [(item, item) for item in NEW]
    with mmencode.bridge("both", source, target, CORPUS, held_out={"smell": pairs}) as space:
        said = space.projections["smell"].report["held_out"]
        assert said["forward"]["at"]["1"] == found(space)
        assert said["backward"]["count"] == len(NEW)


def test_held_out_pairs_of_what_the_bridge_does_not_lead_are_refused(source, target):
    with pytest.raises(ValueError, match=r"held_out has \['text'\]: the bridge leads \['smell'\]"):
        mmencode.bridge("both", source, target, CORPUS, held_out={"text": [("a 1", "b 1")]})


def test_source_may_be_preferred(source, target):
    with mmencode.bridge("both", source, target, CORPUS, prefer="source") as space:
        assert space.spec("text").name == "ours/text"
        same = space.encode("text", NEW).vectors @ target.encode("text", NEW).vectors.T
        assert (same.argmax(axis=1) == np.arange(len(NEW))).mean() > 0.8


def test_bridged_space_is_neither_of_the_two(source, target):
    with mmencode.bridge("both", source, target, CORPUS) as space:
        for other in (source, target):
            with pytest.raises(SpaceMismatchError):
                mmencode.similarity(space.encode("text", ["a 1"]), other.encode("text", ["a 1"]))


def test_bridge_is_saved_with_its_shift_and_its_report(source, target, tmp_path):
    projection = mmencode.bridge("both", source, target, CORPUS, unpaired={"smell": NEW}).projections["smell"]
    mmencode.save_projection(projection, tmp_path / "smell.safetensors")
    again = mmencode.load_projection(tmp_path / "smell.safetensors")
    rows = torch.randn(3, DIM)
    torch.testing.assert_close(again(rows), projection(rows))
    assert (again.into, again.report["target"]) == (target.id, target.id)


def test_spaces_without_that_modality_in_common_are_refused(source, target):
    with pytest.raises(UnknownModalityError, match="no encoder for 'smell'"):
        mmencode.bridge("both", source, target, CORPUS, via="smell")


def test_corpus_that_is_too_small_is_refused(source, target):
    with pytest.raises(FitError, match="too few"):
        mmencode.bridge("both", source, target, CORPUS[:10])


def test_nothing_to_take_a_mean_of_is_refused(source, target):
    with pytest.raises(FitError, match="nothing to take the mean of"):
        mmencode.bridge("both", source, target, CORPUS, unpaired={"smell": []})


def test_a_table_is_no_corpus_and_no_pairs(space):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["a", "b"], "file": ["c", "d"]})
    for options in ({"corpus": frame}, {"corpus": ["a"], "unpaired": {"image": frame}}):
        with pytest.raises(
            TypeError, match=r"must be a list, not a DataFrame with the columns 'text', 'file'"
        ):
            mmencode.bridge("both", space, space, **options)
    with pytest.raises(TypeError, match=r"pairs must be a list of \(item, partner\) tuples, not a DataFrame"):
        mmencode.align(space.spec("text"), space, frame)
