from __future__ import annotations

import datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from mmencode.pages.groups import MOST, NOTHING, OTHERS, group_labels, group_values

VALUES = st.one_of(
    st.none(), st.text(max_size=3), st.floats(), st.integers(), st.lists(st.integers(), max_size=2)
)


@settings(deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=60))
def test_every_row_has_one_group_and_no_group_is_empty(values):
    grouping = group_values("name", values)
    assert len(grouping.members) == len(values)
    assert all(0 <= place < len(grouping.groups) for place in grouping.members)
    assert len(grouping.groups) <= MOST + 1
    assert sum(grouping.counts()) == len(values)


def test_frequent_values_have_groups_and_the_rest_is_one():
    values = [letter for place, letter in enumerate("abcdefghijkl") for _ in range(20 - place)]
    grouping = group_values("letter", [*values, None])
    assert grouping.groups == (*"abcdefghij", OTHERS)
    assert grouping.rest
    assert grouping.counts()[0] == 20


def test_missing_values_alone_are_called_so():
    grouping = group_values("letter", ["a", None, float("nan")])
    assert grouping.groups == ("a", NOTHING)
    assert grouping.members == (0, 1, 1)


def test_many_numbers_become_ranges_in_order():
    grouping = group_values("year", [*range(1900, 2001), None])
    assert grouping.ordered
    assert grouping.groups == (
        *("1900 to 1920", "1920 to 1940", "1940 to 1960", "1960 to 1980", "1980 to 2000"),
        NOTHING,
    )
    assert grouping.of(100) == "1980 to 2000"
    assert grouping.of(20) == "1920 to 1940"
    assert grouping.counts() == [20, 20, 20, 20, 21, 1]


def test_few_numbers_and_other_things_are_named():
    assert group_values("n", [2, 1, 2]).groups == ("2", "1")
    assert group_values("day", [datetime.date(2020, 1, 2)]).groups == ("2020-01-02",)
    assert group_values("tags", [["a"], ["a"]]).groups == ("['a']",)


def test_numbered_groups_keep_their_order():
    grouping = group_labels("cluster", [1, 0, 1], ["cluster 1", "cluster 2"])
    assert grouping.groups == ("cluster 1", "cluster 2")
    assert grouping.counts() == [1, 2]
