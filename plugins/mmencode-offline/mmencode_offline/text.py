"""The text encoder all-MiniLM-L6-v2, whose sentence vectors are the offline space."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors.torch import load
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from mmencode import Encoder, Tensors, pooling
from mmencode.checkpoints import require_tokens
from mmencode.encoder import Notice, pad_rows

from .sources import MINILM, TOKENIZER, read

WIDTH = 384
_LAYERS, _HEADS, _INNER, _TOKENS, _WORDS = 6, 12, 1536, 256, 30522
_EPSILON = 1e-12

_TOO_LONG = (
    f"a text is longer than {_TOKENS} tokens: MiniLM reads the first {_TOKENS} and leaves out the rest; "
    "split long texts to keep them whole. Said once for each time the encoder is loaded"
)


class Layer(nn.Module):
    """A layer of BERT: attention and a feed-forward net, each added to its input and normalised after.

    Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Linear(WIDTH, 3 * WIDTH)  # query, key and value in one product
        self.output = nn.Linear(WIDTH, WIDTH)
        self.attended = nn.LayerNorm(WIDTH, eps=_EPSILON)
        self.widen = nn.Linear(WIDTH, _INNER)
        self.narrow = nn.Linear(_INNER, WIDTH)
        self.fed = nn.LayerNorm(WIDTH, eps=_EPSILON)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Map hidden `[b, t, width]` to the same shape; mask `[b, 1, 1, t]` is true where a token counts."""
        b, t, _ = hidden.shape
        parts = self.inputs(hidden).view(b, t, 3, _HEADS, WIDTH // _HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each [b, heads, t, width / heads]
        context = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        hidden = self.attended(hidden + self.output(context.transpose(1, 2).reshape(b, t, WIDTH)))
        fed: Tensor = self.fed(hidden + self.narrow(gelu(self.widen(hidden))))
        return fed


class MiniLM(Encoder):
    """Encodes sentences to the mean of their contextual tokens; longer texts are cut, with one warning."""

    width = WIDTH
    preprocessing = f"WordPiece, lower case, the first {_TOKENS} tokens"
    tokenizer = f"sha256:{TOKENIZER.sha256}"
    pooling = "mean"

    def __init__(self, tokenizer: bytes) -> None:
        super().__init__()
        # Given its weight, an embedding doesn't draw one; on "meta" torch would import its compiler for that.
        self.words = nn.Embedding(_WORDS, WIDTH, _weight=torch.empty(_WORDS, WIDTH))
        self.positions = nn.Embedding(_TOKENS, WIDTH, _weight=torch.empty(_TOKENS, WIDTH))
        self.embedded = nn.LayerNorm(WIDTH, eps=_EPSILON)
        self.layers = nn.ModuleList(Layer() for _ in range(_LAYERS))
        self._tokenizer = Tokenizer.from_buffer(tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_TOKENS)
        self._too_long = Notice(_TOO_LONG)

    def preprocess(self, item: str) -> Tensors:
        """Tokenize a text to ids `[t]`, at most 256 of them."""
        encoding = self._tokenizer.encode(item)
        require_tokens(encoding.special_tokens_mask.count(0), item)
        if encoding.overflowing:
            self._too_long.give()
        return {"ids": torch.tensor(encoding.ids)}

    def collate(self, items: list[Tensors]) -> Tensors:
        """Pad token ids to the longest item, `[b, t]`, with the mask of those that count."""
        ids, mask = pad_rows([item["ids"] for item in items])
        return {"ids": ids, "mask": mask}

    def cost(self, tensors: Tensors) -> int:
        """The number of tokens."""
        return len(tensors["ids"])

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, 384]`, the mean of the contextual tokens."""
        return pooling.mean(*self.forward_tokens(tensors))

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute contextual tokens `[b, t, 384]` and their mask `[b, t]`."""
        ids, mask = tensors["ids"], tensors["mask"]
        hidden = self.embedded(self.words(ids) + self.positions.weight[: ids.shape[1]])  # [b, t, 384]
        for layer in self.layers:
            hidden = layer(hidden, mask[:, None, None, :])
        return hidden, mask


def encoder() -> MiniLM:
    """Read MiniLM from its package; MissingPackageError or WeightsError when it isn't there as released."""
    weights = _rename(load(read(MINILM)))
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
        minilm = MiniLM(read(TOKENIZER))
    minilm.load_state_dict(weights, assign=True)
    return minilm.eval().requires_grad_(False)


def _rename(file: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Map a file's tensors to the names of `MiniLM`; the first segment's vector is added to all positions."""
    segment = file["embeddings.token_type_embeddings.weight"][0]
    weights = {
        "words.weight": file["embeddings.word_embeddings.weight"],
        "positions.weight": file["embeddings.position_embeddings.weight"][:_TOKENS] + segment,
        **_pair("embedded", file, "embeddings.LayerNorm"),
    }
    for index in range(_LAYERS):
        ours, theirs = f"layers.{index}", f"encoder.layer.{index}"
        attention = [f"{theirs}.attention.self.{name}" for name in ("query", "key", "value")]
        weights |= {
            f"{ours}.inputs.{kind}": torch.cat([file[f"{name}.{kind}"] for name in attention])
            for kind in ("weight", "bias")
        }
        weights |= _pair(f"{ours}.output", file, f"{theirs}.attention.output.dense")
        weights |= _pair(f"{ours}.attended", file, f"{theirs}.attention.output.LayerNorm")
        weights |= _pair(f"{ours}.widen", file, f"{theirs}.intermediate.dense")
        weights |= _pair(f"{ours}.narrow", file, f"{theirs}.output.dense")
        weights |= _pair(f"{ours}.fed", file, f"{theirs}.output.LayerNorm")
    return weights


def _pair(ours: str, file: Mapping[str, Tensor], theirs: str) -> dict[str, Tensor]:
    return {f"{ours}.{kind}": file[f"{theirs}.{kind}"] for kind in ("weight", "bias")}
