"""The reader of audio makes a mono float32 `Waveform` of a path, bytes, a file or `(waveform, rate)`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..arguments.columns import column_of, columns_of, dimensions_of
from ..errors import InputError
from ..errors.causes import fault_of, message_of
from .limits import Limits
from .recordings import Mix, decode, require_scale, to_float
from .source import describe, is_source, read_bytes
from .waveform import Samples, Waveform, require_rate, waveform_from

__all__ = ["Waveform", "read"]

MAX_CHANNELS = 1024  # libsndfile's own; more means that channels and samples were swapped
_BLOCK_VALUES = 2**18


def read(item: Any, limits: Limits) -> Waveform:
    """Read a recording and mix it to mono, from 1 sample to `limits.seconds` long.

    Arrays and tensors are passed as `(waveform, rate)`, or as data sets hold them, {"array": waveform,
    "sampling_rate": rate}: `[n]` or `[channels, n]`, floats from -1 to 1, or
    integers, which are divided by the range of their type. Values on the scale of another type are refused:
    floats beyond 16 or that are whole numbers, integers of 32 and 64 bits that use at most half of the bits.

    A file's first bytes choose its decoder: wav, flac, ogg, opus, mp3 and the other formats of libsndfile,
    and m4a, webm, wma and amr where PyAV is installed. Raises InputError for everything else, for samples
    that aren't finite, for channels that cancel each other, and for truncated files.
    """
    source = describe(item)
    if isinstance(item, Waveform):
        mix = Mix(source, limits)
        mix.require(len(item.samples), 1, item.rate)
        return item
    if isinstance(item, tuple) and len(item) == 2:
        return _from_pair(item[0], item[1], limits)
    if type(item) is dict and item.keys() >= {"array", "sampling_rate"}:
        return _from_pair(_as_samples(item["array"]), item["sampling_rate"], limits)
    if not is_source(item):
        raise InputError(
            f"{type(item).__name__} is no recording",
            source=source,
            remedy="pass a path, bytes, a binary file, (waveform, rate), or a dict with array and "
            "sampling_rate",
        )
    samples, rate = decode(read_bytes(item, limits), source, limits)
    return waveform_from(samples, rate, source)


def describe_single(batch: Any) -> tuple[str, str] | None:
    """Describe one recording that was passed as a batch: a Waveform, samples, or these with their rate."""
    if isinstance(batch, tuple | list):
        pair = len(batch) == 2 and sorted(map(dimensions_of, batch)) in ([0, 1], [0, 2])
        return ("clip, samples and their rate", "") if pair else None
    kind, names = type(batch).__name__, columns_of(batch)
    if names is not None and {"array", "sampling_rate"} <= {*names}:
        return f"clip, {kind}", "encode('audio', [batch]) this one"
    if isinstance(batch, Waveform):
        return f"clip, {kind}", ""
    if names is not None or not isinstance(getattr(batch, "ndim", None), int) or batch.ndim == 0:
        return None
    without_rate = f"clip, {kind}, without its rate", "encode('audio', [(samples, rate)]) one with it"
    return without_rate if column_of(batch) is None else None


def _from_pair(waveform: Any, rate: Any, limits: Limits) -> Waveform:
    source = f"(waveform, rate): {describe(waveform)}"
    if isinstance(rate, (np.ndarray, torch.Tensor)) and isinstance(waveform, (int, float, np.number)):
        raise InputError(
            "the rate comes first, and the waveform second",
            source=source,
            remedy="swap them: (waveform, rate); scipy.io.wavfile.read gives them the other way round",
        )
    if not isinstance(waveform, (np.ndarray, torch.Tensor)):
        raise InputError(
            f"{type(waveform).__name__} is no waveform",
            source=source,
            remedy="pass a numpy array or a tensor",
        )
    require_rate(rate, source)
    _require_shape(tuple(waveform.shape), source)
    mix = Mix(source, limits)
    channels, count = (1, *waveform.shape)[-2:]
    with mix.room(count, channels, int(rate)):
        samples = _as_array(waveform, source)
        require_scale(samples, source)
        mixed = _mix(samples, mix, int(rate))
    return waveform_from(mixed, int(rate), source)


def _as_samples(array: Any) -> Any:
    """The samples of a dict, which Arrow and JSON hold as lists, as an array; all else as given."""
    if type(array) is not list or not array:
        return array
    try:
        return np.array(array, np.float32)
    except (TypeError, ValueError):
        return array


def _require_shape(shape: tuple[int, ...], source: str) -> None:
    """Raise InputError unless the shape is [n] or [channels, n]."""
    if len(shape) == 1 or (len(shape) == 2 and 0 < shape[0] <= min(MAX_CHANNELS, max(1, shape[1]))):
        return
    if len(shape) == 2 and shape[0] > shape[1] > 0:
        remedy = "transpose it: (waveform.T, rate); it is [n, channels], as soundfile gives it"
    else:
        remedy = "make it [n] or [channels, n]"
    raise InputError(f"the waveform's shape is {shape}", source=source, remedy=remedy)


def _as_array(waveform: Any, source: str) -> np.ndarray[Any, Any]:
    if isinstance(waveform, np.ndarray):
        return waveform
    try:
        tensor = waveform.detach().cpu()
        narrow = tensor.is_floating_point() and tensor.dtype != torch.float64
        array: np.ndarray[Any, Any] = (tensor.float() if narrow else tensor).numpy()
    except Exception as cause:  # sparse, quantised and other tensors that have no array
        raise InputError(
            f"the tensor can't be read: {message_of(cause)}",
            source=source,
            remedy="pass a dense tensor of floats or integers, such as tensor.to_dense()",
            fault=fault_of(cause, "content"),
        ) from cause
    return array


def _mix(waveform: np.ndarray[Any, Any], mix: Mix, rate: int) -> Samples:
    """Average the channels in float32, block by block, so that many channels take no more memory."""
    if waveform.ndim == 1 and waveform.dtype == np.float32:
        return waveform
    channels = waveform.reshape(-1, waveform.shape[-1])  # [channels, n]
    step = max(1, _BLOCK_VALUES // len(channels))
    for start in range(0, channels.shape[1], step):
        block = to_float(channels[:, start : start + step])
        mix.add(block, 0, rate)
    return mix.samples()
