"""Text towers of transformers in open_clip models, from local files, against open_clip itself."""

from __future__ import annotations

import json
import socket
import sys

import numpy as np
import open_clip
import pytest
import torch
from open_clip.tokenizer import HFTokenizer
from openclip_tiny import VISION, register, save_tokenizer, save_weights
from torch.nn.functional import normalize

import mmencode
from mmencode.encoders import openclip
from mmencode.errors import MissingPackageError, WeightsError
from mmencode.testing import EncoderConformance, sample_items

SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SIZES = {
    "roberta": SIZE,
    "xlm-roberta": SIZE,
    "bert": SIZE,
    "mt5": {"d_model": 32, "num_layers": 2, "num_heads": 2, "d_ff": 64, "d_kv": 16},
    "m2m_100": {"d_model": 32, "encoder_layers": 2, "encoder_ffn_dim": 64, "encoder_attention_heads": 2},
}
TEXTS = ["a cat", "the dog running on the beach stop now", "!", "naïve", "a cat " * 60]
pytestmark = pytest.mark.filterwarnings("ignore:a text is longer")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("it asked for a network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """For each kind a folder with weights, config.json and tokenizer.

    The architecture `tiny-<kind>` names a text tower that no hub has; `own-<kind>` names the folder.
    """
    from transformers import AutoConfig

    root = tmp_path_factory.mktemp("hugging-face")
    for kind, size in SIZES.items():
        folder = root / kind
        AutoConfig.for_model(
            kind, **size, vocab_size=99, max_position_embeddings=90, pad_token_id=1
        ).save_pretrained(folder)
        save_tokenizer(folder)
        pooler = "cls_pooler" if kind in ("bert", "m2m_100") else "mean_pooler"
        for prefix, name in (("tiny", "nobody/nothing"), ("own", str(folder))):
            text = {"hf_model_name": name, "hf_tokenizer_name": name, "hf_pooler_type": pooler}
            config = {"embed_dim": 48, "vision_cfg": VISION, "text_cfg": text}
            register(root, f"{prefix}-{kind}", config)
            (root / f"{prefix}-{kind}.json").write_text(json.dumps(config))
            if prefix == "tiny":
                (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
        save_weights(f"own-{kind}", folder / "open_clip_model.safetensors")
    return root


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("form", ["file", "folder"])
def test_both_towers_equal_open_clip_without_a_hub(folders, kind, form):
    path = folders / kind / "open_clip_model.safetensors"
    model, _, transform = open_clip.create_model_and_transforms(f"own-{kind}", pretrained=str(path))
    tokenizer = HFTokenizer(str(folders / kind), context_length=77)
    images = sample_items("image", 2)
    hidden = []
    model.text.transformer.register_forward_hook(
        lambda module, args, output: hidden.append(output.last_hidden_state)
    )
    with torch.inference_mode():
        text = normalize(model.eval().encode_text(tokenizer(TEXTS)), dim=-1)
        image = normalize(model.encode_image(torch.stack([transform(item) for item in images])), dim=-1)
    before = open_clip.list_models()
    name = f"tiny-{kind}/{path}" if form == "file" else f"local-dir:{path.parent}"
    with mmencode.load(f"openclip/{name}", device="cpu", dtype="float32") as space:
        np.testing.assert_allclose(space.encode("text", TEXTS), text, atol=1e-5)
        np.testing.assert_allclose(space.encode("image", images), image, atol=1e-5)
        for row, tokens in enumerate(space.encode_tokens("text", TEXTS)):
            assert len(tokens) == int((tokenizer(TEXTS)[row] != 1).sum())
            np.testing.assert_allclose(tokens, hidden[0][row, : len(tokens)], atol=1e-5)
    assert open_clip.list_models() == before


def test_padding_behind_the_longest_text_is_not_computed(folders):
    encoder = openclip.text(f"local-dir:{folders / 'roberta'}")
    batch = encoder.collate([encoder.preprocess("a cat"), encoder.preprocess("a")])
    assert batch["ids"].tolist() == [[0, 4, 5, 2], [0, 4, 2, 1]]


def test_padding_of_another_id_than_the_towers_is_computed(folders, tmp_path):
    """The tower would look at it, so it has to stay."""
    for path in (folders / "roberta").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    save_tokenizer(tmp_path, pad_token="</s>")
    assert len(openclip.text(f"local-dir:{tmp_path}").preprocess("a cat")["ids"]) == 77


def spoiled(folders, tmp_path, **changes):
    """What the text tower says of a folder whose config.json is changed, or missing."""
    for path in (folders / "roberta").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text()) | changes
    (tmp_path / "config.json").unlink()
    if changes:
        (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError) as caught:
        openclip.image(f"tiny-roberta/{tmp_path}/open_clip_model.safetensors")
    assert str(tmp_path / "config.json") in caught.value.fact
    return caught.value.remedy


def test_missing_config_says_which_file_to_put_where(folders, tmp_path):
    assert "put the config.json of nobody/nothing there" in spoiled(folders, tmp_path)


@pytest.mark.parametrize("changes", [{"model_type": "clip"}, {"attn_implementation": "somebody/kernel"}])
def test_config_of_another_kind_or_with_code_from_a_hub_is_refused(folders, tmp_path, changes):
    remedy = spoiled(folders, tmp_path, **changes)
    assert "model_type is one of roberta" in remedy
    assert "names no hub" in remedy


def test_missing_transformers_is_named(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match="pip install transformers"):
        openclip.text(f"local-dir:{folders / 'roberta'}")


class TestHuggingFaceText(EncoderConformance):
    items = ("a cat", "the dog running on the beach", "stop now", "naïve")

    @pytest.fixture(autouse=True)
    def _spec(self, folders):
        type(self).spec = mmencode.registry()[f"openclip-text/local-dir:{folders / 'xlm-roberta'}"]
