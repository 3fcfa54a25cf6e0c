"""Fitting projections to pairs, on fakes whose features follow from one number in each item."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

import mmencode
from mmencode.engine.runtime import Runtime
from mmencode.errors import FitError, InputError
from mmencode.plugins.spec import EncoderSpec
from mmencode.projection import moments, ridge
from mmencode.spaces.alignment import FORCED, fit, hash_item, split
from mmencode.spaces.space import Space

WIDTH, DIM = 24, 16


class Seeded(mmencode.Encoder):
    """Each text is a point of its own; `turned` encoders see the same points, rotated into another width."""

    width, preprocessing, pooling = DIM, "its number", "none"
    turned = False

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        shape = (WIDTH, DIM) if self.turned else (DIM, DIM)
        turn = torch.linalg.qr(torch.randn(*shape, generator=draw))[0] if self.turned else torch.eye(DIM)
        self.turn = torch.nn.Parameter(turn)

    def preprocess(self, item):
        point = np.random.default_rng(int(item.split()[-1])).normal(size=DIM)
        return {"point": torch.from_numpy(point.astype(np.float32))}

    def forward(self, tensors):
        return tensors["point"] @ self.turn.T


class Turned(Seeded):
    width, turned = WIDTH, True


def spec(encoder, name, dim):
    return EncoderSpec(name=name, modality="text", target=f"{__name__}:{encoder.__name__}", dim=dim)


SOURCE = spec(Turned, "turned", WIDTH)
RUNTIME = Runtime("cpu", "float32")


@pytest.fixture(scope="module")
def target():
    with Space("straight", [spec(Seeded, "straight", DIM)], runtime=RUNTIME) as space:
        yield space


def pairs(count, start=0):
    return [(f"item {number}", f"caption {number}") for number in range(start, start + count)]


def shuffled(count):
    order = np.random.default_rng(0).permutation(count)
    return [(f"item {number}", f"caption {other}") for number, other in enumerate(order)]


@pytest.mark.parametrize(
    "method", ["ridge", "procrustes", pytest.param("contrastive", marks=pytest.mark.slow)]
)
def test_projection_leads_items_it_has_not_seen_to_their_partners(method, target):
    projection = mmencode.align(SOURCE, target, pairs(300), method=method)
    assert projection.into == target.id
    assert projection.report["forward"]["at"]["1"] > 0.8
    assert projection.note == ""
    with mmencode.compose("both", {"text": (SOURCE, projection)}, runtime=RUNTIME) as space:
        found = space.encode("text", [item for item, _ in pairs(50, start=1000)]).vectors
        expected = target.encode("text", [partner for _, partner in pairs(50, start=1000)]).vectors
    assert ((found @ expected.T).argmax(axis=1) == np.arange(50)).mean() > 0.8


@pytest.mark.parametrize(
    "method", ["ridge", "procrustes", pytest.param("contrastive", marks=pytest.mark.slow)]
)
def test_shuffled_pairs_are_refused_with_the_figures(method, target):
    with pytest.raises(FitError, match=r"better than by chance(.|\n)*recall@1 .*chance"):
        mmencode.align(SOURCE, target, shuffled(200), method=method)


def test_forced_projection_says_so_in_the_card(target):
    projection = mmencode.align(SOURCE, target, shuffled(200), force=True)
    assert projection.note == FORCED
    with mmencode.compose("both", {"text": (SOURCE, projection)}, runtime=RUNTIME) as space:
        assert FORCED in str(space.card)


def test_too_few_pairs_are_refused(target):
    with pytest.raises(FitError, match="10 pairs are too few"):
        mmencode.align(SOURCE, target, pairs(10))


def test_report_names_both_sides_and_reads_as_text(target):
    projection = mmencode.align(SOURCE, target, pairs(100), seed=3)
    report = projection.report
    assert report["source"].startswith("turned (sha256:")
    assert report["target"] == target.id
    assert (report["pairs"], report["folds"], report["seed"]) == (100, 5, 3)
    assert json.loads(json.dumps(report)) is not None
    assert report["angle"] < 60


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_pairs_come_from_two_columns_of_a_table(ending, target, tmp_path):
    path = tmp_path / f"pairs.{ending}"
    with path.open("w", newline="") as file:
        if ending == "csv":
            csv.writer(file).writerows([("item", "caption"), *pairs(100)])
        else:
            file.writelines(json.dumps({"item": a, "caption": b}) + "\n" for a, b in pairs(100))
    from_file = mmencode.align(SOURCE, target, path)
    from_list = mmencode.align(SOURCE, target, pairs(100))
    torch.testing.assert_close(from_file.weight, from_list.weight)


def test_files_of_a_table_are_beside_it(target, tmp_path, monkeypatch):
    from mmencode.spaces.alignment import iterate_pairs

    (tmp_path / "pairs.csv").write_text("image,caption\none.jpg,a cat\n")
    monkeypatch.chdir("/")
    assert list(iterate_pairs(tmp_path / "pairs.csv", "image", "text", None)) == [
        (tmp_path / "one.jpg", "a cat")
    ]


def test_bad_item_is_named_by_the_place_of_its_pair(target):
    broken = pairs(1500)
    broken[1300] = ("item 1", "")
    with pytest.raises(InputError) as caught:
        mmencode.align(SOURCE, target, broken)
    assert caught.value.index == 1300
    whole = mmencode.align(SOURCE, target, broken, on_error="skip")
    assert whole.report["pairs"] == 1499


def test_no_pair_is_an_error_that_shows_it(target):
    with pytest.raises(FitError, match="pair 2 is 'three'"):
        mmencode.align(SOURCE, target, [("a 1", "b 1"), ("a 2", "b 2"), "three"])


@pytest.mark.parametrize("wrong", [{"method": "magic"}, {"folds": 2}])
def test_nonsense_is_a_value_error(wrong, target):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        mmencode.align(SOURCE, target, pairs(100), **wrong)


def test_one_item_never_stands_on_both_sides_of_a_split():
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(400, 4)).astype(np.float32)
    keys = [hash_item(f"item {number % 100}", "text", number) for number in range(400)]
    rows[:, 0] = np.arange(400)
    folds = split([(rows, rows, keys)], folds=5, seed=0)
    items = [{int(place) % 100 for place in fold.rows()[1][:, 0]} for fold in folds]
    assert sum(len(fold.rows()[0]) for fold in folds) == 400
    assert sum(map(len, items)) == 100  # each of the hundred items in one fold only


@pytest.mark.parametrize("item", ["a", b"a", np.zeros(3), (np.ones(4), 16000)])
def test_equal_items_have_one_key_and_others_another(item):
    assert hash_item(item, "text", 0) == hash_item(item, "text", 1)
    assert hash_item(item, "text", 0) != hash_item("something else", "text", 0)


def test_files_of_one_content_have_one_key_wherever_they_are(tmp_path):
    for name, content in {"a": b"1", "b": b"1", "c": b"2"}.items():
        (tmp_path / name).write_bytes(content)
    a, b, c = (hash_item(path, "image", 0) for path in (tmp_path / "a", str(tmp_path / "b"), tmp_path / "c"))
    assert a == b != c


def test_items_without_content_to_compare_are_told_apart_by_number():
    item = object()
    assert hash_item(item, "image", 1) == hash_item(item, "image", 1) != hash_item(item, "image", 2)


def test_rows_held_are_bounded_and_the_sums_are_of_all():
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(1000, 4)).astype(np.float32)
    (only, *_) = split(
        [(rows, rows, [hash_item(str(number), "text", number) for number in range(1000)])], 3, 0, most=50
    )
    assert len(only.rows()[0]) == 50
    assert only.moments.count > 200


def test_fit_to_constant_features_says_that_they_are(target):
    draw = np.random.default_rng(0)
    rows, same = draw.normal(size=(100, 4)).astype(np.float32), np.ones((100, 4), np.float32)
    held = split([(same, rows, [hash_item(str(number), "text", number) for number in range(100)])], 5, 0)
    with pytest.raises(FitError, match="all features are the same"):
        fit(held, "ridge", source="a", target="b", seed=0, force=False)


@pytest.mark.parametrize("method", ["ridge", "procrustes"])
def test_outputs_for_unseen_items_are_spread_as_far_as_their_targets(method):
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(1400, WIDTH)).astype(np.float32)
    targets = rows[:, :DIM] + 3 * draw.normal(size=(1400, DIM)).astype(np.float32) + 1  # mostly noise
    keys = [hash_item(str(number), "text", number) for number in range(400)]
    held = split([(rows[:400], targets[:400], keys)], 5, 0)
    solved = fit(held, method, source="a", target="b", seed=0, force=True)
    centre = targets[:400].mean(axis=0)
    found, wanted = (
        ((points - centre) ** 2).mean()
        for points in (solved(torch.from_numpy(rows[400:])).numpy(), targets[400:])
    )
    assert found == pytest.approx(wanted, rel=0.1)


def test_no_target_is_found_by_far_too_many_items():
    """The hub: with outputs drawn to the mean of all targets, the target nearest to that wins everywhere."""
    draw = np.random.default_rng(0)
    classes = draw.normal(size=(60, DIM)) + 2
    places = np.arange(600) % 60
    rows = classes[places] @ draw.normal(size=(DIM, WIDTH)) + 8 * draw.normal(size=(600, WIDTH))
    rows, targets = rows.astype(np.float32), classes[places].astype(np.float32)
    plain = ridge(moments([(torch.from_numpy(rows), torch.from_numpy(targets))]))
    keys = [hash_item(str(number), "text", number) for number in range(600)]
    solved = fit(split([(rows, targets, keys)], 5, 0), "ridge", source="a", target="b", seed=0, force=True)
    unit = classes / np.linalg.norm(classes, axis=1, keepdims=True)
    most = [
        np.bincount((projection(torch.from_numpy(rows)).numpy() @ unit.T).argmax(axis=1)).max()
        for projection in (plain, solved)
    ]
    assert most[1] < 0.75 * most[0]


@pytest.mark.gpu
def test_network_is_trained_on_the_space_s_device(target):
    with Space("straight", [spec(Seeded, "straight", DIM)], runtime=Runtime("cuda", "float32")) as space:
        projection = mmencode.align(SOURCE, space, pairs(300), method="contrastive")
    assert projection.report["forward"]["at"]["1"] > 0.8
    assert {parameter.device.type for parameter in projection.parameters()} == {"cpu"}


def test_former_name_of_the_report_is_there_for_a_release():
    with pytest.warns(DeprecationWarning, match="AlignmentReport"):
        assert mmencode.Report is mmencode.AlignmentReport
