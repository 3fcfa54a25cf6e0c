"""The VAE encoder computes what diffusers computes on the same weights, and names what is wrong elsewhere."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

import mmencode
from mmencode.errors import EncoderError, UnknownNameError, WeightsError
from mmencode.testing import EncoderConformance

diffusers = pytest.importorskip("diffusers", reason="diffusers isn't installed: pip install diffusers")
from mmencode_diffusers import source  # noqa: E402
from mmencode_diffusers.vae import Vae, encoder, psnr  # noqa: E402

KL: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "block_out_channels": (8, 8, 16),
    "norm_num_groups": 4,
    "latent_channels": 4,
}
TINY: dict[str, Any] = {
    "encoder_block_out_channels": (8, 8, 8),
    "decoder_block_out_channels": (8, 8, 8),
    "num_encoder_blocks": (1, 1, 1),
    "num_decoder_blocks": (1, 1, 1),
}
MEANS = {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.0, 2.0, 0.5, 1.5]}
MODELS = {
    "kl": ("AutoencoderKL", KL),
    "kl-shift": ("AutoencoderKL", {**KL, "shift_factor": 0.1159, "scaling_factor": 0.3611}),
    "kl-means": ("AutoencoderKL", {**KL, **MEANS}),
    "kl-bare": ("AutoencoderKL", {**KL, "use_quant_conv": False, "use_post_quant_conv": False}),
    "tiny": ("AutoencoderTiny", TINY),
    "tiny-scaled": ("AutoencoderTiny", {**TINY, "scaling_factor": 0.5, "shift_factor": 0.25}),
}
SIZES = [(96, 64), (37, 51), (1, 1), (3, 200), (64, 64)]


def made(name: str) -> Any:
    kind, config = MODELS[name]
    torch.manual_seed(3)
    return getattr(diffusers, kind)(**config).eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vaes")
    for name in MODELS:
        made(name).save_pretrained(folder / name)
    return folder


def photo(width: int = 96, height: int = 64) -> Image.Image:
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def pixels_of(image: Image.Image) -> torch.Tensor:
    """The middle square, 64 by 64, from -1 to 1, by the plainest code; the width is even."""
    left = (image.width - image.height) // 2
    square = image.crop((left, 0, left + image.height, image.height)).resize(
        (64, 64), Image.Resampling.BICUBIC
    )
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 127.5 - 1


@torch.inference_mode()
def latents_of(name: str, image: Image.Image) -> torch.Tensor:
    """Latents `[1, c, rows, columns]` as diffusers' own pipelines make them."""
    model, config = made(name), MODELS[name][1]
    found = model.encode(pixels_of(image)[None])
    if "tiny" in name:
        return (found.latents - config.get("shift_factor", 0.0)) * config.get("scaling_factor", 1.0)
    mean, scale = found.latent_dist.mean, config.get("scaling_factor", 0.18215)
    if "latents_mean" in config:
        means, spreads = (torch.tensor(config[key]).view(1, 4, 1, 1) for key in MEANS)
        return (mean - means) * scale / spreads
    return (mean - config.get("shift_factor", 0.0)) * scale


@pytest.mark.parametrize("name", MODELS)
def test_latents_equal_those_of_diffusers(name: str, saved: Path) -> None:
    found, image = encoder(f"{saved / name}@64"), photo()
    expected = latents_of(name, image)
    tensors = found.collate([found.preprocess(image)])
    with torch.inference_mode():
        tokens, mask = found.forward_tokens(tensors)
        features = found(tensors)
    assert found.grid == (16, 16)
    assert mask.all()
    torch.testing.assert_close(tokens, expected.flatten(2).mT, rtol=0, atol=1e-5)
    torch.testing.assert_close(features, expected.mean(dim=(2, 3)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_space_gives_the_same_vectors_and_the_grid(name: str, saved: Path) -> None:
    expected = latents_of(name, photo())
    with mmencode.load(f"vae/{saved / name}@64", device="cpu", dtype="float32") as space:
        vectors = space.encode("image", [photo()]).vectors
        tokens = space.encode_tokens("image", [photo()])
    assert tokens.grid == (16, 16)
    np.testing.assert_allclose(tokens[0], expected.flatten(2).mT[0], atol=1e-5)
    np.testing.assert_allclose(vectors, normalize(expected.mean(dim=(2, 3)), dim=-1), atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_decoding_equals_that_of_diffusers(name: str, saved: Path) -> None:
    found = encoder(f"{saved / name}@64")
    with torch.inference_mode():
        model = made(name)
        coded = model.encode(pixels_of(photo())[None])
        raw = coded.latents if "tiny" in name else coded.latent_dist.mean
        expected = (model.decode(raw).sample / 2 + 0.5).clamp(0, 1)
        tokens, _ = found.forward_tokens(found.collate([found.preprocess(photo())]))
    images = found.decode(tokens)
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-5)
    original = pixels_of(photo())[None] / 2 + 0.5
    assert psnr(images, original) == pytest.approx(psnr(expected, original), abs=1e-3)


def test_round_trip_of_a_trained_vae_loses_less_than_that_of_an_untrained_one() -> None:
    image = torch.linspace(-1, 1, 16).expand(1, 3, 16, 16)
    tensors = {"pixels": ((image + 1) * 127.5).round().byte()}

    def round_trip(model: Any) -> float:
        found = Vae(model, 16)
        return psnr(found.decode(found.forward_tokens(tensors)[0]), image / 2 + 0.5)

    model = made("tiny")
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimiser.zero_grad()
        (model.decode(model.encode(image).latents).sample - image).square().mean().backward()
        optimiser.step()
    assert round_trip(model) > round_trip(made("tiny")) + 3


def test_psnr_of_a_tenth_everywhere_is_20_decibels() -> None:
    assert psnr(torch.full((3, 4, 4), 0.6), torch.full((3, 4, 4), 0.5)) == pytest.approx(20, abs=1e-3)


def test_latents_of_another_shape_are_refused(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"make it \[b, 256, 4\]"):
        encoder(f"{saved / 'kl'}@64").decode(torch.zeros(1, 4, 16, 16))


@pytest.mark.parametrize("size", SIZES)
def test_any_size_of_image_has_the_same_latents_alone_and_in_a_batch(
    size: tuple[int, int], saved: Path
) -> None:
    found = encoder(f"{saved / 'kl'}@64")
    items = [found.preprocess(photo(*other)) for other in SIZES]
    with torch.inference_mode():
        alone, _ = found.forward_tokens(found.collate([items[SIZES.index(size)]]))
        together, _ = found.forward_tokens(found.collate(items))
    assert alone.shape == (1, 256, 4)
    torch.testing.assert_close(together[SIZES.index(size)], alone[0], rtol=0, atol=1e-5)


def test_middle_of_a_wide_image_is_what_counts(saved: Path) -> None:
    found, wide = encoder(f"{saved / 'kl'}@64"), photo(192, 64)
    middle = wide.crop((64, 0, 128, 64))
    assert torch.equal(found.preprocess(wide)["pixels"], found.preprocess(middle)["pixels"])


def test_size_that_the_grid_does_not_divide_is_a_named_error(saved: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"multiple of 4: .*@64"):
        encoder(f"{saved / 'kl'}@63")
    with pytest.raises(UnknownNameError, match="multiple of 4"):
        encoder(f"{saved / 'kl'}@0")
    with pytest.raises(ValueError, match="multiple of 4, such as 64"):
        Vae(made("kl"), 63)


def test_default_size_is_256(saved: Path) -> None:
    assert encoder(str(saved / "tiny")).size == 256


def test_identity_says_size_shift_and_scale(saved: Path) -> None:
    found = encoder(f"{saved / 'kl-shift'}@64")
    assert found.preprocessing == "RGB, the middle square, bicubic to 64x64, -1 to 1"
    assert found.pooling.endswith("shift 0.1159, scale 0.3611")


def test_pipeline_folder_means_its_vae(tmp_path: Path) -> None:
    made("kl").save_pretrained(tmp_path / "pipeline" / "vae")
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    assert encoder(f"{tmp_path / 'pipeline'}@64").width == 4


def test_vae_of_other_channels_is_refused() -> None:
    with pytest.raises(EncoderError, match="4 channels"):
        Vae(diffusers.AutoencoderKL(**{**KL, "in_channels": 4}), 64)


@pytest.mark.parametrize("name", [source.CONFIG, source.WEIGHTS])
def test_missing_file_is_named(name: str, tmp_path: Path) -> None:
    made("tiny").save_pretrained(tmp_path / "vae")
    (tmp_path / "vae" / name).unlink()
    with pytest.raises(WeightsError, match=name):
        encoder(str(tmp_path / "vae"))


def test_missing_folder_is_named_and_no_hub_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "hf_hub_download", lambda *_, **__: pytest.fail("a hub was asked"))
    with pytest.raises(WeightsError, match="no folder"):
        encoder(f"{tmp_path}/nowhere")
    with pytest.raises(UnknownNameError, match="no VAE is called 'word'"):
        encoder("word")


@pytest.mark.parametrize("content", ["{", "[]", '{"_class_name": "AutoencoderDC"}', "{}"])
def test_config_of_something_else_is_a_named_error(content: str, tmp_path: Path) -> None:
    made("tiny").save_pretrained(tmp_path / "vae")
    (tmp_path / "vae" / source.CONFIG).write_text(content)
    with pytest.raises(WeightsError, match=source.CONFIG):
        encoder(str(tmp_path / "vae"))


@pytest.mark.parametrize("damage", ["truncated", "another", "incomplete"])
def test_weights_that_do_not_fit_are_a_named_error(damage: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    made("tiny").save_pretrained(tmp_path / "vae")
    path = tmp_path / "vae" / source.WEIGHTS
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:2000])
    elif damage == "another":
        config = json.loads((tmp_path / "vae" / source.CONFIG).read_text())
        config["encoder_block_out_channels"] = [16, 16, 16]
        (tmp_path / "vae" / source.CONFIG).write_text(json.dumps(config))
    else:
        state = load_file(path)
        state.popitem()
        save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="can't be loaded"):
        encoder(str(tmp_path / "vae"))


class Payload:
    def __reduce__(self) -> Any:
        return (print, ("this pickle ran code",))


def test_pickled_weights_are_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made("tiny").save_pretrained(tmp_path / "vae")
    (tmp_path / "vae" / source.WEIGHTS).unlink()
    (tmp_path / "vae" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(WeightsError, match=r"\.bin"):
        encoder(str(tmp_path / "vae"))
    assert "this pickle ran code" not in capsys.readouterr().out


def test_hub_that_cannot_be_reached_is_an_error_with_the_way_by_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="some/vae") as caught:
        encoder("some/vae")
    assert "vae/<folder>" in caught.value.remedy


@pytest.mark.parametrize("subfolder", ["", "vae"])
def test_repository_is_read_from_the_snapshot_wherever_its_vae_is(
    subfolder: str, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made("kl").save_pretrained(tmp_path / subfolder)

    def download(repository: str, name: str, subfolder: str | None = None) -> str:
        path = tmp_path / (subfolder or "") / name
        if not path.is_file():
            raise source.EntryNotFoundError("404")
        return str(path)

    monkeypatch.setattr(source, "hf_hub_download", download)
    assert encoder("some/repository@64").size == 64


def test_declaring_imports_nothing_heavy() -> None:
    code = "import sys, mmencode_diffusers as m; list(m.mmencode_encoders()); print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert not [name for name in ("torch", "numpy", "diffusers", "PIL") if repr(name) in done.stdout]


class TestKL(EncoderConformance):
    @pytest.fixture(autouse=True, scope="class")
    def _name(self, saved: Path) -> None:
        type(self).name = f"vae/{saved / 'kl-shift'}@64"


@pytest.mark.slow
class TestTiny(EncoderConformance):
    @pytest.fixture(autouse=True, scope="class")
    def _name(self, saved: Path) -> None:
        type(self).name = f"vae/{saved / 'tiny'}@64"
