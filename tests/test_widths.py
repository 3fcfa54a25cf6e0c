"""Vectors are cut to the widths that their model was trained for; others are warned of, or refused."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

import mmencode
from mmencode import Embeddings, EncoderSpec, Index, Quantised, Space
from mmencode.engine.runtime import Runtime
from mmencode.errors import SpecError, WidthError
from mmencode.projection import IdentityProjection, Truncation
from mmencode.testing import FakeText, fake_specs

TEXTS = ["a red car", "two dogs", "the old bridge"]
SPEC = replace(fake_specs()[0], name="nested", space="nested", widths=(2, 4))
RUNTIME = Runtime("cpu", batch_size=2, workers=1)


class Nested(FakeText):
    """Texts of a checkpoint that says itself to which widths its vectors may be cut."""

    widths = (3, 6, 8, 99)


@pytest.fixture
def space():
    with Space("nested", [SPEC], runtime=RUNTIME) as opened:
        yield opened


@pytest.fixture
def embeddings(space):
    return space.encode("text", TEXTS)


def test_a_declared_width_is_cut_to_in_silence(embeddings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = embeddings.truncate(4)
        assert small.truncate(2).space == embeddings.truncate(2).space == f"{embeddings.space}:first2"
    assert (embeddings.widths, small.widths, small.truncate(2).widths) == ((2, 4), (2,), ())
    with pytest.raises(WidthError):
        small.truncate(2).truncate(1)


def test_another_width_is_warned_of(embeddings):
    with pytest.warns(UserWarning, match=r"trained for widths of 2, 4, and much may be lost at 3") as caught:
        small = embeddings.truncate(3)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forced = embeddings.truncate(3, force=True)
        assert embeddings.truncate(8) is embeddings
    np.testing.assert_array_equal(small.vectors, forced.vectors)
    assert small.space == forced.space


def test_vectors_of_a_model_without_widths_are_cut_only_by_force():
    with Space("fake", fake_specs(), runtime=RUNTIME) as plain:
        found = plain.encode("text", TEXTS)
    with pytest.raises(WidthError, match=r"the model declares no widths") as caught:
        found.truncate(4)
    assert "truncate(4, force=True)" in str(caught.value)
    assert found.truncate(4, force=True).space == f"{found.space}:first4"
    assert found.truncate(8) is found
    with pytest.raises(ValueError, match="dim"):
        found.truncate(9)


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "parquet", "arrow"])
def test_widths_stay_with_rows_in_files_slices_and_codes(embeddings, tmp_path, suffix):
    if suffix in ("parquet", "arrow"):
        pytest.importorskip("pyarrow")
    embeddings.save(tmp_path / f"rows.{suffix}")
    assert Embeddings.load(tmp_path / f"rows.{suffix}").widths == (2, 4)
    assert embeddings[1:].widths == embeddings.with_keys(TEXTS).widths == (2, 4)
    codes = embeddings.quantize("int8")
    if suffix in ("safetensors", "npz"):
        codes.save(tmp_path / f"codes.{suffix}")
        codes = Quantised.load(tmp_path / f"codes.{suffix}")
    assert codes.widths == codes.dequantize().widths == (2, 4)


def test_rows_put_together_have_the_widths_of_all(embeddings):
    less = embeddings._with(widths=(4,))
    none = embeddings._with(widths=())
    assert Embeddings.concatenate([embeddings, less]).widths == (4,)
    assert Embeddings.concatenate([embeddings, less, none]).widths == ()


def test_streams_and_mixed_batches_have_widths():
    other = replace(fake_specs()[1], name="nested/image", space="nested", widths=(4,))
    with Space("nested", [SPEC, other], runtime=RUNTIME) as space:
        picture = np.zeros((8, 8, 3), np.uint8)
        assert next(space.stream("text", TEXTS)).widths == (2, 4)
        assert space.encode_mixed([("text", "a"), ("image", picture)]).widths == (4,)


def test_an_encoder_may_say_its_widths_once_loaded():
    spec = EncoderSpec(name="own", modality="text", target="test_widths:Nested", dim=8)
    with Space("own", [spec], runtime=RUNTIME) as space:
        assert space.encode("text", TEXTS).widths == (3, 6)
        assert space.card.tower("text").widths == (3, 6)
        assert "    widths        3, 6\n" in str(space.card)
        for projection, widths in ((IdentityProjection(), (3, 6)), (Truncation(4), ())):
            with mmencode.compose("cut", {"text": (spec, projection)}, runtime=RUNTIME) as cut:
                assert cut.encode("text", TEXTS).widths == widths


def test_widths_are_in_a_saved_card_and_in_no_fingerprint(install, tmp_path, space):
    with Space("nested", [replace(SPEC, widths=())], runtime=RUNTIME) as plain:
        assert plain.id == space.id
    install(nested=(SPEC,))
    with mmencode.load("nested", device="cpu") as loaded:
        loaded.save(tmp_path / "saved")
    with mmencode.load(tmp_path / "saved", device="cpu") as again:
        assert again.card.tower("text").widths == again.encode("text", TEXTS).widths == (2, 4)


def test_rows_of_an_index_have_the_widths_of_its_card(install, tmp_path):
    pytest.importorskip("lancedb")
    install(nested=(SPEC,))
    with mmencode.load("nested", device="cpu") as loaded, Index.create(tmp_path / "index", loaded) as index:
        index.add("text", TEXTS)
        assert index.rows().embeddings.truncate(2).dim == 2


@pytest.mark.parametrize("widths", [(4, 2), (0,), (2, 2), (8,), (9,), [2], ("2",), (2**25,), (True,)])
def test_widths_that_cannot_be_are_refused(widths):
    with pytest.raises(SpecError, match=r"EncoderSpec\.widths"):
        replace(SPEC, widths=widths)
