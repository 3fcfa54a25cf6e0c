"""Pictures, sounds, a text and their index, which the tests of the page use."""

from __future__ import annotations

import io

import numpy as np
import soundfile
from PIL import Image
from skimage import data

import mmencode

PICTURES = ("chelsea", "coffee", "rocket", "astronaut")


def jpeg(name):
    buffer = io.BytesIO()
    picture = Image.fromarray(getattr(data, name)())
    picture.thumbnail((320, 320))
    picture.save(buffer, "JPEG")
    return buffer.getvalue()


def wav(pitch=440.0, seconds=2.0, rate=16000):
    buffer = io.BytesIO()
    times = np.arange(int(seconds * rate)) / rate
    soundfile.write(buffer, np.sin(2 * np.pi * pitch * times) * 0.5, rate, format="WAV")
    return buffer.getvalue()


def film(name, frames=12):
    """A silent MP4 of the middle of a picture, which moves a little."""
    import av

    picture = getattr(data, name)()[..., :3]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 224, 224, "yuv420p"
        for place in range(frames):
            part = Image.fromarray(picture).crop((place, 0, place + 280, 280)).resize((224, 224))
            for packet in stream.encode(av.VideoFrame.from_image(part)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return buffer.getvalue()


def make_index(folder, space):
    """An index of four pictures, two sounds and a text; gives its path."""
    media = folder / "media"
    media.mkdir()
    for name in PICTURES:
        (media / f"{name}.jpg").write_bytes(jpeg(name))
    for pitch in (440, 3000):
        (media / f"tone {pitch}.wav").write_bytes(wav(pitch))
    path = folder / "things.index"
    with mmencode.Index.create(path, space) as index:
        years = [{"year": 2000 + place} for place in range(len(PICTURES))]
        index.add("image", [media / f"{name}.jpg" for name in PICTURES], metadata=years)
        index.add("audio", [media / "tone 440.wav", media / "tone 3000.wav"])
        index.add("text", ["a cat that looks at you"])
    return path
