"""An index gains a modality without a row encoded again, and never mixes the rows of two encoders."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from joining import CLIPS, TEXTS, First, frame, joiner, measured, on_cpu

import mmencode
from mmencode import EncoderSpec, Index
from mmencode.encoder import identify
from mmencode.errors import (
    IdentityError,
    InputError,
    SpaceMismatchError,
    StoreError,
    UnknownModalityError,
    UnknownNameError,
)
from mmencode.spaces import folder

BARE = EncoderSpec(name="bare/clips", modality="clip", target="joining:Clips", dim=8)
FIRST = replace(BARE, name="bare/first", target="joining:First", identity=identify(First()))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of packages, which are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("clips_a", "clips_b"):
        sys.modules.pop(name, None)


@pytest.fixture
def old(tmp_path, install):
    """The path of an index of texts that was made when nobody had heard of clips."""
    install(words=frame())
    with mmencode.load("words", device="cpu") as space, Index.create(tmp_path / "index", space) as index:
        index.add("text", TEXTS)
    return tmp_path / "index"


def opened(path, **options):
    return Index.open(path, device="cpu", dtype="float32", **options)


def first_joined(space):
    return space.join({"clip": (FIRST, measured("First", space))})


def test_an_old_index_gains_a_modality_of_a_plugin_by_one_add(old, place, install, monkeypatch):
    with opened(old) as index:
        before = index.rows().embeddings
        with pytest.raises(UnknownModalityError):
            index.add("clip", CLIPS, keys=[f"{place}" for place in range(len(CLIPS))])
    install(words=frame(), clips=(joiner(place, "clips_a"),))
    encoded = []
    encode = mmencode.Space.stream
    monkeypatch.setattr(
        mmencode.Space,
        "stream",
        lambda self, modality, *a, **k: encoded.append(modality) or encode(self, modality, *a, **k),
    )
    with opened(old) as index:
        keys = [f"clip {place}" for place in range(len(CLIPS))]
        assert index.add("clip", CLIPS, keys=keys).added == len(CLIPS)
        assert encoded == ["clip"]
        assert index.card.id == before.space
        assert [tower.name for tower in index.card.joiners] == ["clips_a/clips"]
        (hits,) = index.search("text", [TEXTS[20]], k=1, among="clip")
        assert hits[0].key == "clip 20"
        (hits,) = index.search("clip", [CLIPS[7]], k=1, among="text")
        assert hits[0].key == TEXTS[7]
        rows = index.rows("modality = 'text'").embeddings
        assert np.array_equal(rows.vectors, before.vectors)
    with opened(old) as index:
        assert index.modalities == ("clip", "text")
        assert index.add("clip", CLIPS[:3], keys=keys[:3]).replaced == 3
        assert index.rows("modality = 'clip'").embeddings.towers == {"clip": index.card.joiners[0].digest}


def test_rows_of_another_encoder_are_refused_with_the_way_to_encode_them_again(old, place, install):
    install(words=frame(), clips=(joiner(place, "clips_a"),))
    keys = list("abc")
    with opened(old) as index:
        index.add("clip", CLIPS[:3], keys=keys)
        vectors = index.rows("modality = 'clip'").embeddings.vectors
    with on_cpu() as space:
        other = first_joined(space)
        with opened(old, space=other) as index:
            for use in (
                lambda: index.add("clip", [["x"]], keys=["x"]),
                lambda: index.add("clip", CLIPS[:3], keys=keys),
                lambda: index.add_embeddings(other.encode("clip", [["x"]]).with_keys(["x"])),
            ):
                with pytest.raises(
                    SpaceMismatchError, match="holds 3 rows of clip by clips_a/clips"
                ) as raised:
                    use()
                assert "index.delete(\"modality = 'clip'\")" in raised.value.remedy
            assert np.array_equal(index.rows("modality = 'clip'").embeddings.vectors, vectors)
            assert index.add("text", ["more"]).added == 1
            assert index.delete("modality = 'clip'") == 3
            assert index.add("clip", CLIPS[:2], keys=keys[:2]).added == 2
            assert index.card.joiners[0].name == "bare/first"
    with opened(old) as index:
        assert index.card.joiners[0].name == "bare/first"
        assert len(index.search("text", ["a"], among="clip")[0]) == 2
        with pytest.raises(UnknownNameError, match="needs the encoder 'bare/first' for clip"):
            index.search("clip", [["a"]])


def test_vectors_know_their_tower_and_old_ones_that_dont_are_kept_apart(old):
    with on_cpu() as space:
        joined = space.join({"clip": (BARE, measured(space=space))})
        rows = joined.encode("clip", CLIPS[:2]).with_keys(["a", "b"])
        unknown = mmencode.Embeddings(rows.vectors, space=rows.space, modality="clip", keys=["c", "d"])
        with (
            opened(old) as index,
            pytest.raises(SpaceMismatchError, match="open it with the space that made"),
        ):
            index.add_embeddings(rows)
        with opened(old, space=joined) as index:
            assert index.add_embeddings(unknown).added == 2
            with pytest.raises(SpaceMismatchError, match="holds 2 rows of clip by one that it doesn't know"):
                index.add_embeddings(rows)
            index.delete(keys=["c", "d"])
            assert index.add_embeddings(rows).added == 2
            with pytest.raises(SpaceMismatchError, match="an encoder that they don't name"):
                index.add_embeddings(unknown)
            assert index.add_embeddings(space.encode("text", ["new"]).with_keys(["new"])).added == 1
            mixed = first_joined(space).encode_mixed([("text", "a"), ("clip", ["b"])]).with_keys(["x", "y"])
            with pytest.raises(SpaceMismatchError, match="holds"):
                index.add_embeddings(mixed)


def test_an_index_keeps_the_projection_that_the_caller_gave(old, install):
    install(words=frame(), bare=(BARE,))
    with mmencode.load("words", device="cpu") as space:
        joined = space.join({"clip": ("bare/clips", measured(space=space))})
        with opened(old, space=joined) as index:
            index.add("clip", CLIPS, keys=TEXTS_AS_KEYS)
    with opened(old) as index:
        (hits,) = index.search("clip", [CLIPS[5]], k=1, among="clip")
        assert hits[0].key == TEXTS_AS_KEYS[5]
        assert index.add("clip", [["new"]], keys=["new"]).added == 1


TEXTS_AS_KEYS = [f"clip of {text}" for text in TEXTS]


def test_a_new_index_of_a_space_that_gained_a_modality(tmp_path, place, install):
    install(words=frame(), clips=(joiner(place, "clips_a"),))
    with Index.create(tmp_path / "new", mmencode.load("words", device="cpu")) as index:
        index.add("clip", CLIPS[:4], keys=list("abcd"))
        index.add("text", TEXTS)
    install(words=frame())
    with opened(tmp_path / "new") as index:
        assert index.search("text", [TEXTS[2]], k=1, among="clip")[0][0].key == "c"
        with pytest.raises(UnknownNameError, match="clips_a/clips"):
            index.add("clip", [["x"]], keys=["x"])
        assert index.add("text", ["more"]).added == 1


def test_a_bad_clip_is_named_and_its_neighbours_are_kept(old, place, install):
    install(words=frame(), clips=(joiner(place, "clips_a"),))
    with opened(old) as index:
        with pytest.raises(InputError) as raised:
            index.add("clip", [["a"], [], ["b"]], keys=list("abc"))
        assert raised.value.index == 1
        added = index.add("clip", [["a"], [], ["b"]], keys=list("abc"), on_error="skip")
        assert [failure.key for failure in added.failed] == ["b"]
        assert len(index.rows("modality = 'clip'").embeddings) == 2


def test_two_writers_with_two_encoders_never_mix_their_rows(old):
    with on_cpu() as space:
        spaces = [space.join({"clip": (BARE, measured(space=space))}), first_joined(space)]
        refused, start = [], threading.Barrier(2, timeout=60)

        def write(number):
            with opened(old, space=spaces[number]) as index:
                start.wait()
                for step in range(6):
                    try:
                        index.add("clip", [[f"{number} {step}", "x"]], keys=[f"{number} {step}"])
                    except SpaceMismatchError:
                        refused.append(number)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        with opened(old, space=space) as index:
            rows = index.rows("modality = 'clip'").embeddings
            (winner,) = {key[0] for key in rows.keys}
            assert set(refused) == {1 - int(winner)}
            assert rows.towers == {"clip": spaces[int(winner)].tower_card("clip").digest}


class Own(mmencode.IdentityProjection):
    """A projection of the caller's own class, which no file can hold."""


def test_a_projection_that_no_file_can_hold_needs_the_space_again(old, install):
    install(words=frame(), bare=(BARE,))
    with mmencode.load("words", device="cpu") as space:
        own = Own()
        found = measured(space=space)
        own.into, own.report = found.into, found.report
        joined = space.join({"clip": ("bare/clips", own)})
        with opened(old, space=joined) as index:
            index.add("clip", CLIPS[:2], keys=["a", "b"])
    with opened(old) as index:
        assert len(index.search("text", ["a"], among="clip")[0]) == 2
        with pytest.raises((SpaceMismatchError, IdentityError)):
            index.add("clip", [["x"]], keys=["x"])
        assert len(index.rows("modality = 'clip'").embeddings) == 2


@pytest.mark.parametrize("failing", range(3))
def test_a_card_that_cant_be_written_leaves_the_index_as_it_was(old, install, monkeypatch, failing):
    install(words=frame(), bare=(BARE, replace(BARE, name="bare/first", target="joining:First")))
    with mmencode.load("words", device="cpu") as space:
        spaces = [
            space.join({"clip": (f"bare/{name}", measured(target, space))})
            for name, target in (("clips", "Clips"), ("first", "First"))
        ]
        with opened(old, space=spaces[0]) as index:
            index.add("clip", CLIPS[:2], keys=["a", "b"])
            index.delete("modality = 'clip'")
        steps = []
        for name in ("save_projection", "_write_card"):
            real = getattr(folder, name)

            def step(*arguments, real=real):
                steps.append(1)
                if len(steps) == failing + 1:
                    raise OSError(28, "No space left on device")
                return real(*arguments)

            monkeypatch.setattr(folder, name, step)
        with opened(old, space=spaces[1]) as index, pytest.raises(StoreError, match="card can't be written"):
            index.add("clip", CLIPS[:2], keys=["a", "b"])
    monkeypatch.undo()
    with opened(old) as index:
        assert index.add("text", ["more"]).added == 1
        assert index.search("text", [TEXTS[0]], k=1)[0][0].key == TEXTS[0]
        assert "clip" not in index.modalities
