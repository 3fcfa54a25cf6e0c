"""Errors of items, and errors of the encoder or the process that made good items fail."""

from __future__ import annotations

import copy
import functools
import signal
import traceback
from collections.abc import Sequence
from types import CodeType
from typing import Any

from ..errors import DeviceError, EncoderError, Fault, InputError, MissingPackageError, MmencodeError
from ..errors.causes import describe_error, device_broke, fault_of, out_of_memory
from ..inputs.limits import limit_remedy

DOUBTFUL: tuple[Fault, ...] = ("encoder", "process", "time")  # what may be no fault of the items at all
_LONG = 10_000  # characters or bytes of an exception's arguments that a kept error keeps
_SHOWN = 10  # indices in a message


def make_failure(fact: str, index: int, source: str, cause: BaseException | None = None) -> InputError:
    """Make the error of an item on which something failed that isn't the item's own content."""
    fault: Fault = "encoder" if cause is None else fault_of(cause, "encoder")
    error = InputError(
        fact if cause is None else f"{fact}: {describe_error(cause)}",
        source=source,
        remedy=_remedy(fault, cause),
        index=index,
        fault=fault,
    )
    error.__cause__ = cause
    return error


def make_late(index: int, source: str, seconds: float) -> InputError:
    """Make the error of an item that took too long."""
    return InputError(
        f"reading and preprocessing it takes more than {seconds:g} s",
        source=source,
        remedy=f"leave it out, or {limit_remedy('wait')}",
        index=index,
        fault="time",
    )


def place(error: InputError, index: int, source: str) -> InputError:
    """Copy an item's own error and give it its place; an encoder may raise one object several times."""
    own = copy.copy(error)
    own.__cause__, own.__traceback__ = error.__cause__, error.__traceback__
    own.source = own.source or source
    return own.at(index)


def ends_the_call(cause: BaseException) -> bool:
    """Whether an exception is about no item: Ctrl-C, a signal handler's, or an encoder's about itself."""
    ours = isinstance(cause, MmencodeError) and not isinstance(cause, InputError)
    return ours or isinstance(cause, KeyboardInterrupt) or _is_from_a_signal(cause)


def require_device(cause: BaseException, device: object, name: str) -> None:
    """Raise DeviceError where an exception says that nothing works on a device any more.

    Then no item is to blame for its own failure: all that come later fail as well.
    """
    if device_broke(cause):
        raise DeviceError(
            f"device {device} failed, and does nothing more for this process: {describe_error(cause)}",
            culprit=f"encoder {name!r}, at one of the items of this call or of others at the same time",
            remedy="start the process again; with CUDA_LAUNCH_BLOCKING=1 in the environment the error names "
            "the operation, such as a look-up with a number that no table has",
        ) from cause


def _is_from_a_signal(cause: BaseException) -> bool:
    """Whether a handler of signals raised it, which runs in the midst of whatever the main thread does."""
    handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    return any(frame.f_code in handlers for frame, _ in traceback.walk_tb(cause.__traceback__))


def _code(handler: Any) -> CodeType | None:
    while isinstance(handler, functools.partial):
        handler = handler.func
    code = getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)
    return code if isinstance(code, CodeType) else None


def is_lacking(errors: Sequence[InputError]) -> bool:
    """Whether the process, not the items, lacks something; memory may be too little for one item alone."""
    return all(error.fault == "process" and not out_of_memory(error.__cause__) for error in errors)


def are_alike(errors: Sequence[InputError]) -> bool:
    """Whether several errors say the same fact."""
    return len(errors) > 1 and len({error.fact for error in errors}) == 1


def make_encoder_error(
    name: str, errors: Sequence[InputError], witness: InputError | None = None
) -> EncoderError:
    """Make one error of a batch that failed alike, which blames the encoder or the process.

    `witness` is the error of a generated item, known to be good, where that failed as well.
    """
    first = errors[0]
    cause = first.__cause__
    who = f"encoder {name!r}" if witness or first.fault == "encoder" else "this process"
    which = f"on each of a batch of {len(errors)}" if len(errors) > 1 else "on the item"
    places = sorted(error.index or 0 for error in errors)
    shown = f"{places[:_SHOWN]}" + (f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else "")
    error = EncoderError(
        f"{who} failed {which}: {first.fact if cause is None else describe_error(cause)}",
        culprit=f"items {shown}{', and generated items that are known to be good' if witness else ''}",
        remedy=_remedy_of_all(first.fault, cause),
    )
    error.__cause__ = cause
    return error


def _remedy(fault: Fault, cause: BaseException | None) -> str:
    if fault == "encoder":
        return "leave the item out, or report it to the encoder's author"
    if fault == "process":
        return f"{_relief(cause)}; the item itself may be good"
    return "make its file readable, and try again"


def _remedy_of_all(fault: Fault, cause: BaseException | None) -> str:
    if fault == "process":
        return _relief(cause)
    if fault == "time":
        return f"if the encoder is only slow, {limit_remedy('wait')}; else tell its author"
    if cause is None:
        return "fetch its weights again: they may hold NaN; or tell the encoder's author"
    return "tell the encoder's author"


def _relief(cause: BaseException | None) -> str:
    """The remedy for a process that lacks memory, disk space, open files or a package."""
    if isinstance(cause, MissingPackageError):
        return cause.remedy
    if out_of_memory(cause):
        return "free some memory, or use another device"
    if isinstance(cause, Warning):
        return (
            f'run Python without -W error, or let this pass: warnings.simplefilter("default", {_type(cause)})'
        )
    return "make room on the disk, or allow more open files (ulimit -n)"


def _type(cause: BaseException) -> str:
    return type(cause).__name__


def forget_items(error: BaseException) -> None:
    """Let go of what an exception holds by its tracebacks and arguments, such as the bytes of the item.

    A frame holds those that called it, down to our own, so that to clear those of the traceback won't do.
    """
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = None
        left += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
        _shorten(one)


def _shorten(one: BaseException) -> None:
    try:
        one.args = tuple(map(_short, one.args))
        if isinstance(one, AttributeError):
            one.obj = None
        if isinstance(one, UnicodeDecodeError):
            one.object = b""
        if isinstance(one, UnicodeEncodeError):
            one.object = ""
    except Exception:  # an exception of somebody else's may refuse
        return


def _short(value: Any) -> Any:
    """An argument of an exception without what it may hold."""
    if type(value) in (str, bytes):
        return value[:_LONG]
    return value if type(value) in (int, float, bool, type(None)) else type(value).__name__
