"""From the bytes of a file to one channel: parts by its format, each decoded by libsndfile in blocks."""

from __future__ import annotations

from contextlib import nullcontext
from io import SEEK_SET, BytesIO

import soundfile

from ...errors import Fault, InputError
from ...errors.causes import fault_of
from ..limits import Limits
from ..source import without_address
from ..waveform import LOUDEST, Samples
from . import media
from .formats import behind_labels, parts_of
from .mix import Mix
from .part import Part, damaged, truncated
from .quiet import quietly
from .scale import FloatScale

_BLOCK = 2**16  # frames of a block, fewer where there are many channels
_BLOCK_VALUES = 2**18
_UNKNOWN = 2**62  # libsndfile's own word for a length that it doesn't know is nearly twice that
_OUT_OF_MEMORY = 17  # libsndfile's number
_MOST_PARTS = 1000


def decode(content: bytes, source: str, limits: Limits) -> tuple[Samples, int]:
    """The samples and the rate of a file; InputError for what is none, is truncated or passes a limit.

    Its first bytes choose its reader. Samples are counted as they are decoded, whatever a header says.
    """
    mix = Mix(source, limits, len(content))
    try:
        content = behind_labels(content)
        if parts := parts_of(content, source):
            _add_all(parts, mix, source)
        else:
            media.add(content, mix, source)
        with mix.room(0, 1, mix.rate):
            return mix.samples(), mix.rate
    except InputError:
        raise
    except Exception as cause:  # whatever a decoder raises at untrusted bytes, the item is at fault
        raise InputError(
            f"it can't be decoded as audio: {without_address(cause)}",
            source=source,
            remedy="fetch it again, or convert it to wav or flac",
            fault=_fault(cause),
        ) from cause


def _fault(cause: Exception) -> Fault:
    if isinstance(cause, soundfile.LibsndfileError) and cause.code == _OUT_OF_MEMORY:
        return "process"
    return fault_of(cause, "content")


def _add_all(parts: list[Part], mix: Mix, source: str) -> None:
    if len(parts) > _MOST_PARTS:
        raise InputError(
            f"it is in {len(parts)} pieces, and {_MOST_PARTS} are the most",
            source=source,
            remedy="convert it to wav or flac, or fetch it again: it may be damaged",
        )

    def add() -> None:
        for number, part in enumerate(parts, 1):
            _add(part, number == len(parts), mix, source)

    if any(part.chatty for part in parts):
        quietly(add)
    else:
        add()


class _Content(BytesIO):
    """Bytes that stay where they are when a damaged header points before their start."""

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        """What libsndfile asks for through a callback of C, out of which no exception can come."""
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


class _File(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from its start to its end, and opened without waiting for others.

    soundfile seeks after every block of a file that can seek, which makes decoders begin anew in the middle.
    It opens one file at a time, so that a reason of libsndfile's is never another file's: one whose header
    never ends would keep all others waiting.
    """

    _sf_error_lock = nullcontext()

    def seekable(self) -> bool:
        """Whether to seek: never."""
        return False


def _add(part: Part, last: bool, mix: Mix, source: str) -> None:
    with _File(_Content(part.content)) as file:
        promised = file.frames if file.frames < (_UNKNOWN if part.most is None else part.most + 1) else None
        expected = promised if part.frames is None else part.frames
        # Here is known what decoding this part takes, and nothing of it is spent.
        with mix.room(expected, file.channels, file.samplerate, last):
            count = _add_blocks(file, part.skipped, promised, mix, source)
    if expected is not None and count < 0.98 * expected - part.slack:
        raise truncated(f"{count} samples are there, and it says that it has {expected}", source)


def _add_blocks(file: soundfile.SoundFile, skipped: int, promised: int | None, mix: Mix, source: str) -> int:
    """How many frames came, of all that there are or are promised."""
    scale = FloatScale()
    floats = file.subtype in ("FLOAT", "DOUBLE")
    rows = max(1, min(_BLOCK, _BLOCK_VALUES // file.channels))
    if skipped:
        file.read(skipped, dtype="float32", always_2d=True)
    count = 0
    while promised is None or count < promised:
        wanted = rows if promised is None else min(rows, promised - count)
        block = file.read(wanted, dtype="float32", always_2d=True)
        if not len(block):
            break
        if floats:
            scale.see(block)
        mix.add(block, 1, file.samplerate)
        count += len(block)
    if floats:
        scale.require(source)
    elif not mix.peak <= LOUDEST:
        raise damaged(f"its samples go up to {mix.peak:g}, and full scale is 1, so it is damaged", source)
    return count
