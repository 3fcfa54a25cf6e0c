"""Templates that make prompts of labels: sets by name, and the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..arguments.lists import to_strings
from ..errors import LabelError, UnknownNameError
from ..errors.suggestions import did_you_mean

PLACE = "{label}"
SETS = ("openai", "simple", "sounds")
_SOUNDS = (
    "{label}",
    "the sound of {label}",
    "a recording of {label}",
    "a short clip of {label}",
    "a noisy recording of {label}",
    "a field recording of {label}",
    "{label} in the background",
    "one can hear {label}",
)


def find_templates(given: str | Sequence[str]) -> tuple[str, ...]:
    """Look up a set of templates by name, or check the user's own: each has "{label}" in it.

    "openai" are the 80 for ImageNet (Radford et al., "Learning Transferable Visual Models From Natural
    Language Supervision", 2021) and "simple" the seven of them that its authors found to suffice, both as
    open_clip has them; "sounds" are eight of mmencode's own for recordings.

    Raises UnknownNameError for another name, LabelError for no templates, two equal ones, and one without
    "{label}".
    """
    if isinstance(given, str):
        return _find_set(given)
    templates = tuple(to_strings(given, "templates"))
    if not templates:
        raise LabelError(
            "templates must be one or more, and the list is empty",
            remedy="leave it out for the modality's own prompt",
        )
    for template in templates:
        if PLACE not in template:
            raise LabelError(
                f'template {template!r} has no "{PLACE}" in it', remedy=f'write "a photo of a {PLACE}", say'
            )
    twice = [template for place, template in enumerate(templates) if template in templates[:place]]
    if twice:
        raise LabelError(
            f"template {twice[0]!r} is there twice and would count twice", remedy="leave one of them out"
        )
    return templates


def _find_set(name: str) -> tuple[str, ...]:
    if name == "sounds":
        return _SOUNDS
    if name not in SETS:
        raise UnknownNameError(
            f"there is no set of templates called {name!r}",
            remedy=f"{did_you_mean(name, SETS)} The sets are {', '.join(SETS)}; one's own templates are a "
            f'list: ["a photo of a {PLACE}"]'.lstrip(),
        )
    from open_clip import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

    functions: Sequence[Callable[[str], str]] = (
        OPENAI_IMAGENET_TEMPLATES if name == "openai" else SIMPLE_IMAGENET_TEMPLATES
    )
    return tuple(function(PLACE) for function in functions)
