"""Where weights lie is no part of an identity: in names, in cards, in families that say nothing of it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import mmencode
from mmencode import EncoderSpec, Identity, Runtime, Space
from mmencode.card import SpaceCard, TowerCard, card_from_dict, tower_card
from mmencode.errors import IdentityError, SpaceMismatchError, UnknownNameError, WeightsError
from mmencode.plugins.places import placeless, with_absolute_path
from mmencode.testing import FakeImage, sample_items


class Stranger(FakeImage):
    """An encoder of somebody who has never heard of places: `[<gain>:]<file or folder>`."""

    def __init__(self, variant):
        super().__init__()
        gain, colon, path = variant.rpartition(":")
        self.power = float(gain) if colon else 1.0
        path = mmencode.inputs.weights.Path(path)
        if path.is_dir():
            self.power *= json.loads((path / "settings.json").read_text())["power"]
            path = path / "weights.pt"
        if not path.is_file():
            raise WeightsError(f"there is no file {str(path)!r}", remedy="check it")
        self.load_state_dict(torch.load(path, weights_only=True))

    def forward(self, tensors):
        return super().forward(tensors) ** self.power


class Friend(Stranger):
    """The same by somebody who says what is computed."""

    def __init__(self, variant):
        super().__init__(variant)
        self.architecture = f"stripes to the power of {self.power:g}"


FAMILY = EncoderSpec(name="stranger/*", modality="image", target="test_places:Stranger", dim=8)
FRIENDS = EncoderSpec(name="friend/*", modality="image", target="test_places:Friend", dim=8)


@pytest.fixture(autouse=True)
def installed(install):
    install(strangers=(FAMILY, FRIENDS))


@pytest.fixture
def weights(tmp_path):
    module = FakeImage()
    with torch.no_grad():
        module.gain.copy_(torch.linspace(3, 5, 8))
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def loaded(name):
    with mmencode.load(name, device="cpu", dtype="float32") as space:
        return space.card, space.encode("image", sample_items("image", 3)).vectors


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("{0}/w.pt", "*"),
        ("mean:{0}/w.pt", "mean:*"),
        ("vit//{0}/w.pt", "vit/*"),
        ("./w.pt", "*"),
        ("w.pt", "*"),
        ("vit/w.pt", "vit/*"),
        ("d/../w.pt", "*"),
        ("mean:../{1}/w.pt", "mean:*"),
        ("{0}/w.pt@512", "*@512"),
        ("mode=fast,weights={0}/w.pt", "mode=fast,weights=*"),
        ("resnet18", ""),
        ("org/model", ""),
        ("org/model@main", ""),
        ("d", ""),
        ("/nowhere/w.pt", ""),
        ("x" * 5000, ""),
        ("a\0b/c", ""),
        ("~nobody-of-that-name/x", ""),
    ],
)
def test_name_without_its_path_is_what_it_says_besides(tmp_path, monkeypatch, name, rest):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "w.pt").write_bytes(b"x")
    assert placeless(name.format(tmp_path, tmp_path.name)) == rest


def test_settings_of_a_folder_count_and_its_weights_do_not(tmp_path):
    for place, power, content in (("a", 1, b"x"), ("b", 1, b"y"), ("c", 2, b"x")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "settings.json").write_text(json.dumps({"power": power}))
        (tmp_path / place / "weights.pt").write_bytes(content)
    one, two, other = (placeless(str(tmp_path / place)) for place in "abc")
    assert one == two != other
    assert placeless(f"{tmp_path}/a/") == one


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("./w.pt", "{0}/w.pt"),
        ("mean:./d", "mean:{0}/d"),
        ("../{1}/d/@512", "{0}/../{1}/d@512"),
        ("vit/d/w.pt", "vit/{0}/d/w.pt"),
        ("~/d", "{0}/d"),
        ("{0}/w.pt", "{0}/w.pt"),
        ("{0}/d/", "{0}/d/"),
        ("d/e", "d/e"),  # the id of a hub, for all that one knows
        ("resnet18", "resnet18"),
    ],
)
def test_place_in_a_card_is_found_from_any_folder(tmp_path, monkeypatch, name, expected):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "d" / "e").mkdir(parents=True)
    for file in ("w.pt", "d/w.pt"):
        (tmp_path / file).write_bytes(b"x")
    assert with_absolute_path(name.format(tmp_path, tmp_path.name)) == expected.format(
        tmp_path, tmp_path.name
    )


@pytest.mark.parametrize("family", ["stranger", "friend"])
def test_checkpoint_of_any_family_is_one_wherever_it_lies(weights, tmp_path, monkeypatch, family):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    shutil.copy(weights, tmp_path / "sub" / "other.pt")
    (tmp_path / "link.pt").symlink_to(weights)
    card, vectors = loaded(f"{family}/{weights}")
    for place in (
        "./weights.pt",
        "sub/../weights.pt",
        "sub/other.pt",
        "weights.pt",
        "link.pt",
        f"{tmp_path}/link.pt",
    ):
        other, others = loaded(f"{family}/{place}")
        assert other.fingerprint == card.fingerprint
        assert np.array_equal(vectors, others)
        assert os.path.samefile(other.towers[0].place, place)
        assert os.path.isabs(other.towers[0].place)
    assert card.towers[0].encoder == f"{family}/*"


@pytest.mark.parametrize("family", ["stranger", "friend"])
def test_what_else_a_name_says_and_settings_in_a_folder_are_told_apart(weights, tmp_path, family):
    prints = {loaded(f"{family}/{way}{weights}")[0].fingerprint for way in ("", "2:", "3:")}
    for power in (0.5, 0.25):
        folder = tmp_path / str(power)
        folder.mkdir()
        shutil.copy(weights, folder)
        (folder / "settings.json").write_text(json.dumps({"power": power}))
        prints.add(loaded(f"{family}/{folder}")[0].fingerprint)
        prints.add(loaded(f"{family}/{folder}/")[0].fingerprint)
    assert len(prints) == 5


def test_families_of_two_names_stay_two_spaces(weights):
    assert len({loaded(f"{family}/{weights}")[0].fingerprint for family in ("stranger", "friend")}) == 2


# Cards


IDENTITY = Identity(weights="sha256:1", preprocessing="p", architecture="a")


def card_of(*towers):
    return SpaceCard(name="x", dim=8, towers=towers)


def test_place_is_in_the_card_and_not_in_the_fingerprint():
    towers = [
        TowerCard(modality="image", encoder="f/*", place=place, identity=IDENTITY) for place in ("/a", "/b")
    ]
    one, other = map(card_of, towers)
    assert one.fingerprint == other.fingerprint
    assert one != other
    assert one.to_dict()["places"] == {"image": "/a"}
    assert card_from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert "image: f//a" in str(one)


@pytest.mark.parametrize("change", [{"architecture": "b"}, {"architecture": ""}, {"weights": "sha256:2"}])
def test_architecture_is_in_the_fingerprint(change):
    tower = TowerCard(modality="image", encoder="f/*", place="/a", identity=IDENTITY)
    other = replace(tower, identity=replace(IDENTITY, **change))
    assert card_of(tower).fingerprint != card_of(other).fingerprint
    assert card_of(tower).fingerprint != card_of(replace(tower, encoder="g/*")).fingerprint


def test_card_without_architectures_is_written_as_it_always_was():
    content = card_of(TowerCard(modality="image", encoder="e", identity=Identity(weights="w"))).to_dict()
    assert "places" not in content
    assert "architecture" not in content["towers"]["image"]


@pytest.mark.parametrize(
    "places",
    [[], {"image": 3}, {"image": ""}, {"text": "/a"}, {"image": "/a", "text": "/b"}, "x", {"image": {}}],
)
def test_places_that_are_none_are_refused(places):
    content = card_of(TowerCard(modality="image", encoder="f/*", place="/a", identity=IDENTITY)).to_dict()
    with pytest.raises(ValueError, match="place"):
        card_from_dict({**content, "places": places})


def test_place_of_an_encoder_that_is_no_family_is_refused():
    content = card_of(TowerCard(modality="image", encoder="e", identity=IDENTITY)).to_dict()
    with pytest.raises(ValueError, match="no family"):
        card_from_dict({**content, "places": {"image": "/a"}})


def test_only_a_members_place_is_apart():
    member, single = FAMILY.member("/a/b"), EncoderSpec(name="s", modality="image", target="a:b", dim=8)
    assert tower_card(member, IDENTITY) == TowerCard(
        modality="image", encoder="stranger/*", place="/a/b", identity=IDENTITY
    )
    assert tower_card(member, Identity()).encoder == "stranger//a/b"
    assert tower_card(single, IDENTITY).encoder == "s"


# Saved spaces


@pytest.fixture
def saved(weights, tmp_path):
    with mmencode.load(f"stranger/{weights}", device="cpu", dtype="float32") as space:
        space.save(tmp_path / "saved")
    return tmp_path / "saved"


def test_saved_space_is_loaded_with_its_weights_elsewhere(saved, weights, tmp_path):
    elsewhere = shutil.move(weights, tmp_path / "elsewhere.pt")
    with (
        mmencode.load(saved, device="cpu") as lost,
        pytest.raises(WeightsError, match=r"no file(.|\n)*load\(folder, space=space\)(.|\n)*Index.open"),
    ):
        lost.encode("image", sample_items("image", 1))
    with mmencode.load(str(saved), space=f"stranger/{elsewhere}", device="cpu", dtype="float32") as found:
        assert found.id == mmencode.load(saved).id
        assert found.verify().same
        found.save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "card.json").read_text())["places"] == {"image": str(elsewhere)}
    with mmencode.load(tmp_path / "again", device="cpu", dtype="float32") as again:
        assert again.verify().same


def test_space_saved_of_a_relative_path_loads_in_any_folder(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with mmencode.load("stranger/./weights.pt", device="cpu", dtype="float32") as space:
        space.save("relative")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    with mmencode.load("../relative", device="cpu", dtype="float32") as back:
        assert back.verify().same


def test_other_weights_given_for_a_saved_space_are_refused(saved, tmp_path):
    torch.save(FakeImage().state_dict(), tmp_path / "others.pt")
    with (
        mmencode.load(saved, space=f"stranger/{tmp_path}/others.pt", device="cpu") as wrong,
        pytest.raises(IdentityError, match="weights: declared"),
    ):
        wrong.encode("image", sample_items("image", 1))


def test_space_of_another_family_given_for_a_saved_space_is_refused(saved, weights):
    with pytest.raises(SpaceMismatchError, match=r"no encoder of 'friend/(.|\n)*stranger/\*"):
        mmencode.load(saved, space=f"friend/{weights}")


def test_space_given_beside_one_that_was_not_saved_is_refused(weights):
    with pytest.raises(ValueError, match="saved folder"):
        mmencode.load(f"stranger/{weights}", space=f"stranger/{weights}")


def test_card_that_names_no_place_asks_for_one(saved):
    content = json.loads((saved / "card.json").read_text())
    del content["places"], content["checksum"]
    (saved / "card.json").write_text(json.dumps(content | {"checksum": mmencode.card.json_digest(content)}))
    with pytest.raises(
        UnknownNameError, match=r"where the weights for image lie(.|\n)*load\(folder, space=space\)"
    ):
        mmencode.load(saved)


def test_card_from_before_places_still_opens_where_its_weights_lie(saved, weights):
    """Its encoder's name holds the path, and its identity says no architecture."""
    content = json.loads((saved / "card.json").read_text())
    tower = content["towers"]["image"] | {"encoder": f"stranger/{weights}"}
    del tower["architecture"], content["places"], content["checksum"]
    content["towers"]["image"] = tower
    content["fingerprint"] = card_from_dict(content).fingerprint
    (saved / "card.json").write_text(json.dumps(content | {"checksum": mmencode.card.json_digest(content)}))
    with mmencode.load(saved, device="cpu", dtype="float32") as old:
        assert old.encode("image", sample_items("image", 2)).space == old.id
        assert old.card.fingerprint == content["fingerprint"]
        assert old.verify().same


def test_weights_that_are_no_numbers_are_the_checkpoints_fault_and_not_the_items(weights):
    state = torch.load(weights, weights_only=True)
    state["gain"][2] = float("nan")
    torch.save(state, weights)
    with (
        Space("x", [FAMILY.member(str(weights))], runtime=Runtime("cpu")) as space,
        pytest.raises(WeightsError, match=r"gain contains NaN"),
    ):
        space.encode("image", sample_items("image", 3), on_error="skip")


def test_module_that_is_wrapped_says_its_architecture_itself():
    """A family's encoder may be any module; the attribute is a plain one."""
    assert nn.Module.__setattr__ is FakeImage.__setattr__
    encoder = FakeImage()
    assert encoder.architecture == ""
    encoder.architecture = "mine"
    assert mmencode.encoder.identify(encoder).architecture == "mine"
