"""Real plugins, good and broken, installed by pip into a fresh virtual environment beside mmencode."""

from __future__ import annotations

import json

import fresh
import pytest

SPEC = "EncoderSpec(name='{name}', modality='image', target='{module}.encoder:Colours', dim=3)"
DECLARE = (
    "from mmencode import EncoderSpec, hookimpl\n\n@hookimpl\ndef mmencode_encoders():\n    yield {spec}\n"
)
ENCODER = """
from torchvision.transforms.v2.functional import pil_to_tensor
from mmencode import Encoder

class Colours(Encoder):
    width = 3
    preprocessing = "RGB, mean over all pixels, 0 to 1"

    def preprocess(self, item):
        return {"colour": pil_to_tensor(item).float().mean(dim=(1, 2)) / 255 + 0.001}

    def forward(self, tensors):
        return tensors["colour"]
"""


def declare(name, module):
    return DECLARE.format(spec=SPEC.format(name=name, module=module))


BROKEN = {
    "raises": "raise RuntimeError('boom')",
    "misspelt": declare("misspelt", "misspelt").replace("mmencode_encoders", "mmencode_encoder"),
    "invalid": declare("not a name", "invalid"),
    "clash-one": declare("clash", "clash_one"),
    "clash-two": declare("clash", "clash_two"),
    "heavy": "import torch\n" + declare("heavy", "heavy"),
}


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of a fresh environment with mmencode, a good plugin and many broken ones."""
    folder = tmp_path_factory.mktemp("fresh")
    projects = [write(folder, "colours", declare("colours", "colours"))]
    projects += [write(folder, name, source) for name, source in BROKEN.items()]
    projects.append(write(folder, "missing", "", entry="no_such_module_anywhere"))
    projects.append(write(folder, "future", declare("future", "future"), requires="mmencode>=99"))
    return fresh.install(folder / "venv", *fresh.build(folder / "wheels", fresh.ROOT, *projects))


def write(folder, name, source, entry=None, requires="mmencode>=0.1"):
    module = name.replace("-", "_")
    package = folder / name / module
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(source)
    (package / "encoder.py").write_text(ENCODER)
    fresh.write_pyproject(folder / name, f"mmencode-{name}", module, entry=entry, requires=requires)
    return folder / name


def run(python, *arguments):
    done = fresh.run(python, *arguments, cwd=python.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


WORK = """
import json, sys, mmencode
from mmencode.testing import sample_items
found = {"file": mmencode.__file__}
for name in ("colours", "heavy", "clash"):
    try:
        with mmencode.load(name) as space:
            vectors = space.encode("image", sample_items("image", 3))
        found[name] = [vectors.vectors.shape, vectors.space]
    except mmencode.errors.NameClashError as error:
        found[name] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def worked(python):
    """What became of the encoders that can be used, and of the name that two declare."""
    return run(python, "-c", WORK)


@pytest.fixture(scope="module")
def doctor(python):
    """What `mmencode plugins` says about each distribution."""
    return {row["distribution"]: row for row in run(python, "-m", "mmencode.cli", "plugins", "--json")}


def test_mmencode_is_the_installed_one(python, worked):
    assert str(python.parents[1]) in worked["file"]


@pytest.mark.parametrize("name", ["colours", "heavy"])
def test_good_plugin_works_beside_broken_ones_and_so_does_a_slow_one(worked, name):
    shape, space = worked[name]
    assert shape == [3, 3]
    assert space.startswith(f"{name}@")


def test_clash_names_both_distributions(worked):
    assert "mmencode-clash-one and mmencode-clash-two" in worked["clash"]


def test_clash_is_known_without_asking_for_the_name(python):
    code = (
        "import json; from mmencode import registry; "
        "print(json.dumps([registry().contested, 'clash' in registry(), 'colours' in registry()]))"
    )
    contested = {"clash": ["mmencode-clash-one", "mmencode-clash-two"]}
    assert run(python, "-c", code) == [contested, False, True]


def test_doctor_says_what_is_wrong_with_each_broken_plugin(doctor):
    states = {name.removeprefix("mmencode-"): row["state"] for name, row in doctor.items()}
    assert states["colours"] == states["mmencode"] == "ok"
    assert states["heavy"].startswith("slow: imports torch")
    assert states["raises"] == "RuntimeError: boom"
    assert "unknown hook 'mmencode_encoder'" in states["misspelt"]
    assert "EncoderSpec.name is 'not a name'" in states["invalid"]
    assert "No module named 'no_such_module_anywhere'" in states["missing"]
    assert "it was built for mmencode>=99" in states["future"]
    assert "mmencode-clash-two" in states["clash-one"]


def test_doctor_says_who_makes_everybody_wait(doctor):
    assert max(doctor.values(), key=lambda row: row["milliseconds"])["distribution"] == "mmencode-heavy"


def test_good_plugins_are_listed_without_torch(python):
    code = (
        "import json, sys; from importlib.metadata import entry_points as all_of\n"
        "from mmencode.plugins import discover\n"
        "found = discover(entry for entry in all_of(group='mmencode') if entry.name != 'heavy')\n"
        "print(json.dumps(['torch' in sys.modules, len(found)]))"
    )
    loaded, count = run(python, "-c", code)
    assert not loaded
    assert count >= len(BROKEN) + 3
