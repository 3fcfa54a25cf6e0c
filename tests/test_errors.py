from __future__ import annotations

import pickle
import re

import pytest

from mmencode import errors

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.MmencodeError)
]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not errors.InputError])
def test_message_has_the_fact_the_culprit_and_the_remedy(kind):
    error = kind("fact 1", culprit="dist 2", remedy="do 3")
    assert re.fullmatch(r"fact 1\n.*dist 2\n.*do 3", str(error))


def test_input_error_names_its_item_and_source():
    error = errors.InputError("it is empty", source="a.jpg", remedy="fetch it").at(7)
    assert (error.index, error.source) == (7, "a.jpg")
    assert "item 7, a.jpg" in str(error)
    assert "fetch it" in str(error)


def test_errors_travel_between_processes_whole():
    error = pickle.loads(pickle.dumps(errors.InputError("fact", source="a.jpg", remedy="do", index=3)))
    assert (error.fact, error.source, error.remedy, error.index) == ("fact", "a.jpg", "do", 3)
    assert str(error) == str(errors.InputError("fact", source="a.jpg", remedy="do", index=3))


def test_every_error_stands_in_the_tree_of_the_docstring():
    assert all(kind.__name__ in errors.__doc__ for kind in KINDS)


def test_errors_are_what_python_users_catch():
    assert issubclass(errors.InputError, ValueError)
    assert issubclass(errors.UnknownNameError, KeyError)
    assert issubclass(errors.MissingPackageError, ImportError)
