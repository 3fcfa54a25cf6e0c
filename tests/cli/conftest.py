"""The command line on a registry of fakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from typer.testing import CliRunner, Result

from mmencode.cli import app
from mmencode.testing import fake_specs

DEFAULT = tuple(replace(spec, aliases=("default",)) for spec in fake_specs())


@pytest.fixture
def run(install: Callable[..., None]) -> Callable[..., Result]:
    """Run a command line with the fakes installed; a test may install others first or after."""
    install(fakes=DEFAULT)

    def do(*arguments: object, code: int = 0, input: str | None = None) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return do


@pytest.fixture
def run_json(run: Callable[..., Result]) -> Callable[..., Any]:
    """Run with --json and give the one document on standard output."""
    return lambda *arguments, **options: json.loads(run(*arguments, "--json", **options).stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of different patterns, one in a subfolder, a broken one, and what isn't to be found."""
    top = tmp_path / "photos"
    (top / "sub").mkdir(parents=True)
    (top / ".hidden").mkdir()
    for number, name in enumerate(("a.png", "b.JPG", "sub/c.png", ".hidden/d.png", ".e.png")):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(top / name)
    (top / "broken.png").write_bytes(b"no image")
    (top / "note.txt").write_text("no image either")
    return top


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    top = tmp_path / "sounds"
    top.mkdir()
    for pitch in (200, 2000):
        wave = np.sin(2 * np.pi * pitch * np.arange(4000) / 8000)
        soundfile.write(top / f"{pitch}.wav", wave, 8000)
    return top


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command line believe that people look at it, on a wide screen."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("mmencode.cli.output.is_terminal", lambda stream: True)
