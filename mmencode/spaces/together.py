"""The encoders of a space that are loaded at once: by one call of a target, or over one of those."""

from __future__ import annotations

from collections.abc import Sequence

from ..plugins.spec import EncoderSpec


def find_together(
    asked: EncoderSpec, first: EncoderSpec, useful: Sequence[EncoderSpec], over: Sequence[EncoderSpec]
) -> list[EncoderSpec]:
    """Find the encoders to load with `asked`, of those that are `useful`, in the order of the space.

    They are the `first`, which is the one asked for or what that is built over, those that one call of its
    target serves as well, and of the others that are built `over` one of the space those whose base is there.
    """
    found = [spec for spec in useful if spec in (asked, first) or _is_served_with(spec, first)]
    keys = {spec.key for spec in found}
    found += [spec for spec in over if spec.key not in keys and spec.base in keys]
    said = next((spec.instruction for spec in (asked, *found) if spec.instructed), "")
    return [spec for spec in found if not spec.instructed or spec.instruction == said]


def _is_served_with(spec: EncoderSpec, first: EncoderSpec) -> bool:
    """Whether a call of the target serves both encoders."""
    together = first.shared and spec.shared and spec.target == first.target
    return together and spec.variant == first.variant
