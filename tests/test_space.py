from __future__ import annotations

import builtins
import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import mmencode
from mmencode.embeddings.embeddings import Embeddings
from mmencode.encoder import identify
from mmencode.engine.progress import _Line
from mmencode.engine.runtime import Runtime
from mmencode.errors import (
    ClosedError,
    EncoderError,
    IdentityError,
    InputError,
    MissingPackageError,
    SpaceMismatchError,
    UnknownModalityError,
    UnknownNameError,
)
from mmencode.inputs import Limits
from mmencode.plugins.spec import EncoderSpec
from mmencode.projection import Linear
from mmencode.spaces.loading import shared
from mmencode.spaces.space import Space
from mmencode.testing import FakeImage, FakeText, fake_specs, sample_items

IMAGE = next(spec for spec in fake_specs() if spec.modality == "image")
TEXT = next(spec for spec in fake_specs() if spec.modality == "text")


@pytest.fixture
def installed(monkeypatch, make_registry):
    """Make `mmencode.load` see the fakes, as if a plugin declared them as the default."""
    registry = make_registry(fakes=tuple(replace(spec, aliases=("default",)) for spec in fake_specs()))
    monkeypatch.setattr(sys.modules["mmencode.spaces.loading"], "registry", lambda: registry)
    shared.cache_clear()
    yield
    shared.cache_clear()


def test_load_by_name_and_alias_is_one_space(installed):
    with mmencode.load("fake") as one, mmencode.load("default", device="cpu", dtype="float32") as other:
        assert one.id == other.id == mmencode.load().id
        assert one.name == other.name == "fake"
        assert one.modalities == ("audio", "image", "text")
        assert one.dim == 8
        assert "fake" in repr(one)


def test_unknown_space_suggests_the_nearest(installed):
    with pytest.raises(UnknownNameError, match="did you mean fake"):
        mmencode.load("fakee")


@pytest.mark.parametrize("space", [None, "fake", "default"])
def test_encode_uses_the_default_space_and_loads_it_once(installed, space):
    found = mmencode.encode("text", ["a dog"], space=space)
    assert found.space.startswith("fake@")
    assert shared("fake") is shared("fake")
    np.testing.assert_array_equal(found, mmencode.encode("text", ["a dog"], space=mmencode.load("fake")))


def test_tower_is_loaded_when_first_used_and_once(space, monkeypatch):
    count = []
    monkeypatch.setattr(FakeImage, "eval", lambda self: count.append(1) or torch.nn.Module.eval(self))
    space.encode("text", ["a"])
    for _ in range(3):
        space.encode("image", sample_items("image", 2))
    assert len(count) == 1


def test_empty_batch_gives_no_rows(space):
    for modality in space.modalities:
        assert space.encode(modality, []).vectors.shape == (0, 8)
    assert space.encode_mixed([]).vectors.shape == (0, 8)


def test_batch_may_be_any_iterable(space):
    expected = space.encode("text", ["a", "b"]).vectors
    for batch in (("a", "b"), iter(["a", "b"]), (text for text in "ab"), np.array(["a", "b"])):
        np.testing.assert_array_equal(space.encode("text", batch), expected)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 9, 3), np.uint8)
    expected = space.encode("image", list(pictures)).vectors
    np.testing.assert_array_equal(space.encode("image", pictures), expected)


@pytest.mark.parametrize(
    ("modality", "batch"),
    [
        ("text", "a dog"),
        ("text", 3),
        ("text", None),
        ("text", {"a", "b"}),
        ("text", {"a": 1}),
        ("image", io.BytesIO(b"picture")),
        ("image", Path("cat.jpg")),
        ("image", b"bytes"),
        ("image", "cat.jpg"),
        ("image", sample_items("image", 1)[0]),
        ("image", np.zeros((8, 8, 3), np.uint8)),
        ("image", torch.zeros(3, 8, 8)),
        ("audio", np.zeros(16000)),
    ],
)
def test_one_item_is_no_batch(space, modality, batch):
    with pytest.raises(TypeError, match=r"not a sequence of items: encode\(.*\[item\]\)"):
        space.encode(modality, batch)


def test_waveform_without_its_rate_is_named(space):
    with pytest.raises(InputError, match="ndarray is no recording") as caught:
        space.encode("audio", [np.zeros(16000, np.float32)])
    assert caught.value.index == 0


def test_unknown_modality_lists_what_there_is(space):
    with pytest.raises(UnknownModalityError, match="it has text, image, audio"):
        space.encode("smell", ["rose"])


def test_on_error_is_one_of_two_words(space):
    for use in (
        lambda: space.encode("text", [], on_error="ignore"),
        lambda: space.encode_mixed([], on_error="x"),
    ):
        with pytest.raises(ValueError, match="on_error"):
            use()


def test_mixed_pairs_equal_the_modalities_alone_in_order(space):
    items = {modality: sample_items(modality, 3) for modality in space.modalities}
    pairs = [(modality, items[modality][i]) for i in range(3) for modality in space.modalities]
    mixed = space.encode_mixed(pairs)
    assert (mixed.modality, mixed.space) == ("mixed", space.id)
    for row, (modality, item) in enumerate(pairs):
        np.testing.assert_allclose(mixed.vectors[row], space.encode(modality, [item]).vectors[0], atol=1e-6)


def test_mixed_pairs_name_the_bad_one_by_its_place_among_all(space):
    pairs = [("text", "a"), ("image", None), ("text", ""), ("text", "b")]
    found = space.encode_mixed(pairs, on_error="skip")
    assert found.positions.tolist() == [0, 3]
    assert [error.index for error in found.errors] == [1, 2]
    with pytest.raises(InputError) as caught:
        space.encode_mixed(pairs)
    assert caught.value.index == 1


@pytest.mark.parametrize("pair", ["text", ("text",), (1, "a"), None])
def test_what_is_no_pair_is_named(space, pair):
    with pytest.raises(InputError, match=r"no \(modality, item\) pair") as caught:
        space.encode_mixed([("text", "a"), pair])
    assert caught.value.index == 1


def test_search_is_refused_across_spaces(space):
    own = space.encode("text", ["a", "b"])
    foreign = Embeddings(own.vectors, space="other@2", modality="text")
    for queries, corpus in ((own, foreign), (foreign, own), (foreign, foreign)):
        with pytest.raises(SpaceMismatchError):
            space.search(queries, corpus, 1)
    assert space.search(own, own, 1).rows.tolist() == [[0], [1]]


def test_closed_space_says_so(space):
    space.encode("text", ["a"])
    space.close()
    with pytest.raises(ClosedError, match="load it again"):
        space.encode("text", ["a"])


def test_card_is_known_without_loading_when_it_is_declared():
    identity = identify(FakeImage())
    spec = replace(IMAGE, identity=identity, target="no_such_module:build")
    declared = Space("fake", [spec])
    assert declared.id == Space("fake", [IMAGE]).id
    with pytest.raises(EncoderError, match="No module named"):
        declared.encode("image", [])


def test_changed_weights_are_another_space(monkeypatch):
    before = Space("fake", [IMAGE]).id
    real = FakeImage.__init__

    def changed(self):
        real(self)
        self.gain.data[0] += 1e-6

    monkeypatch.setattr(FakeImage, "__init__", changed)
    assert Space("fake", [IMAGE]).id != before
    with pytest.raises(IdentityError, match=r"weights: declared 'sha256:.*found 'sha256:"):
        Space("fake", [replace(IMAGE, identity=identify_unchanged(real))]).encode("image", [])


def identify_unchanged(init):
    encoder = FakeImage.__new__(FakeImage)
    init(encoder)
    return identify(encoder)


def test_dtype_and_batch_size_do_not_change_the_identity():
    plain = Space("fake", fake_specs()).id
    assert Space("fake", fake_specs(), runtime=Runtime("cpu", "bfloat16", batch_size=1)).id == plain


@pytest.mark.parametrize("words", ["preprocessing", "tokenizer", "pooling", "windows"])
def test_other_words_of_an_encoder_are_another_space(monkeypatch, words):
    before = Space("fake", [TEXT]).id
    monkeypatch.setattr(FakeText, words, "something else")
    assert Space("fake", [TEXT]).id != before


def scaled(by=1.0, note=""):
    projection = Linear(by * torch.eye(5, 8), torch.zeros(5))
    projection.note = note
    return projection


def test_given_projection_is_part_of_the_identity():
    known = replace(TEXT, identity=identify(FakeText()))
    projections = [{}, {"text": scaled()}, {"text": scaled(2)}, {"text": scaled(note="doubtful")}]
    found = [Space("fake", [TEXT], projections=given).id for given in projections]
    assert len(set(found)) == 4
    assert [Space("fake", [known], projections=given).id for given in projections] == found


def test_given_projection_takes_the_place_of_the_declared_one():
    own = replace(TEXT, projection="test_space:scaled", dim=5, identity=identify(FakeText(), scaled()))
    given = {"text": Linear(torch.eye(3, 8), torch.zeros(3))}
    with Space("fake", [own]) as declared, Space("fake", [own], projections=given) as other:
        assert (declared.dim, other.dim) == (5, 3)
        assert declared.encode("text", ["a"]).dim == 5
        assert other.encode("text", ["a"]).dim == 3


def test_projection_of_a_modality_that_is_not_there_is_refused():
    with pytest.raises(UnknownModalityError, match="no encoder for 'imgae'"):
        Space("fake", [TEXT], projections={"imgae": scaled()})


def test_features_are_what_the_encoder_gives(space):
    items = sample_items("image", 6)
    (part,) = space.features("image", items)
    encoder = FakeImage()
    with torch.no_grad():
        tensors = encoder.collate([encoder.preprocess(item) for item in items])
        np.testing.assert_allclose(part.rows, encoder(tensors), atol=1e-6)
    assert part.positions.tolist() == list(range(6))
    assert part.errors == []


def test_features_are_those_before_the_projection():
    with Space("fake", [TEXT], projections={"text": scaled()}) as led, Space("fake", [TEXT]) as plain:
        (found,), (expected,) = led.features("text", ["a", "b"]), plain.features("text", ["a", "b"])
        np.testing.assert_array_equal(found.rows, expected.rows)
        assert found.rows.shape == (2, 8)


@pytest.mark.parametrize("window", [1, 3, 1024])
def test_features_come_in_chunks_whatever_the_window(space, window):
    space.runtime.window_items = window
    items = ["a", "", "b", "c", None, "d", "e"]
    parts = list(space.features("text", iter(items), chunk=3, on_error="skip"))
    assert [part.count for part in parts] == [3, 3, 1]
    assert [part.positions.tolist() for part in parts] == [[0, 2], [3, 5], [6]]
    assert [[error.index for error in part.errors] for part in parts] == [[1], [4], []]
    (whole,) = space.features("text", ["a", "b", "c", "d", "e"])
    np.testing.assert_allclose(np.concatenate([part.rows for part in parts]), whole.rows, atol=1e-6)


def test_features_of_nothing_are_none(space):
    assert list(space.features("text", [])) == []


def test_bad_item_ends_the_features(space):
    with pytest.raises(InputError) as caught:
        list(space.features("text", ["a", "", "b"]))
    assert caught.value.index == 1


@pytest.mark.parametrize(
    ("arguments", "options", "kind"),
    [
        (("text", "a dog"), {}, TypeError),
        (("text", ["a"]), {"chunk": 0}, ValueError),
        (("text", ["a"]), {"on_error": "ignore"}, ValueError),
        (("smell", ["rose"]), {}, UnknownModalityError),
    ],
)
def test_wrong_use_of_features_is_said_at_once(space, arguments, options, kind):
    with pytest.raises(kind):
        space.features(*arguments, **options)


def test_missing_package_says_which_and_the_pip_line():
    spec = replace(TEXT, requires=("no-such-package==1.0", "numpy>=99"), install="pip install 'x[all]'")
    space = Space("fake", [spec, IMAGE])
    assert space.modalities == ("image",)
    match = r"no-such-package==1.0 isn't installed; numpy>=99 is needed and .* is installed(.|\n)*'x\[all\]'"
    with pytest.raises(MissingPackageError, match=match):
        space.encode("text", ["a"])
    with pytest.raises(MissingPackageError, match=r"pip install 'no-such-package==1\.0' 'numpy>=99'"):
        Space("fake", [replace(spec, install="")]).encode("text", ["a"])


def test_target_that_is_no_encoder_is_named():
    for change in ({"target": "builtins:dict"}, {"projection": "builtins:dict"}):
        with pytest.raises(EncoderError, match="builtins:dict gave dict"):
            Space("fake", [replace(TEXT, **change)]).encode("text", ["a"])


def test_family_member_is_built_with_the_rest_of_its_name(monkeypatch):
    seen = []
    monkeypatch.setattr(FakeText, "build", lambda variant: seen.append(variant) or FakeText(), raising=False)
    family = EncoderSpec(name="lib/*", modality="text", target="mmencode.testing.fakes:FakeText.build")
    with Space("lib/small", [family.member("small")]) as space:
        assert space.encode("text", ["a"]).dim == 8
    assert seen == ["small"]


def test_encoders_of_one_space_have_one_width():
    with pytest.raises(EncoderError, match=r"widths \[4, 8\]"):
        Space("fake", [replace(TEXT, dim=4, identity=identify(FakeText())), IMAGE]).card  # noqa: B018


def test_limits_reach_the_readers():
    with Space("fake", fake_specs(), limits=Limits(characters=3)) as space:
        assert len(space.encode("text", ["abc"])) == 1
        with pytest.raises(InputError, match="the limit is 3"):
            space.encode("text", ["abcd"])


def test_progress_is_silent_when_piped(space, capsys):
    space.encode("text", sample_items("text", 20), progress=True)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_progress_shows_on_a_terminal(space, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    space.encode("text", ["a", None, "b"], on_error="skip", progress=True)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "1 failed" in shown


def test_progress_shows_in_a_notebook(space, capsys, monkeypatch):
    class ZMQInteractiveShell:
        """As Jupyter's, by whose name it is known."""

    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    space.encode("text", ["a", None, "b"], on_error="skip", progress=True)
    assert list(space.stream("text", iter(["a"]), progress=True))
    lines = capsys.readouterr().err.split("\n")
    assert "encode text: 3/3" in lines[0].rpartition("\r")[2]
    assert "1 failed" in lines[0].rpartition("\r")[2]
    assert "encode text: 1," in lines[1].rpartition("\r")[2]


def test_progress_of_hours_leaves_a_notebook_hundreds_of_lines_and_no_thousands(capsys, monkeypatch):
    """A saved notebook keeps every line, also those that were written over."""
    now = 0.0
    monkeypatch.setattr("mmencode.engine.progress.time.monotonic", lambda: now)
    line = _Line("encode text", 72_000)
    for _ in range(72_000):
        now += 0.05
        line.advance(1, 0)
    line.end()
    lines = capsys.readouterr().err.split("\r")
    assert 300 < len(lines) < 1000
    assert "72000/72000, 20/s" in lines[-1]


def test_progress_without_standard_error_is_none(space, monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    assert len(space.encode("text", ["a", "b"], progress=True)) == 2


def test_modality_of_a_plugin_reaches_its_encoder_as_it_is(monkeypatch):
    spec = EncoderSpec(name="nose", modality="smell", target=FakeText.__module__ + ":FakeText", dim=8)
    with Space("nose", [spec]) as space:
        assert len(space.encode("smell", ["rose", "smoke"])) == 2


def test_packages_of_loaded_encoders_are_looked_for_no_more(monkeypatch):
    with mmencode.Space("fake", fake_specs()) as space:
        space.preload()
        expected = space.modalities
        monkeypatch.setattr("mmencode.spaces.space.missing_packages", lambda spec: ["all of them"])
        assert space.modalities == expected
