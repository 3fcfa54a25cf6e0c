"""Layout of tables and pages, from plain data."""

from __future__ import annotations

from mmencode.evaluation.rendering import ReportTable, markdown, plain_text

TABLE = ReportTable("Classes", ("class", "items"), [("cat", "12"), ("ant", "3"), ("bee", "1")], most=2)


def test_terminal_shows_the_first_rows_with_numbers_to_the_right():
    assert plain_text("title", ["a fact"], [TABLE]).splitlines() == [
        "title",
        "  a fact",
        "",
        "Classes, 2 of 3",
        "class  items",
        "cat       12",
        "ant        3",
    ]


def test_page_has_all_rows():
    page = markdown("title", ["a fact"], [TABLE])
    assert page.startswith("# title\n\n- a fact\n\n## Classes\n\n| class | items |\n|---|---|\n")
    assert page.endswith("| bee | 1 |\n")


def test_empty_table_is_left_out():
    empty = ReportTable("Classes", ("class", "items"), [])
    assert plain_text("title", [], [empty]) == "title"
    assert markdown("title", [], [empty]) == "# title\n\n"


def test_table_without_a_title_begins_with_its_columns():
    table = ReportTable("Figures", ("figure", "value"), [("top-1", "50.0 %")], titled=False)
    assert plain_text("title", [], [table]).splitlines()[2] == "figure   value"
