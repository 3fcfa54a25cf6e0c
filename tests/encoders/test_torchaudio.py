"""The torchaudio encoder computes what torchaudio computes, on tiny random weights."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchaudio
from safetensors.torch import save_file
from torch.nn.functional import layer_norm, normalize
from torchaudio.models import wav2vec2_model, wavlm_model
from torchaudio.pipelines import Wav2Vec2ASRBundle, Wav2Vec2Bundle

import mmencode
from mmencode.encoders.torchaudio import TorchaudioEncoder, build
from mmencode.errors import UnknownNameError, WeightsError
from mmencode.inputs import Waveform
from mmencode.testing import EncoderConformance, sample_items

RATE = 16000
TINY = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 32,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 2,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 64,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.1,
    "aux_num_out": None,
}
LARGE = TINY | {"extractor_mode": "layer_norm", "extractor_conv_bias": True, "encoder_layer_norm_first": True}
WAVLM = TINY | {"encoder_num_buckets": 32, "encoder_max_distance": 80}
BUNDLES = {
    "TINY_BASE": Wav2Vec2Bundle("tiny_base.pth", TINY, RATE, False, "Wav2Vec2"),
    "TINY_LARGE": Wav2Vec2Bundle("tiny_large.pth", LARGE, RATE, True, "Wav2Vec2"),
    "TINY_WAVLM": Wav2Vec2Bundle("tiny_wavlm.pth", WAVLM, RATE, False, "WavLM"),
    "TINY_ASR": Wav2Vec2ASRBundle(
        "tiny_asr.pth", LARGE | {"aux_num_out": 5}, RATE, True, "Wav2Vec2", _labels=("a", "b", "c", "d")
    ),
}


def seeded(name: str) -> torch.nn.Module:
    """The model of a tiny bundle with weights that all matter, those that begin at zero, too."""
    bundle = BUNDLES[name]
    factory = {"Wav2Vec2": wav2vec2_model, "WavLM": wavlm_model}[bundle._model_type]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = factory(**bundle._params).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def encoder(name: str, **options) -> TorchaudioEncoder:
    return TorchaudioEncoder(seeded(name), rate=RATE, normalise=BUNDLES[name]._normalize_waveform, **options)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def frames_of(name: str, samples: np.ndarray) -> torch.Tensor:
    """The frames `[t, width]` that torchaudio's own model gives one window, before any head."""
    window = torch.from_numpy(samples)[None]  # [1, n]
    if BUNDLES[name]._normalize_waveform:
        window = layer_norm(window, window.shape)
    model = seeded(name)
    model.aux = None
    with torch.inference_mode():
        return model(window)[0][0]


def encoded(subject: TorchaudioEncoder, *clips: np.ndarray, rate: int = RATE) -> torch.Tensor:
    with torch.inference_mode():
        return subject(subject.collate([subject.preprocess(Waveform(clip, rate)) for clip in clips]))


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads cost such small models more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def bundles(monkeypatch, tmp_path):
    """Make the tiny bundles known to torchaudio, each with its weights in a file."""
    for name, bundle in BUNDLES.items():
        monkeypatch.setattr(torchaudio.pipelines, name, bundle, raising=False)
        save_file(seeded(name).state_dict(), tmp_path / f"{name}.safetensors")
    return tmp_path


@pytest.mark.parametrize("name", BUNDLES)
def test_features_are_the_mean_of_torchaudios_frames_whatever_the_batch(name):
    clips = [noise(length, seed) for seed, length in enumerate([3000, 8000, 400, 3000, 16001])]
    found = encoded(encoder(name), *clips)
    expected = torch.stack([frames_of(name, clip).mean(dim=0) for clip in clips])
    assert_close(found, expected)
    assert_close(torch.cat([encoded(encoder(name), clip) for clip in clips]), expected)


@pytest.mark.parametrize("name", BUNDLES)
def test_frames_are_the_last_of_extract_features_after_the_last_layer_norm(name):
    model, clip = seeded(name), noise(5000)
    window = torch.from_numpy(clip)[None]
    if BUNDLES[name]._normalize_waveform:
        window = layer_norm(window, window.shape)
    with torch.inference_mode():
        last = model.extract_features(window)[0][-1]
        if not model.encoder.transformer.layer_norm_first:  # torchaudio's word for it is inside out
            last = model.encoder.transformer.layer_norm(last)
    assert_close(encoded(encoder(name), clip), last.mean(dim=1))


def test_a_bundles_own_model_is_taken_with_its_normalisation(bundles, monkeypatch):
    state = seeded("TINY_LARGE").state_dict()
    monkeypatch.setattr(BUNDLES["TINY_LARGE"], "_get_state_dict", lambda _: state, raising=False)
    model, clip = BUNDLES["TINY_LARGE"].get_model(), noise(5000)
    with torch.inference_mode():
        expected = model(torch.from_numpy(clip)[None])[0].mean(dim=1)
    assert_close(encoded(TorchaudioEncoder(model, rate=RATE), clip), expected)


@pytest.mark.parametrize("name", BUNDLES)
def test_long_audio_is_the_mean_over_the_frames_of_all_windows(name):
    clip = noise(2 * 8000 + 3000)
    windows = [clip[:8000], clip[8000:16000], clip[16000:]]
    expected = torch.cat([frames_of(name, window) for window in windows])
    subject = encoder(name, seconds=0.5)
    assert_close(encoded(subject, clip)[0], expected.mean(dim=0))
    with torch.inference_mode():
        tensors = subject.collate([subject.preprocess(Waveform(part, RATE)) for part in (clip, clip[:8000])])
        frames, mask = subject.forward_tokens(tensors)
    assert mask.sum(dim=1).tolist() == [len(expected), len(frames_of(name, windows[0]))]
    assert_close(frames[0], expected)
    assert_close(frames[1][mask[1]], frames_of(name, windows[0]))


def test_a_rest_too_short_for_a_frame_is_left_out():
    clip = noise(8000 + 399)
    assert_close(
        encoded(encoder("TINY_BASE", seconds=0.5), clip)[0], frames_of("TINY_BASE", clip[:8000]).mean(dim=0)
    )


def test_the_first_window_may_stand_for_all():
    clip = noise(20000)
    subject = encoder("TINY_BASE", windows="first", seconds=0.5)
    assert_close(encoded(subject, clip)[0], frames_of("TINY_BASE", clip[:8000]).mean(dim=0))
    assert subject.windows != encoder("TINY_BASE", seconds=0.5).windows


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize("length", [1, 399])
def test_audio_shorter_than_a_frame_is_followed_by_zeros(name, length):
    clip = noise(length)
    padded = np.concatenate([clip, np.zeros(400 - length, np.float32)])
    expected = frames_of(name, padded)
    assert len(expected) == 1
    assert_close(encoded(encoder(name), clip), expected)


@pytest.mark.parametrize("name", BUNDLES)
def test_silence_has_finite_features(name):
    assert encoded(encoder(name), np.zeros(5000, np.float32), np.zeros(1, np.float32)).isfinite().all()


def test_other_rates_are_resampled():
    clip = Waveform(noise(12000), 44100)
    expected = frames_of("TINY_BASE", clip.resample(RATE).samples).mean(dim=0)
    assert_close(encoded(encoder("TINY_BASE"), clip.samples, rate=44100)[0], expected)


def test_many_windows_run_a_few_at_a_time():
    clip = noise(70 * 8000)
    halves = torch.cat([encoded(encoder("TINY_BASE", seconds=0.5), part) for part in np.split(clip, 2)])
    subject, shapes = encoder("TINY_BASE", seconds=0.5), []
    subject.model.feature_extractor.register_forward_pre_hook(lambda _, args: shapes.append(len(args[0])))
    assert_close(encoded(subject, clip), halves.mean(dim=0, keepdim=True))
    assert shapes == [32, 32, 6]


def test_the_words_say_what_the_numbers_depend_on():
    subject = encoder("TINY_LARGE")
    assert subject.preprocessing == "mono, 16000 Hz, sinc resampling, each window to mean 0 and variance 1"
    assert "last layer norm" in subject.pooling
    assert "240000 samples" in subject.windows
    assert "zeros up to 400" in subject.windows


@pytest.mark.parametrize("options", [{"windows": "last"}, {"seconds": 0.01}])
def test_windows_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError, match="make"):
        encoder("TINY_BASE", **options)


@pytest.mark.parametrize("name", BUNDLES)
def test_local_checkpoint_gives_a_space_whose_vectors_are_torchaudios(bundles, name):
    batch = [(noise(length, seed), RATE) for seed, length in enumerate([5000, 12000, 5000])]
    expected = torch.stack([frames_of(name, clip).mean(dim=0) for clip, _ in batch])
    with mmencode.load(
        f"torchaudio/{name}/{bundles / name}.safetensors", device="cpu", dtype="float32"
    ) as space:
        assert space.modalities == ("audio",)
        np.testing.assert_allclose(space.encode("audio", batch), normalize(expected, dim=-1), atol=1e-5)


def test_every_way_to_save_a_model_gives_one_identity(bundles):
    state = seeded("TINY_ASR").state_dict()
    ways = {
        "safetensors": None,
        "pt": state,
        "headless.pth": {key: value for key, value in state.items() if not key.startswith("aux.")},
        "wrapped.bin": {f"model.{key}": value for key, value in state.items()},
    }
    digests = set()
    for ending, content in ways.items():
        path = bundles / f"TINY_ASR.{ending}"
        if content is not None:
            torch.save(content, path)
        digests.add(mmencode.encoder.digest(build(f"TINY_ASR/{path}")))
    assert len(digests) == 1


def test_published_weights_come_through_the_cache_of_torch_hub(bundles, monkeypatch):
    asked = []

    def answer(url, **options):
        asked.append((url, options["weights_only"]))
        return seeded("TINY_BASE").state_dict()

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", answer)
    clip = noise(5000)
    assert_close(encoded(build("TINY_BASE"), clip)[0], frames_of("TINY_BASE", clip).mean(dim=0))
    assert asked == [("https://download.pytorch.org/torchaudio/models/tiny_base.pth", True)]


def test_without_network_the_error_says_what_it_tried_and_what_to_do(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    with pytest.raises(WeightsError, match=r"HUBERT_BASE(.|\n)*no network") as caught:
        mmencode.load("torchaudio/HUBERT_BASE").encode("audio", [(noise(5000), RATE)])
    where = "https://download.pytorch.org/torchaudio/models/hubert_fairseq_base_ls960.pth"
    assert where in caught.value.culprit
    assert "torchaudio/HUBERT_BASE/<path>" in caught.value.remedy


def test_unknown_bundle_gets_the_nearest_names():
    with pytest.raises(UnknownNameError, match="did you mean WAV2VEC2_BASE"):
        mmencode.load("torchaudio/wav2vec2_base").encode("audio", [(noise(5000), RATE)])
    with pytest.raises(UnknownNameError, match="WAVLM_BASE_PLUS"):
        build("WAVLM_BASE_PLUSS")
    with pytest.raises(UnknownNameError, match=r"there are .*HUBERT_BASE"):
        build("TACOTRON2_GRIFFINLIM_CHAR_LJSPEECH")


class Payload:
    def __reduce__(self):
        return (print, ("this pickle ran code",))


@pytest.mark.parametrize(
    "kind", ["missing", "truncated", "truncated state dict", "another", "list", "pickle", "code", "empty"]
)
def test_bad_checkpoint_is_a_named_error_and_no_code_runs(bundles, capsys, kind):
    path = bundles / ("bad.safetensors" if kind in ("missing", "truncated", "another", "empty") else "bad.pt")
    whole = bundles / "TINY_BASE.safetensors"
    if kind == "truncated":
        path.write_bytes(whole.read_bytes()[:5000])
    elif kind == "truncated state dict":
        torch.save(seeded("TINY_BASE").state_dict(), path)
        path.write_bytes(path.read_bytes()[:-5000])
    elif kind == "another":
        path.write_bytes((bundles / "TINY_LARGE.safetensors").read_bytes())
    elif kind == "list":
        torch.save([torch.zeros(3)], path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": Payload()}))
    elif kind == "code":
        torch.save({"encoder": Payload()}, path)
    elif kind == "empty":
        path.write_bytes(b"")
    with pytest.raises(WeightsError, match=r"bad\.") as caught:
        mmencode.load(f"torchaudio/TINY_BASE/{path}").encode("audio", [(noise(5000), RATE)])
    assert "local file" in caught.value.remedy or "check the path" in caught.value.remedy
    assert "this pickle ran code" not in capsys.readouterr().out


def test_checkpoint_of_another_architecture_says_what_was_expected(bundles):
    with pytest.raises(WeightsError, match=r"doesn't hold the weights of torchaudio's 'TINY_BASE'") as caught:
        build(f"TINY_BASE/{bundles}/TINY_WAVLM.safetensors")
    expected = seeded("TINY_BASE").state_dict()
    assert f"{len(expected)} tensors" in caught.value.culprit


class _Conformance(EncoderConformance):
    bundle = ""

    @pytest.fixture(autouse=True)
    def _spec(self, bundles):
        path = bundles / f"{self.bundle}.safetensors"
        # Random weights of 32 numbers, half of them noise, lose more in bfloat16 than a trained network does;
        # how much depends on the processor: 0.93 where it has AMX.
        spec = mmencode.registry()[f"torchaudio/{self.bundle}/{path}"]
        type(self).spec = replace(spec, bf16_cosine=0.9)


class TestBase(_Conformance):
    bundle = "TINY_BASE"


@pytest.mark.slow
class TestLarge(_Conformance):
    bundle = "TINY_LARGE"


@pytest.mark.slow
class TestWavLM(_Conformance):
    bundle = "TINY_WAVLM"


def test_sample_items_share_passes_only_with_their_equals():
    subject, lengths = encoder("TINY_BASE"), []
    subject.model.feature_extractor.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape))
    clips = [Waveform(*item) for item in [*sample_items("audio", 3), *sample_items("audio", 3)]]
    with torch.inference_mode():
        subject(subject.collate([subject.preprocess(clip) for clip in clips]))
    assert [count for count, _ in lengths] == [2, 2, 2]
