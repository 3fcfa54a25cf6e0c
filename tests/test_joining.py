"""A modality that joins a space: old vectors and ids stay, and what can't join hurts nobody."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from joining import CLIPS, PAIRS, TEXTS, Clips, First, asking, frame, joiner, measured, on_cpu

import mmencode
from mmencode import EncoderSpec, IdentityProjection, LabelAnchored, Linear, registry
from mmencode.card import card_from_dict
from mmencode.engine.runtime import Runtime
from mmencode.errors import (
    EncoderError,
    FitError,
    IdentityError,
    NameClashError,
    SpaceMismatchError,
    SpecError,
    UnknownNameError,
    WeightsError,
)
from mmencode.testing import EncoderConformance

BARE = EncoderSpec(name="bare/clips", modality="clip", target="joining:Clips", dim=8)
SENTENCE = "a dog barks 3"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of packages, which are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("clips_a", "clips_b", "asking_a", "asking_b"):
        sys.modules.pop(name, None)


@pytest.fixture
def joined():
    with on_cpu() as space:
        yield space.join({"clip": (BARE, measured(space=space))})


class TestClipsConform(EncoderConformance):
    spec = BARE
    items = CLIPS[:4]


def loaded(name="words", **options):
    return mmencode.load(name, device="cpu", dtype="float32", **options)


def test_a_modality_joins_and_the_id_and_all_vectors_stay(joined):
    with on_cpu() as space:
        assert joined.id == space.id
        assert joined.modalities == (*space.modalities, "clip")
        assert np.array_equal(joined.encode("text", TEXTS).vectors, space.encode("text", TEXTS).vectors)
        clips, texts = joined.encode("clip", CLIPS), space.encode("text", TEXTS)
        assert space.search(texts, clips, k=1).positions[:, 0].tolist() == list(range(len(TEXTS)))
        assert (np.diag(mmencode.similarity(clips, texts)) > 0.98).all()


def test_the_card_tells_who_defines_the_space_and_who_joined_it_with_the_report(joined):
    assert [tower.modality for tower in joined.card.frame] == ["text", "image", "audio"]
    (tower,) = joined.card.joiners
    assert (tower.modality, tower.name, tower.joined) == ("clip", "bare/clips", True)
    assert tower.report["method"] == "identity"
    assert tower.report["target"] == joined.id
    assert tower.report["forward"]["at"]["1"] > 0.9
    assert "clip: bare/clips, which joined" in str(joined.card)
    assert "recall@1" in str(joined.card)
    again = card_from_dict(json.loads(json.dumps(joined.card.to_dict())))
    assert (again.to_dict(), again.id) == (joined.card.to_dict(), joined.id)
    assert set(again.towers) == set(joined.card.towers)


def test_a_card_without_joiners_is_written_as_it_always_was():
    with on_cpu() as space:
        assert set(space.card.to_dict()) == {
            "format", "name", "dim", "normalisation", "inputs", "towers", "probes"
        }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"joined": []}, "'joined'"),
        ({"joined": {"text": {}}}, "'joined'"),
        ({"joined": {"clip": {"encoder": "x"}}}, "report"),
        ({"joined": {"clip": {"report": {}}}}, "doesn't have just the fields"),
        ({"towers": {}}, "0 towers"),
    ],
)
def test_a_card_with_odd_joiners_is_refused(joined, change, words):
    with pytest.raises(ValueError, match=words):
        card_from_dict({**joined.card.to_dict(), **change})


def test_only_what_was_measured_and_leads_into_the_space_can_join():
    with on_cpu() as space:
        bad = {
            "nowhere": IdentityProjection(),
            "unmeasured": IdentityProjection(into=space.id),
            "elsewhere": elsewhere(),
            "anchored": LabelAnchored(space.encode("text", TEXTS[:8])),
        }
        below = copy.deepcopy(measured(space=space))
        below.report = {**below.report, "forward": {**below.report["forward"], "sigmas": 2.0}}
        bad["below"] = below
        odd = copy.deepcopy(below)
        odd.report = {"forward": {"sigmas": float("inf")}, "backward": "fine"}
        bad["odd"] = odd
        errors = {}
        for name, projection in bad.items():
            with pytest.raises((SpaceMismatchError, FitError)) as raised:
                space.join({"clip": (BARE, projection)})
            errors[name] = raised
        assert errors["nowhere"].type is errors["elsewhere"].type is SpaceMismatchError
        assert "words@0000" in str(errors["elsewhere"].value)
        for name in ("unmeasured", "below", "anchored", "odd"):
            assert errors[name].type is FitError, name
        for encoder in (BARE, replace(BARE, projection="joining:Clips")):
            with pytest.raises(SpaceMismatchError, match="doesn't say into which space"):
                space.join({"clip": encoder})
        with pytest.raises(SpaceMismatchError, match="gives many for each item"):
            space.join({"clip": (replace(BARE, outputs="many"), measured(space=space))})
        with pytest.raises(TypeError, match="the encoder for clip is 3"):
            space.join({"clip": 3})
        with pytest.raises(SpecError, match="is for clip, not for video"):
            space.join({"video": (BARE, measured(space=space))})


def test_a_projection_into_one_tower_of_the_frame_leads_into_the_frame():
    with on_cpu() as space, on_cpu(specs=frame()[:1]) as text:
        assert text.id != space.id
        joined = space.join({"clip": (BARE, measured(space=text))})
        assert joined.id == space.id
        assert len(joined.encode("clip", CLIPS[:2])) == 2


def test_nobody_joins_with_a_modality_or_a_width_of_the_space():
    with on_cpu() as space:
        projection = measured(space=space)
        text = replace(BARE, modality="text")
        with pytest.raises(SpaceMismatchError, match="'words/text' defines text"):
            space.join({"text": (text, projection)})
        wide = Linear(torch.ones(9, 8), torch.zeros(9))
        wide.into, wide.report = projection.into, projection.report
        with pytest.raises(SpaceMismatchError, match="vectors of 9 numbers"):
            space.join({"clip": (BARE, wide)})


def test_a_joiner_is_replaced_by_the_caller_and_its_rows_are_never_put_together(joined):
    first = replace(BARE, name="bare/first", target="joining:First")
    other = joined.join({"clip": (first, measured("First"))})
    assert other.id == joined.id
    assert other.spec("clip").name == "bare/first"
    ours, theirs = joined.encode("clip", CLIPS), other.encode("clip", CLIPS)
    assert ours.towers != theirs.towers
    assert ours.towers.keys() == {"clip"}
    with pytest.raises(SpaceMismatchError, match="rows of clip that two encoders"):
        mmencode.Embeddings.concatenate([ours, theirs])
    mixed = joined.encode_mixed([("text", "a"), ("clip", ["b"])])
    assert mixed.towers.keys() == {"text", "clip"}
    with pytest.raises(SpaceMismatchError, match="rows of clip"):
        mmencode.Embeddings.concatenate([mixed, theirs])
    assert len(mmencode.Embeddings.concatenate([ours, ours[:1], mixed])) == len(CLIPS) + 3


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".parquet", ".arrow"])
def test_files_keep_the_towers_of_rows_and_old_files_have_none(joined, tmp_path, suffix):
    pytest.importorskip("pyarrow")
    rows = joined.encode("clip", CLIPS[:3])
    rows.save(tmp_path / f"rows{suffix}")
    assert mmencode.Embeddings.load(tmp_path / f"rows{suffix}").towers == rows.towers
    plain = mmencode.Embeddings(rows.vectors, space=rows.space, modality="clip")
    plain.save(tmp_path / f"plain{suffix}")
    assert mmencode.Embeddings.load(tmp_path / f"plain{suffix}").towers == {}
    assert rows[1:].truncate(4, force=True).towers == rows.quantize("int8").dequantize().towers == rows.towers


def test_classifiers_and_copies_of_a_space_go_on(joined):
    labels = ["sea", "night", "a river"]
    with on_cpu() as space:
        before = space.classifier(labels, ["{label}"]).classify("text", TEXTS).scores
        assert np.array_equal(joined.classifier(labels, ["{label}"]).classify("text", TEXTS).scores, before)
    named = joined.classifier(labels, ["{label} 1"]).classify("clip", [["sea 1"], ["a river 1"]])
    assert named.best == ["sea", "a river"]
    for other in (copy.copy(joined), pickle.loads(pickle.dumps(joined))):
        assert other.id == joined.id
        assert np.array_equal(other.encode("clip", CLIPS).vectors, joined.encode("clip", CLIPS).vectors)
        assert other.card.joiners[0].report == joined.card.joiners[0].report


def test_encoders_that_are_loaded_are_shared_with_the_space_that_gains(joined):
    with on_cpu() as space:
        tower = space.tower("text")
        assert space.join({"clip": joined}).tower("text") is tower


def test_compose_with_a_frame_keeps_its_id_but_for_the_name():
    with on_cpu() as space:
        mine = mmencode.compose("mine", {"clip": (BARE, measured(space=space))}, frame=space)
        assert mine.id == space.id.replace("words@", "mine@")
        assert [tower.modality for tower in mine.card.joiners] == ["clip"]
        mmencode.similarity(mine.encode("clip", CLIPS[:2]), space.encode("text", TEXTS[:2]))
        again = mmencode.compose("again", dict.fromkeys(mine.modalities, mine))
        assert again.card.fingerprint == space.card.fingerprint
        with pytest.raises(ValueError, match="those of the frame"):
            mmencode.compose("mine", {"clip": mine}, frame=space, fast=True)


def test_composed_without_a_frame_the_id_is_over_all_encoders_as_ever():
    with on_cpu() as space:
        mine = mmencode.compose("mine", {"text": space, "clip": (BARE, measured(space=space))})
        assert mine.card.joiners == ()
        assert mine.card.fingerprint != space.card.fingerprint


def test_a_plugin_joins_by_its_declaration(install, place):
    install(words=frame(aliases=("default",)), clips=(joiner(place, "clips_a"),))
    with loaded("default") as space, on_cpu() as plain:
        assert space.id == plain.id
        assert space.modalities == ("audio", "image", "text", "clip")
        assert space.card.joiners[0].report["method"] == "identity"
        found = space.search(plain.encode("text", [SENTENCE]), space.encode("clip", CLIPS), k=1)
        assert TEXTS[found.positions[0, 0]] == SENTENCE
        assert pickle.loads(pickle.dumps(space)).modalities == space.modalities
    assert registry().default_space() == "default"
    assert registry().spaces == ("words",)
    with pytest.raises(UnknownNameError, match="joins the space 'words'"):
        mmencode.load("clips_a/clips")
    assert mmencode.encode("clip", CLIPS[:1]).space == space.id


def elsewhere():
    fit = measured()
    fit.into = "words@0000000000000000"
    return fit


BAD = {
    "no file": (lambda: None, WeightsError, "no such file"),
    "garbage": (lambda: b"garbage", WeightsError, "can't be read"),
    "unmeasured": (lambda: IdentityProjection(into=on_cpu().id), FitError, "not measured"),
    "nowhere": (lambda: IdentityProjection(), SpaceMismatchError, "doesn't say"),
    "elsewhere": (elsewhere, SpaceMismatchError, "leads into words@0000"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_joiner_that_cant_join_is_set_aside_with_the_reason_and_hurts_nobody(install, place, case):
    content = BAD[case][0]()
    spec = joiner(place, "clips_a")
    file = place / "clips_a" / "fit.safetensors"
    file.unlink()
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        mmencode.save_projection(content, file)
    install(words=frame(), clips=(spec,))
    with loaded() as space:
        assert space.modalities == ("audio", "image", "text")
        assert len(space.encode("text", TEXTS)) == len(TEXTS)
        for _ in range(2):
            with pytest.raises(BAD[case][1], match=BAD[case][2]):
                space.encode("clip", CLIPS)
        with pytest.raises(BAD[case][1]):
            mmencode.compose("mine", {"text": "words/text", "clip": "clips_a/clips"})


def test_a_joiner_that_cant_be_built_fails_alone_when_it_is_used(install, place, tmp_path):
    install(words=frame(), clips=(joiner(place, "clips_a", "Broken"),))
    with loaded() as space:
        assert space.card.joiners
        assert len(space.encode("text", TEXTS)) == len(TEXTS)
        space.save(tmp_path / "saved")
        with pytest.raises(EncoderError, match="no such thing"):
            space.encode("clip", CLIPS)
        bridged = mmencode.bridge("bridged", space, on_cpu("more", frame(space="more")), list(TEXTS))
        assert "clip" not in bridged.modalities
        with pytest.raises(EncoderError, match="no such thing"):
            bridged.encode("clip", CLIPS)


def test_a_joiner_that_isnt_what_it_declares_is_refused_when_it_is_used(install, place):
    spec = joiner(place, "clips_a")
    install(words=frame(), clips=(replace(spec, target="joining:First"),))
    with loaded() as space, pytest.raises(IdentityError, match="not what its plugin declares"):
        space.encode("clip", CLIPS)


def test_where_the_frame_declares_no_identity_a_joiner_is_compared_when_first_used(install, place):
    undeclared = tuple(replace(spec, identity=None) for spec in frame())
    install(words=undeclared, clips=(joiner(place, "clips_a"),))
    with loaded() as space:
        assert len(space.encode("clip", CLIPS)) == len(CLIPS)
    other = measured()
    other.into = "words@0000000000000000"
    install(words=undeclared, clips=(joiner(place, "clips_b", fit=other),))
    with loaded() as space:
        assert len(space.encode("text", TEXTS)) == len(TEXTS)
        for use in (space.encode, lambda modality, items: mmencode.compose("x", {"clip": space})):
            with pytest.raises(SpaceMismatchError, match="leads into words@0000"):
                use("clip", CLIPS)
        assert space.card.joiners == ()


def test_two_joiners_of_one_modality_are_named_and_the_caller_may_choose(install, place):
    specs = {name: joiner(place, name, kind) for name, kind in (("clips_a", "Clips"), ("clips_b", "First"))}
    install(words=frame(), **{name: (spec,) for name, spec in specs.items()})
    with loaded() as space:
        assert len(space.encode("text", TEXTS)) == len(TEXTS)
        with pytest.raises(NameClashError, match="'clips_a/clips' of clips_a and 'clips_b/clips' of clips_b"):
            space.encode("clip", CLIPS)
        chosen = space.join({"clip": "clips_b/clips"})
        assert (
            chosen.encode("clip", CLIPS).towers
            != space.join({"clip": "clips_a/clips"}).encode("clip", CLIPS).towers
        )


def test_a_saved_space_has_its_joiner_and_opens_without_it_where_that_isnt_installed(
    install, place, tmp_path
):
    spec = joiner(place, "clips_a")
    install(words=frame(), clips=(spec,))
    with loaded() as space:
        space.save(tmp_path / "saved")
        vectors = space.encode("clip", CLIPS).vectors
    with loaded(tmp_path / "saved") as again:
        assert again.id == space.id
        assert again.card.joiners == space.card.joiners
        assert np.array_equal(again.encode("clip", CLIPS).vectors, vectors)
        assert again.verify().same
    install(words=frame())
    with loaded(tmp_path / "saved") as without:
        assert without.id == space.id
        assert len(without.encode("text", TEXTS)) == len(TEXTS)
        with pytest.raises(UnknownNameError, match="needs the encoder 'clips_a/clips' for clip"):
            without.encode("clip", CLIPS)


def test_a_saved_space_has_the_projection_that_the_caller_gave(install, tmp_path):
    install(words=frame(), bare=(BARE,))
    with loaded() as space:
        joined = space.join({"clip": ("bare/clips", measured(space=space))}, name="mine")
        joined.save(tmp_path / "mine")
        with loaded(tmp_path / "mine") as again:
            assert again.id == joined.id == space.id.replace("words@", "mine@")
            assert again.card.joiners == joined.card.joiners
            assert np.array_equal(again.encode("clip", CLIPS).vectors, joined.encode("clip", CLIPS).vectors)


def test_a_projection_is_measured_by_align_and_left_as_it_was():
    given = IdentityProjection()
    with on_cpu() as space:
        found = mmencode.align(BARE, space, PAIRS, method=given)
        assert (given.into, given.report) == ("", {})
        assert found.into == space.id
        assert found.report["pairs"] == len(PAIRS)
        with pytest.raises(FitError, match="don't find"):
            mmencode.align(
                BARE,
                space,
                list(zip(CLIPS, TEXTS[17:] + TEXTS[:17], strict=True)),
                method=given,
            )
        with pytest.raises(FitError, match="features of width 12"):
            mmencode.align(BARE, space, PAIRS, method=Linear(torch.ones(8, 12), torch.zeros(8)))


def test_a_declared_joiner_is_measured_before_its_file_is_there(install, place):
    spec = joiner(place, "clips_a")
    (place / "clips_a" / "fit.safetensors").unlink()
    install(words=frame(), clips=(spec,))
    with loaded() as space:
        found = mmencode.align("clips_a/clips", space, PAIRS, method=IdentityProjection())
        assert found.into == space.id


def test_encoders_that_join_make_a_space_of_their_own_where_nothing_else_is(place):
    spec = joiner(place, "clips_a")
    with mmencode.Space("alone", [spec], runtime=Runtime("cpu", "float32")) as alone:
        assert [tower.modality for tower in alone.card.frame] == ["clip"]
        assert len(alone.encode("clip", CLIPS)) == len(CLIPS)
    assert Clips().preprocessing != First().preprocessing


def test_conformance_catches_a_joiner_that_nobody_could_load(install, place):
    spec = joiner(place, "clips_a")
    unmeasured = joiner(place, "clips_b", fit=IdentityProjection(into=on_cpu().id))
    install(words=frame())

    def check(declared):
        suite = type("Suite", (EncoderConformance,), {"spec": declared, "items": CLIPS[:3]})()
        suite.test_an_encoder_that_joins_a_space_was_measured_there()

    check(spec)
    bad = [
        unmeasured,
        replace(spec, identity=None),
        replace(spec, projection=""),
        replace(spec, modality="text"),
    ]
    for declared in [*bad, replace(spec, dim=9)]:
        with pytest.raises(AssertionError):
            check(declared)


def test_a_plugin_brings_a_side_of_queries_to_a_space_of_documents(install, place, tmp_path):
    install(words=frame(), asking=(asking(place, "asking_a"),))
    with loaded() as space, on_cpu() as plain:
        assert (space.id, {*space.modalities}) == (plain.id, {*plain.modalities})
        assert space.card.tower("text:query").joined
        documents = space.encode("text", TEXTS)
        np.testing.assert_array_equal(documents.vectors, plain.encode("text", TEXTS).vectors)
        questions = [f"where is {text}" for text in TEXTS]
        queries = space.encode("text", questions, role="query")
        assert list(queries.towers) == ["text:query"]
        found = space.search(queries, documents, k=1).positions[:, 0]
        assert found.tolist() == list(range(len(TEXTS)))  # which the documents' side doesn't find
        asked = plain.encode("text", questions, role="query")
        assert plain.search(asked, documents, k=1).positions[:, 0].tolist() != list(range(len(TEXTS)))
        fused = space.fuse("image+text").encode("image+text", [(None, questions[0])], role="query")
        np.testing.assert_allclose(fused.vectors, queries.vectors[:1], atol=1e-6)
        space.save(tmp_path / "saved")
    with mmencode.load(tmp_path / "saved", device="cpu", dtype="float32") as back:
        np.testing.assert_array_equal(back.encode("text", questions, role="query").vectors, queries.vectors)
    install(words=frame())
    with mmencode.load(tmp_path / "saved", device="cpu", dtype="float32") as back:
        np.testing.assert_array_equal(back.encode("text", TEXTS).vectors, documents.vectors)
        with pytest.raises(UnknownNameError, match="asking_a/asked"):
            back.encode("text", questions, role="query")


def test_an_index_gains_a_side_of_queries_that_joins_and_keeps_documents_alone(install, place, tmp_path):
    pytest.importorskip("lancedb")
    install(words=frame())
    with loaded() as space, mmencode.Index.create(tmp_path / "index", space) as index:
        index.add("text", TEXTS)
    install(words=frame(), asking=(asking(place, "asking_a"),))
    with mmencode.Index.open(tmp_path / "index", device="cpu", dtype="float32") as index:
        for text in TEXTS[::7]:
            assert index.search("text", [f"where is {text}"], k=1)[0][0].key == text
        assert index.add("text", TEXTS).unchanged == len(TEXTS)
        queries = index.space.encode("text", ["where is night 1"], role="query").with_keys(["a"])
        with pytest.raises(SpaceMismatchError, match="made for queries"):
            index.add_embeddings(queries)


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"identity": None}, SpecError, "doesn't declare an identity"),
        ({"projection": "asking_a:no.safetensors"}, WeightsError, "no such file"),
        ({"dim": 9}, SpecError, "vectors have 9 numbers"),
    ],
)
def test_a_side_of_queries_that_cannot_join_is_an_error_of_the_queries_alone(
    install, place, fields, error, words
):
    install(words=frame(), asking=(asking(place, "asking_a", **fields),))
    with loaded() as space:
        assert len(space.encode("text", TEXTS)) == len(TEXTS)
        with pytest.raises(error, match=words):
            space.encode("text", TEXTS[:1], role="query")


def test_two_sides_of_queries_are_named_and_one_of_the_frames_own_stays(install, place):
    specs = {name: (asking(place, name),) for name in ("asking_a", "asking_b")}
    install(words=frame(), **specs)
    with loaded() as space:
        assert len(space.encode("text", TEXTS)) == len(TEXTS)
        with pytest.raises(NameClashError, match="text:query of the space 'words'"):
            space.encode("text", TEXTS[:1], role="query")
        assert len(space.join({"text:query": "asking_a/asked"}).encode("text", ["a"], role="query")) == 1
    own = replace(frame()[0], name="words/asked", role="query")
    install(words=(*frame(), own), asking_a=specs["asking_a"])
    with loaded() as space:
        assert not space.card.joiners
        assert space.card.tower("text:query").name == "words/asked"
