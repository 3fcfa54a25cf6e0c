"""Token outputs of every kind of open_clip tower, against open_clip's own on the same weights."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from openclip_tiny import CONFIGS, TEXTS, register, save_tokenizer, save_weights

import mmencode
from mmencode.encoders.openclip.tokenizer import reader
from mmencode.errors import WeightsError
from mmencode.testing import EncoderConformance, sample_items

IMAGES = ["tiny-clip", "tiny-custom", "tiny-coca", "tiny-resnet", "tiny-timm-vit", "tiny-timm-convnext"]
GRIDS = dict.fromkeys(IMAGES, (2, 2)) | {"tiny-timm-vit": (10, 10), "tiny-timm-convnext": (5, 5)}
TEXT_TOWERS = ["tiny-clip", "tiny-eos", "tiny-sigmoid", "tiny-coca", "tiny-last"]


@pytest.fixture(scope="module", autouse=True)
def architectures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openclip")
    for name in {*IMAGES, *TEXT_TOWERS}:
        register(folder, name, CONFIGS[name])
        save_weights(name, folder / f"{name}.safetensors")
    return folder


def reference(architectures, name):
    path = str(architectures / f"{name}.safetensors")
    model, _, transform = open_clip.create_model_and_transforms(name, pretrained=path, force_custom_text=True)
    return model.eval(), transform


def patches_of(name, tower, pixels):
    """The last layer's outputs `[b, rows * columns, hidden]`, each kind by its own modules."""
    seen = []
    if name == "tiny-resnet":
        tower.layer4.register_forward_hook(lambda module, args, output: seen.append(output))
    elif not name.startswith("tiny-timm"):
        tower.transformer.register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.inference_mode():
        tower(pixels)
        found = tower.trunk.forward_features(pixels) if name.startswith("tiny-timm") else seen[0]
        if found.ndim == 4:
            return found.flatten(2).mT
        if name in ("tiny-clip", "tiny-custom"):
            found = tower.ln_post(found)
        return found[:, 1:]


@pytest.mark.parametrize("name", IMAGES)
def test_patches_are_the_last_layers_outputs_and_fill_the_grid(architectures, name):
    model, transform = reference(architectures, name)
    images = sample_items("image", 3)
    expected = patches_of(name, model.visual, torch.stack([transform(image) for image in images]))
    with mmencode.load(
        f"openclip/{name}/{architectures}/{name}.safetensors", device="cpu", dtype="float32"
    ) as space:
        found = space.encode_tokens("image", images)
        assert found.grid == GRIDS[name]
        assert len(found[0]) == found.grid[0] * found.grid[1]
        np.testing.assert_allclose(np.stack(found), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["tiny-clip", "tiny-timm-vit"])
def test_patches_equal_open_clips_intermediates(architectures, name):
    model, transform = reference(architectures, name)
    images = sample_items("image", 2)
    with torch.inference_mode():
        expected = model.visual.forward_intermediates(
            torch.stack([transform(image) for image in images]), indices=1, normalize_intermediates=True
        )["image_intermediates"][-1]
    with mmencode.load(
        f"openclip/{name}/{architectures}/{name}.safetensors", device="cpu", dtype="float32"
    ) as space:
        found = np.stack(space.encode_tokens("image", images))
    np.testing.assert_allclose(found, expected.flatten(2).mT, atol=1e-5)


def test_grid_follows_the_weights_to_another_dtype(architectures):
    from mmencode.encoders.openclip import image

    encoder = image(f"tiny-resnet/{architectures}/tiny-resnet.safetensors").to(torch.bfloat16)
    assert encoder.grid == (2, 2)


@pytest.mark.filterwarnings("ignore:a text is longer")
@pytest.mark.parametrize("name", TEXT_TOWERS)
def test_text_tokens_equal_open_clips_and_are_the_texts_own(architectures, name):
    model, _ = reference(architectures, name)
    tokenizer = open_clip.get_tokenizer(name)
    with torch.inference_mode():
        expected = model.text.forward_intermediates(
            tokenizer(TEXTS), indices=1, normalize_intermediates=True, output_fmt="NLC"
        )["text_intermediates"][-1]
    with mmencode.load(
        f"openclip/{name}/{architectures}/{name}.safetensors", device="cpu", dtype="float32"
    ) as space:
        found = space.encode_tokens("text", TEXTS)
    for row, text in enumerate(TEXTS):
        assert len(found[row]) == min(len(tokenizer.encode(text)) + 2, tokenizer.context_length)
        np.testing.assert_allclose(found[row], expected[row, : len(found[row])], atol=1e-5)


def test_text_tokens_of_a_tower_that_sees_its_padding_are_those_of_its_last_layer_norm(architectures):
    model, _ = reference(architectures, "tiny-sigmoid")
    seen = []
    model.text.ln_final.register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.inference_mode():
        model.encode_text(open_clip.get_tokenizer("tiny-sigmoid")(["a cat"]))
    path = architectures / "tiny-sigmoid.safetensors"
    with mmencode.load(f"openclip/tiny-sigmoid/{path}", device="cpu", dtype="float32") as space:
        tokens = space.encode_tokens("text", ["a cat"])[0]
    np.testing.assert_allclose(tokens, seen[0][0, :4], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "marks", "own"),
    [
        ({}, {}, (0, 4)),
        ({}, {"pad_token": "</s>"}, (0, 4)),  # SigLIP's: padded with the end token
        ({}, {"padding_side": "left"}, (4, 8)),
        ({"strip_sep_token": True}, {}, (0, 4)),  # CLIPA's: the end token is replaced
        ({"tokenizer_mode": "clips"}, {}, (0, 4)),
    ],
)
def test_own_ids_are_told_from_padding(tmp_path, options, marks, own):
    save_tokenizer(tmp_path, **marks)
    tokenizer = HFTokenizer(str(tmp_path), context_length=8, **options)
    read = reader(tokenizer).read
    for text in ("a cat", "", "a cat on the beach", "the dog running on the beach stop"):
        assert torch.equal(read(text).ids, tokenizer([text])[0])
    assert read("a cat")[1:4] == (*own, False)
    assert read("a cat " * 9).cut
    longest = 5 if options.get("tokenizer_mode") else 6  # beside the marks
    assert not read("cat " * longest).cut
    assert read("cat " * (longest + 1)).cut


def test_threads_share_a_tokenizer_of_transformers(tmp_path):
    """Without a lock: each text has its own ids, whatever the others are cut and padded to."""
    from concurrent.futures import ThreadPoolExecutor

    save_tokenizer(tmp_path)
    tokenizer = HFTokenizer(str(tmp_path), context_length=8)
    read = reader(tokenizer).read
    texts = ["a cat", "the dog running on the beach stop now", "a cat " * 9, "now"] * 100
    expected = {text: tokenizer([text])[0] for text in texts[:4]}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(read, texts))
    assert all(torch.equal(row.ids, expected[text]) for row, text in zip(found, texts, strict=True))


def test_exclamation_mark_at_the_end_is_no_padding():
    tokenizer = SimpleTokenizer(context_length=16)
    assert reader(tokenizer).read("stop ! !")[1:4] == (0, 5, False)


def test_tokenizer_of_an_unknown_kind_is_refused():
    with pytest.raises(WeightsError, match=r"made a dict(.|\n)*hf_tokenizer_name"):
        reader({})


class TestResNet(EncoderConformance):
    @pytest.fixture(autouse=True)
    def _spec(self, architectures):
        path = architectures / "tiny-resnet.safetensors"
        type(self).spec = mmencode.registry()[f"openclip-image/tiny-resnet/{path}"]


@pytest.mark.filterwarnings("ignore:a text is longer")
class TestTextThatSeesItsPadding(EncoderConformance):
    @pytest.fixture(autouse=True)
    def _spec(self, architectures):
        path = architectures / "tiny-sigmoid.safetensors"
        type(self).spec = mmencode.registry()[f"openclip-text/tiny-sigmoid/{path}"]
