"""Audio: from a path, bytes, a file or `(waveform, rate)` to a mono float32 `Waveform`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from io import SEEK_SET, BytesIO
from typing import Any

import numpy as np
import soundfile
import torch

from ..errors import InputError
from .limits import Limits, raising
from .source import describe, is_source, read_bytes, without_address

Samples = np.ndarray[Any, np.dtype[np.float32]]

MAX_RATE = 1_000_000
MAX_CHANNELS = 1024  # libsndfile's own; more means that channels and samples were swapped
_BLOCK = 2**16


@dataclass(frozen=True, eq=False, slots=True)
class Waveform:
    """A recording as encoders get it: finite float32 samples `[n]`, one channel, n > 0; rate in Hz."""

    samples: Samples
    rate: int

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return len(self.samples) / self.rate

    def resampled(self, rate: int) -> Waveform:
        """The same recording at another rate, by torchaudio's windowed sinc interpolation.

        Ratios with a large denominator are taken to the nearest fraction over 1000 or less, since the
        filter bank grows with it: the pitch moves by less than a millionth.
        """
        if rate == self.rate:
            return self
        from torchaudio.functional import resample  # imported only where it is needed: it takes its time

        ratio = Fraction(rate, self.rate).limit_denominator(1000) or Fraction(rate, self.rate)
        samples = resample(torch.from_numpy(self.samples), ratio.denominator, ratio.numerator)
        return Waveform(samples.numpy(), rate)


def read(item: Any, limits: Limits) -> Waveform:
    """A mono recording, the mean of its channels, from 1 sample to `limits.seconds` long.

    Arrays and tensors come as `(waveform, rate)`: `[n]` or `[channels, n]`, float, or integers which are
    scaled by their range. Files are wav, flac, ogg and mp3, whatever else libsndfile reads too. Raises
    InputError for everything else, for samples that aren't finite and for truncated files.
    """
    source = describe(item)
    if isinstance(item, Waveform):
        return _checked(item.samples, item.rate, source, limits)
    if isinstance(item, tuple) and len(item) == 2:
        return _from_array(item[0], item[1], limits)
    if not is_source(item):
        raise InputError(
            f"{type(item).__name__} is no recording",
            source=source,
            remedy="pass a path, bytes, a binary file or (waveform, rate)",
        )
    content = read_bytes(item, limits)
    try:
        samples, rate = _decode(content, source, limits)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as cause:
        if isinstance(cause, InputError):
            raise
        raise InputError(
            f"it can't be decoded as audio: {without_address(cause)}",
            source=source,
            remedy="wav, flac, ogg and mp3 are read; a truncated file must be fetched again",
        ) from cause
    return _checked(samples, rate, source, limits)


def _decode(content: bytes, source: str, limits: Limits) -> tuple[Samples, int]:
    """Mixed to mono block by block, so that many channels cost no more memory than one."""
    with soundfile.SoundFile(_Content(content)) as file:
        _check_length(file.frames, file.samplerate, source, limits)
        most = int(limits.seconds * file.samplerate)
        blocks: list[Samples] = []
        count = 0
        while count <= most:
            block = file.read(_BLOCK, dtype="float32", always_2d=True)
            if not len(block):
                break
            blocks.append(block.mean(axis=1))
            count += len(block)
        _check_whole(file, content, count, source)
        samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
        return samples, file.samplerate


class _Content(BytesIO):
    """Bytes that stay where they are when a damaged header points before their start."""

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        """What libsndfile asks for through a callback of C, out of which no exception can come."""
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


def _check_whole(file: soundfile.SoundFile, content: bytes, count: int, source: str) -> None:
    """Raise if the stream ends before its own header says; libsndfile notices, but reads on."""
    cut_wav = re.search(r"^data\s*: (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    short_wav = cut_wav is not None and int(cut_wav[2]) < int(cut_wav[1]) < 2**32 - 2**16
    open_ogg = file.format == "OGG" and not _ogg_ends(content)
    short_stream = count < 0.98 * file.frames  # an mp3's header counts to the frame, its encoder may not
    if short_wav or open_ogg or short_stream:
        raise InputError(
            f"it is truncated: {count} samples are there, its header or its last page says more",
            source=source,
            remedy="fetch it again",
        )


def _ogg_ends(content: bytes) -> bool:
    """Whether the last page is whole and has the end-of-stream flag (RFC 3533, section 6)."""
    page = content[content.rfind(b"OggS") :]
    if len(page) < 27:
        return False
    table = page[27 : 27 + page[26]]  # the lengths of the page's segments
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(table)


def _from_array(waveform: Any, rate: Any, limits: Limits) -> Waveform:
    source = f"(waveform, rate): {describe(waveform)}"
    if type(rate) is bool or not isinstance(rate, (int, np.integer)):
        raise InputError(f"the rate is {rate!r}", source=source, remedy="pass it in Hz, as an int")
    if isinstance(waveform, torch.Tensor):
        waveform = waveform.detach().cpu()
        waveform = waveform.float().numpy() if waveform.is_floating_point() else waveform.numpy()
    if not isinstance(waveform, np.ndarray):
        raise InputError(
            f"{type(waveform).__name__} is no waveform",
            source=source,
            remedy="pass a numpy array or a tensor",
        )
    if waveform.ndim not in (1, 2) or (waveform.ndim == 2 and not 0 < waveform.shape[0] <= MAX_CHANNELS):
        raise InputError(
            f"the waveform's shape is {waveform.shape}",
            source=source,
            remedy="make it [n] or [channels, n]; soundfile gives [n, channels], so transpose that",
        )
    _check_length(waveform.shape[-1], int(rate), source, limits)
    samples = _to_float(waveform, source)
    if samples.ndim == 2:
        samples = samples.mean(axis=0, dtype=np.float32)
    return _checked(samples, int(rate), source, limits)


def _to_float(waveform: np.ndarray[Any, Any], source: str) -> Samples:
    kind = waveform.dtype
    if np.issubdtype(kind, np.floating):
        with np.errstate(over="ignore"):  # what overflows isn't finite, and is refused as such
            return np.asarray(waveform, np.float32)
    if not np.issubdtype(kind, np.integer):
        raise InputError(f"the waveform's type is {kind}", source=source, remedy="make it float or integer")
    half = 2.0 ** (8 * kind.itemsize - 1)
    middle = half if np.issubdtype(kind, np.unsignedinteger) else 0.0
    return np.asarray((waveform.astype(np.float64) - middle) / half, np.float32)


def _check_length(count: int, rate: int, source: str, limits: Limits) -> None:
    if not 0 < rate <= MAX_RATE:
        raise InputError(f"the rate is {rate} Hz", source=source, remedy=f"make it 1 to {MAX_RATE} Hz")
    if count > limits.seconds * rate:
        raise InputError(
            f"it is {count / rate:.1f} s long, and the limit is {limits.seconds:g} s",
            source=source,
            remedy=f"cut it, or {raising('seconds')}",
            fault="limit",
        )


def _checked(samples: Samples, rate: int, source: str, limits: Limits) -> Waveform:
    if not len(samples):
        raise InputError("it has no samples", source=source, remedy="leave it out")
    _check_length(len(samples), rate, source, limits)
    if not np.isfinite(samples).all():
        first = int(np.argmin(np.isfinite(samples)))
        raise InputError(
            f"its sample {first} is {samples[first]}",
            source=source,
            remedy="samples must be finite; clean them: numpy.nan_to_num(waveform)",
        )
    return Waveform(np.ascontiguousarray(samples), rate)
