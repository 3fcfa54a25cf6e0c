"""Check the items of an encoder: every accepted form, bad ones, very long and very short ones."""

from __future__ import annotations

import io
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from ...engine.runtime import Runtime
from ...errors import InputError
from ...inputs import Waveform
from ...plugins.spec import AUDIO, IMAGE, TEXT
from ...spaces.space import Space
from .suite import Suite, encode_singly


class ItemChecks(Suite):
    """Checks that the form of an item doesn't change its vector, and that errors name the bad item."""

    def test_every_kind_of_image_is_one_image(self) -> None:
        """Path, bytes, file, PIL image, array or tensor: reading is core's work."""
        self.only_for(IMAGE)
        image = self.safe_items()[0]
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        pixels = np.array(image)
        kinds = [image, pixels, torch.from_numpy(pixels).permute(2, 0, 1)]
        self._assert_one(kinds, buffer.getvalue(), "image.png")

    def test_every_kind_of_recording_is_one_recording(self) -> None:
        """Path, bytes, file, waveform, array or tensor with its rate: reading is core's work."""
        self.only_for(AUDIO)
        waveform: Waveform = self.safe_items()[0]
        buffer = io.BytesIO()
        soundfile.write(buffer, waveform.samples, waveform.rate, format="WAV", subtype="FLOAT")
        samples, rate = waveform.samples.copy(), waveform.rate
        kinds = [waveform, (samples, rate), (torch.from_numpy(samples), rate)]
        self._assert_one(kinds, buffer.getvalue(), "recording.wav")

    def _assert_one(self, kinds: list[Any], content: bytes, name: str) -> None:
        """Fail unless these kinds, and a file of that content in every form, have one vector."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            with path.open("rb") as file:
                kinds = [*kinds, path, str(path), content, bytearray(content), io.BytesIO(content), file]
                found = self.encode(kinds).vectors
        self.assert_equal(found, np.repeat(found[:1], len(kinds), axis=0), "kinds of item")

    def test_stereo_of_equal_channels_is_mono(self) -> None:
        """The channels of a recording are averaged."""
        self.only_for(AUDIO)
        waveform: Waveform = self.safe_items()[0]
        stereo = np.stack([waveform.samples, waveform.samples])
        found = self.encode([(waveform.samples, waveform.rate), (stereo, waveform.rate)]).vectors
        self.assert_equal(found[0], found[1], "mono and stereo")

    def test_another_sample_rate_is_nearly_the_same_recording(self) -> None:
        """Sample rates are converted, not ignored."""
        self.only_for(AUDIO)
        waveform: Waveform = self.safe_items()[0]
        raised = waveform.resample(3 * waveform.rate)
        found = self.encode([waveform, raised]).vectors
        assert found[0] @ found[1] > 0.98, f"cosine {found[0] @ found[1]:.3f} at three times the rate"

    def test_one_sample_and_silence_are_recordings(self) -> None:
        """The shortest clips follow the declared rule and don't crash."""
        self.only_for(AUDIO)
        clips = [(np.full(1, 0.1, np.float32), 16000), (np.zeros(8000, np.float32), 16000)]
        assert len(self.encode(clips)) == 2

    def test_a_minute_is_a_recording(self) -> None:
        """Long audio follows the windows that the encoder declares, and its end isn't lost in silence."""
        self.only_for(AUDIO)
        minute = np.random.default_rng(0).normal(0, 0.1, 60 * 16000).astype(np.float32)
        another = np.concatenate([minute[: 30 * 16000], 0.5 * minute[: 30 * 16000] ** 2])
        windows = self.encoder().windows
        vectors = self.encode([(minute, 16000), (another, 16000)]).vectors
        ignored = float(np.abs(vectors[0] - vectors[1]).max()) == 0
        assert windows, "describe in `windows` how a long recording is encoded"
        assert not ignored or "first" in windows, (
            "the end of a recording is ignored: say in `windows` that it is the first ..."
        )

    def test_one_pixel_is_an_image(self) -> None:
        """The smallest image doesn't crash."""
        self.only_for(IMAGE)
        assert len(self.encode([np.full((1, 1, 3), 128, np.uint8)])) == 1

    def test_over_long_text_is_taken_or_warned_of(self) -> None:
        """Truncating a text gives a warning, and no error."""
        self.only_for(TEXT)
        long, longer = "word " * 5000, "word " * 5000 + "and something else entirely"
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            spec = self.get_spec()
            # Some encoders warn once, so this one is loaded afresh.
            with Space(spec.space_name, [spec], runtime=Runtime("cpu", "float32")) as fresh:
                vectors = encode_singly(fresh, spec.key, [long, longer]).vectors
        ignored = float(np.abs(vectors[0] - vectors[1]).max()) == 0
        assert said or not ignored, "the end of a long text is ignored without a warning"

    def test_unicode_is_text(self) -> None:
        """Every script and emoji gets a vector."""
        self.only_for(TEXT)
        assert len(self.encode(["naïve café", "日本語の文", "🙂🙃", "\u200bzero width", "a\x00b"])) == 5

    def test_bad_item_is_named(self) -> None:
        """The error about a bad item has its index in the batch."""
        others: dict[str, list[object]] = {TEXT: [" ", b"bytes"], IMAGE: [b"no image"], AUDIO: [b"no sound"]}
        absent: list[object] = [()] if self.get_spec().parts else []
        for item in [None, *absent, *others.get(self.get_spec().modality, [])]:
            try:
                self.encode([*self.samples()[:2], item])
            except InputError as error:
                index = error.index
            else:
                raise AssertionError(f"{item!r} was encoded without an error")
            assert index == 2, f"the bad item has index 2, and the error names {index}"

    def test_bad_item_does_not_hurt_its_neighbours(self) -> None:
        """Skipping a bad item leaves the other rows unchanged."""
        first, second = self.samples()[:2]
        found = encode_singly(self.space(), self.get_spec().key, [first, None, second], on_error="skip")
        assert found.positions.tolist() == [0, 2]
        assert [error.index for error in found.errors] == [1]
        self.assert_equal(found, self.encode([first, second]), "beside a bad item")
