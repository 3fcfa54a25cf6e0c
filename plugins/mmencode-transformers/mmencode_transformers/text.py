"""Text models of transformers: encoders, encoder halves of encoder-decoders, and decoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers import AutoModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES,
    AutoModelForTextEncoding,
)

from mmencode import Encoder, Tensors, pooling
from mmencode.encoder import pad_rows
from mmencode.errors import UnknownNameError

from .architectures import is_taken, refusal
from .loading import drop, keep, load, load_config, require_whole, sign
from .sources import Checkpoint, find
from .tokenizer import CheckpointTokenizer

FAMILY = "transformers/text/"
POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": pooling.cls,
    "mean": pooling.mean,
    "max": pooling.max,
    "last": pooling.last_token,
}


class TextEncoder(Encoder):
    """A text model of transformers, its last layer's outputs pooled.

    Rows are padded at the end, whichever side the checkpoint's tokenizer pads: with the mask, no token sees
    padding, and positions count from the first token. So a decoder's vectors equal those of padding at the
    start with corrected positions. The prompt stands before every text.
    """

    prompt = ""

    def __init__(self, model: Any, tokenizer: CheckpointTokenizer, pooled: str) -> None:
        super().__init__()
        self.model = model
        self.width = int(model.config.hidden_size)
        self.reader = tokenizer
        self.pooled = pooled
        self.preprocessing = tokenizer.rule
        self.tokenizer = tokenizer.identity
        self.pooling = f"{model.config.model_type}, {pooled}"

    def preprocess(self, item: str) -> Tensors:
        """Tokenize a text to ids `[t]`, cut to the model's context."""
        ids, _ = self.reader.read(item, self.prompt)
        return {"ids": ids}

    def collate(self, items: list[Tensors]) -> Tensors:
        """Pad ids to the longest row, `[b, t]`, with the mask of what is no padding."""
        ids, mask = pad_rows([item["ids"] for item in items], self.reader.padding)
        return {"ids": ids, "mask": mask}

    def cost(self, tensors: Tensors) -> int:
        """The number of tokens."""
        return len(tensors["ids"])

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]` by the pooling that the name says."""
        return POOLINGS[self.pooled](*self.forward_tokens(tensors))

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute the last layer's outputs `[b, t, width]` and the mask `[b, t]` of tokens and marks."""
        ids, mask = tensors["ids"], tensors["mask"]
        return self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state, mask


def build(variant: str) -> TextEncoder:
    """Build the encoder `<pooling>:<id or folder>`.

    Raises UnknownNameError for a pooling or an id that doesn't exist, WeightsError for a checkpoint that is
    refused, isn't whole, or is no text model.
    """
    pooled, rest = split_option(variant, tuple(POOLINGS), FAMILY)
    checkpoint = find(rest, f"{FAMILY}{pooled}:")
    model = text_model(checkpoint)
    encoder = TextEncoder(model, CheckpointTokenizer(checkpoint, model.config, context(model)), pooled)
    sign(encoder, checkpoint)
    return encoder


def split_option(variant: str, choices: tuple[str, ...], family: str) -> tuple[str, str]:
    """Split a name at its colon; UnknownNameError when the word before it is none of the choices."""
    word, colon, rest = variant.partition(":")
    if not colon or word not in choices:
        raise UnknownNameError(
            f"{family}{variant} doesn't say how it is pooled",
            remedy=f"write {' or '.join(f'{family}{choice}:<id or folder>' for choice in choices)}",
        )
    return word, rest


def text_model(checkpoint: Checkpoint) -> Any:
    """Load the part of a checkpoint that reads text, without heads; WeightsError when it is no text model."""
    config = load_config(checkpoint)
    if config.sub_configs or is_taken(config):
        raise refusal(checkpoint, config, "models that read nothing but text are taken here")
    config.use_cache = False
    encoding = config.model_type in MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
    whole, missing = load(checkpoint, config, AutoModelForTextEncoding if encoding else AutoModel)
    halved = config.is_encoder_decoder and not encoding
    model = whole.get_encoder() if halved else whole
    if model.main_input_name != "input_ids":
        raise refusal(checkpoint, config, f"it takes {model.main_input_name}")
    drop(model, "pooler")
    require_whole(checkpoint, whole, missing, model)
    keep(model)
    return model


def context(model: Any) -> int | None:
    """The number of tokens that a model has positions for; None where it has no such limit.

    The positions of RoBERTa and its kin begin after that of padding.
    """
    most = getattr(model.config, "max_position_embeddings", None)
    if not most or most < 0:
        return None
    positions = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    return int(most) - (0 if padding is None else int(padding) + 1)
