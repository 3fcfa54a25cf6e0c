from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmencode.card import SpaceCard, TowerCard, card_from_dict, require_same_space
from mmencode.errors import SpaceMismatchError
from mmencode.spec import Identity

IDENTITY = Identity(weights="sha256:1", preprocessing="p", tokenizer="t", pooling="mean", windows="w")
TOWERS = (
    TowerCard(modality="text", encoder="a/text", identity=IDENTITY),
    TowerCard(modality="image", encoder="a/image", identity=Identity(weights="sha256:2")),
)
CARD = SpaceCard(name="a", dim=4, towers=TOWERS)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Identity)])
def test_every_field_of_an_identity_changes_the_fingerprint(field):
    other = dataclasses.replace(IDENTITY, **{field: "another"})
    towers = (dataclasses.replace(TOWERS[0], identity=other), TOWERS[1])
    assert dataclasses.replace(CARD, towers=towers).fingerprint != CARD.fingerprint


@pytest.mark.parametrize(
    "change", [{"dim": 5}, {"normalisation": "none"}, {"inputs": 2}, {"towers": TOWERS[:1]}]
)
def test_every_field_of_the_card_but_its_name_changes_the_fingerprint(change):
    assert dataclasses.replace(CARD, **change).fingerprint != CARD.fingerprint


def test_name_and_order_of_towers_do_not_change_the_fingerprint():
    other = dataclasses.replace(CARD, name="b", towers=TOWERS[::-1])
    assert other.fingerprint == CARD.fingerprint
    assert other.id != CARD.id


def test_fingerprint_is_the_same_in_another_process():
    code = f"import sys; sys.path.insert(0, {__file__.rpartition('/')[0]!r})\n"
    code += "import test_card; print(test_card.CARD.fingerprint)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"})
    assert done.stdout.strip() == CARD.fingerprint


@given(st.builds(Identity, weights=st.text(), preprocessing=st.text(), pooling=st.text()))
def test_card_survives_json(identity):
    card = dataclasses.replace(CARD, towers=(TowerCard(modality="x", encoder="e", identity=identity),))
    assert card_from_dict(json.loads(json.dumps(card.to_dict()))) == card


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
