"""What the page says of examples beside prompts holds on real recordings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import mmencode

pytest.importorskip("mmencode_offline", reason="the default space: pip install mmencode-offline")
MEDIA = Path(os.environ.get("MMENCODE_TEST_MEDIA", ""))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (MEDIA / "sounds").is_dir(), reason="MMENCODE_TEST_MEDIA names no folder with labelled sounds/"
    ),
]


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "studies")
    import fewshot

    yield fewshot
    for name in ("fewshot", "media"):
        sys.modules.pop(name, None)


def test_prompts_help_a_single_example_of_each_class(study):
    files, truth = study.labelled(MEDIA / "sounds", "label")
    with mmencode.load("default", dtype="float32") as space:
        vectors = space.encode("audio", files)
        classifier = space.classifier(sorted(set(truth)))
        blend = study.learned(classifier, vectors, truth, 1, 5, method="blend")
        mean = study.learned(classifier, vectors, truth, 1, 5, method="mean")
        assert study.accuracy(classifier, vectors, truth) > 0.85
    assert blend > mean + 0.03
    assert blend > 0.84
