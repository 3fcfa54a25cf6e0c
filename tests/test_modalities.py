"""A modality that only a plugin knows is treated as those of mmencode are, and a hostile one harms nobody."""

from __future__ import annotations

import time
import unittest
from dataclasses import replace
from functools import partial

import molecules
import numpy as np
import pytest

import mmencode
from mmencode.engine.generated import generated_items
from mmencode.errors import EncoderError, InputError, NameClashError
from mmencode.inputs import Limits, reader
from mmencode.inputs.reading import load_target
from mmencode.inputs.walking import Walk, endings_of
from mmencode.testing import EncoderConformance, fake_specs, sample_items

(MOLECULE,) = molecules.mmencode_modalities()
SPECS = tuple(molecules.mmencode_encoders())
FILES = {"ethanol": "CCO", "water": "O", "amine": "NCCN", "benzene": "c1ccccc1"}


@pytest.fixture
def lab(install):
    """Make a space of molecules and texts, installed beside the fakes."""
    install(lab=(MOLECULE, *SPECS), fake=fake_specs())
    with mmencode.load("lab", device="cpu") as space:
        yield space


@pytest.fixture
def folder(tmp_path):
    """A folder with a file for each molecule, and files that aren't."""
    top = tmp_path / "molecules"
    top.mkdir()
    for name, line in FILES.items():
        (top / f"{name}.smi").write_text(line)
    (top / "broken.smiles").write_text("not a molecule")
    (top / "notes.txt").write_text("x")
    return top


def test_every_form_of_a_file_is_one_item(lab, folder):
    path = folder / "ethanol.smi"
    with path.open("rb") as file:
        forms = [path, str(path), b"CCO", bytearray(b"CCO"), memoryview(b"CCO"), file]
        vectors = lab.encode("molecule", forms).vectors
    assert np.ptp(vectors, axis=0).max() == 0
    assert vectors[0] == pytest.approx(np.array([2, 0, 1, 0.1]) / np.sqrt(5.01), abs=1e-6)


def test_a_bad_item_is_named_and_its_neighbours_stay(lab, folder):
    items = [b"CCO", folder / "broken.smiles", "https://example.org/a.smi", None, b"O"]
    with pytest.raises(InputError, match="it is no SMILES") as caught:
        lab.encode("molecule", items)
    assert caught.value.index == 1
    assert "broken.smiles" in caught.value.source
    found = lab.encode("molecule", items, on_error="skip")
    assert found.positions.tolist() == [0, 4]
    assert [error.index for error in found.errors] == [1, 2, 3]
    assert np.array_equal(found.vectors, lab.encode("molecule", [b"CCO", b"O"]).vectors)


def test_its_own_limits_hold_and_are_raised_by_name(lab):
    long = b"C" * 200
    found = lab.encode("molecule", [long, b"C"], on_error="skip")
    assert found.errors[0].fault == "limit"
    assert "it has 200 atoms, and the limit is 100" in str(found.errors[0])
    more = Limits(declared={"molecule.atoms": 200})
    with mmencode.load("lab", device="cpu", limits=more) as space:
        assert len(space.encode("molecule", [long])) == 1
        assert len(space.encode("text", ["carbon"])) == 1
    small = Limits(bytes=2)
    with (
        mmencode.load("lab", device="cpu", limits=small) as space,
        pytest.raises(InputError, match="2 bytes"),
    ):
        space.encode("molecule", [b"CCO"])


def test_a_limit_that_nobody_declares_is_refused(lab):
    misspelt = Limits(declared={"molecule.atom": 200})
    with (
        mmencode.load("lab", device="cpu", limits=misspelt) as space,
        pytest.raises(ValueError, match=r"no limit 'molecule.atom': it has molecule.atoms"),
    ):
        space.encode("molecule", [b"C"])
    for bad in (0, -1, "5", True, None):
        with pytest.raises(ValueError, match=r"declared\['molecule.atoms'\]"):
            Limits(declared={"molecule.atoms": bad})


def test_folders_are_walked_by_its_endings(lab, folder):
    assert endings_of("molecule") == (".smi", ".smiles")
    walk = Walk(str(folder), "molecule")
    assert [path.rpartition("/")[2] for path in walk] == [
        *("amine.smi", "benzene.smi", "broken.smiles", "ethanol.smi", "water.smi")
    ]
    assert walk.left_out == {"with the ending .txt": 1}


def test_the_classifier_asks_by_the_prompt_of_the_modality(lab, monkeypatch):
    asked = []
    encode = type(lab).encode
    monkeypatch.setattr(
        type(lab),
        "encode",
        lambda self, m, batch, **k: asked.append(list(batch)) or encode(self, m, batch, **k),
    )
    classifier = lab.classifier(["carbon", "nitrogen", "oxygen"])
    result = classifier.classify("molecule", [b"CCCCO", b"NN", b"O", b"bad!"], on_error="skip")
    assert [row[0][0] for row in result.top(1)] == ["carbon", "nitrogen", "oxygen"]
    assert ["a molecule with carbon", "a molecule with nitrogen", "a molecule with oxygen"] in asked
    assert [error.index for error in result.errors] == [3]


def test_an_encoder_has_its_own_prompt_where_it_declares_one(install):
    from mmencode.plugins.modalities import prompt_of

    install(lab=(MOLECULE, *SPECS))
    assert prompt_of(SPECS[0]) == "a molecule with {label}"
    assert prompt_of(replace(SPECS[0], prompt="{label}, drawn")) == "{label}, drawn"
    assert prompt_of(replace(SPECS[0], modality="unheard_of")) == "{label}"
    assert {prompt_of(replace(SPECS[0], modality=name)) for name in ("text", "image", "audio")} == {"{label}"}


def test_an_index_follows_a_folder_of_it(lab, folder, tmp_path):
    pytest.importorskip("lancedb")
    with mmencode.Index.create(tmp_path / "index", lab) as index:
        added = index.sync(folder)
        assert (added.added, [failure.key.rpartition("/")[2] for failure in added.failed]) == (
            4,
            ["broken.smiles"],
        )
        (folder / "water.smi").unlink()
        (folder / "amine.smi").write_text("NN")
        (folder / "new.smi").write_text("OO")
        again = index.sync(folder)
        assert (again.added, again.unchanged) == (2, 2)
        assert index.state().rows == {"molecule": 4}
        ((best, *_),) = index.search("text", ["nitrogen nitrogen"], k=2)
        assert best.key.endswith("amine.smi")
        ((best, *_),) = index.search("molecule", [folder / "new.smi"], k=1)
        assert best.key.endswith("new.smi")


def test_files_of_an_ending_that_two_modalities_share_are_asked_about(install, folder, tmp_path):
    pytest.importorskip("lancedb")
    other = replace(MOLECULE, name="crystal", limits=(), reader="molecules.hostile:raises", value="")
    crystal = replace(SPECS[0], name="lab/crystal", modality="crystal")
    install(lab=(MOLECULE, other, *SPECS, crystal))
    with mmencode.load("lab", device="cpu") as space, mmencode.Index.create(tmp_path / "i", space) as index:
        with pytest.raises(ValueError, match=r"end in \.smi may be of the modality"):
            index.sync(folder)
        assert index.sync(folder, modalities=["molecule"]).added == 4


def test_a_saved_space_is_verified_by_its_probes(lab, tmp_path):
    lab.save(tmp_path / "saved")
    assert [len(lab_probes) for lab_probes in _probes(tmp_path / "saved").values()] == [4, 4]
    with mmencode.load(tmp_path / "saved", device="cpu") as again:
        found = again.verify()
    assert found.same
    assert sorted(found.angles) == ["molecule", "text"]
    assert found.skipped == ()


def _probes(folder):
    from mmencode.spaces.folder import read_card

    return read_card(folder).probes


class TestMolecule(EncoderConformance):
    """The whole suite, on the modality's own probes."""

    spec = SPECS[0]

    @pytest.fixture(autouse=True)
    def installed(self, install):
        install(lab=(MOLECULE, *SPECS))


@pytest.mark.parametrize(
    ("check", "broken"),
    [
        ("every_form_of_a_probe_is_one_item", {"reader": "molecules.hostile:reads_bytes_only"}),
        ("probes_are_the_same_each_time", {"probes": "molecules.hostile:other_probes"}),
        ("probes_are_the_same_each_time", {"probes": "molecules.hostile:bad_probes"}),
        ("reader_says_what_is_wrong_with_an_item", {"reader": "molecules.hostile:raises"}),
        ("reader_says_what_is_wrong_with_an_item", {"reader": "molecules.hostile:reads_bytes_only"}),
        ("preview_shows_every_probe", {"preview": "molecules.hostile:raises"}),
        ("preview_shows_every_probe", {"preview": "molecules.hostile:gives_seven"}),
    ],
)
@pytest.mark.filterwarnings("ignore:the probes of modality")
def test_a_broken_modality_is_caught_by_the_check_that_should(install, check, broken):
    suite = type("Suite", (EncoderConformance,), {"spec": SPECS[0], "items": [b"CCO", b"O", b"N"]})()
    try:
        install(lab=(MOLECULE, *SPECS))
        getattr(suite, f"test_{check}")()
        install(lab=(replace(MOLECULE, **broken), *SPECS))
        with pytest.raises(AssertionError):
            getattr(suite, f"test_{check}")()
    finally:
        suite.teardown_class()


def test_checks_of_a_modality_skip_what_is_mmencodes_own():
    (text, *_) = fake_specs()
    suite = type("Suite", (EncoderConformance,), {"spec": text})()
    with pytest.raises(unittest.SkipTest, match="that a plugin declares"):
        suite.test_preview_shows_every_probe()


def test_sample_items_are_the_probes(lab):
    assert sample_items("molecule", 3) == [b"CCO", b"c1ccccc1", b"CC(=O)N"]
    assert generated_items("molecule") == sample_items("molecule")
    with pytest.raises(ValueError, match="no sample items of 'crystal'"):
        sample_items("crystal")


def hostile(target, **fields):
    return replace(MOLECULE, reader=f"molecules.hostile:{target}", value="", limits=(), **fields)


def encoders(install, modality, target="mmencode.testing.fakes:FakeText"):
    """Install a modality with an encoder of it, beside texts in its space."""
    molecule = replace(SPECS[0], target=target, dim=8, space="hurt")
    text = replace(SPECS[1], target="mmencode.testing.fakes:FakeText", dim=8, space="hurt")
    install(lab=(modality, molecule, text))
    return partial(mmencode.load, "hurt", device="cpu")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("raises", "its reader raised RuntimeError: boom"),
        ("leaves", "its reader raised SystemExit: 3"),
        ("gives_none", "its reader gave 'NoneType', not a value"),
    ],
)
def test_a_reader_that_fails_on_everything_is_named_and_texts_go_on(install, target, said):
    with encoders(install, hostile(target))() as space:
        with pytest.raises(EncoderError) as caught:
            space.encode("molecule", [b"CCO", b"O"], on_error="skip")
        assert f"modality 'molecule' of lab 1.0: {said}" in str(caught.value)
        assert len(space.encode("text", ["a dog"])) == 1


def test_a_value_of_another_class_is_the_readers_fault(install):
    modality = replace(hostile("gives_seven"), value="molecules.items:Molecule")
    with (
        encoders(install, modality)() as space,
        pytest.raises(EncoderError, match="gave 'int', not molecules"),
    ):
        space.encode("molecule", [b"CCO", b"O"])


def test_a_reader_that_fails_on_one_item_blames_its_plugin_and_skips_it(install):
    modality = hostile("raises_on_odd", probes="molecules.items:probes")
    with encoders(install, modality, "molecules.encoders:Lengths")() as space:
        found = space.encode("molecule", [b"a", b"odd", b"ccc"], on_error="skip")
    assert found.positions.tolist() == [0, 2]
    assert "modality 'molecule' of lab 1.0: its reader raised ZeroDivisionError" in found.errors[0].fact
    assert found.errors[0].fault == "encoder"
    assert "plugin's author" in found.errors[0].remedy


def test_a_reader_that_hangs_costs_one_item(install):
    load = encoders(install, hostile("hangs"), "molecules.encoders:Lengths")
    start = time.monotonic()
    with load(limits=Limits(wait=0.5)) as space:
        found = space.encode("molecule", [b"a", b"hang", b"ccc"], on_error="skip")
        assert found.positions.tolist() == [0, 2]
        assert found.errors[0].fault == "time"
    assert time.monotonic() - start < 15


@pytest.mark.parametrize("target", ["bad_probes", "no_probes", "not_there"])
def test_probes_that_fail_are_warned_of_and_leave_saving_alone(install, tmp_path, target):
    modality = replace(MOLECULE, probes=f"molecules.hostile:{target}")
    install(lab=(modality, *SPECS))
    with mmencode.load("lab", device="cpu") as space:
        with pytest.warns(UserWarning, match="probes of modality 'molecule' of lab 1.0 can't be used"):
            space.save(tmp_path / "saved")
        assert [*_probes(tmp_path / "saved")] == ["text"]
        assert space.verify(tmp_path / "saved").same


def test_a_reader_that_is_not_there_is_an_error_of_its_plugin(install):
    with encoders(install, hostile("not_there"))() as space:
        with pytest.raises(EncoderError, match="hostile:not_there") as caught:
            space.encode("molecule", [b"C"])
        assert caught.value.culprit == "lab 1.0"
        assert len(space.encode("text", ["a dog"])) == 1


def test_a_contested_modality_is_not_read_by_either(install):
    install(one=(MOLECULE, *SPECS), two=(hostile("raises"),))
    with mmencode.load("lab", device="cpu") as space:
        with pytest.raises(NameClashError, match="modality 'molecule' is declared by one and two"):
            space.encode("molecule", [b"C"])
        assert len(space.encode("text", ["carbon"])) == 1


def test_an_image_is_read_by_mmencode_whoever_declares_it(install):
    from PIL import Image

    image = replace(hostile("raises"), name="image")
    install(lab=(image,), fake=fake_specs())
    with mmencode.load("fake", device="cpu") as space:
        assert len(space.encode("image", [Image.new("RGB", (8, 8))])) == 1
        assert [walk for walk in endings_of("image") if walk == ".smi"] == []


def test_what_nobody_declares_reaches_its_encoder_as_it_is(install):
    install(lab=SPECS)
    item = object()
    assert reader("molecule")(item, Limits()) is item
    assert load_target(MOLECULE, "reader") is not None


def test_probes_that_hang_are_given_up_within_the_limit(install, tmp_path, recwarn):
    install(lab=(*SPECS, replace(MOLECULE, probes="molecules.hostile:hanging_probes")))
    with mmencode.load("lab", device="cpu", limits=Limits(wait=0.3)) as space:
        space.save(tmp_path / "saved")
    assert [*_probes(tmp_path / "saved")] == ["text"]
    assert "they take more than 0.3 s" in str(recwarn[0].message)


@pytest.mark.parametrize(
    ("single", "said"),
    [
        ("bond", "the batch is one molecule of a str"),
        ("raises_single", "the batch is one str"),
        ("", "one str"),
    ],
)
def test_single_item_in_place_of_a_batch_is_told_by_its_modality(install, single, said):
    target = f"molecules.hostile:{single}" if single else ""
    install(lab=(*SPECS, replace(MOLECULE, single=target)))
    with mmencode.load("lab", device="cpu") as space:
        with pytest.raises(TypeError, match=said):
            space.encode("molecule", "CCO")
        assert len(space.encode("molecule", [b"CCO"])) == 1
