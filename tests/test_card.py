from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmencode.card import SpaceCard, TowerCard, card_from_dict, is_same_space, require_same_space
from mmencode.errors import SpaceMismatchError
from mmencode.plugins.spec import Identity

IDENTITY = Identity(weights="sha256:1", preprocessing="p", tokenizer="t", pooling="mean", windows="w")
TOWERS = (
    TowerCard(modality="text", encoder="a/text", identity=IDENTITY),
    TowerCard(modality="image", encoder="a/image", identity=Identity(weights="sha256:2")),
)
CARD = SpaceCard(name="a", dim=4, towers=TOWERS)


FIELDS = [field.name for field in dataclasses.fields(Identity)]

words = st.text('ab,:"', max_size=3)
identities = st.builds(Identity, **dict.fromkeys(FIELDS, words))
modalities = st.sampled_from(["audio", "image", "text"])
towers = st.dictionaries(modalities, st.tuples(words, identities), min_size=1).map(
    lambda found: tuple(
        TowerCard(modality=modality, encoder=encoder, identity=identity)
        for modality, (encoder, identity) in found.items()
    )
)
rows = st.tuples(*[st.floats(-1, 1)] * 2)
cards = st.builds(
    SpaceCard,
    name=words,
    dim=st.integers(2, 3),
    towers=towers,
    normalisation=words,
    inputs=st.integers(1, 3),
    probes=st.dictionaries(modalities, st.lists(rows, min_size=1).map(tuple)),
)


@given(cards, st.data(), st.sampled_from(["encoder", "modality", *FIELDS]), words.filter(bool))
def test_change_of_any_field_of_any_tower_changes_the_fingerprint(card, data, field, more):
    row = data.draw(st.integers(0, len(card.towers) - 1))
    tower = card.towers[row]
    if field in FIELDS:
        other = dataclasses.replace(tower.identity, **{field: getattr(tower.identity, field) + more})
        other = dataclasses.replace(tower, identity=other)
    else:
        other = dataclasses.replace(tower, **{field: getattr(tower, field) + more})
    changed = dataclasses.replace(card, towers=(*card.towers[:row], other, *card.towers[row + 1 :]))
    assert changed.fingerprint != card.fingerprint


@given(cards, st.sampled_from(["dim", "normalisation", "inputs", "towers"]), st.data())
def test_change_of_any_field_of_the_card_but_name_and_probes_changes_the_fingerprint(card, field, data):
    changes = {
        "dim": st.integers(4, 9),
        "normalisation": words.filter(bool).map(lambda more: card.normalisation + more),
        "inputs": st.integers(4, 9),
        "towers": st.just((*card.towers, TowerCard(modality="smell", encoder="", identity=Identity()))),
    }
    assert dataclasses.replace(card, **{field: data.draw(changes[field])}).fingerprint != card.fingerprint


@given(cards, cards, st.randoms(use_true_random=False))
def test_name_probes_and_order_of_towers_do_not_change_the_fingerprint(card, other, random):
    shuffled = tuple(random.sample(card.towers, len(card.towers)))
    same = dataclasses.replace(card, name=other.name, probes=other.probes, towers=shuffled)
    assert same.fingerprint == card.fingerprint
    assert (same.id == card.id) == (other.name == card.name)


@given(cards, cards)
def test_cards_of_one_fingerprint_say_the_same(card, other):
    one, two = ({**each.to_dict(), "name": "", "probes": {}} for each in (card, other))
    assert (card.fingerprint == other.fingerprint) == (one == two)


def test_fingerprint_is_the_same_in_another_process():
    code = f"import sys; sys.path.insert(0, {__file__.rpartition('/')[0]!r})\n"
    code += "import test_card; print(test_card.CARD.fingerprint)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}, timeout=300
    )
    assert done.stdout.strip() == CARD.fingerprint


any_identity = st.builds(Identity, **dict.fromkeys(FIELDS, st.text()))


@given(
    st.text(),
    any_identity,
    st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 4), min_size=1).map(tuple),
)
def test_card_survives_json(encoder, identity, rows):
    tower = TowerCard(modality="x", encoder=encoder, identity=identity)
    card = dataclasses.replace(CARD, towers=(tower,), probes={"x": rows})
    assert card_from_dict(json.loads(json.dumps(card.to_dict()))) == card


def test_fingerprint_is_what_it_was_when_cards_were_first_saved():
    assert CARD.fingerprint == "076fd6786b507bab967828213638373fd90ec51e1c64ef0fd004e26bb9274c68"


def test_card_can_stand_in_a_set():
    assert len({CARD, dataclasses.replace(CARD), dataclasses.replace(CARD, dim=5)}) == 2


def test_newer_format_is_refused():
    with pytest.raises(ValueError, match="format 2"):
        card_from_dict({**CARD.to_dict(), "format": 2})


def test_card_prints_what_its_vectors_depend_on():
    shown = str(CARD)
    assert CARD.id in shown
    assert "a/text" in shown
    assert "sha256:2" in shown


def test_mismatch_names_both_spaces_and_the_way_out():
    with pytest.raises(SpaceMismatchError, match=r"compared: a@1 and a@2(.|\n)*mmencode.load"):
        require_same_space("a@1", "a@2", "compared")


def test_same_fingerprint_under_another_name_is_the_same_space():
    require_same_space("a@1", "b@1", "compared")
    assert is_same_space("a@1", "b@1")
    assert not is_same_space("a@1", "a@2")
