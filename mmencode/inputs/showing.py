"""Items as pages and terminals show them: the words, picture or sound that their modality's preview gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image

from ..errors import EncoderError, InputError, MmencodeError
from ..errors.causes import describe_error, quote
from ..plugins.composites import is_composite
from ..plugins.core_modalities import CORE
from ..plugins.modalities import find_modality
from ..plugins.modality import ModalitySpec
from .limits import Limits, limit_remedy
from .reading import ItemReader, blame, load_target
from .source import as_source, describe
from .within import call_within

LONGEST = 2000  # characters of the words that are shown of an item of a plugin's modality
_KINDS: dict[str, type[Any]] = {"words": str, "picture": Image.Image, "sound": bytes}


def shows(modality: str) -> str:
    """Tell how items of a modality are shown, "words", "picture" or "sound"; "" where nobody declares it."""
    found = find_modality(modality)
    return "" if found is None else found.shows


def show_item(modality: str, item: Any, limits: Limits, least: int = 0) -> Any:
    """Make what is shown of an item: a str, a new RGB `PIL.Image` or the bytes of a recording.

    With `least`, a picture may be decoded at a reduced scale, as `reader` does it. Raises InputError for an
    item that can't be shown, also where the fault is its plugin's, which gets `limits.wait` seconds.
    """
    spec = find_modality(modality)
    if is_composite(modality):
        raise InputError(
            f"an item of {modality} has parts, and isn't shown",
            source=describe(item),
            remedy="its key names it: show the parts by themselves",
        )
    if spec is None:
        raise InputError(
            f"{modality} can't be shown", source=describe(item), remedy="install the plugin that declares it"
        )
    if spec.name in CORE:
        return _show(spec, item, limits, least)
    return _show_within(spec, item, limits, lambda: _show(spec, item, limits, least))


def _show(spec: ModalitySpec, item: Any, limits: Limits, least: int) -> Any:
    """Call the modality's preview, or take the item itself where it has none."""
    if not spec.preview and spec.shows != "picture":
        return str(item)
    given = as_source(item) if spec.names_files else item
    try:
        if spec.preview:
            found = load_target(spec, "preview")(given, limits.of(spec))
        else:
            found = ItemReader(spec, least)(item, limits)
        if isinstance(found, Image.Image):
            found = found.convert("RGB")  # a copy, decoded by now
    except (InputError, EncoderError, KeyboardInterrupt):
        raise
    except BaseException as cause:
        if spec.name in CORE:
            raise
        error = blame(spec, f"its preview raised {describe_error(cause)}", item, cause)
        raise error from error.__cause__
    if not isinstance(found, _KINDS[spec.shows]):
        kind = quote(type(found).__name__, 80)
        raise blame(spec, f"its preview gave {kind}, and it shows {spec.shows}", item)
    return found[:LONGEST] if isinstance(found, str) else found


def is_late(error: MmencodeError) -> bool:
    """Whether an error says that a plugin's preview took too long, as it may for each item."""
    return isinstance(error, InputError) and error.fault == "time"


def _show_within(spec: ModalitySpec, item: Any, limits: Limits, show: Callable[[], Any]) -> Any:
    """Run a plugin's code in a thread, which is left alone where it takes longer than `limits.wait`."""
    return call_within(
        limits.wait,
        show,
        lambda: InputError(
            f"showing an item of modality {spec.name!r} takes more than {limits.wait:g} s",
            source=describe(item),
            remedy=f"show it without, or {limit_remedy('wait')}",
            fault="time",
        ),
    )
