"""Images and recordings by single models: equal to transformers, in any company."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import transformers as hf
from torch.nn.functional import normalize

from mmencode.errors import UnknownNameError
from mmencode.testing import sample_items

RATE = 16000


def noise(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


def unit(features):
    return normalize(features, dim=-1).numpy()


@pytest.mark.parametrize("how", ["cls", "mean"])
@pytest.mark.parametrize(("name", "leading"), [("dinov2", 1), ("dinov3", 5), ("vit", 1)])
def test_images_equal_transformers(name, leading, how, checkpoint, load):
    folder, images = checkpoint(name), sample_items("image")
    model, processor = hf.AutoModel.from_pretrained(folder), hf.AutoImageProcessor.from_pretrained(folder)
    with torch.inference_mode():
        hidden = model(**processor(images=images, return_tensors="pt")).last_hidden_state
    space = load(f"transformers/image/{how}:{folder}")
    expected = hidden[:, 0] if how == "cls" else hidden[:, leading:].mean(dim=1)
    np.testing.assert_allclose(space.encode("image", images).vectors, unit(expected), atol=1e-5)
    tokens = space.encode_tokens("image", images)
    np.testing.assert_allclose(np.stack(list(tokens)), hidden[:, leading:].numpy(), atol=1e-5)
    assert tokens.grid == (4, 4)


@pytest.mark.parametrize("how", ["mean", "max"])
@pytest.mark.parametrize("name", ["wav2vec2", "hubert", "wavlm"])
def test_waveforms_of_mixed_lengths_equal_transformers_alone(name, how, checkpoint, load):
    folder, clips = (
        checkpoint(name),
        [noise(seconds, index) for index, seconds in enumerate((0.4, 1, 2.3, 1))],
    )
    model, settings = hf.AutoModel.from_pretrained(folder), hf.AutoFeatureExtractor.from_pretrained(folder)
    rows = []
    with torch.inference_mode():
        for clip in clips:
            inputs = settings(clip, sampling_rate=RATE, return_tensors="pt")
            hidden = model(inputs["input_values"]).last_hidden_state[0]
            rows.append(hidden.mean(dim=0) if how == "mean" else hidden.amax(dim=0))
    found = load(f"transformers/speech/{how}:{folder}").encode("audio", [(clip, RATE) for clip in clips])
    np.testing.assert_allclose(found.vectors, unit(torch.stack(rows)), atol=1e-5)


def test_long_waveforms_are_pooled_over_the_frames_of_all_windows(checkpoint, load):
    space = load(f"transformers/speech/mean:{checkpoint('wav2vec2')}")
    samples = noise(34)
    windows = [samples[: 15 * RATE], samples[15 * RATE : 30 * RATE], samples[30 * RATE :]]
    frames = np.concatenate(list(space.encode_tokens("audio", [(window, RATE) for window in windows])))
    np.testing.assert_allclose(space.encode_tokens("audio", [(samples, RATE)])[0], frames, atol=1e-5)
    expected = frames.mean(axis=0) / np.linalg.norm(frames.mean(axis=0))
    np.testing.assert_allclose(space.encode("audio", [(samples, RATE)]).vectors[0], expected, atol=1e-5)


def hidden_states(folder, clip):
    """Of the padded window, by transformers alone."""
    model, settings = hf.AutoModel.from_pretrained(folder), hf.AutoFeatureExtractor.from_pretrained(folder)
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    inputs = settings(clip, sampling_rate=RATE, return_tensors="pt")
    with torch.inference_mode():
        return model(next(iter(inputs.values()))).last_hidden_state[0]


def test_whisper_pools_the_frames_of_the_recording_alone(checkpoint, load):
    """A frame is 20 ms, so 0.7 s fill 35 of the 100 that the tiny encoder always computes."""
    folder, clip = checkpoint("whisper"), noise(0.7)
    hidden = hidden_states(folder, clip)
    assert len(hidden) == 100
    space = load(f"transformers/speech/mean:{folder}")
    np.testing.assert_allclose(space.encode_tokens("audio", [(clip, RATE)])[0], hidden[:35], atol=1e-5)
    expected = unit(hidden[:35].mean(dim=0))
    np.testing.assert_allclose(space.encode("audio", [(clip, RATE)]).vectors[0], expected, atol=1e-5)


def test_ast_pools_its_two_tokens_or_the_patches_of_the_recording(checkpoint, load):
    """64 spectra of 16 bands are 12 patches in time by 2 in frequency, 0.3 s are 28 spectra: 6 patches."""
    folder, clip = checkpoint("ast"), noise(0.3)
    hidden = hidden_states(folder, clip)
    assert len(hidden) == 2 + 2 * 12
    own = torch.cat([hidden[2:8], hidden[14:20]])
    space = load(f"transformers/speech/mean:{folder}")
    np.testing.assert_allclose(space.encode_tokens("audio", [(clip, RATE)])[0], own, atol=1e-5)
    np.testing.assert_allclose(
        space.encode("audio", [(clip, RATE)]).vectors[0], unit(own.mean(dim=0)), atol=1e-5
    )
    tagged = load(f"transformers/speech/cls:{folder}").encode("audio", [(clip, RATE)])
    np.testing.assert_allclose(tagged.vectors[0], unit(hidden[:2].mean(dim=0)), atol=1e-5)


def test_noise_that_an_extractor_would_add_is_left_out(checkpoint, load, tmp_path):
    folder = tmp_path / "whisper"
    shutil.copytree(checkpoint("whisper"), folder)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**settings, "dither": 0.5}))
    found = [
        load(f"transformers/speech/mean:{path}").encode("audio", [(noise(0.7), RATE)]).vectors
        for path in (folder, checkpoint("whisper"))
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(("name", "length"), [("whisper", 2 * RATE), ("ast", 400 + 63 * 160)])
def test_long_recordings_are_the_mean_over_windows(name, length, checkpoint, load):
    space = load(f"transformers/speech/mean:{checkpoint(name)}")
    (features,) = space.features("audio", [(noise(5)[:length], RATE), (noise(5)[length : 2 * length], RATE)])
    (whole,) = space.features("audio", [(noise(5)[: 2 * length], RATE)])
    np.testing.assert_allclose(whole.rows[0], features.rows.mean(axis=0), atol=1e-5)


def test_recordings_of_more_windows_than_one_pass_takes_are_whole(checkpoint, load):
    space = load(f"transformers/speech/mean:{checkpoint('whisper')}")
    samples = noise(40)
    (whole,) = space.features("audio", [(samples, RATE)])
    (each,) = space.features("audio", [(window, RATE) for window in np.split(samples, 20)])
    np.testing.assert_allclose(whole.rows[0], each.rows.mean(axis=0), atol=1e-5)
    assert len(space.encode_tokens("audio", [(samples, RATE)])[0]) == 20 * 100


@pytest.mark.parametrize("name", ["wav2vec2", "hubert", "wavlm", "whisper", "ast"])
def test_silence_and_a_single_sample_have_vectors(name, checkpoint, load):
    clips = [(np.zeros(RATE, np.float32), RATE), (np.full(1, 0.1, np.float32), RATE)]
    vectors = load(f"transformers/speech/mean:{checkpoint(name)}").encode("audio", clips).vectors
    assert np.isfinite(vectors).all()


def test_pooling_that_there_is_not_is_answered_with_those_there_are(checkpoint, load):
    for name in ("speech/cls", "speech/last", "image/max"):
        kind = "wav2vec2" if name.startswith("speech") else "dinov2"
        with pytest.raises(UnknownNameError, match=r"write transformers/.*mean:<id or folder>"):
            load(f"transformers/{name}:{checkpoint(kind)}").encode(
                "audio" if kind == "wav2vec2" else "image", []
            )
