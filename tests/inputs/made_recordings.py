"""Recordings in many formats, whole and otherwise, for the tests of the audio reader."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import soundfile

RATE = 16000
COUNT = 20_001
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(COUNT) / RATE)).astype(np.float32)

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_KILOBITS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


def encoded(kind, subtype=None, samples=TONE, rate=RATE, **options):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype, **options)
    return buffer.getvalue()


def patched(content, place, form, *values):
    changed = bytearray(content)
    struct.pack_into(form, changed, place, *values)
    return bytes(changed)


def frames_of(mp3):
    """The frames of an MP3 of MPEG-2 layer 3 at 16 kHz, which is what `encoded("MP3")` gives."""
    frames, place = [], 0
    while place + 4 <= len(mp3):
        assert mp3[place] == 0xFF
        size = 72_000 * _KILOBITS[mp3[place + 2] >> 4] // RATE + (mp3[place + 2] >> 1 & 1)
        frames.append(mp3[place : place + size])
        place += size
    return frames


def without_index(mp3):
    """An MP3 without the frame in which its encoder counted the others."""
    return b"".join(frames_of(mp3)[1:])


def id3(size=2048, body=None):
    lengths = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + lengths + (bytes(size) if body is None else body)


def ape_tag(items=b"x" * 100):
    numbers = struct.pack("<III", 2000, len(items) + 32, 1)
    header = b"APETAGEX" + numbers + struct.pack("<I", 0xA0000000) + bytes(8)
    return header + items + b"APETAGEX" + numbers + struct.pack("<I", 0x80000000) + bytes(8)


def riff(*chunks):
    body = b"WAVE" + b"".join(
        name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def checksum(page):
    cleared = bytes(page[:22]) + bytes(4) + bytes(page[26:])
    mirrored = zlib.crc32(cleared.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def page(stream, number, packet, flags=0, granule=0):
    """An Ogg page with one short packet."""
    header = struct.pack("<4sBBqIIIBB", b"OggS", 0, flags, granule, stream, number, 0, 1, len(packet))
    return patched(header + packet, 22, "<I", checksum(header + packet))


def pages_of(ogg):
    found, place = [], 0
    while place < len(ogg):
        table = ogg[place + 27 : place + 27 + ogg[place + 26]]
        end = place + 27 + len(table) + sum(table)
        found.append(ogg[place:end])
        place = end
    return found


def without_end_flag(ogg):
    """An Ogg file whose last page isn't marked as such."""
    *others, last = pages_of(ogg)
    changed = bytearray(last)
    assert changed[5] & 4
    changed[5] &= ~4
    return b"".join(others) + patched(changed, 22, "<I", checksum(changed))


def without_total(flac, total=0):
    """A FLAC whose header tells another number of samples."""
    changed = bytearray(flac)
    changed[21] = changed[21] & 0xF0 | total >> 32
    return patched(changed, 22, ">I", total & 0xFFFFFFFF)


def _flac_number(value):
    if value < 0x80:
        return bytes([value])
    length = next(n for n in range(2, 8) if value < 1 << (5 * n + 1))
    tail = [0x80 | value >> 6 * place & 0x3F for place in range(length - 1)][::-1]
    return bytes([0xFF00 >> length & 0xFF | value >> 6 * (length - 1), *tail])


def _flac_sum(data, bits, polynomial):
    value, top = 0, 1 << bits - 1
    for byte in data:
        value ^= byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial) & (2 * top - 1) if value & top else value << 1 & (2 * top - 1)
    return value


def silent_flac(frames, rate=655_350, block=65_535, total=None):
    """A FLAC of many blocks of silence, each of them about 14 bytes."""
    packed = rate << 44 | 15 << 36 | (frames * block if total is None else total)
    content = [b"fLaC\x80\0\0\x22" + struct.pack(">HH", block, block) + bytes(6), packed.to_bytes(8, "big")]
    content.append(bytes(16))
    for number in range(frames):
        head = b"\xff\xf8\x70\x08" + _flac_number(number) + struct.pack(">H", block - 1)
        frame = head + bytes([_flac_sum(head, 8, 0x07)]) + b"\0\0\0"
        content.append(frame + _flac_sum(frame, 16, 0x8005).to_bytes(2, "big"))
    return b"".join(content)


def in_ogg(flac):
    """The packets of a FLAC file in Ogg pages, as that format's mapping has them."""
    start = 8 + 34
    first = b"\x7fFLAC\1\0\0\1" + flac[:start]
    rest = [flac[place : place + 200] for place in range(start, len(flac), 200)]
    last = len(rest)
    pages = [page(5, number, packet, flags=4 * (number == last)) for number, packet in enumerate(rest, 1)]
    return page(5, 0, first, flags=2) + b"".join(pages)


def media(container, codec, rate=RATE, samples=TONE):
    """A file that PyAV writes; the samples go at its rate whatever theirs was."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        fitting = av.AudioResampler(format=stream.format, layout="mono", rate=rate)
        for piece in fitting.resample(frame):
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return buffer.getvalue()
