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
PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1.0"

[project.entry-points.mmencode]
{module} = "{entry}"
"""


def declare(name, module):
    return DECLARE.format(spec=SPEC.format(name=name, module=module))


BROKEN = {
    "raises": "raise RuntimeError('boom')",
    "misspelt": declare("misspelt", "misspelt").replace("mmencode_encoders", "mmencode_encoder"),
    "invalid": declare("not a name", "invalid"),
    "clash-one": declare("clash", "clash_one"),
    "clash-two": declare("clash", "clash_two"),
}


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of a fresh environment with mmencode, one good plugin and many broken ones."""
    folder = tmp_path_factory.mktemp("fresh")
    projects = [write(folder, "colours", declare("colours", "colours"))]
    projects += [write(folder, name, source) for name, source in BROKEN.items()]
    projects.append(write(folder, "missing", "", entry="no_such_module_anywhere"))
    return fresh.install(folder, *projects)


def write(folder, name, source, entry=None):
    module = name.replace("-", "_")
    package = folder / name / module
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(source)
    (package / "encoder.py").write_text(ENCODER)
    pyproject = PYPROJECT.format(name=f"mmencode-{name}", module=module, entry=entry or module)
    pyproject += f'\n[tool.hatch.build.targets.wheel]\npackages = ["{module}"]\n'
    (folder / name / "pyproject.toml").write_text(pyproject)
    return folder / name


def run(python, code):
    done = fresh.run(python, "-c", code, cwd=python.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_mmencode_is_the_installed_one(python):
    assert str(python.parents[1]) in run(
        python, "import json, mmencode; print(json.dumps(mmencode.__file__))"
    )


def test_good_plugin_works_beside_broken_ones(python):
    code = (
        "import json, numpy as np, mmencode; from mmencode.testing import sample_items; "
        "space = mmencode.load('colours'); found = space.encode('image', sample_items('image', 3)); "
        "print(json.dumps([found.vectors.shape, found.space]))"
    )
    shape, space = run(python, code)
    assert shape == [3, 3]
    assert space.startswith("colours@")


def test_broken_plugins_are_listed_with_their_causes(python):
    code = (
        "import json, mmencode; print(json.dumps("
        "{plugin.distribution: repr(plugin.error) for plugin in mmencode.registry().failed}))"
    )
    causes = run(python, code)
    assert "boom" in causes["mmencode-raises"]
    assert "unknown hook 'mmencode_encoder'" in causes["mmencode-misspelt"]
    assert "EncoderSpec.name" in causes["mmencode-invalid"]
    assert "no_such_module_anywhere" in causes["mmencode-missing"]
    assert not {"mmencode", "mmencode-colours", "mmencode-clash-one", "mmencode-clash-two"} & set(causes)


def test_clash_names_both_distributions(python):
    code = (
        "import json, mmencode\n"
        "try: mmencode.load('clash')\n"
        "except mmencode.errors.NameClashError as error: print(json.dumps(str(error)))"
    )
    assert "mmencode-clash-one and mmencode-clash-two" in run(python, code)


def test_listing_imports_no_torch(python):
    code = "import json, sys, mmencode; list(mmencode.registry()); print(json.dumps('torch' in sys.modules))"
    assert run(python, code) is False
