"""A modality that mmencode never heard of, from a wheel in a fresh environment, beside hostile plugins."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fresh
import pytest

pytestmark = pytest.mark.slow
PACKAGE = Path(__file__).parent / "molecules"
DECLARE = """
from mmencode import EncoderSpec, ModalitySpec, hookimpl

@hookimpl
def mmencode_modalities():
    for name in {names}:
        yield ModalitySpec(
            name=name, reader="{module}.items:read", probes="{module}.items:probes", endings={endings}
        )

@hookimpl
def mmencode_encoders():
    yield EncoderSpec(name="{module}", modality={names}[0], target="mmencode.testing.fakes:FakeText", dim=8)
"""
ITEMS = """
def read(item, limits):
    raise RuntimeError("stolen")

def probes():
    raise RuntimeError("no probes")
"""
# By distribution: the modalities that it declares, and their endings.
HOSTILE = {
    "aaa-thief": (("image", "molecule", "text"), (".png", ".smi")),
    "crystal-one": (("crystals",), (".cif",)),
    "crystal-two": (("crystals",), (".cif", ".wav")),
    "rock": (("rock",), (".rock", ".wav", ".smi")),
}


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of a fresh environment with molecules, the default space and hostile plugins."""
    folder = tmp_path_factory.mktemp("fresh")
    (folder / "molecule").mkdir()
    fresh.write_pyproject(folder / "molecule", "mmencode-molecule", "molecules")
    shutil.copytree(PACKAGE, folder / "molecule" / "molecules", ignore=shutil.ignore_patterns("__pycache__"))
    projects = [fresh.ROOT / "plugins" / "mmencode-offline", folder / "molecule"]
    for name, (names, endings) in HOSTILE.items():
        module = name.replace("-", "_")
        package = folder / name / module
        package.mkdir(parents=True)
        fresh.write_pyproject(folder / name, name, module)
        (package / "__init__.py").write_text(DECLARE.format(names=names, module=module, endings=endings))
        (package / "items.py").write_text(ITEMS)
        projects.append(folder / name)
    return fresh.install(folder / "venv", *fresh.build(folder / "wheels", fresh.ROOT, *projects))


@pytest.fixture
def folder(tmp_path):
    top = tmp_path / "molecules"
    top.mkdir()
    for name, line in {"ethanol": "CCO", "water": "O", "amine": "NN", "benzene": "c1ccccc1"}.items():
        (top / f"{name}.smi").write_text(line)
    (top / "broken.smi").write_text("?")
    return top


@pytest.fixture
def said(python, tmp_path):
    """Run a command, and give the JSON that it prints."""

    def run(*arguments, command=("-m", "mmencode.cli"), code=0):
        end = ("--json",) if command[0] == "-m" else ()
        done = fresh.run(python, *command, *map(str, arguments), *end, cwd=tmp_path)
        assert done.returncode == code, done.stderr + done.stdout
        return json.loads(done.stdout)

    return run


def test_its_encoder_keeps_the_contract_on_the_probes(said):
    found = {report["encoder"]: report for report in said("check", "lab/molecule")}
    report = found["lab/molecule"]
    assert report["state"] == "passed"
    states = [check["state"] for check in report["checks"]]
    assert states.count("passed") > 25


def test_a_folder_is_indexed_searched_classified_and_shown(said, folder, tmp_path):
    added = said("index", "add", "lab.index", folder, "--space", "lab")
    assert (added["added"], len(added["failed"])) == (4, 1)
    page = tmp_path / "found.html"
    found = said("search", "lab.index", "nitrogen", "-k", 2, "--html", page)
    assert found["matches"][0]["item"].endswith("amine.smi")
    assert "&lt;b&gt;N2" in page.read_text()
    options = ("--modality", "molecule", "--space", "lab", "--labels", "carbon,nitrogen,oxygen")
    ranked = {
        Path(row["item"]).stem: row["labels"][0]["label"]
        for row in said("classify", folder, *options)["results"]
    }
    assert ranked == {"amine": "nitrogen", "benzene": "carbon", "ethanol": "carbon", "water": "oxygen"}
    (folder / "amine.smi").unlink()
    synced = said("index", "sync", "lab.index", folder)
    assert (synced["added"], synced["unchanged"], synced["removed"]) == (0, 3, 1)


WORK = """
import json, sys, mmencode
said = {"torch": "torch" in sys.modules}
registry = mmencode.registry()
said["torch after asking"] = "torch" in sys.modules
said["owner"] = registry.modalities.owned["molecule"][0]
lost = registry.modalities.set_aside
said["set aside"] = sorted({(one.distribution, one.name, one.ending) for one in lost})
said["contested"] = registry.modalities.contested
from mmencode.testing import sample_items
with mmencode.load("lab") as space:
    space.save("saved")
with mmencode.load("saved") as space:
    said["same"] = space.verify().same
    said["angles"] = sorted(space.verify().angles)
with mmencode.load("default") as space:
    said["default"] = space.id
    for modality in ("text", "image"):
        said[modality] = len(space.encode(modality, sample_items(modality)))
for name in ("crystal_one", "rock"):
    with mmencode.load(name) as space:
        try:
            space.encode(space.modalities[0], [b"a", b"b"])
        except mmencode.errors.MmencodeError as error:
            said[name] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""


def test_hostile_plugins_are_named_and_harm_nobody(said):
    found = said(WORK, command=("-c",))
    assert not found["torch"]
    assert not found["torch after asking"]
    assert found["owner"] == "mmencode-molecule"
    assert found["set aside"] == [
        ["aaa-thief", "image", ""],
        ["aaa-thief", "molecule", ""],
        ["aaa-thief", "text", ""],
        ["rock", "rock", ".wav"],
    ]
    assert found["contested"] == {"crystals": ["crystal-one", "crystal-two"]}
    assert found["same"]
    assert found["angles"] == ["molecule", "text"]
    assert found["default"] == "offline@dc905b1686deee4a"
    assert (found["text"], found["image"]) == (8, 8)
    assert (
        "NameClashError: modality 'crystals' is declared by crystal-one and crystal-two"
        in found["crystal_one"]
    )
    assert "modality 'rock' of rock 1.0: its reader raised RuntimeError: stolen" in found["rock"]


def test_the_doctor_names_them(said):
    states = {row["distribution"]: row["state"] for row in said("plugins")}
    assert states["mmencode"] == states["mmencode-offline"] == states["mmencode-molecule"] == "ok"
    assert "modality 'image' of aaa-thief is set aside: it belongs to mmencode" in states["aaa-thief"]
    assert (
        "modality 'molecule' of aaa-thief is set aside: it belongs to mmencode-molecule"
        in states["aaa-thief"]
    )
    assert "is declared by crystal-two, too" in states["crystal-one"]
    assert "the ending '.wav' of modality 'rock' of rock is set aside" in states["rock"]
