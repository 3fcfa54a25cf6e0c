"""A bridge leads over what was added to a space: modalities that plugins joined, and sums of parts."""

from __future__ import annotations

import sys
from dataclasses import replace

import joining
import numpy as np
import pytest
from joining import CLIPS, TEXTS, frame, joiner
from PIL import Image

import mmencode
from mmencode import Space
from mmencode.engine.runtime import Runtime
from mmencode.testing import FakeText


class Turned(FakeText):
    """The texts' other space: the same vectors, with their numbers turned round."""

    preprocessing = "characters, turned"

    def forward(self, tensors):
        return super().forward(tensors).flip(1)


@pytest.fixture
def spaces(install, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    install(words=frame(), clips=(joiner(tmp_path, "clips_c"),))
    turned = replace(
        joining.frame()[0], name="turned/text", space="turned", identity=None, target=f"{__name__}:Turned"
    )
    with (
        mmencode.load("words", device="cpu", dtype="float32") as source,
        Space("turned", [turned], runtime=Runtime("cpu", "float32")) as target,
    ):
        yield source, target
    sys.modules.pop("clips_c", None)


def test_modality_that_a_plugin_added_is_bridged_behind_its_own_projection(spaces):
    source, target = spaces
    assert "clip" in source.modalities
    with mmencode.bridge("both", source, target, TEXTS) as both:
        assert {*both.modalities} == {"text", "image", "audio", "clip"}
        found = both.search(both.encode("clip", CLIPS), target_rows(both, target), k=1)
        hits = sum(TEXTS[row] == clip[0] for row, clip in zip(found.positions[:, 0], CLIPS, strict=True))
    assert hits > 0.8 * len(CLIPS)


def target_rows(both, target):
    """The texts as the target encodes them, which are those of the bridged space."""
    rows = both.encode("text", TEXTS)
    np.testing.assert_allclose(rows.vectors, target.encode("text", TEXTS).vectors, atol=1e-6)
    return rows


def test_sum_of_parts_is_a_sum_of_what_was_bridged(spaces):
    source, target = spaces
    with mmencode.bridge("both", source.fuse("image+text", (1, 3)), target, TEXTS) as both:
        photo = Image.new("RGB", (20, 20), "red")
        image, text = both.encode("image", [photo]).vectors, both.encode("text", TEXTS[:1]).vectors
        found = both.encode("image+text", [(photo, TEXTS[0])]).vectors
    total = image + 3 * text
    np.testing.assert_allclose(found, total / np.linalg.norm(total), atol=1e-6)
