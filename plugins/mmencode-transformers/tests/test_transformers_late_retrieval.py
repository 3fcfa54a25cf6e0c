"""Late interaction finds the document that has a query's words, where one vector for each is led astray.

The checkpoint is made so that the right answer is known: a token's vector depends on its word alone, and each
word has another one that is much like it. One document has the words of the query among many others; the
others are short and have only words that are like them.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

import mmencode

pytestmark = pytest.mark.slow

MARKS = ["[PAD]", "[UNK]", "[MASK]", "[unused0]", "[unused1]"]
WORDS, WIDTH = 400, 64


def save(folder):
    """A ColBERT whose layer adds nothing, so that a vector is its word's; words 2n and 2n + 1 are alike."""
    known = {word: place for place, word in enumerate([*MARKS, *(f"w{word}" for word in range(WORDS))])}
    words = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    plain = hf.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", mask_token="[MASK]")
    plain.save_pretrained(folder)
    config = hf.BertConfig(
        vocab_size=len(known),
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=8,
    )
    hf.BertModel(config).save_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    for name, tensor in state.items():
        if "LayerNorm.weight" not in name:
            tensor.zero_()
    vectors = torch.randn(len(known), WIDTH, generator=torch.Generator().manual_seed(3))
    vectors[:5] = vectors[0]  # marks are all alike, so that they tell no documents apart
    first = slice(len(MARKS), None, 2)
    second = slice(len(MARKS) + 1, None, 2)
    vectors[second] = 0.75 * vectors[first] + 0.66 * vectors[second]
    state["embeddings.word_embeddings.weight"] = vectors
    save_file({**state, "linear.weight": torch.eye(WIDTH)}, folder / "model.safetensors")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "architectures": ["HF_ColBERT"]}))
    (folder / "artifact.metadata").write_text(json.dumps({"query_maxlen": 8, "doc_maxlen": 64}))


@pytest.fixture
def corpus():
    """Queries of three words, and documents: the right one for each, and then one of words like these."""
    random = np.random.default_rng(0)
    queries, right, alike = [], [], []
    for _ in range(12):
        chosen = random.choice(WORDS // 2, 18, replace=False) * 2
        asked, others = chosen[:3], chosen[3:]
        queries.append(" ".join(f"w{word}" for word in asked))
        whole = random.permutation(np.concatenate([asked, others + random.integers(0, 2, 15)]))
        right.append(" ".join(f"w{word}" for word in whole))
        alike.append(" ".join(f"w{word + 1}" for word in asked))
    return queries, [*right, *alike]


def test_a_match_of_words_is_found_that_one_vector_misses(corpus, load, tmp_path):
    save(tmp_path)
    queries, documents = corpus
    space = load(f"transformers/late/{tmp_path}")
    asked = space.encode_multi("text", queries, role="query")
    found = space.encode_multi("text", documents)
    best = mmencode.search(asked, found, k=1).positions[:, 0]
    assert best.tolist() == list(range(12))
    single = mmencode.search(asked.mean(), found.mean(), k=1).positions[:, 0]
    assert (single >= 12).sum() > 6
