"""Each plugin of this repository: its wheel and mmencode's, beside nothing but what they declare."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import fresh
import pytest

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
    """What is expected of a plugin, and the file of its tests that goes through what it stands on.

    `tests` is what these ask for beside the plugin, and `optional` its modules that an extra of it is for.
    """

    name: str
    encoder: str
    modalities: tuple[str, ...]
    proof: str
    tests: tuple[str, ...] = ()
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
        "test_offline_image.py",
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
        "test_transformers_text.py",
        tests=("sentencepiece", "protobuf"),
    ),
    Plugin("mmencode-diffusers", "vae/*", ("image",), "test_diffusers_identity.py"),
    Plugin("mmencode-documents", "page/image/*", ("page",), "test_documents_reading.py"),
    Plugin("mmencode-scratch", "scratch/*", ("text",), "test_scratch_text.py", optional=("evaluation",)),
    Plugin(
        "mmencode-video",
        "video/mean/*",
        ("text", "video"),
        "test_video_reading.py",
        optional=("checkpoints", "texts", "xclip", "vjepa2", "videoprism"),
    ),
]


def test_no_plugin_of_this_repository_is_left_out():
    assert {plugin.name for plugin in PLUGINS} == fresh.distributions_of_plugins(declare_encoders=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """The wheel of a project, built once."""
    made: dict[Path, Path] = {}

    def get(project: Path) -> Path:
        if project not in made:
            (made[project],) = fresh.build(tmp_path_factory.mktemp("wheels"), project)
        return made[project]

    return get


@pytest.mark.slow
@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_plugin_alone_is_listed_without_torch_and_works(
    plugin: Plugin, wheel: Callable[[Path], Path], tmp_path: Path
) -> None:
    """Its modules import, and tests of its own pass; the whole of them is run where all is installed."""
    wheels = [wheel(fresh.ROOT), wheel(plugin.folder)]
    python = fresh.install(tmp_path / "venv", *wheels, needs=plugin.tests)
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
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
    done = fresh.run(python, *tests, plugin.folder / "tests" / plugin.proof, cwd=fresh.ROOT)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_what_a_plugin_imports_anywhere_is_declared(plugin: Plugin) -> None:
    """An import inside a function, too: by the plugin itself, an extra of it, or mmencode."""
    declared = fresh.names_of(fresh.ROOT) | fresh.names_of(plugin.folder, extras=True)
    given = packages_distributions()
    for path in (plugin.folder / plugin.package).rglob("*.py"):
        for module in sorted(
            fresh.imported_by(path) - sys.stdlib_module_names - {plugin.package, "mmencode"}
        ):
            owners = {name.lower().replace("_", "-") for name in given.get(module, ())}
            assert owners & declared, f"{path.name} imports {module}, of {owners or 'nobody here'}"


def said(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
