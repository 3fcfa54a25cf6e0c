"""Build an encoder or a projection from its target, and name the culprit when that fails."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import EncoderError, MmencodeError
from ..errors.causes import describe_error, fault_of
from .registry import registry
from .spec import EncoderSpec


def build(spec: EncoderSpec, target: str, **options: Any) -> Any:
    """Import `target`, "package.module:function", and call it, with the rest of the name for a family.

    `options` are passed on to it.

    Errors of mmencode pass through, and so does a shortage of the process, such as memory or room on the
    disk. Raises EncoderError, which names the plugin, for anything else that the plugin's code raises.
    """
    try:
        found = find_target(target)
        return found(*([spec.variant] if spec.variant else []), **options)
    except (MmencodeError, KeyboardInterrupt):
        raise
    except BaseException as cause:  # a panic out of Rust is no Exception
        if fault_of(cause, "encoder") == "process":
            raise
        raise EncoderError(
            f"encoder {spec.name!r} can't be built: its target {target!r} raised {describe_error(cause)}",
            culprit=culprit_of(spec),
            remedy="reinstall the plugin and what it needs, or tell its author; `mmencode plugins` shows its "
            "state",
        ) from cause


def find_target(target: str) -> Any:
    """Import what a target names, "package.module:name"; raises whatever that raises."""
    module, _, name = target.partition(":")
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def culprit_of(spec: EncoderSpec) -> str:
    """The distribution that declares an encoder, with its version, as the culprit of an error."""
    try:
        known = registry()
        if known[spec.name].target == spec.target:
            return f"{known.distribution(spec.name)} {known.version(spec.name)}"
    except MmencodeError:
        pass
    return f"the declaration of encoder {spec.name!r}"
