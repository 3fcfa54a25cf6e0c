from __future__ import annotations

import errno

import pytest

from mmencode.errors.causes import describe_error, fault_of, message_of, out_of_memory, quote


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def test_an_exception_whose_message_raises_still_has_words():
    assert message_of(Mute()) == "(its message can't be read: RuntimeError)"
    assert describe_error(Mute()).startswith("Mute: (its message")


def test_a_message_of_many_megabytes_is_cut():
    assert len(message_of(ValueError("x" * 50_000_000))) < 600


def test_escapes_and_line_ends_stay_away_from_the_terminal():
    assert message_of(ValueError("red \x1b[31m\nand\x07 bell")) == r"red \x1b[31m and\x07 bell"


def test_an_exception_without_a_message_is_known_by_its_type():
    assert message_of(KeyError()) == describe_error(KeyError()) == "KeyError"


def test_the_name_of_a_type_is_no_safer_than_a_message():
    red = type("\x1b[31mRed", (Exception,), {})
    assert describe_error(red()) == r"\x1b[31mRed"
    assert describe_error(red("dead")) == r"\x1b[31mRed: dead"


def test_an_object_of_somebody_elses_is_quoted_whatever_it_does():
    class Nameless(type):
        @property
        def __name__(cls):
            raise RuntimeError("no name")

    class Mean(metaclass=Nameless):
        def __repr__(self):
            raise SystemExit(3)

    assert quote("two\nlines \x1b[31m") == r"'two\nlines \x1b[31m'"
    assert quote(Mean()) == "<Mean whose repr raises SystemExit>"
    assert len(quote("x" * 50_000_000, 100)) == 103


@pytest.mark.parametrize(
    ("cause", "fault"),
    [
        (MemoryError(), "process"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: 5 bytes"),
            "process",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "process"),
        (OSError(errno.EMFILE, "Too many open files"), "process"),
        (PermissionError(errno.EACCES, "Permission denied"), "access"),
        (OSError(errno.ESTALE, "Stale file handle"), "access"),
        (OSError("image file is truncated"), "content"),
        (UserWarning("made an error by -W error"), "process"),
        (ValueError("not enough memory of the past"), "content"),
    ],
)
def test_the_fault_is_where_the_exception_says(cause, fault):
    assert fault_of(cause, "content") == fault


def test_words_alone_make_no_shortage_of_another_type_of_error():
    assert out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert not out_of_memory(ValueError("out of memory"))
