"""The declaration of a modality: valid or refused by the name of its field, and plain data."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, asdict, fields, replace

import pytest

import mmencode
from mmencode.errors import SpecError
from mmencode.plugins.core_modalities import CORE

SPEC = mmencode.ModalitySpec(name="molecule", reader="chem.items:read", endings=(".smi",))


def test_it_is_frozen_and_survives_pickling():
    with pytest.raises(FrozenInstanceError):
        SPEC.name = "other"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(SPEC)) == SPEC
    assert hash(SPEC) == hash(replace(SPEC))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Molecule"),
        ("name", "a molecule"),
        ("name", "a" * 65),
        ("name", 7),
        ("reader", ""),
        ("reader", "chem.items"),
        ("reader", "chem.items:read()"),
        ("value", "Molecule"),
        ("inline", 1),
        ("scales", "yes"),
        ("endings", [".smi"]),
        ("endings", ("smi",)),
        ("endings", (".SMI",)),
        ("endings", ("",)),
        ("endings", (".smi", ".smi")),
        ("endings", (b".smi",)),
        ("endings", tuple(f".e{number}" for number in range(201))),
        ("optional", ((".cdx", "chem.extra", "chem-extra"),)),  # whose look-up would import chem
        ("optional", ((".cdx", "chem_extra"),)),
        ("optional", ((".cdx", "chem_extra", "rm -rf"),)),
        ("optional", ((".smi", "chem_extra", "chem-extra"),)),
        ("limits", (("atoms", 0),)),
        ("limits", (("atoms", True),)),
        ("limits", (("Atoms", 1),)),
        ("limits", {"atoms": 1}),
        ("probes", "probes"),
        ("samples", 3),
        ("shows", "video"),
        ("shows", "sound"),  # without the function that gives it
        ("preview", "chem"),
        ("part", "page"),  # without the function that counts
        ("count", "chem.items:count"),  # without the word
        ("prompt", "a molecule"),
        ("inline", True),  # beside endings
        ("description", "x" * 5000),
    ],
)
def test_a_bad_field_is_named(field, value):
    with pytest.raises(SpecError) as caught:
        replace(SPEC, **{field: value})
    assert "ModalitySpec." in caught.value.fact
    assert (
        field in caught.value.fact
        or (field, value) == ("inline", True)
        or field in ("optional", "shows", "part")
    )
    assert caught.value.remedy


def test_the_limits_are_named_with_the_modality():
    assert replace(SPEC, limits=(("atoms", 100), ("seconds", 0.5))).defaults == {
        "molecule.atoms": 100,
        "molecule.seconds": 0.5,
    }


def test_core_declares_its_own_modalities_by_the_hook():
    (core,) = [plugin for plugin in mmencode.registry().plugins if plugin.distribution == "mmencode"]
    assert [spec.name for spec in core.modalities] == ["text", "image", "audio"]
    assert {spec.name: spec for spec in core.modalities} == dict(CORE)


def test_every_target_of_core_is_there():
    from mmencode.plugins.targets import find_target

    for spec in CORE.values():
        for field in ("reader", "value", "probes", "samples", "preview"):
            if target := getattr(spec, field):
                assert callable(find_target(target)), target


def test_all_fields_are_plain_data():
    assert {type(value) for value in asdict(SPEC).values()} <= {str, bool, tuple}
    assert "probes" in {field.name for field in fields(SPEC)}
