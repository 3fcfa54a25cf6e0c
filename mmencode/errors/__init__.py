"""Every error that mmencode raises on purpose.

```
MmencodeError
├── PluginError                a distribution's declarations are at fault
│   ├── SpecError              one declaration is invalid                        (ValueError)
│   └── NameClashError         two distributions declare one name
├── UnknownNameError           no such encoder, space or checkpoint              (KeyError)
├── UnknownModalityError       the space has no encoder for this modality        (LookupError)
├── NoDefaultSpaceError        no space was named and none is the default        (LookupError)
├── MissingPackageError        a package that an encoder needs isn't installed   (ImportError)
├── WeightsError               weights are missing, altered or of another model
├── IdentityError              an encoder is not what its plugin declared
├── TrustError                 an untrusted folder names weights that would be fetched
├── DeviceError                the device isn't there, or failed for good
├── InputError                 an item can't be read or encoded                  (ValueError)
├── SpaceMismatchError         vectors of two spaces were to be compared         (ValueError)
├── WidthError                 vectors were to be cut that weren't trained for it (ValueError)
├── InstructionError           queries' prompts have no place for an instruction (ValueError)
├── LabelError                 labels, their prompts or examples make no classifier (ValueError)
├── FitError                   nothing can be fitted to the items, or not well   (ValueError)
├── EncoderError               an encoder, or this process, fails on everything  (RuntimeError)
├── StoreError                 an index's folder can't be read or written        (RuntimeError)
│   └── BusyError              another process is writing to it
└── ClosedError                a space or an index was used after close()        (RuntimeError)
```

Each message has four parts: the fact with its values, the culprit, and the remedy.
"""

from __future__ import annotations

from typing import Any, Literal

__all__ = [
    "BusyError",
    "ClosedError",
    "DeviceError",
    "EncoderError",
    "FitError",
    "IdentityError",
    "InputError",
    "InstructionError",
    "LabelError",
    "MissingPackageError",
    "MmencodeError",
    "NameClashError",
    "NoDefaultSpaceError",
    "PluginError",
    "SpaceMismatchError",
    "SpecError",
    "StoreError",
    "TrustError",
    "UnknownModalityError",
    "UnknownNameError",
    "WeightsError",
    "WidthError",
]

Fault = Literal["content", "limit", "access", "time", "process", "encoder"]


class MmencodeError(Exception):
    """The root of the tree: `fact` says what happened, `culprit` where, `remedy` what to do."""

    def __init__(self, fact: str, *, remedy: str = "", culprit: str = "") -> None:
        super().__init__(fact)
        self.fact = fact
        self.remedy = remedy
        self.culprit = culprit

    def __str__(self) -> str:
        lines = [self.fact]
        if self.culprit:
            lines.append(f"  where:  {self.culprit}")
        if self.remedy:
            lines.append(f"  remedy: {self.remedy}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.fact, self.__dict__.copy()))


def _rebuild(kind: type[MmencodeError], fact: str, state: dict[str, Any]) -> MmencodeError:
    """Restore a pickled error; errors travel between processes with all their parts."""
    error = kind.__new__(kind)
    Exception.__init__(error, fact)
    error.__dict__.update(state)
    return error


class PluginError(MmencodeError):
    """A distribution's declarations are at fault."""


class SpecError(PluginError, ValueError):
    """One declaration is invalid; the message names the field."""


class NameClashError(PluginError):
    """Two distributions declare one name; raised when the name is asked for, not before."""


class UnknownNameError(MmencodeError, KeyError):
    """No encoder, space or checkpoint has this name; the message suggests the nearest."""


class UnknownModalityError(MmencodeError, LookupError):
    """The space has no encoder for this modality; the message lists those it has."""


class NoDefaultSpaceError(MmencodeError, LookupError):
    """No space was named, and there is none or more than one to choose from."""


class MissingPackageError(MmencodeError, ImportError):
    """A package that an encoder needs is absent or of another version; the remedy is the pip line."""


class WeightsError(MmencodeError):
    """Weights are missing, altered, truncated or of another model."""


class IdentityError(MmencodeError):
    """An encoder, once loaded, is not what its plugin declared: its vectors would carry a wrong identity."""


class TrustError(MmencodeError):
    """A saved space names encoders whose weights would be fetched, and the caller didn't say to trust it."""


class DeviceError(MmencodeError):
    """The device that was asked for isn't there, or it failed and does nothing more for this process."""


class InputError(MmencodeError, ValueError):
    """An item can't be read or encoded.

    `index` is the item's place in the batch (None outside a batch), `source` says where it came from: a
    path, or what kind of object it was. `fault` says why:

    content  the item itself: it is damaged, blank, or not of this modality
    limit    it is larger than one of `Limits`
    access   its bytes can't be read: no such file, no permission, a failing disk or network share
    time     reading it took longer than `Limits.wait`
    process  this process lacked something: memory, room on the disk, file descriptors
    encoder  the encoder failed on it, or gave it a vector without a direction (zero or not finite)
    """

    def __init__(
        self,
        fact: str,
        *,
        source: str,
        remedy: str = "",
        index: int | None = None,
        fault: Fault = "content",
    ) -> None:
        super().__init__(fact, remedy=remedy)
        self.source = source
        self.index = index
        self.fault: Fault = fault

    @property
    def lasting(self) -> bool:
        """Whether the item would fail again: only a fault of its content lasts, every other one may pass."""
        return self.fault == "content"

    def __str__(self) -> str:
        place = self.source if self.index is None else f"item {self.index}, {self.source}"
        remedy = f"\n  remedy: {self.remedy}" if self.remedy else ""
        return f"{self.fact}\n  where:  {place}{remedy}"

    def at(self, index: int) -> InputError:
        """Set the index of the item in its batch, and return the error."""
        self.index = index
        return self


class SpaceMismatchError(MmencodeError, ValueError):
    """Vectors of two spaces were to be compared, joined or searched together."""


class WidthError(MmencodeError, ValueError):
    """Vectors were to be cut to a width although their model declares none."""


class InstructionError(MmencodeError, ValueError):
    """An instruction was given for queries that is no words, or no prompt of theirs has a place for one."""


class LabelError(MmencodeError, ValueError):
    """Labels, templates, prompts or labelled items make no classifier; the message names the label."""


class FitError(MmencodeError, ValueError):
    """A projection or a classifier can't be fitted to these items, or doesn't hold for other items."""


class EncoderError(MmencodeError, RuntimeError):
    """An encoder broke its contract, or it or the whole process fails on items known to be good."""


class StoreError(MmencodeError, RuntimeError):
    """The folder of an index can't be read or written: it is damaged, holds no index, or its disk is full."""


class BusyError(StoreError):
    """The index has been locked for writing by another process for too long."""


class ClosedError(MmencodeError, RuntimeError):
    """A space or an index was used after `close()`."""
