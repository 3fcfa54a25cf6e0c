"""mmencode-transformers, installed by pip beside mmencode into a fresh virtual environment."""

from __future__ import annotations

import json

import fresh
import pytest

PLUGIN = fresh.ROOT / "plugins" / "mmencode-transformers"
LISTED = """
import json, sys
from mmencode import registry
found = registry()
names = [name for name in found if name.startswith("transformers/")]
print(json.dumps({
    "names": names,
    "modalities": {space: [spec.modality for spec in found.space(space)] for space in found.spaces},
    "heavy": sorted({"torch", "numpy", "transformers", "tokenizers"} & set(sys.modules)),
}))
"""
IMPORTED = """
import importlib, json, pkgutil
import mmencode_transformers as plugin
names = [module.name for module in pkgutil.iter_modules(plugin.__path__)]
for name in names:
    importlib.import_module(f"mmencode_transformers.{name}")
print(json.dumps({"file": plugin.__file__, "names": names}))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fresh")
    return fresh.install(folder / "venv", *fresh.build(folder / "wheels", fresh.ROOT, PLUGIN))


def run(python, *arguments):
    done = fresh.run(python, *arguments, cwd=python.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_its_encoders_are_listed_without_torch(python):
    found = run(python, "-c", LISTED)
    assert {"transformers/text/*", "transformers/clap-audio/*"} <= set(found["names"])
    assert found["modalities"]["transformers/clap/*"] == ["audio", "text"]
    assert found["modalities"]["transformers/retrieval/*"] == ["query", "text"]
    assert found["heavy"] == []


def test_the_doctor_finds_it_well(python):
    states = {
        row["distribution"]: row["state"] for row in run(python, "-m", "mmencode.cli", "plugins", "--json")
    }
    assert states["mmencode-transformers"] == "ok"


def test_its_wheel_holds_all_its_modules(python):
    pytest.importorskip("transformers", reason="what the plugin is for: pip install transformers")
    found = run(python, "-c", IMPORTED)
    assert str(python.parents[1]) in found["file"]
    assert {path.stem for path in (PLUGIN / "mmencode_transformers").glob("[a-z]*.py")} == set(found["names"])
