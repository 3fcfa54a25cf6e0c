"""Items are read by the reader of their modality, whose faults are told from those of the items."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..errors import EncoderError, InputError, MmencodeError, PluginError
from ..errors.causes import describe_error, fault_of, out_of_memory, quote
from ..plugins.composites import INTERLEAVED, parts_of
from ..plugins.core_modalities import CORE
from ..plugins.modalities import find_modality, origin_of
from ..plugins.modality import ModalitySpec
from ..plugins.targets import find_target
from .composites import CompositeReader, InterleavedReader
from .limits import Limits
from .source import as_source, describe, is_stored

Reader = Callable[[Any, Limits], Any]


def reader(modality: str, least: int = 0, *, parts: Sequence[str] = ()) -> Reader:
    """Give the function that makes a safe value of an item of this modality, within limits.

    Items of a modality that no plugin declares are passed on as they are. With `least`, a picture may be
    decoded at a reduced scale, as long as its shorter side keeps that many pixels. An item of a composite is
    read part by part, each by its own modality's reader; `parts` are the modalities of interleaved items.

    Raises NameClashError for a modality that several distributions declare, and EncoderError for one whose
    reader can't be imported.
    """
    if modality == INTERLEAVED:
        return InterleavedReader([(part, reader(part, least)) for part in parts])
    if named := parts_of(modality):
        return CompositeReader([(part, reader(part, least)) for part in named])
    spec = find_modality(modality)
    return _pass_on if spec is None else ItemReader(spec, least)


class ItemReader:
    """The reader of one modality, called with an item and the limits; it gives the safe value."""

    def __init__(self, spec: ModalitySpec, least: int = 0) -> None:
        self._spec = spec
        self._ours = spec.name in CORE
        read = load_target(spec, "reader")
        self._read: Reader = partial(read, least=least) if least and spec.scales else read
        self._kind: Any = load_target(spec, "value") if spec.value and not self._ours else object

    def __call__(self, item: Any, limits: Limits) -> Any:
        """Read one item; InputError where that fails, also for a fault of the reader, which it then names."""
        source = as_source(item) if self._spec.names_files else item
        if self._ours and not is_stored(item):
            return self._read(source, limits)
        if self._ours:
            try:
                return self._read(source, limits)
            except InputError as named:
                named.source = describe(item)  # its path, which tells more than that there were bytes
                raise
        own = limits.of(self._spec)
        try:
            found = self._read(source, own)
        except InputError as cause:
            error = copy.copy(cause)  # a reader may raise one object several times
            error.source = cause.source or describe(item)
            raise error from cause.__cause__
        except (MmencodeError, KeyboardInterrupt):
            raise
        except BaseException as cause:  # a panic out of Rust is no Exception
            error = blame(self._spec, f"its reader raised {describe_error(cause)}", item, cause)
            raise error from error.__cause__
        if found is None or not isinstance(found, self._kind):
            kind = quote(type(found).__name__, 80)
            raise blame(self._spec, f"its reader gave {kind}, not {self._spec.value or 'a value'}", item)
        return found


def require_limits(modality: str, limits: Limits, parts: Sequence[str] = ()) -> None:
    """Raise ValueError for a limit in `Limits.declared` that a declared modality doesn't have."""
    for each in parts or (modality,):
        spec = find_modality(each) if limits.declared else None
        if spec is not None:
            limits.of(spec)


def load_target(spec: ModalitySpec, field: str) -> Any:
    """Import a target of a modality; EncoderError, which names its distribution, where that fails."""
    target = getattr(spec, field)
    try:
        return find_target(target)
    except (MmencodeError, KeyboardInterrupt):
        raise
    except BaseException as cause:
        if fault_of(cause, "encoder") == "process":
            raise
        raise EncoderError(
            f"items of modality {spec.name!r} can't be read: its {field} {target!r} raised "
            f"{describe_error(cause)}",
            culprit=str(origin_of(spec)),
            remedy="reinstall the plugin and what it needs, or tell its author; `mmencode plugins` shows its "
            "state",
        ) from cause


def blame(spec: ModalitySpec, fact: str, item: Any, cause: BaseException | None = None) -> InputError:
    """Make the error of an item that a modality's own code failed on, which names its distribution.

    Its cause names that, too, since the cause is told where every item fails; or it is memory that ran out.
    """
    said = f"modality {spec.name!r} of {origin_of(spec)}: {fact}"
    error = InputError(
        said,
        source=describe(item),
        remedy="leave the item out, or report it to the plugin's author",
        fault="encoder" if cause is None else fault_of(cause, "encoder"),
    )
    told = PluginError(said)
    told.__cause__ = cause
    error.__cause__ = cause if out_of_memory(cause) else told
    return error


def _pass_on(item: Any, limits: Limits) -> Any:
    return item
