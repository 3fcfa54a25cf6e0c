"""Items as clients send them: data: URIs of small pictures and sounds."""

from __future__ import annotations

import base64
import io
import wave

import numpy as np
from PIL import Image


def png(shade=200, size=(40, 30)):
    buffer = io.BytesIO()
    rows = np.full((size[1], size[0], 3), (shade, 30, 60), np.uint8)
    rows[: size[1] // 2] = (10, shade, 99)
    Image.fromarray(rows).save(buffer, "PNG")
    return buffer.getvalue()


def wav(pitch=440.0, seconds=0.5, rate=16000):
    times = np.arange(int(seconds * rate)) / rate
    samples = (np.sin(2 * np.pi * pitch * times) * 20000).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()


def uri(content, media="image/png"):
    return f"data:{media};base64,{base64.b64encode(content).decode()}"
