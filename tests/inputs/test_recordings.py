"""Samples are counted as they are decoded, whatever a header, an index or an estimate says."""

from __future__ import annotations

import io
import struct

import made_recordings as made
import numpy as np
import pytest
import soundfile
from made_recordings import COUNT, RATE, TONE, encoded, patched

from mmencode.errors import InputError
from mmencode.inputs import Limits
from mmencode.inputs.audio import read

NOISE = np.random.default_rng(0).normal(size=COUNT).astype(np.float32) * 0.1
UNKNOWN = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x7FFFF000, 0x7FFFFFFF - 36)

WAV, AIFF, AU, CAF = encoded("WAV"), encoded("AIFF"), encoded("AU"), encoded("CAF")
RF64, W64, FLAC = encoded("RF64"), encoded("W64"), encoded("FLAC")
VORBIS, OPUS = encoded("OGG"), encoded("OGG", "OPUS")
MP3 = encoded("MP3", samples=NOISE, bitrate_mode="VARIABLE")


def samples(content, limits=None):
    return read(content, limits or Limits()).samples


def same(content, whole):
    np.testing.assert_array_equal(samples(content), samples(whole))


def test_the_formats_have_the_samples_that_were_written():
    for content in (WAV, AIFF, AU, CAF, RF64, W64, FLAC, VORBIS, OPUS, MP3):
        assert len(samples(content)) == COUNT


@pytest.mark.parametrize("riff", [None, 0, 0xFFFFFFFF])
@pytest.mark.parametrize("size", UNKNOWN)
def test_wav_of_unknown_length_goes_on_to_its_end(size, riff):
    content = patched(WAV, 40, "<I", size)
    same(content if riff is None else patched(content, 4, "<I", riff), WAV)


@pytest.mark.parametrize("size", UNKNOWN)
def test_au_of_unknown_length_goes_on_to_its_end(size):
    same(patched(AU, 8, ">I", size), AU)
    little = encoded("AU", endian="LITTLE")
    same(patched(little, 8, "<I", size), little)


@pytest.mark.parametrize("size", UNKNOWN)
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_aiff_of_unknown_length_goes_on_to_its_end(subtype, size):
    content = whole = encoded("AIFF", subtype)
    for place in (4, content.find(b"COMM") + 10, content.find(b"SSND") + 4):
        content = patched(content, place, ">I", size)
        same(content, whole)


@pytest.mark.parametrize("size", [0, -1, 2**31 - 1, 2**31, 2**63 - 1])
@pytest.mark.parametrize("subtype", ["PCM_16", "ALAC_16"])
def test_caf_of_unknown_length_goes_on_to_its_end(subtype, size):
    whole = encoded("CAF", subtype)
    same(patched(whole, whole.find(b"data") + 4, ">q", size), whole)


@pytest.mark.parametrize("size", [0, 2**64 - 1, 2**63 - 1, 2**31])
def test_rf64_and_wave64_of_unknown_length_go_on_to_their_end(size):
    sizes = RF64.find(b"ds64") + 8
    same(patched(RF64, sizes + 8, "<Q", size), RF64)
    same(patched(RF64, sizes, "<QQQ", size, size, size), RF64)
    same(patched(W64, W64.find(b"data") + 16, "<Q", size), W64)


@pytest.mark.parametrize("behind", [b"", bytes(5000), b"TAG" + bytes(125)])
@pytest.mark.parametrize("total", [0, 10_000, 2**31, 2**32 - 1, 2**36 - 1])
def test_flac_has_the_samples_of_its_frames(total, behind):
    same(made.without_total(FLAC, total) + behind, FLAC)


def test_flac_without_its_checksum_is_read():
    same(FLAC[:26] + bytes(range(16)) + FLAC[42:], FLAC)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_without_the_end_flag_or_with_zeros_behind_is_whole(subtype):
    whole = encoded("OGG", subtype)
    for content in (made.without_end_flag(whole), whole + bytes(9999), whole + b"TAG" + bytes(125)):
        same(content, whole)


@pytest.mark.parametrize(
    "whole", [VORBIS, OPUS, FLAC, WAV, MP3], ids=["vorbis", "opus", "flac", "wav", "mp3"]
)
def test_files_behind_each_other_are_one_recording(whole):
    np.testing.assert_array_equal(samples(whole + whole + whole), np.tile(samples(whole), 3))


def test_mp3s_without_an_index_behind_each_other_are_one_recording():
    bare = made.without_index(MP3)
    assert len(samples(bare + bare)) == 2 * len(samples(bare))


def test_a_chain_may_change_its_codec_and_lose_its_end_flags():
    chain = made.without_end_flag(VORBIS) + made.without_end_flag(OPUS)
    np.testing.assert_array_equal(samples(chain), np.concatenate([samples(VORBIS), samples(OPUS)]))


def test_streams_beside_the_sound_are_passed_over():
    skeleton, video = b"fishead\0" + bytes(56), b"\x80theora" + bytes(35)
    first, *others = made.pages_of(VORBIS)
    content = made.page(7, 0, skeleton, flags=2) + made.page(8, 0, video, flags=2) + first
    for number, own in enumerate(others, 1):
        content += made.page(8, number, b"a picture", granule=number) + own
    same(content + made.page(8, 99, b"", flags=4), VORBIS)


def test_flac_in_ogg_is_what_it_is_without():
    same(made.in_ogg(FLAC), FLAC)
    same(made.in_ogg(made.without_total(FLAC)), FLAC)
    chain = samples(made.in_ogg(FLAC) + VORBIS)
    np.testing.assert_array_equal(chain, np.concatenate([samples(FLAC), samples(VORBIS)]))


def test_opus_leaves_out_what_its_encoder_put_before_it():
    found = samples(encoded("OGG", "OPUS", np.zeros(COUNT, np.float32) + (np.arange(COUNT) >= 8000) * TONE))
    assert abs(int(np.argmax(np.abs(found) > 0.1)) - 8000) < 100


def test_vbr_mp3_without_its_index_is_read_whole():
    quiet = np.zeros(8 * RATE, np.float32)
    quiet[: 2 * RATE] = np.random.default_rng(1).normal(size=2 * RATE) * 0.3
    for recording in (quiet, quiet[::-1].copy()):  # loud first, where too much is expected, and loud last
        mp3 = encoded("MP3", samples=recording, bitrate_mode="VARIABLE")
        frames = made.frames_of(mp3)
        assert len({len(frame) for frame in frames}) > 3
        found, whole = samples(b"".join(frames[1:])), samples(mp3)
        assert len(found) == 576 * (len(frames) - 1)
        start = 1105  # what an encoder of LAME's kind says that its decoder is late by
        np.testing.assert_array_equal(found[start : start + len(whole)], whole[: len(found) - start])


def test_mp3_is_what_libsndfile_gives_in_one_piece():
    long = encoded("MP3", samples=np.tile(NOISE, 8))
    with soundfile.SoundFile(io.BytesIO(long)) as file:
        whole = file.read(dtype="float32")
    np.testing.assert_array_equal(samples(long), whole)


@pytest.mark.parametrize(
    "content",
    [
        MP3 + bytes(5000),
        MP3 + b"TAG" + bytes(125),
        MP3 + made.ape_tag() + b"TAG" + bytes(125),
        MP3 + made.ape_tag()[32:],
        bytes(1000) + MP3,
        made.id3() + MP3,
        made.id3() + made.id3() + MP3,
        made.id3(3_000_000, np.random.default_rng(0).bytes(3_000_000)) + MP3,
        MP3 + np.random.default_rng(0).bytes(3000),
    ],
    ids=["zeros", "ID3v1", "APE", "APE without header", "zeros first", "ID3", "two ID3", "cover", "junk"],
)
def test_tags_and_junk_around_mp3_change_nothing(content):
    same(content, MP3)


@pytest.mark.parametrize("whole", [WAV, FLAC, VORBIS, AIFF], ids=["wav", "flac", "ogg", "aiff"])
def test_id3_before_other_formats_is_passed_over(whole):
    same(made.id3() + whole, whole)


def test_index_of_too_few_frames_cuts_nothing_off():
    place = max(MP3.find(b"Xing"), MP3.find(b"Info"))
    assert MP3[place + 7] & 1
    short = patched(MP3, place + 8, ">I", 10)
    found = samples(short)
    assert len(found) >= COUNT
    np.testing.assert_array_equal(found[:COUNT], samples(MP3))


def test_mp3_in_wav_is_read():
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, RATE, 8000, 1, 0, 12, 1, 2, 576, 1, 1393)
    same(made.riff((b"fmt ", form), (b"fact", struct.pack("<I", COUNT)), (b"data", MP3)), MP3)


def test_layer_1_and_free_format_are_counted_by_their_frames():
    layer_1 = (b"\xff\xff\x14\xc0" + bytes(28)) * 50  # MPEG 1, 32 kbit/s at 48 kHz, mono, silent
    found = read(layer_1, Limits())
    assert (len(found.samples), found.rate) == (50 * 384, 48000)
    free = (b"\xff\xfb\x04\xc0" + bytes(296)) * 20  # layer 3, its frames as long as they are
    assert len(samples(free)) == 20 * 1152


def test_a_few_frames_are_a_recording():
    frames = made.frames_of(MP3)
    assert [len(samples(b"".join(frames[5 : 5 + n]))) for n in (1, 2, 3)] == [576, 1152, 1728]


def test_damage_in_an_mp3_costs_the_frame_that_it_hit():
    frames = made.frames_of(made.without_index(MP3))
    frames[20] = b"\xff\0" + frames[20][2:]
    assert len(samples(b"".join(frames))) == 576 * (len(frames) - 1)


FMT, DATA = WAV[20:36], WAV[44:]
LIST = b"INFOISFT\x0d\0\0\0Lavf60.16.100"  # of odd length


@pytest.mark.parametrize(
    "content",
    [
        made.riff((b"LIST", LIST), (b"fmt ", FMT), (b"junk", b"x"), (b"data", DATA)),
        made.riff((b"data", DATA), (b"fmt ", FMT)),
        made.riff((b"fmt ", FMT), (b"data", DATA), (b"LIST", LIST)),
        made.riff((b"fmt ", FMT), (b"data", DATA), (b"id3 ", made.id3())),
        made.riff(*((b"junk", b"") for _ in range(500)), (b"fmt ", FMT), (b"data", DATA)),
        WAV + bytes(99),
        b"BW64" + RF64[4:],
    ],
    ids=["chunks first", "data first", "list behind", "id3 behind", "many chunks", "zeros behind", "BW64"],
)
def test_chunks_stand_where_they_like(content):
    same(content, WAV)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "W64", "RF64"])
def test_every_sample_format_of_wav_is_counted_and_scaled(kind, subtype):
    if not soundfile.check_format(kind, subtype):
        pytest.skip("not written by libsndfile")
    content = encoded(kind, subtype)
    expected, _ = soundfile.read(io.BytesIO(content))
    assert len(samples(content)) == COUNT
    np.testing.assert_allclose(samples(content), expected, atol=1e-7)


@pytest.mark.parametrize(
    "content",
    [
        WAV[:-1000],
        AIFF[:-1000],
        AU[:-1000],
        CAF[:-1000],
        RF64[:-1000],
        W64[:-1000],
        FLAC[:-3000],
        made.without_total(FLAC, 30_000),
        VORBIS[:-100],
        OPUS[:-100],
        VORBIS + VORBIS[:-100],
        b"".join(made.pages_of(OPUS)[:-1]) + made.pages_of(OPUS)[-1][:2],
        b"".join(made.pages_of(OPUS)[:-1]) + made.pages_of(OPUS)[-1][:20],
        MP3[:-50],
        MP3[: len(MP3) // 2],
        b"".join(made.frames_of(MP3)[:-9]),
        made.without_index(MP3)[:-50],
        MP3 + MP3[:-500],
    ],
    ids=[
        *("wav", "aiff", "au", "caf", "rf64", "w64", "flac", "flac of more", "vorbis", "opus", "chain"),
        *("in a page's mark", "in a page's header", "mp3", "half an mp3", "mp3 between frames"),
        *("mp3 without index", "second mp3"),
    ],
)
def test_a_file_that_ends_within_its_own_frames_is_truncated(content):
    with pytest.raises(InputError, match="truncated") as caught:
        samples(content)
    assert caught.value.fault == "content"


def test_a_page_that_ends_within_a_packet_is_a_truncated_file():
    table_end = 27 + made.pages_of(VORBIS)[-1][26]
    last = bytearray(made.pages_of(VORBIS)[-1])
    last[table_end - 1] = 255  # goes on in a page to come
    body = bytes(last).ljust(table_end + sum(last[27:table_end]), b"\0")
    content = b"".join(made.pages_of(VORBIS)[:-1]) + patched(body, 22, "<I", made.checksum(body))
    with pytest.raises(InputError, match="ends within a packet"):
        samples(content)


@pytest.mark.parametrize("kind", ["OGG", "MP3", "WAV"])
def test_a_rate_that_changes_on_the_way_is_said(kind):
    with pytest.raises(InputError, match=r"its rate changes from 16000 to 44100 Hz after 1\.3 s"):
        samples(encoded(kind) + encoded(kind, rate=44100))


def test_a_number_of_channels_may_change_on_the_way():
    stereo = encoded("OGG", samples=np.stack([TONE, TONE], axis=1))
    assert len(samples(VORBIS + stereo)) == 2 * COUNT


def test_empty_files_have_no_samples():
    empty = np.zeros(0, np.float32)
    for content in (
        encoded("WAV", samples=empty),
        made.riff((b"fmt ", FMT), (b"data", b""), (b"LIST", LIST)),
    ):
        with pytest.raises(InputError, match="it has no samples"):
            samples(content)
