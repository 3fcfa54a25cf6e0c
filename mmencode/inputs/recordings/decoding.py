"""Decoding of sound files: split a file into segments by its format, and let libsndfile decode each."""

from __future__ import annotations

from contextlib import nullcontext
from io import SEEK_SET, BytesIO

import soundfile

from ...errors import Fault, InputError
from ...errors.causes import fault_of, message_of
from ..limits import Limits
from ..source import without_address
from ..waveform import LOUDEST, Samples
from . import media
from .formats import split, without_id3
from .mix import Mix
from .quiet import run_quietly
from .scale import FloatScale
from .segment import Segment, damage_error, truncation_error

_BLOCK = 2**16  # frames of a block, fewer where there are many channels
_BLOCK_VALUES = 2**18
_UNKNOWN = 2**62  # frames and more mean an unknown length; libsndfile's own mark is 2^63 - 1
_OUT_OF_MEMORY = 17  # an error code of libsndfile
_MOST_SEGMENTS = 1000


def decode(content: bytes, source: str, limits: Limits) -> tuple[Samples, int]:
    """Decode a sound file to mono samples and their rate; InputError if it isn't one, or beyond a limit.

    The first bytes choose the format. The limits hold for the samples as they are decoded, whatever a header
    claims. A truncated file is refused.
    """
    mix = Mix(source, limits, len(content))
    try:
        content = without_id3(content)
        if segments := split(content, source):
            _add_all(segments, mix, source)
        else:
            media.add(content, mix, source)
        with mix.room(0, 1, mix.rate):
            return mix.samples(), mix.rate
    except InputError:
        raise
    except Exception as cause:  # a decoder may raise anything at untrusted bytes; the item is at fault
        raise InputError(
            f"it can't be decoded as audio: {without_address(message_of(cause))}",
            source=source,
            remedy="fetch it again, or convert it to wav or flac",
            fault=_fault(cause),
        ) from cause


def _fault(cause: Exception) -> Fault:
    if isinstance(cause, soundfile.LibsndfileError) and cause.code == _OUT_OF_MEMORY:
        return "process"
    return fault_of(cause, "content")


def _add_all(segments: list[Segment], mix: Mix, source: str) -> None:
    if len(segments) > _MOST_SEGMENTS:
        raise InputError(
            f"it is {len(segments)} recordings in one file, and {_MOST_SEGMENTS} are the most",
            source=source,
            remedy="convert it to wav or flac, or fetch it again: it may be damaged",
        )

    def add() -> None:
        for number, segment in enumerate(segments, 1):
            _add(segment, number == len(segments), mix, source)

    if any(segment.chatty for segment in segments):
        run_quietly(add)
    else:
        add()


class _Content(BytesIO):
    """A bytes file whose `seek` never raises, since libsndfile calls it from C."""

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        """Seek, or stay in place when a damaged header points before the start."""
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


class _File(soundfile.SoundFile):  # type: ignore[misc]
    """A SoundFile that is read in sequence only, and opened without soundfile's global lock.

    soundfile seeks after every block of a seekable file, which makes decoders restart in the middle of it.
    Its lock lets one file be opened at a time, so that libsndfile's error messages aren't mixed up; a file
    whose header takes for ever to read would block all other threads.
    """

    _sf_error_lock = nullcontext()

    def seekable(self) -> bool:
        """Claim that the file can't seek, so that soundfile never does."""
        return False


def _add(segment: Segment, last: bool, mix: Mix, source: str) -> None:
    with _File(_Content(segment.content)) as file:
        promised = (
            file.frames if file.frames < (_UNKNOWN if segment.most is None else segment.most + 1) else None
        )
        expected = promised if segment.frames is None else segment.frames
        # The cost of this segment is known here, before any memory is allocated for it.
        with mix.room(expected, file.channels, file.samplerate, last):
            count = _add_blocks(file, segment.skipped, promised, mix, source)
    if expected is not None and count < 0.98 * expected - segment.slack:
        raise truncation_error(f"it has {count} samples, and its header claims {expected}", source)


def _add_blocks(file: soundfile.SoundFile, skipped: int, promised: int | None, mix: Mix, source: str) -> int:
    """Decode a segment block by block into the mix; return the number of frames."""
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
        raise damage_error(
            f"its samples go up to {mix.peak:g}, and full scale is 1, so it is damaged", source
        )
    return count
