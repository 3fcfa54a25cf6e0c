"""Run a conformance suite without a test runner, and report the outcome of each check."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal
from unittest import SkipTest

from ..errors import MmencodeError
from ..errors.causes import describe_error, message_of, printable
from .conformance import Suite

State = Literal["passed", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one check, with the reason if it failed or was skipped."""

    check: str
    protects: str
    state: State
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A check of a conformance suite, with its name, and the promise that it protects in a sentence."""

    name: str
    protects: str
    run: Callable[[], object]

    def attempt(self) -> Outcome:
        """Run the check and turn whatever it raises into an outcome, except KeyboardInterrupt."""
        try:
            self.run()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # pytest's Skipped and sys.exit() by an encoder aren't Exceptions
            skipped = isinstance(error, SkipTest) or type(error).__name__ == "Skipped"
            return Outcome(self.name, self.protects, "skipped" if skipped else "failed", _reason(error))
        return Outcome(self.name, self.protects, "passed")


def checks(suite: type[Suite]) -> Iterator[Check]:
    """The `test_` methods of a suite in the order in which they and its bases are written."""
    if not __debug__:
        raise MmencodeError(
            "python -O removes assertions, so that every check would pass", remedy="run without -O"
        )
    methods = [name for kind in suite.__mro__ for name in vars(kind) if name.startswith("test_")]
    instance = suite()
    for name in dict.fromkeys(methods):
        method = getattr(instance, name)
        yield Check(name.removeprefix("test_"), _first_sentence(method.__doc__ or ""), method)


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).split(". ")[0].removesuffix(".")


def _reason(error: BaseException) -> str:
    """Describe an error in one printable line; a bare assertion is described by its source line."""
    if isinstance(error, MmencodeError):
        said = f"{error.fact}; {error.remedy}" if error.remedy else error.fact
        return f"{type(error).__name__}: {printable(said, 1000)}"
    line = _first_line(error)
    if isinstance(error, AssertionError) and not line:
        return traceback.extract_tb(error.__traceback__)[-1].line or "assertion failed"
    if isinstance(error, AssertionError | SkipTest) or type(error).__name__ == "Skipped":
        return line
    return describe_error(error)


def _first_line(error: BaseException) -> str:
    try:
        said = str(error).strip()
    except BaseException:  # an exception class of the encoder's author may fail in its own `__str__`
        return message_of(error)
    return printable(said[:10_000].splitlines()[0]) if said else ""
