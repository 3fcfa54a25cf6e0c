"""Every command takes a modality that only a plugin knows as it takes audio."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import molecules
import pytest
from PIL import Image

from mmencode import EncoderSpec

(MOLECULE,) = molecules.mmencode_modalities()
SPECS = tuple(molecules.mmencode_encoders())
FILES = {"ethanol": "CCO", "water": "O", "amine": "NCCN", "benzene": "c1ccccc1"}


@pytest.fixture
def lab(run, install):
    """The command line with molecules installed."""
    install(lab=(MOLECULE, *SPECS))
    return run


@pytest.fixture
def said(lab):
    return lambda *arguments, **options: json.loads(lab(*arguments, "--json", **options).stdout)


@pytest.fixture
def folder(tmp_path):
    top = tmp_path / "molecules"
    top.mkdir()
    for name, line in FILES.items():
        (top / f"{name}.smi").write_text(line)
    (top / "broken.smi").write_text("nothing of the kind")
    (top / "notes.txt").write_text("x")
    return top


def test_a_folder_is_encoded_and_its_bad_file_reported(said, folder, tmp_path):
    document = said("encode", "molecule", folder, "-o", tmp_path / "m.npz", "--space", "lab")
    assert [failed["item"].rpartition("/")[2] for failed in document["failed"]] == ["broken.smi"]
    assert document["left_out"] == {"with the ending .txt": 1}


def test_a_folder_is_searched_by_text_and_shown_in_words(lab, folder):
    rows = lab(
        "search", folder, "nitrogen", "--in", "molecule", "--space", "lab", "-k", 2
    ).stdout.splitlines()
    assert rows[0] == "rank\tscore\tfile\tshown as"
    assert rows[1].endswith("amine.smi\t<b>C2 N2")


def test_an_example_file_is_a_query_with_a_weight(said, folder):
    amine = folder / "amine.smi"
    options = ("--in", "molecule", "--space", "lab", "--example", f"molecule={amine}")
    document = said("search", folder, *options)
    assert document["query"] == {"modality": "molecule", "item": str(amine)}
    assert document["matches"][0]["item"] == str(amine)
    document = said("search", folder, "oxygen oxygen oxygen", *options, "--weight", "molecule=-1")
    assert document["matches"][0]["item"] == str(folder / "water.smi")


def test_a_weight_and_its_errors_name_modalities_of_plugins(said, lab, folder):
    amine = folder / "amine.smi"
    options = ("--in", "molecule", "--space", "lab", "--example", f"molecule={amine}")
    error = lab("search", folder, "oxygen", *options, code=2).stderr
    assert "pass --weight molecule=0.3" in " ".join(error.split())
    error = lab("search", folder, "--space", "lab", "--weight", "x=1", code=2).stderr
    assert "text, image, audio, molecule, without" in " ".join(error.split())
    twice = said("search", folder, *options, "--example", f"molecule={folder / 'water.smi'}")
    assert [part["modality"] for part in twice["parts"]] == ["molecule", "molecule"]


def test_an_example_may_be_of_a_modality_that_has_an_option_of_its_own(run_json, folder, tmp_path):
    photo = tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(photo)
    options = (tmp_path, "--space", "fake", "-k", 1)
    documents = [
        run_json("search", *options, *line) for line in (("--image", photo), ("--example", f"image={photo}"))
    ]
    assert documents[0] == documents[1]


def test_a_composite_of_a_plugins_modality_stands_in_a_table(lab, said, install, folder, tmp_path):
    pytest.importorskip("lancedb")
    fused = EncoderSpec(name="lab/both", modality="molecule+text", joins="lab", target="", weights=(1.0, 1.0))
    install(lab=(MOLECULE, *SPECS, fused))
    table, page = folder / "lab.jsonl", tmp_path / "found.html"
    rows = [
        {"molecule": "amine.smi", "text": "oxygen", "key": "a"},
        {"molecule": "amine.smi", "text": None, "key": "b"},
        {"molecule": "broken.smi", "text": "oxygen", "key": "c"},
        {"molecule": None, "text": "oxygen", "key": "d"},
    ]
    table.write_text("\n".join(map(json.dumps, rows)))
    index = tmp_path / "index"
    added = said("index", "add", index, "--list", table, "--modality", "molecule+text", "--space", "lab")
    assert added["added"] == 3
    (failed,) = added["failed"]
    assert failed["item"] == f"row 2 of {table}, c"
    assert failed["reason"].startswith("part 0 (molecule): ")
    assert str(folder / "broken.smi") in failed["reason"]
    for line, key in (
        (("oxygen", "--example", f"molecule={folder / 'amine.smi'}"), "a"),
        (("--example", f"molecule={folder / 'amine.smi'}"), "b"),
        (("oxygen",), "d"),
    ):
        assert said("search", index, *line, "-k", 1, "--html", page)["matches"][0]["item"] == key
    error = lab("search", folder, "oxygen", "--in", "molecule+text", "--space", "lab", code=2).stderr
    assert "put a table of them into an index" in " ".join(error.split())


@pytest.mark.parametrize("example", ["crystal=a.cif", "molecule=", "molecule", "=x"])
def test_a_bad_example_is_wrong_usage(lab, folder, example):
    output = lab("search", folder, "--example", example, "--space", "lab", code=2).stderr
    assert "--example" in output
    assert "text, image, audio" in " ".join(output.split())


def test_a_page_shows_its_words_escaped_and_the_example(lab, folder, tmp_path):
    page = tmp_path / "found.html"
    example = f"molecule={folder / 'amine.smi'}"
    options = ("--in", "molecule", "--space", "lab", "--example", example, "--html", page)
    lab("search", folder, *options)
    content = page.read_text()
    assert content.count("&lt;b&gt;C2 N2") == 2
    assert "<b>C2" not in content
    assert "amine.smi" in content


def test_labels_are_ranked(said, folder):
    options = ("--labels", "carbon,nitrogen,oxygen", "--modality", "molecule", "--space", "lab")
    document = said("classify", folder, *options)
    found = {row["item"].rpartition("/")[2]: row["labels"][0]["label"] for row in document["results"]}
    assert found == {
        "amine.smi": "nitrogen",
        "benzene.smi": "carbon",
        "ethanol.smi": "carbon",
        "water.smi": "oxygen",
    }


def test_its_limits_are_options(said, lab, folder):
    (folder / "long.smi").write_text("C" * 120)
    options = ("molecule", folder / "long.smi", "-o", folder / "m.npz", "--space", "lab")
    lab("encode", *options, code=1)
    assert said("encode", *options, "--limit", "molecule.atoms=200")["failed"] == []
    wrong = lab("encode", *options, "--limit", "molecule.atom=200", code=2).stderr
    assert "there is no limit 'molecule.atom'" in " ".join(wrong.split())
    assert "molecule.atoms" in wrong


def test_an_index_follows_a_folder_and_is_searched(said, lab, folder, tmp_path):
    pytest.importorskip("lancedb")
    index = tmp_path / "index"
    document = said("index", "add", index, folder, "--space", "lab")
    assert document["added"] == 4
    (folder / "water.smi").unlink()
    (folder / "new.smi").write_text("OO")
    document = said("index", "sync", index, folder)
    assert (document["added"], document["removed"]) == (1, 1)
    found = said("search", index, "nitrogen", "-k", 1)
    assert found["matches"][0]["modality"] == "molecule"
    lab("search", index, "nitrogen", "--html", tmp_path / "found.html")
    assert "&lt;b&gt;C2 N2" in (tmp_path / "found.html").read_text()
    lab("map", index, "-o", tmp_path / "map.html")
    assert "molecule" in (tmp_path / "map.html").read_text()


def test_its_encoder_is_checked_on_the_probes(said, folder):
    (report,) = said("check", "lab/molecule", code=1)
    assert {check["check"]: check["state"] for check in report["checks"]}["bad_item_is_named"] == "passed"
    names = {check["check"]: check["reason"] for check in report["checks"] if check["state"] == "failed"}
    assert set(names) <= {  # what other processes answer, in which this registry isn't installed
        *("declaring_imports_nothing_heavy", "declaring_takes_under_50_ms"),
        *("card_is_the_same_in_another_process", "works_in_another_process"),
    }, names


def test_plugins_are_listed_with_their_modalities(said):
    rows = {row["distribution"]: row["modalities"] for row in said("plugins")}
    assert rows == {"lab": ["molecule"]}


@pytest.mark.parametrize(
    ("shows", "preview", "in_page"),
    [
        ("picture", "draws", '<img src="data:image/jpeg;base64,'),
        ("sound", "sounds", '<audio controls preload="none" src="data:audio/ogg;base64,'),
        ("picture", "draws_nothing", "no thumbnail"),
        ("picture", "gives_seven", "lab 1.0: its preview gave &#x27;int&#x27;, and it shows picture"),
        ("sound", "raises", "lab 1.0: its preview raised RuntimeError: boom"),
        ("words", "leaves", "lab 1.0: its preview raised SystemExit: 3"),
        ("words", "gives_markup", "&lt;script&gt;alert(1)"),
        ("words", "hangs_always", "showing an item of modality &#x27;molecule&#x27; takes more than 0.3 s"),
        ("words", "not_there", "its preview &#x27;molecules.hostile:not_there&#x27; raised AttributeError"),
    ],
)
def test_a_page_shows_what_its_preview_gives_or_whose_fault_it_is(
    lab, install, folder, tmp_path, shows, preview, in_page
):
    install(lab=(replace(MOLECULE, shows=shows, preview=f"molecules.hostile:{preview}"), *SPECS))
    page = tmp_path / "found.html"
    (folder / "broken.smi").unlink()
    options = ("--in", "molecule", "--space", "lab", "-k", 1, "--limit", "wait=0.3", "--html", page)
    lab("search", folder, "nitrogen", *options)
    content = page.read_text()
    assert in_page in content
    assert "<script>" not in content
    assert len(content) < 100_000


def test_a_preview_that_hangs_is_waited_for_once(lab, install, folder, tmp_path):
    (folder / "broken.smi").unlink()
    install(lab=(replace(MOLECULE, preview="molecules.hostile:hangs_always"), *SPECS))
    page, start = tmp_path / "found.html", time.monotonic()
    options = ("--in", "molecule", "--space", "lab", "-k", 4, "--limit", "wait=0.5", "--html", page)
    lab("search", folder, "nitrogen", *options)
    assert time.monotonic() - start < 4
    assert page.read_text().count("takes more than 0.5 s") == 4


def test_a_picture_of_a_plugin_is_drawn_in_the_terminal_and_on_the_map(lab, install, folder, tmp_path):
    install(lab=(replace(MOLECULE, shows="picture", preview="molecules.hostile:draws"), *SPECS))
    (folder / "broken.smi").unlink()
    options = ("--in", "molecule", "--space", "lab", "-k", 1, "--previews")
    assert "\u2580" * 20 in lab("search", folder, "nitrogen", *options).stdout
    lab("encode", "molecule", folder, "-o", tmp_path / "m.npz", "--space", "lab")
    lab("map", tmp_path / "m.npz", "-o", tmp_path / "map.html")
    assert "data:image/jpeg;base64," in (tmp_path / "map.html").read_text()


def test_a_folder_of_what_has_no_endings_is_wrong_usage(lab, install, folder):
    install(lab=(replace(MOLECULE, endings=()), *SPECS))
    output = lab("search", folder, "x", "--in", "molecule", "--space", "lab", code=2).stderr
    assert "folders can be searched for image and audio files" in " ".join(output.split())


def test_a_contested_modality_is_one_error(lab, install, folder):
    install(one=(MOLECULE, *SPECS), two=(MOLECULE,))
    output = lab("encode", "molecule", folder, "-o", folder / "m.npz", "--space", "lab", code=1).stderr
    assert "modality 'molecule' is declared by one and two" in output
