"""What `import mmencode` costs, and that the public names are there."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version
from PIL import Image

import mmencode

TORCH_FREE = [
    *("errors", "errors.causes", "_atomic", "arguments.columns", "arguments.lists", "card"),
    *("engine.cores", "engine.waiting"),
    *(
        f"plugins.{path.stem}"
        for path in sorted(Path(mmencode.__file__).parent.glob("plugins/*.py"))
        if path.stem != "__init__"
    ),
]
HEAVY = [
    "torch",
    "torchvision",
    "torchaudio",
    "timm",
    "open_clip",
    "numpy",
    "PIL",
    "soundfile",
    "transformers",
]


def _loaded(code: str) -> set[str]:
    """Which of the heavy modules a fresh interpreter has after running `code`."""
    code += f"\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", TORCH_FREE)
def test_module_above_the_line_imports_nothing_heavy(module):
    assert _loaded(f"import mmencode.{module}") == set()


def test_import_and_listing_import_nothing_heavy():
    code = "import mmencode; list(mmencode.registry()); mmencode.registry()['timm/resnet18']"
    assert _loaded(code) == set()


def test_import_alone_looks_for_no_plugin():
    code = "import sys, mmencode; assert not {'importlib.metadata', 'packaging'} & set(sys.modules)"
    assert _loaded(code) == set()


def test_loading_a_space_imports_no_library_of_an_encoder():
    assert _loaded("import mmencode; mmencode.Space").isdisjoint({"timm", "open_clip", "transformers"})


USE_ALL = """
import sys
import numpy as np
import mmencode
space = mmencode.load("default")
photos = [np.full((32, 32, 3), shade, np.uint8) for shade in (0, 200)]
space.encode("text", ["a cat"])
space.encode("image", photos)
space.encode("audio", [mmencode.Waveform(np.zeros(16000, np.float32), 16000)])
space.classifier(["cat", "dog"]).classify("image", photos)
with mmencode.Index.create(sys.argv[1], space) as index:
    index.add("image", sys.argv[2:])
    assert index.search("text", ["red"], k=1)[0]
print(*[name for name in {unneeded} if name in sys.modules])
"""
UNNEEDED = ["timm", "torchvision", "open_clip", "transformers", "torchaudio", "torch._dynamo"]
if Version(version("torch")) >= Version("2.14"):  # with 2.8, tensors on the device meta are made with it
    UNNEEDED.append("sympy")


def test_default_space_imports_no_library_that_it_can_do_without(tmp_path):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    command = [
        sys.executable,
        "-c",
        USE_ALL.format(unneeded=UNNEEDED),
        tmp_path / "index",
        tmp_path / "red.png",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def test_every_public_name_is_there():
    for name in dir(mmencode):
        assert getattr(mmencode, name) is not None


def test_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        mmencode.nonsense  # noqa: B018


def test_version_is_that_of_the_distribution():
    assert mmencode.__version__ == version("mmencode")
