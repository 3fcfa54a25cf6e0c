"""A misspelt name is answered by the names most like it."""

from __future__ import annotations

import pytest

from mmencode.errors.suggestions import did_you_mean

KNOWN = ("openai", "simple", "sounds")


@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("opnai", "did you mean openai?"),
        ("simpel", "did you mean simple?"),
        ("sound", "did you mean sounds?"),
        ("zebra", ""),
        ("", ""),
    ],
)
def test_the_nearest_names_are_suggested(name, question):
    assert did_you_mean(name, KNOWN) == question


def test_at_most_three_names_are_suggested_the_nearest_first():
    question = did_you_mean("cats", ["cat", "cats!", "cast", "scat", "bats"])
    assert question.startswith("did you mean cats!")
    assert question.count(" or ") == 2


def test_a_known_name_may_be_spelt_in_another_way():
    assert did_you_mean("opnai", iter(KNOWN), repr) == "did you mean 'openai'?"
