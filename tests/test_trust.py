"""A folder from anywhere fetches nothing unless somebody said to trust its names."""

from __future__ import annotations

import json
import socket
import sys
from dataclasses import replace

import pytest

import mmencode
from mmencode.errors import TrustError, WeightsError
from mmencode.plugins.places import is_local
from mmencode.plugins.registry import registry
from mmencode.spaces.folder import Saved, read_folder, write_folder
from mmencode.testing import sample_items

NAMES = [
    ("image", "openclip-image/ViT-B-32/laion2b_s34b_b79k"),
    ("image", "openclip-image/hf-hub:anybody/anything"),
    ("image", "openclip-image/hf-hub:anybody/anything?preprocess=/etc/hosts"),
    ("image", "timm/resnet18.a1_in1k"),
    ("audio", "torchaudio/WAV2VEC2_BASE"),
]


@pytest.fixture
def folder(space, install, tmp_path):
    """The folder of a space of fakes, which all are declared."""
    from mmencode.testing import fake_specs

    family = tuple(spec for plugin in registry().plugins for spec in plugin.specs if spec.is_family)
    install(fakes=fake_specs(), builtin=family)
    with mmencode.load("fake") as loaded:
        loaded.save(tmp_path / "mine")
    return tmp_path / "mine"


@pytest.fixture
def naming(folder, tmp_path):
    """The folder of a space whose card names another encoder for a modality."""

    def make(modality, name):
        card = read_folder(folder).card
        towers = [
            replace(tower, encoder=name) if tower.modality == modality else tower for tower in card.towers
        ]
        write_folder(tmp_path / "theirs", Saved(replace(card, towers=tuple(towers)), {name: "mmencode"}, {}))
        return tmp_path / "theirs"

    return make


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_declared_encoders_need_no_word(folder):
    with mmencode.load(folder) as space:
        assert len(space.encode("text", ["a"])) == 1


@pytest.mark.parametrize(("modality", "name"), NAMES)
def test_names_that_say_what_to_fetch_are_refused_at_once(naming, modality, name):
    theirs = naming(modality, name)
    with pytest.raises(TrustError) as raised:
        mmencode.load(theirs)
    assert f"{name!r} for {modality}" in raised.value.fact
    assert raised.value.culprit == str(theirs / "card.json")
    assert 'trust="names"' in raised.value.remedy
    assert "--trust" in raised.value.remedy


def test_trusted_names_are_taken_and_asked_for_when_they_are_needed(naming):
    theirs = naming("image", "timm/resnet18./no/such/file.safetensors")
    with mmencode.load(theirs, trust="names") as space:
        assert space.spec("image").name == "timm/resnet18./no/such/file.safetensors"
        assert len(space.encode("text", ["a"])) == 1


def test_a_local_checkpoint_needs_no_word(naming):
    with (
        mmencode.load(naming("image", "timm/resnet18./no/such/file.safetensors")) as space,
        pytest.raises(WeightsError),
    ):
        space.encode("image", sample_items("image", 1))


@pytest.mark.parametrize(
    "variant",
    ["/a", "/a/b.pt?preprocess=openai", "mean:/a", "local-dir:/a", "ViT-B-32//a", "resnet18./a", "x.y//a"],
)
def test_a_name_that_is_a_whole_path_is_local(variant):
    assert is_local(variant)


@pytest.mark.parametrize(
    "variant",
    [
        *(
            "a",
            "a/b",
            "a/b/c",
            "./a",
            "~/a",
            "mean:a/b",
            "hf-hub:a/b",
            "hf-hub:/a",
            "hf_hub:/a/b",
            "a/b//c",
            "",
            "/",
        ),
        *("hf-hub:a/b?preprocess=/etc/hosts", "a?x=/b", "a,/b", "a@/b", "a:b:/c", "ViT-B-32/laion2b"),
    ],
)
def test_a_name_that_may_be_fetched_by_is_not_local(variant):
    assert not is_local(variant)


@pytest.mark.parametrize("trust", [True, "all", ""])
def test_another_word_of_trust_is_refused(folder, trust):
    with pytest.raises(ValueError, match='make it "names", or leave it out'):
        mmencode.load(folder, trust=trust)


def test_a_name_that_is_typed_needs_no_word():
    with mmencode.load("timm/resnet18.a1_in1k") as space:
        assert space.spec("image").name == "timm/resnet18.a1_in1k"


def test_an_index_of_such_a_space_is_opened_and_asks_before_it_encodes(naming, space):
    pytest.importorskip("lancedb", reason="an index is on LanceDB: pip install 'mmencode[index]'")
    theirs = naming("image", "timm/resnet18.a1_in1k")
    with mmencode.load(theirs, trust="names") as loaded:
        mmencode.Index.create(theirs.with_name("index"), loaded).close()
    with mmencode.Index.open(theirs.with_name("index")) as index:
        assert len(index) == 0
        with pytest.raises(TrustError, match="timm/resnet18"):
            index.search("text", ["a"])
    with mmencode.Index.open(theirs.with_name("index"), trust="names") as index:
        assert index.search("text", ["a"]) == [[]]


def test_cards_are_files_of_a_bounded_size(folder, monkeypatch):
    content = (folder / "card.json").read_bytes()
    (folder / "card.json").write_bytes(content + b" " * 2**25)
    with pytest.raises(WeightsError, match="it has more than 33554432 bytes"):
        read_folder(folder)
    (folder / "card.json").unlink()
    (folder / "card.json").symlink_to("/dev/zero")
    with pytest.raises(WeightsError, match="it is no regular file"):
        read_folder(folder)


@pytest.mark.parametrize(
    "plugin", ["evil; rm -rf ~", "--index-url=http://x y", "a b", "../x", "x" * 5000, "$(id)", "", 3, None]
)
def test_a_card_puts_no_other_words_into_a_pip_line(naming, plugin):
    from mmencode.card import json_digest

    theirs = naming("image", "nobody/declares-it")
    content = json.loads((theirs / "card.json").read_text())
    rest = {**content, "plugins": {"nobody/declares-it": plugin}}
    rest.pop("checksum")
    (theirs / "card.json").write_text(json.dumps({**rest, "checksum": json_digest(rest)}))
    with pytest.raises(WeightsError, match="'plugins' doesn't say by which distributions"):
        mmencode.load(theirs)


def test_nothing_that_a_card_names_is_imported_before_it_is_trusted(naming, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(TrustError):
        mmencode.load(naming("image", "timm/resnet18.a1_in1k"))
