"""What the pages say of fits to real media holds, also for other splits and on other machines."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import mmencode

pytest.importorskip("mmencode_offline", reason="the default space: pip install mmencode-offline")
MEDIA = Path(os.environ.get("MMENCODE_TEST_MEDIA", ""))
pytestmark = pytest.mark.slow
needs_media = pytest.mark.skipif(
    not (MEDIA / "photos").is_dir(),
    reason="MMENCODE_TEST_MEDIA names no folder with labelled photos/ and sounds/",
)


@pytest.fixture(scope="module")
def default():
    with mmencode.load("default", dtype="float32") as space:
        yield space


@pytest.fixture(autouse=True)
def studies(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent / "studies")
    yield
    for name in ("align", "bridge", "media", "odd", "pictures", "reduction", "static_text"):
        sys.modules.pop(name, None)


@needs_media
def test_fit_to_a_hundred_photographs_finds_their_kinds_three_times_as_often_as_chance(default):
    import align

    pairs = align.pairs_of(MEDIA / "photos", ("coarse_label", "label"))
    found = [mmencode.align(align.ENCODER, default, pairs, seed=seed).report["forward"] for seed in range(3)]
    lowest = np.mean([fold["interval"][0] for fold in found])
    assert lowest > 3 * np.mean([fold["chance"]["1"] for fold in found])
    assert align.shuffled(default, pairs).startswith("refused")


@needs_media
def test_static_texts_find_photographs_and_sounds_over_a_bridge_of_definitions(default):
    pytest.importorskip("wordllama", reason="a text space without a hub: pip install wordllama")
    import bridge
    import static_text

    pairs = bridge.pairs_of(MEDIA)
    with (
        mmencode.Space("wordllama", [static_text.SPEC], runtime=default.runtime) as llama,
        mmencode.bridge(
            "bridged", default, llama, bridge.corpus()[::8], method="procrustes", held_out=pairs
        ) as bridged,
    ):
        said = {modality: bridged.projections[modality].report["held_out"] for modality in pairs}
    assert said["image"]["backward"]["at"]["1"] > 0.5
    assert said["audio"]["forward"]["at"]["1"] > 0.5
    for modality in pairs:
        assert said[modality]["forward"]["interval"][0] > 3 * said[modality]["forward"]["chance"]["1"]


@needs_media
def test_things_among_photographs_of_animals_are_odd():
    pytest.importorskip("sklearn", reason="the area under the ROC curve: pip install scikit-learn")
    import odd

    for name, found in odd.areas(*odd.read(MEDIA)).items():
        assert np.mean(found) > 0.95, name


def test_with_few_numbers_an_autoencoder_keeps_more_neighbours_than_its_baselines():
    import reduction

    ((_, shares),) = reduction.measure(reduction.corpus(8), (8,))
    assert shares["autoencoder"] > shares["principal components"] > shares["truncation"]


def test_pictures_are_drawn(default, tmp_path):
    pytest.importorskip("matplotlib", reason="what draws: pip install matplotlib")
    import pictures
    from PIL import Image

    for draw in (partial(pictures.autoencoder, every=40, epochs=5), pictures.bank):
        draw(default, tmp_path / "drawn.png")
        with Image.open(tmp_path / "drawn.png") as drawn:
            assert min(drawn.size) > 200
            assert len(drawn.convert("RGB").getcolors(10**6)) > 20
