"""Checks of items: every accepted kind, bad ones, long and short ones."""

from __future__ import annotations

import io
import tempfile
import warnings
from pathlib import Path
from unittest import SkipTest

import numpy as np
import soundfile

from ...errors import InputError
from ...inputs import Waveform
from ...space import Space
from ...spec import AUDIO, IMAGE, TEXT
from .suite import Suite


class ItemChecks(Suite):
    """Whatever form an item comes in, its vector is the same, and a bad one is named."""

    def only_for(self, modality: str) -> None:
        """Skip the check for encoders of another modality."""
        if self.declared().modality != modality:
            raise SkipTest(f"only for {modality} encoders")

    def test_path_bytes_file_and_array_are_one_image(self) -> None:
        """Reading is core's work, and the encoder takes what it gives."""
        self.only_for(IMAGE)
        image = self.safe_items()[0]
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "image.png"
            path.write_bytes(buffer.getvalue())
            kinds = [
                image,
                path,
                str(path),
                buffer.getvalue(),
                io.BytesIO(buffer.getvalue()),
                np.asarray(image),
            ]
            found = self.encode(kinds).vectors
        self.assert_equal(found, np.repeat(found[:1], len(kinds), axis=0), "kinds of item")

    def test_path_bytes_file_and_array_are_one_recording(self) -> None:
        """Reading is core's work, and the encoder takes what it gives."""
        self.only_for(AUDIO)
        waveform: Waveform = self.safe_items()[0]
        buffer = io.BytesIO()
        soundfile.write(buffer, waveform.samples, waveform.rate, format="WAV", subtype="FLOAT")
        content = buffer.getvalue()
        kinds = [waveform, content, io.BytesIO(content), (waveform.samples, waveform.rate)]
        found = self.encode(kinds).vectors
        self.assert_equal(found, np.repeat(found[:1], len(kinds), axis=0), "kinds of item")

    def test_stereo_of_equal_channels_is_mono(self) -> None:
        """Channels are averaged."""
        self.only_for(AUDIO)
        waveform: Waveform = self.safe_items()[0]
        stereo = np.stack([waveform.samples, waveform.samples])
        found = self.encode([(waveform.samples, waveform.rate), (stereo, waveform.rate)]).vectors
        self.assert_equal(found[0], found[1], "mono and stereo")

    def test_another_sample_rate_is_nearly_the_same_recording(self) -> None:
        """Rates are converted, not ignored."""
        self.only_for(AUDIO)
        waveform: Waveform = self.safe_items()[0]
        raised = waveform.resampled(3 * waveform.rate)
        found = self.encode([waveform, raised]).vectors
        assert found[0] @ found[1] > 0.98, f"cosine {found[0] @ found[1]:.3f} at three times the rate"

    def test_one_sample_and_silence_are_recordings(self) -> None:
        """The shortest clips follow the declared rule and don't crash."""
        self.only_for(AUDIO)
        clips = [(np.full(1, 0.1, np.float32), 16000), (np.zeros(8000, np.float32), 16000)]
        assert len(self.encode(clips)) == 2

    def test_a_minute_is_a_recording(self) -> None:
        """Long audio follows the declared windows."""
        self.only_for(AUDIO)
        noise = np.random.default_rng(0).normal(0, 0.1, 60 * 16000).astype(np.float32)
        assert len(self.encode([(noise, 16000)])) == 1

    def test_one_pixel_is_an_image(self) -> None:
        """The smallest image doesn't crash."""
        self.only_for(IMAGE)
        assert len(self.encode([np.full((1, 1, 3), 128, np.uint8)])) == 1

    def test_over_long_text_is_taken_or_warned_of(self) -> None:
        """What doesn't fit is never left out silently, and never fatal."""
        self.only_for(TEXT)
        long, longer = "word " * 5000, "word " * 5000 + "and something else entirely"
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            spec = self.declared()
            with Space(spec.space_name, [spec]) as fresh:  # a warning may be given only once
                vectors = fresh.encode(TEXT, [long, longer]).vectors
        ignored = float(np.abs(vectors[0] - vectors[1]).max()) == 0
        assert said or not ignored, "the end of a long text is left out without a warning"

    def test_unicode_is_text(self) -> None:
        """Every script and emoji gets a vector."""
        self.only_for(TEXT)
        assert len(self.encode(["naïve café", "日本語の文", "🙂🙃", "\u200bzero width", "a\x00b"])) == 5

    def test_bad_item_is_named(self) -> None:
        """The index tells which item of a long batch to look at."""
        batch = [*self.samples()[:2], None]
        try:
            self.encode(batch)
        except InputError as error:
            index = error.index
        else:
            raise AssertionError("None was encoded without an error")
        assert index == 2

    def test_bad_item_does_not_hurt_its_neighbours(self) -> None:
        """Skipping leaves the other rows as they are."""
        first, second = self.samples()[:2]
        modality = self.declared().modality
        found = self.space().encode(modality, [first, None, second], on_error="skip")
        assert found.positions.tolist() == [0, 2]
        assert [error.index for error in found.errors] == [1]
        self.assert_equal(found, self.encode([first, second]), "beside a bad item")
