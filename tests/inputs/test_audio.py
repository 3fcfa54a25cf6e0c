from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmencode.errors import InputError
from mmencode.inputs import Limits, Waveform
from mmencode.inputs.audio import read

RATE = 16000
TONE = (0.4 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


def encoded(samples=TONE, rate=RATE, kind="WAV", subtype=None):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "subtype", "tolerance"),
    [
        ("WAV", "PCM_U8", 0.01),
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "PCM_32", 1e-6),
        ("WAV", "FLOAT", 0),
        ("WAV", "DOUBLE", 0),
        ("WAV", "ULAW", 0.02),
        ("FLAC", "PCM_16", 1e-4),
        ("OGG", "VORBIS", 0.05),
        ("MP3", None, 0.1),
    ],
)
def test_every_format_gives_the_same_recording(kind, subtype, tolerance):
    found = read(encoded(kind=kind, subtype=subtype), Limits())
    assert found.rate == RATE
    assert found.samples.dtype == np.float32
    assert abs(len(found.samples) - RATE) < 3000
    count = min(len(found.samples), RATE)
    assert np.abs(found.samples[:count] - TONE[:count]).max() <= tolerance


def test_path_bytes_file_array_and_tensor_are_one_recording(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(subtype="FLOAT"))
    tensor = torch.from_numpy(TONE)
    items = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), (TONE, RATE)]
    items += [
        (TONE[None], RATE),
        (tensor, RATE),
        (tensor[None].double(), np.int64(RATE)),
        Waveform(TONE, RATE),
    ]
    for item in items:
        np.testing.assert_array_equal(read(item, Limits()).samples, TONE)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
def test_integer_samples_are_scaled_by_their_range(dtype):
    info = np.iinfo(dtype)
    scaled = np.round((TONE + (1 if info.min == 0 else 0)) * 2.0 ** (info.bits - 1)).astype(dtype)
    assert np.abs(read((scaled, RATE), Limits()).samples - TONE).max() < 2.0 ** (1 - info.bits) + 1e-7


@pytest.mark.parametrize("channels", [1, 2, 5, 20])
def test_channels_are_averaged(channels):
    many = np.stack([TONE * (channel % 2) for channel in range(channels)])
    expected = many.mean(axis=0)
    np.testing.assert_allclose(read((many, RATE), Limits()).samples, expected, atol=1e-6)
    file = encoded(many.T, subtype="FLOAT")
    np.testing.assert_allclose(read(file, Limits()).samples, expected, atol=1e-6)


@pytest.mark.parametrize("rate", [1, 1234, 8000, 44100, 44101, 48000, 192000])
def test_resampling_keeps_the_pitch(rate):
    time = np.arange(max(1, rate // 2)) / rate
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    found = Waveform(tone, rate).resample(RATE)
    assert found.rate == RATE
    assert abs(len(found.samples) - len(tone) * RATE / rate) <= 2
    if rate > 2 * 440:
        strongest = np.abs(np.fft.rfft(found.samples)).argmax() * RATE / len(found.samples)
        assert abs(strongest - 440) < 3


def test_resampling_to_the_same_rate_changes_nothing():
    waveform = Waveform(TONE, RATE)
    assert waveform.resample(RATE) is waveform
    assert waveform.seconds == 1


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 50), st.integers(1, 400_000))
def test_short_clips_of_any_rate_can_be_resampled(count, rate):
    found = Waveform(np.ones(count, np.float32), rate).resample(RATE)
    assert len(found.samples) >= 1
    assert np.isfinite(found.samples).all()


def test_silence_and_one_sample_are_recordings():
    assert len(read((np.zeros(1, np.float32), 8000), Limits()).samples) == 1
    assert not read(encoded(np.zeros(100)), Limits()).samples.any()


BAD = {
    "missing file": ("no/such.wav", "no such file"),
    "empty": (b"", "empty"),
    "no audio": (b"hello" * 99, "can't be decoded"),
    "no samples": (encoded(np.zeros(0)), "no samples"),
    "no samples, array": ((np.zeros(0, np.float32), RATE), "no samples"),
    "truncated wav": (encoded()[:9000], "truncated"),
    "truncated flac": (encoded(kind="FLAC")[:9000], "can't be decoded"),
    "truncated mp3": (encoded(np.tile(TONE, 4), kind="MP3")[:4000], "truncated"),
    "truncated ogg": (encoded(np.tile(TONE, 4), kind="OGG")[:-500], "truncated"),
    "cut in its header": (encoded()[:20], "can't be decoded"),
    "nan": ((np.array([0, np.nan], np.float32), RATE), "sample 1 is nan"),
    "infinite": ((np.array([1e300]), RATE), "sample 0 is inf"),
    "nan in a file": (encoded(np.array([0.0, np.nan]), subtype="FLOAT"), "nan"),
    "no rate": (TONE, "ndarray is no recording"),
    "list": (([0.1, 0.2], RATE), "list is no waveform"),
    "rate zero": ((TONE, 0), "rate is 0"),
    "rate true": ((TONE, True), "rate is True"),
    "rate float": ((TONE, 16000.0), "rate is 16000.0"),
    "huge rate": ((TONE, 10**9), "1000000000 Hz"),
    "soundfile's layout": ((np.zeros((2000, 2), np.float32), RATE), "transpose"),
    "three dimensions": ((np.zeros((1, 1, 9)), RATE), "shape"),
    "complex": ((np.zeros(9, complex), RATE), "complex"),
    "strings": ((np.array(["a"]), RATE), "type is"),
    "none": (None, "NoneType"),
    "three parts": ((TONE, RATE, 1), "tuple is no recording"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_item_is_refused_with_the_reason(name):
    item, words = BAD[name]
    with pytest.raises(InputError, match=words) as caught:
        read(item, Limits())
    assert caught.value.source
    assert "0x" not in str(caught.value)


def test_limits_are_arguments():
    for item in ((TONE, RATE), encoded(), Waveform(TONE, RATE)):
        with pytest.raises(InputError, match=r"1\.0 s long, and the limit is 0\.5 s"):
            read(item, Limits(seconds=0.5))
    with pytest.raises(InputError, match="more than 100 bytes"):
        read(encoded(), Limits(bytes=100))
