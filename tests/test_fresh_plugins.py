"""Each plugin that ships beside mmencode, installed with it alone, is listed without torch."""

from __future__ import annotations

import json
from pathlib import Path

import fresh
import pytest

PLUGINS = {"mmencode-scratch": ("scratch/*", "text"), "mmencode-diffusers": ("vae/*", "image")}
LISTED = """
import json, sys
from mmencode import registry
from mmencode.plugins import discover
(plugin,) = [found for found in discover() if found.distribution == sys.argv[1]]
print(json.dumps([
    "torch" in sys.modules,
    __import__(plugin.entry_point.partition(":")[0]).__file__,
    repr(plugin.error),
    [(spec.name, spec.modality) for spec in plugin.specs],
]))
"""


@pytest.mark.parametrize("name", PLUGINS)
def test_plugin_alone_beside_mmencode_is_listed_without_torch(name: str, tmp_path: Path) -> None:
    wheels = fresh.build(tmp_path / "wheels", fresh.ROOT, fresh.ROOT / "plugins" / name)
    python = fresh.install(tmp_path / "venv", *wheels)
    done = fresh.run(python, "-c", LISTED, name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    torch_is_there, file, error, specs = json.loads(done.stdout)
    assert not torch_is_there
    assert file.startswith(str(tmp_path))
    assert error == "None"
    assert [tuple(spec) for spec in specs] == [PLUGINS[name]]
