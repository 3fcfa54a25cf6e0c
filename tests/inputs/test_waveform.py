"""What encoders rely on of a Waveform, and which arrays become one."""

from __future__ import annotations

import math
import pickle
import sys

import made_recordings as made
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_recordings import RATE, TONE, encoded

import mmencode
from mmencode.errors import InputError
from mmencode.inputs import Limits, Waveform
from mmencode.inputs.audio import read
from mmencode.inputs.gate import common_gate
from mmencode.inputs.recordings import flac
from mmencode.inputs.resampling import resample
from mmencode.inputs.waveform import MOST_COEFFICIENTS, ratio_near

SIXTEEN = np.round(TONE * 32767).astype(np.int16)

NO_WAVEFORMS = {
    "list": (([0.1, 0.2], RATE), "are list"),
    "tensor": ((torch.zeros(9), RATE), "are Tensor"),
    "two channels": ((np.zeros((2, 9), np.float32), RATE), r"shape is \(2, 9\)"),
    "double": ((np.zeros(9), RATE), "type is float64"),
    "integers": ((SIXTEEN, RATE), "type is int16"),
    "other order of bytes": ((TONE.astype(">f4"), RATE), "type is >f4"),
    "no samples": ((np.zeros(0, np.float32), RATE), "no samples"),
    "not a number": ((np.array([0, np.nan], np.float32), RATE), "sample 1 is nan"),
    "infinite": ((np.array([0, -np.inf], np.float32), RATE), "sample 1 is -inf"),
    "scale of integers": ((SIXTEEN.astype(np.float32), RATE), r"full scale is -1 to 1"),
    "rate of zero": ((TONE, 0), "rate is 0 Hz"),
    "rate below zero": ((TONE, -1), "rate is -1 Hz"),
    "rate beyond all": ((TONE, 10**9), "rate is 1000000000 Hz"),
    "rate of truth": ((TONE, True), "rate is True"),
    "float rate": ((TONE, 16000.0), "rate is 16000.0"),
    "no rate": ((TONE, None), "rate is NoneType"),
}


@pytest.mark.parametrize("name", NO_WAVEFORMS)
def test_a_waveform_is_checked_where_it_is_made(name):
    arguments, words = NO_WAVEFORMS[name]
    with pytest.raises(InputError, match=words) as caught:
        Waveform(*arguments)
    assert caught.value.remedy


def test_a_waveform_is_what_it_says():
    found = Waveform(np.stack([TONE, TONE], axis=1)[:, 1], np.int64(RATE))
    assert found.samples.flags.c_contiguous
    assert type(found.rate) is int
    assert found.seconds == len(TONE) / RATE
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.samples, found.samples)
    assert Waveform(-15.9 * np.ones(9, np.float32), 1).seconds == 9


def test_a_waveform_costs_nothing_to_check():
    stereo = np.broadcast_to(np.float32(0), (2, 2**40))
    with pytest.raises(InputError, match="shape"):
        Waveform(stereo, RATE)


def test_errors_of_a_file_name_the_file(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded("WAV", "FLOAT", np.array([0.5, np.nan], np.float32)))
    with pytest.raises(InputError, match="sample 1 is nan") as caught:
        read(path, Limits())
    assert caught.value.source == str(path)


# Which scale


@pytest.mark.parametrize("dtype", [np.int32, np.int64, torch.int32, torch.int64])
def test_sixteen_bits_in_a_wider_type_are_refused_with_what_to_divide_by(dtype):
    wide = torch.from_numpy(SIXTEEN).to(dtype) if isinstance(dtype, torch.dtype) else SIXTEEN.astype(dtype)
    with pytest.raises(InputError, match="samples go from -9830 to 9830") as caught:
        read((wide, RATE), Limits())
    assert "(waveform / 32768, rate)" in caught.value.remedy
    remedied = read((wide / 32768, RATE), Limits())
    np.testing.assert_allclose(remedied.samples, TONE, atol=1e-4)


def test_the_bits_of_wider_types_are_told_apart():
    widest = (TONE * 2**31 * 0.99).astype(np.int64)
    with pytest.raises(InputError, match="int64") as caught:
        read((widest, RATE), Limits())
    assert "2147483648" in caught.value.remedy
    with pytest.raises(InputError, match="int64") as caught:
        read(((TONE * 2**23).astype(np.int64), RATE), Limits())
    assert "(waveform / 8388608, rate)" in caught.value.remedy
    with pytest.raises(InputError, match="int64"):
        read((SIXTEEN.astype(np.int64) << 16, RATE), Limits())


@pytest.mark.parametrize(
    "quiet",
    [
        np.zeros(99, np.int32),
        np.zeros(99, np.int64),
        (TONE * 2**31 * 1e-3).astype(np.int32),  # 60 dB down
        (np.arange(99) % 3 * 256).astype(np.int32),  # the last bits of 24 in 32
        SIXTEEN.astype(np.int32) << 16,
        np.array([1, -1, 0], np.int16),
        np.array([127, 128, 129], np.uint8),
        np.full(9, 2**15, np.uint16),
    ],
    ids=range(8),
)
def test_quiet_recordings_are_recordings(quiet):
    found = read((quiet, RATE), Limits()).samples
    bits = 8 * quiet.dtype.itemsize
    middle = 2 ** (bits - 1) if quiet.dtype.kind == "u" else 0
    np.testing.assert_allclose(found, (quiet.astype(float) - middle) / 2 ** (bits - 1), atol=1e-7)


@pytest.mark.parametrize(
    ("narrow", "wide"), [(np.uint8, np.uint16), (np.uint8, np.uint32), (np.uint16, np.uint32)]
)
def test_unsigned_values_in_a_wider_type_are_refused(narrow, wide):
    values = np.round((TONE + 1) * (2 ** (8 * np.dtype(narrow).itemsize - 1) - 1)).astype(narrow)
    with pytest.raises(InputError, match="and silence of uint") as caught:
        read((values.astype(wide), RATE), Limits())
    assert f"astype(numpy.{np.dtype(narrow)})" in caught.value.remedy
    assert np.abs(read((values, RATE), Limits()).samples - TONE).max() < 0.02


FLOATS = {
    "16 bits": (SIXTEEN, "32768"),
    "24 bits": (np.round(TONE * 2**23), "8388608"),
    "32 bits": (np.round(TONE * 2**31), "2147483648"),
    "bytes": (np.round(TONE * 127 + 128), "128"),
    "quiet 16 bits": (np.round(TONE * 30), "32768"),
    "a fraction of 16 bits": (SIXTEEN + 0.25, "32768"),
}


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_on_the_scale_of_integers_are_refused_with_what_to_divide_by(name, dtype):
    values, scale = FLOATS[name]
    items = [(values.astype(dtype), RATE), (np.stack([values] * 2).astype(dtype), RATE)]
    items += [encoded(kind, "FLOAT", values.astype(np.float32)) for kind in ("WAV", "AIFF", "CAF", "AU")]
    for item in items:
        with pytest.raises(InputError, match="full scale is -1 to 1") as caught:
            read(item, Limits())
        assert scale in caught.value.remedy


@pytest.mark.parametrize("peak", [0.5, 1.0, 1.2, 2.5, 10.0])
def test_floats_may_go_over_full_scale(peak):
    loud = TONE / 0.3 * np.float32(peak)
    for item in (
        (loud, RATE),
        (np.stack([loud, loud]), RATE),
        encoded("WAV", "FLOAT", loud),
        Waveform(loud, RATE),
    ):
        np.testing.assert_allclose(read(item, Limits()).samples, loud, rtol=1e-6)


def test_whole_numbers_within_full_scale_are_floats():
    square = np.sign(TONE)
    np.testing.assert_array_equal(read((square, RATE), Limits()).samples, square)


# Which shape


@pytest.mark.parametrize(
    "array", [TONE, TONE.tolist(), torch.from_numpy(TONE)], ids=["array", "list", "tensor"]
)
def test_the_dict_of_a_data_set_is_its_samples(array):
    found = read({"array": array, "sampling_rate": RATE, "path": None}, Limits())
    np.testing.assert_allclose(found.samples, read((TONE, RATE), Limits()).samples, atol=1e-7)
    assert found.rate == RATE


@pytest.mark.parametrize("array", [None, "a.wav", [], ["a"], [[1.0], [1.0, 2.0]]])
def test_the_dict_of_a_data_set_without_samples_is_refused(array):
    with pytest.raises(InputError, match=r"is no waveform|the waveform's shape"):
        read({"array": array, "sampling_rate": RATE}, Limits())


@pytest.mark.parametrize("shape", [(500, 1), (500, 2), (20000, 1), (20000, 2), (8, 6)])
def test_channels_in_the_second_place_are_refused_with_the_remedy(shape):
    for array in (np.zeros(shape, np.float32), torch.zeros(shape)):
        with pytest.raises(InputError, match=r"waveform's shape is") as caught:
            read((array, RATE), Limits())
        assert "(waveform.T, rate)" in caught.value.remedy
        assert len(read((array.T, RATE), Limits()).samples) == shape[0]


def test_rate_and_waveform_the_wrong_way_round_are_named():
    for item in ((RATE, TONE), (RATE, torch.zeros(9)), (np.int32(RATE), SIXTEEN), (16000.0, TONE)):
        with pytest.raises(InputError, match="the rate comes first") as caught:
            read(item, Limits())
        assert "(waveform, rate)" in caught.value.remedy


@pytest.mark.parametrize("kind", ["array", "WAV", "FLAC", "OGG", "MP3"])
def test_channels_that_cancel_each_other_are_said(kind):
    both = np.stack([TONE, -TONE])
    item = (both, RATE) if kind == "array" else encoded(kind, samples=both.T)
    with pytest.raises(InputError, match="channels cancel each other") as caught:
        read(item, Limits())
    assert "waveform[:, 0]" in caught.value.remedy


def test_channels_that_only_differ_are_mixed():
    one_of_many = np.zeros((1000, 2000), np.float32)
    one_of_many[7] = TONE[:2000]
    for channels in (np.stack([TONE, 0 * TONE]), np.stack([TONE, -0.9 * TONE]), one_of_many, 0 * one_of_many):
        found = read((channels, RATE), Limits()).samples
        np.testing.assert_allclose(found, channels.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(3, 3).to_sparse(),
        lambda: torch.zeros(9, device="meta"),
        lambda: torch.quantize_per_tensor(torch.zeros(9), 0.1, 0, torch.qint8),
    ],
    ids=["sparse", "meta", "quantised"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_without_an_array_are_refused(make):
    tensor = make()
    with pytest.raises(InputError):
        read((tensor, RATE), Limits())


def test_half_precision_and_gradients_are_no_hindrance():
    tensor = torch.from_numpy(TONE).bfloat16().requires_grad_()
    assert np.abs(read((tensor, RATE), Limits()).samples - TONE).max() < 0.01


# What it may cost


def test_more_samples_than_the_limit_are_refused_before_they_are_looked_at():
    endless = np.broadcast_to(np.float32(0), (2, 2**40))
    with pytest.raises(InputError, match="s long, and the limit is 600 s") as caught:
        read((endless, RATE), Limits())
    assert caught.value.fault == "limit"
    with pytest.raises(
        InputError, match=r"it has 2199023255552 samples in all its channels, and the limit"
    ) as caught:
        read((endless, RATE), Limits(seconds=float("inf")))
    assert "Limits(samples=2199023255552)" in caught.value.remedy
    assert "--limit samples=2199023255552" in caught.value.remedy
    with pytest.raises(InputError, match="take 8796093022208 bytes, and the limit is"):
        read((endless[0], RATE), Limits(seconds=float("inf"), samples=2**41))


def test_seconds_may_be_endless():
    assert len(read((TONE, RATE), Limits(seconds=float("inf"))).samples) == len(TONE)
    assert len(read(encoded("WAV"), Limits(seconds=float("inf"))).samples) == len(TONE)
    assert len(read(encoded("MP3"), Limits(seconds=1e300)).samples) == len(TONE)


@pytest.mark.parametrize("total", [None, 0])
def test_a_small_file_of_many_samples_is_refused_before_it_is_decoded(monkeypatch, total):
    bomb = made.silent_flac(6000, total=total)
    assert len(bomb) < 100_000
    monkeypatch.setattr("soundfile.SoundFile.read", None)
    with pytest.raises(InputError, match="it has 393210000 samples in all its channels") as caught:
        read(bomb, Limits())
    assert caught.value.fault == "limit"


def test_a_file_of_many_samples_is_read_within_limits_that_were_raised():
    small = made.silent_flac(20, rate=16000)
    assert len(read(small, Limits()).samples) == 20 * 65535
    with pytest.raises(InputError, match="take 10485600 bytes, and the limit is 125000: a file of 302 bytes"):
        read(small, Limits(memory=10**6))
    assert len(read(small, Limits(memory=83_884_800)).samples) == 20 * 65535  # as the remedy says
    content = encoded("WAV")
    with pytest.raises(InputError, match="samples take 160008 bytes, and the limit is 100000") as caught:
        read(content, Limits(memory=10**5))
    assert "Limits(memory=160008)" in caught.value.remedy
    assert len(read(content, Limits(memory=160_008)).samples) == len(TONE)


def test_recordings_come_in_by_the_gate_that_pictures_come_in_by(monkeypatch):
    monkeypatch.setattr(common_gate, "capacity", 200_000)
    items = [(SIXTEEN, RATE), *(encoded(kind) for kind in ("WAV", "FLAC", "OGG", "MP3")), encoded("WAV") * 2]
    with common_gate.holding(100_000, 60, "a picture"):
        for item in items:
            with pytest.raises(InputError, match="others hold 100000 of 200000 meanwhile") as caught:
                read(item, Limits(wait=0.02))
            assert caught.value.fault == "process"
    assert {len(read(item, Limits(wait=0.02)).samples) for item in items} == {len(TONE), 2 * len(TONE)}


def test_recordings_of_unknown_length_count_as_much_as_they_may_have(monkeypatch):
    nbytes = []
    holding = common_gate.holding
    monkeypatch.setattr(common_gate, "holding", lambda *given: nbytes.append(given[0]) or holding(*given))
    monkeypatch.setattr(flac, "count_samples", lambda *_: None)  # nothing tells it before
    endless = made.without_total(encoded("FLAC"))
    assert len(read(endless, Limits(seconds=10)).samples) == len(TONE)
    assert nbytes == [10 * RATE * 8, len(TONE) * 8]


def test_limits_hold_while_decoding(monkeypatch):
    monkeypatch.setattr(flac, "count_samples", lambda *_: None)  # nothing tells it before
    endless = made.silent_flac(60, rate=16000, total=0)
    for limits, words in (
        (Limits(seconds=30), "s long"),
        (Limits(samples=10**6), "samples"),
        (Limits(memory=10**6), "bytes"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            read(endless, limits)
        assert caught.value.fault == "limit"


def test_a_thousand_channels_are_read_in_small_blocks(monkeypatch):
    blocks = []
    read_block = soundfile.SoundFile.read

    def watched(file, *arguments, **options):
        blocks.append(read_block(file, *arguments, **options))
        return blocks[-1]

    content = encoded("WAV", samples=np.tile(TONE[:600, None], (1, 1024)))
    monkeypatch.setattr(soundfile.SoundFile, "read", watched)
    found = read(content, Limits()).samples
    assert max(block.size for block in blocks) == 2**18  # values, which are a megabyte
    monkeypatch.undo()
    np.testing.assert_allclose(found, TONE[:600], atol=1e-4)


@settings(deadline=None, max_examples=15)
@given(before=st.integers(1, 1_000_000), after=st.sampled_from([8000, 16000, 22050, 32000, 44100, 48000]))
def test_any_rate_is_resampled_at_a_bounded_cost(before, after):
    ratio = ratio_near(after, before)
    assert 0 < ratio.numerator * ratio.denominator <= MOST_COEFFICIENTS
    assert abs(float(ratio) * before / after - 1) < 1e-3
    count = min(before, 2000)
    found = Waveform(np.ones(count, np.float32), before).resample(after)
    assert abs(len(found.samples) - count * after / before) <= 1e-3 * len(found.samples) + 1


def test_rates_that_people_use_are_resampled_exactly():
    usual = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000)
    assert all(
        ratio_near(after, before) * before == after
        for before in usual
        for after in (8000, 16000, 32000, 48000)
    )


def test_a_tiny_rate_is_not_blown_up():
    slow = Waveform(np.broadcast_to(np.float32(0), 2**20).copy(), 1)
    with pytest.raises(InputError, match=r"at 48000 Hz its 1048576 samples become 50331648000") as caught:
        slow.resample(48000)
    assert caught.value.fault == "limit"
    assert len(Waveform(np.zeros(60, np.float32), 1).resample(48000).samples) == 60 * 48000
    with pytest.raises(InputError, match="rate is 0 Hz"):
        slow.resample(0)


def test_interpolation_over_the_loudest_is_cut_off():
    loudest = 15.9 * np.sign(TONE)
    found = Waveform(loudest, RATE).resample(44100).samples
    assert np.abs(found).max() == 16


def test_an_encoder_refuses_a_tiny_rate_as_an_item():
    pytest.importorskip(
        "mmencode_offline.audio", reason="it resamples: pip install 'mmencode-offline[audio]'"
    )
    slow = Waveform(np.zeros(2**20, np.float32), 1)
    space = mmencode.load("default", limits=mmencode.Limits(seconds=2**21))
    found = space.encode("audio", [(TONE, RATE), slow], on_error="skip")
    assert list(found.positions) == [0]
    assert "samples become 16777216000" in str(found.errors[0])


@pytest.mark.parametrize("before", [50, 8000, 11025, 44100, 48000, 96000])
@pytest.mark.parametrize("after", [16000, 22050, 48000])
@pytest.mark.parametrize("count", [1, 700, 9001])
def test_resampling_equals_torchaudios_bit_for_bit(before, after, count):
    functional = pytest.importorskip("torchaudio.functional", exc_type=Exception)
    samples = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, count).astype(np.float32))
    divisor = math.gcd(before, after)
    found = resample(samples, before // divisor, after // divisor)
    assert torch.equal(found, functional.resample(samples, before, after))


def test_a_rate_is_converted_without_torchaudio(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    assert len(Waveform(np.ones(441, np.float32), 44100).resample(RATE).samples) == 160
