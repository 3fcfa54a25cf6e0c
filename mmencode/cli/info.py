"""Implement `mmencode info`, which describes the machine and the installation, as for a bug report."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

import typer

from .. import __version__
from ..engine.cores import count_cores
from ..engine.waiting import describe_waiting, find_remedy
from ..errors import MmencodeError
from ..plugins.registry import registry
from . import output
from .options import Json, LoadChoice, open_space


def info(context: typer.Context, json: Json = False) -> None:
    """Show versions, devices and the default space.

    The rows that begin with "auto" show what automatic settings become on this machine, and why; those that
    begin with "threads", how many cores this process may use and how torch's threads share them.

    \b
    Example: mmencode info --json
    """
    import torch

    from ..engine.runtime import Runtime, devices, reasons

    facts: dict[str, Any] = {
        "mmencode": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "devices": devices(),
        "auto": reasons(Runtime()),
        "threads": _describe_threads(torch.get_num_threads(), context.obj or {}),
        "default_space": _describe_default(),
        "failed_plugins": [plugin.distribution for plugin in registry().failed],
    }
    if json:
        output.document(facts)
        return
    for group in ("auto", "threads"):
        facts |= {f"{group} {name}": value for name, value in facts.pop(group).items()}
    rows = [(name.replace("_", " "), _words(value)) for name, value in facts.items()]
    output.table(output.Table("mmencode", ("what", "value"), rows))


def _describe_threads(threads: int, chosen: Mapping[str, str]) -> dict[str, Any]:
    """Describe the cores of this process, torch's threads, and what to set where these fight for cores.

    `chosen` is what the command line put into the environment when it started.
    """
    cores = count_cores()
    return {
        "cores_by_affinity": cores.affinity,
        "cores_by_quota": cores.quota,
        "torch": threads,
        "wait_policy": describe_waiting(os.environ),
        "remedy": find_remedy(threads, cores, os.environ, chosen),
    }


def _describe_default() -> dict[str, Any] | None:
    """Load the default space and describe it; give None, after a note with the reason, if that fails."""
    try:
        space = open_space(None, LoadChoice(device="cpu"))
        return {"name": space.name, "id": space.id, "modalities": list(space.modalities)}
    except MmencodeError as error:
        output.note(f"the default space can't be used: {error.fact}; {error.remedy}")
        return None


def _words(value: Any) -> str:
    """A fact of any shape as one line of text."""
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_words(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "none" if value is None else str(value)
