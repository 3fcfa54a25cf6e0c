"""The modality of a name, out of mmencode's own and those that plugins declare."""

from __future__ import annotations

from typing import NamedTuple

from .core_modalities import CORE
from .hookspecs import PROJECT
from .modality import ModalitySpec
from .registry import registry
from .spec import EncoderSpec

_PLAIN = "{label}"


class Origin(NamedTuple):
    """The distribution that declares a modality, and its version."""

    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}".strip()


def find_modality(name: str) -> ModalitySpec | None:
    """Find the modality of that name; None where no installed plugin declares it.

    mmencode's own are found without asking a plugin. Raises NameClashError for a name that several
    distributions declare with the same right.
    """
    return CORE.get(name) or registry().modality(name)


def origin_of(spec: ModalitySpec) -> Origin:
    """The distribution of a modality, for messages."""
    if CORE.get(spec.name) is spec:
        return Origin(PROJECT, "")
    known = registry()
    distribution, _ = known.modalities.owned.get(spec.name, ("a plugin", spec))
    versions = [plugin.version for plugin in known.plugins if plugin.distribution == distribution]
    return Origin(distribution, next(iter(versions), ""))


def names_files(modality: str) -> bool:
    """Whether a str is the path of an item of this modality; False for a modality that nobody declares."""
    found = find_modality(modality)
    return found is not None and found.names_files


def all_modalities() -> tuple[ModalitySpec, ...]:
    """List the modalities that are declared, mmencode's own first."""
    return tuple(spec for _, spec in registry().modalities.owned.values())


def walked_modalities() -> tuple[str, ...]:
    """The names of the modalities that folders can be searched for, mmencode's own first."""
    return tuple(spec.name for spec in all_modalities() if spec.endings or spec.optional)


def prompt_of(spec: EncoderSpec) -> str:
    """Choose the prompt of an encoder's labels: its own, or else that of its modality."""
    if spec.prompt != _PLAIN:
        return spec.prompt
    found = find_modality(spec.modality)
    return _PLAIN if found is None else found.prompt
