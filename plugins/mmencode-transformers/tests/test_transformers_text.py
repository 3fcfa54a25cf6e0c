"""Text models give what transformers gives, whatever stands beside a text."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
import transformers as hf
from torch.nn.functional import normalize

from mmencode.errors import InputError

ENCODERS = ["bert", "roberta", "mpnet", "distilbert", "modernbert", "t5", "bart"]
DECODERS = ["gpt2", "gpt2_left", "llama"]


def outputs(folder, texts, side="right"):
    """The last hidden states and the mask of one padded batch, computed by transformers alone."""
    words = hf.AutoTokenizer.from_pretrained(folder, padding_side=side)
    config = hf.AutoConfig.from_pretrained(folder)
    kind = hf.T5EncoderModel if config.model_type == "t5" else hf.AutoModel
    model = kind.from_pretrained(folder, dtype=torch.float32).eval()
    model = model.get_encoder() if config.model_type == "bart" else model
    tensors = words(texts, padding=True, truncation=True, max_length=tiny.LONGEST, return_tensors="pt")
    mask = tensors["attention_mask"]
    extra = {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)} if side == "left" else {}
    with torch.inference_mode():
        return model(input_ids=tensors["input_ids"], attention_mask=mask, **extra).last_hidden_state, mask


def pooled(how, hidden, mask):
    """Pooling as anyone would write it, one text at a time."""
    rows = [states[own.bool()] for states, own in zip(hidden, mask, strict=True)]
    found = {
        "cls": lambda row: row[0],
        "mean": lambda row: row.mean(dim=0),
        "max": lambda row: row.amax(dim=0),
        "last": lambda row: row[-1],
    }[how]
    return normalize(torch.stack([found(row) for row in rows]), dim=-1).numpy()


@pytest.mark.parametrize("how", ["cls", "mean", "max"])
@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_equal_transformers_in_a_padded_batch(name, how, checkpoint, load):
    folder = checkpoint(name)
    found = load(f"transformers/text/{how}:{folder}").encode("text", tiny.TEXTS)
    np.testing.assert_allclose(found.vectors, pooled(how, *outputs(folder, tiny.TEXTS)), atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("how", ["last", "mean"])
@pytest.mark.parametrize("name", DECODERS)
def test_decoders_equal_transformers_on_both_sides_of_padding(name, how, side, checkpoint, load):
    folder = checkpoint(name)
    found = load(f"transformers/text/{how}:{folder}").encode("text", tiny.TEXTS)
    np.testing.assert_allclose(found.vectors, pooled(how, *outputs(folder, tiny.TEXTS, side)), atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "roberta", "t5", "llama"])
def test_tokens_are_the_last_hidden_states(name, checkpoint, load):
    folder = checkpoint(name)
    found = load(f"transformers/text/mean:{folder}").encode_tokens("text", tiny.TEXTS)
    hidden, mask = outputs(folder, tiny.TEXTS)
    for tokens, states, own in zip(found, hidden, mask, strict=True):
        np.testing.assert_allclose(tokens, states[own.bool()].numpy(), atol=1e-5)


def test_the_side_that_a_tokenizer_pads_on_changes_nothing(checkpoint, load):
    found = [
        load(f"transformers/text/last:{checkpoint(name)}").encode("text", tiny.TEXTS)
        for name in ("gpt2", "gpt2_left")
    ]
    np.testing.assert_allclose(found[0].vectors, found[1].vectors, atol=1e-6)


@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet", "llama"])
def test_long_texts_are_cut_to_the_context_with_one_warning(name, checkpoint, load):
    space = load(f"transformers/text/mean:{checkpoint(name)}")
    long = "harbour " * 200
    with pytest.warns(UserWarning, match="longer than 64 tokens"):
        tokens = space.encode_tokens("text", [long, long])
    space.encode("text", [long])  # a second warning would be an error
    assert [len(row) for row in tokens] == [64, 64]


def test_a_text_that_leaves_no_token_is_named(checkpoint, load):
    from mmencode_transformers.sources import find
    from mmencode_transformers.tokenizer import CheckpointTokenizer

    words = CheckpointTokenizer(find(str(checkpoint("llama")), "transformers/text/last:"), None, 48)
    with pytest.raises(InputError, match="the tokenizer leaves nothing of it"):
        words.read("")


def test_blank_texts_are_refused_with_their_place(checkpoint, load):
    from mmencode.errors import InputError

    with pytest.raises(InputError) as caught:
        load(f"transformers/text/mean:{checkpoint('bert')}").encode("text", ["a dog", ""])
    assert caught.value.index == 1


def test_pooling_is_part_of_the_identity(checkpoint, load):
    folder = checkpoint("bert")
    spaces = [load(f"transformers/text/{how}:{folder}") for how in ("cls", "mean")]
    fields = [space.card.towers[0].identity for space in spaces]
    assert [field.pooling for field in fields] == ["bert, cls", "bert, mean"]
    assert fields[0].weights == fields[1].weights
    assert fields[0].tokenizer.startswith("sha256:")


def test_random_poolers_are_no_part_of_the_weights(checkpoint, load):
    """A masked language model has none, and transformers would draw one at each loading."""
    folder = checkpoint("bert")
    first, second = (load(f"transformers/text/cls:{folder}").id for _ in range(2))
    assert first == second


def test_attention_is_transformers_own_choice_whatever_the_config_says(checkpoint, tmp_path):
    import json
    import shutil

    from mmencode_transformers.text import build

    folder = tmp_path / "asks"
    shutil.copytree(checkpoint("bert"), folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "attn_implementation": "flash_attention_2"}))
    assert build(f"mean:{folder}").model.config._attn_implementation == "sdpa"
