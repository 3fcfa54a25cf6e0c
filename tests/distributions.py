"""Tiny distributions as pip leaves them behind, written by hand, so that their files can be odd."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HEADER = "from mmencode import EncoderSpec, Identity, hookimpl\n"


def spec(name: str, modality: str = "text", **fields: object) -> str:
    """The source of a spec."""
    fields = {"target": "mmencode.testing.fakes:FakeText", "dim": 8, **fields}
    words = "".join(f", {field}={value!r}" for field, value in fields.items())
    return f"EncoderSpec(name={name!r}, modality={modality!r}{words})"


def hook(*specs: str, before: str = "") -> str:
    """The source of a plugin that declares these specs, after a line of its own in the hook."""
    lines = "".join(f"    yield {one}\n" for one in specs)
    return (
        f"{HEADER}@hookimpl\ndef mmencode_encoders():\n    {before or 'pass'}\n{lines or '    return ()'}\n"
    )


class Site:
    """A folder of installed distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def add(
        self,
        name: str,
        source: str | None = None,
        *,
        version: str = "1.0",
        group: str = "mmencode",
        requires: tuple[str, ...] = (),
        folder: str | None = None,
        metadata: str | bytes | None = "",
        entry_points: str | bytes | None = "",
        module: str | None = None,
    ) -> Path:
        """Install a distribution with one module, and give its .dist-info; `None` leaves a file out."""
        module = module or name.replace("-", "_").replace(".", "_").lower()
        if source is not None:
            (self.folder / f"{module}.py").write_text(source, "utf-8")
        info = self.folder / (folder or f"{name.replace('-', '_')}-{version}.dist-info")
        info.mkdir()
        if metadata == "":
            lines = "".join(f"Requires-Dist: {line}\n" for line in requires)
            metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}\nA description.\n"
        if entry_points == "":
            entry_points = f"[{group}]\n{module} = {module}\n"
        for file, content in (("METADATA", metadata), ("entry_points.txt", entry_points)):
            if content is not None:
                content = content.encode() if isinstance(content, str) else content
                (info / file).write_bytes(content)
        return info

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command line where these distributions are installed beside the others."""
        return self.python("-m", "mmencode.cli", *arguments, **environment)

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python where these distributions are installed beside the others."""
        path = os.pathsep.join(entry for entry in (str(self.folder), *sys.path) if entry)
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": path, **environment},
        )

    def states(self, *options: str, **environment: str) -> dict[str, Any]:
        """What `mmencode plugins --json` says of each distribution."""
        done = self.command("plugins", "--json", *options, **environment)
        assert done.returncode == 0, done.stderr
        return {row["distribution"]: row["state"] for row in json.loads(done.stdout)}
