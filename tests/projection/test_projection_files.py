"""Projections survive being saved and loaded, and damage never goes unnoticed or shows as another error."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import nn

from mmencode.encoder import digest
from mmencode.errors import EncoderError, WeightsError
from mmencode.projection import (
    Autoencoder,
    Chain,
    IdentityProjection,
    LabelAnchored,
    Linear,
    Perceptron,
    Projection,
    Truncation,
    load_projection,
    save_projection,
)
from mmencode.projection.files import KINDS

WIDTH = 6


class Foreign(Projection):
    def forward(self, features):
        return features


class Doubled(Linear):
    """One of mmencode's kinds, by name, that computes something else."""

    def forward(self, features):
        return 2 * super().forward(features)


class Scaled(nn.Linear):
    def forward(self, inputs):
        return 2 * super().forward(inputs)


def rows(count, width, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def seeded(make, *arguments, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(*arguments, **options)


def linear(width=WIDTH, dim=3):
    return Linear(rows(dim, width), rows(1, dim)[0])


def headed(**options):
    return LabelAnchored(rows(9, 4), head=seeded(nn.Linear, WIDTH, 9, **options), top=2)


SAMPLES = {
    "identity": IdentityProjection(),
    "anchored": LabelAnchored(rows(WIDTH, 4), activation="none", top=3),
    "anchored, many labels": LabelAnchored(rows(12, WIDTH), head=seeded(nn.Linear, WIDTH, 12)),
    "anchored, prior": LabelAnchored(rows(WIDTH, 4), activation="sigmoid", prior=rows(1, WIDTH)[0].abs()),
    "anchored, head": headed(),
    "anchored, head without bias": headed(bias=False),
    "linear": linear(),
    "truncation": Truncation(4),
    "perceptron": seeded(Perceptron, WIDTH, 3, 8),
    "autoencoder": seeded(Autoencoder, WIDTH, 3, 8),
    "chain": Chain(headed(), linear(4)),
    "chain of chains": Chain(IdentityProjection(), Chain(Truncation(5), seeded(Perceptron, 5, 3, 8))),
}


@pytest.fixture(params=SAMPLES)
def projection(request):
    sample = SAMPLES[request.param]
    sample.into = "words@1"
    sample.note = "a reservation"
    sample.report = {"recall": [0.1, 0.5], "by": {"method": "ridge", "pairs": 12}}
    return sample


@pytest.fixture
def path(tmp_path):
    return tmp_path / "image.safetensors"


def test_there_is_a_sample_of_every_kind():
    assert {type(sample) for sample in SAMPLES.values()} == set(KINDS.values())


def test_projection_survives_saving(projection, path):
    save_projection(projection, path)
    loaded = load_projection(path)
    features = rows(20, WIDTH, seed=5)
    assert type(loaded) is type(projection)
    assert torch.equal(loaded(features), projection(features))
    assert digest(loaded) == digest(projection)
    for name in ("into", "note", "report", "width", "dim", "settings"):
        assert getattr(loaded, name) == getattr(projection, name)


def test_loaded_projection_is_ready_for_use(projection, path):
    save_projection(projection, path)
    loaded = load_projection(str(path))
    assert not any(module.training for module in loaded.modules())
    assert not any(value.requires_grad for value in loaded.parameters())


def test_loading_uses_nobody_s_randomness(projection, path):
    save_projection(projection, path)
    before = torch.random.get_rng_state()
    load_projection(path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_loaded_projection_needs_its_file_no_more(projection, path):
    save_projection(projection, path)
    loaded = load_projection(path)
    path.write_bytes(b"")
    assert digest(loaded) == digest(projection)


def test_file_is_the_same_however_often_it_is_written(projection, path):
    save_projection(projection, path)
    before = path.read_bytes()
    save_projection(load_projection(path), path)
    assert path.read_bytes() == before


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(deadline=None)
@given(into=st.text(), note=st.text(), report=st.dictionaries(st.text(), plain))
def test_any_plain_report_survives(tmp_path_factory, into, note, report):
    path = tmp_path_factory.getbasetemp() / "report.safetensors"
    sample = IdentityProjection()
    sample.into, sample.note, sample.report = into, note, report
    save_projection(sample, path)
    loaded = load_projection(path)
    assert (loaded.into, loaded.note, loaded.report) == (into, note, report)


def damaged(folder, content):
    """The path of a file with this content."""
    path = folder / "damaged.safetensors"
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The content of a file."""
    path = tmp_path_factory.mktemp("whole") / "whole.safetensors"
    save_projection(headed(), path)
    return path.read_bytes()


@settings(deadline=None)
@given(st.data())
def test_file_that_was_cut_off_anywhere_is_named(tmp_path_factory, whole, data):
    length = data.draw(st.integers(0, len(whole) - 1))
    path = damaged(tmp_path_factory.getbasetemp(), whole[:length])
    with pytest.raises(WeightsError, match=r"damaged\.safetensors"):
        load_projection(path)


@settings(deadline=None, max_examples=500)
@given(st.data())
def test_changed_byte_is_no_other_error(tmp_path_factory, whole, data):
    place = data.draw(st.integers(0, len(whole) - 9 * 4 * 4))  # the last are numbers, of which any may be
    content = whole[:place] + data.draw(st.binary(min_size=1, max_size=1)) + whole[place + 1 :]
    path = damaged(tmp_path_factory.getbasetemp(), content)
    try:
        loaded = load_projection(path)
    except WeightsError:
        return
    assert type(loaded) is LabelAnchored


def facts_of(content):
    length = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["mmencode"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "it has the format 2; this mmencode reads 1"),
        ({"format": None}, "it has the format None"),
        ({"kind": "spline"}, "of the kind 'spline'; this mmencode knows autoencoder"),
        ({"kind": []}, "unhashable"),
        ({"settings": {}}, "head"),
        ({"settings": {"labels": 9, "dim": 4}}, "head"),
        ({"settings": {"labels": 9, "dim": 5, "head": None}}, "size mismatch"),
        ({"settings": {"labels": 9, "dim": 4, "head": None}}, "head.weight"),
        ({"settings": {"labels": 10**15, "dim": 4, "head": None}}, ""),
        ({"settings": {"labels": "many", "dim": 4, "head": None}}, ""),
        ({"settings": 3}, ""),
    ],
)
def test_facts_that_don_t_fit_are_said(path, whole, change, said):
    path.write_bytes(save(load(whole), {"mmencode": json.dumps({**facts_of(whole), **change})}))
    with pytest.raises(WeightsError, match=rf"(?s){said}.*image\.safetensors"):
        load_projection(path)


@pytest.mark.parametrize("lacking", ["kind", "into", "note", "report", "settings"])
def test_facts_that_are_missing_are_said(path, whole, lacking):
    facts = facts_of(whole)
    del facts[lacking]
    path.write_bytes(save(load(whole), {"mmencode": json.dumps(facts)}))
    with pytest.raises(WeightsError, match=f"it lacks {lacking}"):
        load_projection(path)


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "[1]", "3", "null", "{}", "[" * 10_000])
def test_facts_that_are_none_are_said(path, whole, text):
    path.write_bytes(save(load(whole), {"mmencode": text}))
    with pytest.raises(WeightsError, match=r"image\.safetensors"):
        load_projection(path)


@pytest.mark.parametrize(
    "change",
    [
        {"_extra_state": torch.tensor([2, 99])},
        {"_extra_state": torch.tensor([])},
        {"anchors": rows(8, 4)},
        {"another": rows(8, 4)},
    ],
)
def test_state_that_doesn_t_fit_is_said(path, whole, change):
    path.write_bytes(save({**load(whole), **change}, {"mmencode": json.dumps(facts_of(whole))}))
    with pytest.raises(WeightsError, match=r"image\.safetensors"):
        load_projection(path)


def test_safetensors_of_others_are_no_projections(path):
    path.write_bytes(save({"weight": rows(3, 3)}))
    with pytest.raises(WeightsError, match="it holds no projection"):
        load_projection(path)


def test_missing_file_is_named(path):
    with pytest.raises(WeightsError, match=r"(?s)there is no such file.*image\.safetensors"):
        load_projection(path)


def test_folder_is_no_projection(tmp_path):
    with pytest.raises(WeightsError, match=tmp_path.name):
        load_projection(tmp_path)


@pytest.mark.parametrize(
    ("unfit", "said"),
    [
        (Foreign(), "the class Foreign can't be saved"),
        (Doubled(torch.eye(3), torch.zeros(3)), "the class Doubled can't be saved"),
        (LabelAnchored(rows(9, 4), head=nn.Sequential(nn.Linear(6, 9))), "head is Sequential can't be saved"),
        (LabelAnchored(rows(9, 4), head=Scaled(6, 9)), "head is Scaled can't be saved"),
        (Chain(linear(), Foreign()), "the class Foreign can't be saved"),
        (Chain(Doubled(torch.eye(3), torch.zeros(3)), linear(3)), "the class Doubled can't be saved"),
    ],
    ids=["foreign", "derived", "deep head", "derived head", "foreign second", "derived first"],
)
def test_what_can_t_be_saved_is_refused_and_leaves_nothing(tmp_path, path, unfit, said):
    with pytest.raises(EncoderError, match=said):
        save_projection(unfit, path)
    assert not list(tmp_path.iterdir())


def test_report_that_json_can_t_hold_is_refused(tmp_path, path):
    sample = IdentityProjection()
    sample.report = {"vectors": rows(1, 1)}
    with pytest.raises(EncoderError, match="report of a projection can't be saved"):
        save_projection(sample, path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("before", [True, False])
def test_write_that_fails_leaves_what_was_there(tmp_path, path, monkeypatch, before):
    if before:
        save_projection(linear(), path)
    content = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def half(self, data):
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="the disk is full"):
        save_projection(headed(), path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == content


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_regular_file_is_refused_at_once(path, kind):
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    with pytest.raises(WeightsError, match=r"it is no regular file(.|\n)*image\.safetensors"):
        load_projection(path)


@pytest.mark.parametrize("length", [2**20 + 1, 2**62])
def test_a_header_longer_than_any_is_refused(path, length):
    path.write_bytes(length.to_bytes(8, "little") + b"{}")
    os.truncate(path, 2**21)
    with pytest.raises(WeightsError, match=f"its header has {length} bytes"):
        load_projection(path)


def test_settings_that_ask_for_more_than_the_file_holds_take_no_memory(path, whole):
    change = {"settings": {"labels": 2**20, "dim": 2**20, "head": None}}
    path.write_bytes(save(load(whole), {"mmencode": json.dumps({**facts_of(whole), **change})}))
    with pytest.raises(WeightsError, match=r"its \w+ is torch.float32 .*should be torch.float32 \[1048576"):
        load_projection(path)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_state_that_is_not_finite_is_refused(path, whole, wrong):
    state = load(whole)
    state["anchors"][1, 1] = wrong
    path.write_bytes(save(state, {"mmencode": json.dumps(facts_of(whole))}))
    with pytest.raises(WeightsError, match="its anchors isn't all finite numbers"):
        load_projection(path)


@pytest.mark.parametrize("extra", [[0, 0], [-1, 0], [10, 0], [1, -1], [1, 3]])
def test_settings_that_no_labels_have_are_refused(path, whole, extra):
    state = {**load(whole), "_extra_state": torch.tensor(extra)}
    path.write_bytes(save(state, {"mmencode": json.dumps(facts_of(whole))}))
    with pytest.raises(WeightsError, match=r"top is .*, and its activation is number"):
        load_projection(path)


def test_a_state_that_contradicts_its_settings_is_refused(path):
    save_projection(Truncation(4), path)
    path.write_bytes(
        save({"_extra_state": torch.tensor([-1])}, {"mmencode": json.dumps(facts_of(path.read_bytes()))})
    )
    with pytest.raises(WeightsError, match="its state and its settings don't go together"):
        load_projection(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"into": 3}, "is no text"), ({"note": None}, "is no text"), ({"report": []}, "JSON object")],
)
def test_facts_of_other_types_are_refused(path, whole, change, words):
    path.write_bytes(save(load(whole), {"mmencode": json.dumps({**facts_of(whole), **change})}))
    with pytest.raises(WeightsError, match=words):
        load_projection(path)
