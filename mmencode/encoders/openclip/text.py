"""The text towers of open_clip: its own transformers, causal or not, and those of transformers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.transformer import TextTransformer, text_global_pool
from torch import Tensor, nn

from ...encoder import Encoder, Notice, Tensors
from ...inputs.text import require_tokens
from ...isolation.copying import structural_copy
from .blocks import is_quick, outputs_at, quicken
from .tokenizer import reader

End = Callable[[Any, Tensor], Tensor]  # the place of the end token in each row of ids `[..., t]`


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerKind:
    """The functions that compute one kind of text tower.

    needed    the number of a text's padded ids `[context]` that the tower must see: later ones change nothing
    features  computes features `[b, width]` of ids `[b, t]`
    tokens    computes contextual tokens `[b, t, hidden]` of ids
    padding   the id that fills up the shorter rows of a batch
    pooling   a few words on how the features are made of the tokens
    """

    needed: Callable[[Any, Tensor], int]
    features: Callable[[Any, Tensor], Tensor]
    tokens: Callable[[Any, Tensor], Tensor]
    padding: int = 0
    pooling: str


class OpenClipText(Encoder):
    """The text tower of an open_clip model, which stays as it is, with its tokenizer.

    Padding that a tower doesn't look at is never computed: equal results, and several times as fast on
    captions. A causal tower that pools at the end token looks at nothing after it, a tower of transformers
    masks its padding, and the others (SigLIP, CoCa) get the whole context.
    """

    width: int
    preprocessing: str
    tokenizer: str
    pooling: str

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__()
        self.tower: Any = structural_copy(model.text)
        self.width = int(model.text.output_dim)
        self._kind = _KINDS[type(self.tower)](self.tower)
        self._reader = reader(tokenizer)
        context = int(tokenizer.context_length)
        self._too_long = Notice(
            f"a text is longer than {context} tokens, and the rest is left out; said once"
        )
        self.preprocessing = f"at most {context} tokens"
        self.tokenizer = self._reader.identity
        self.pooling = f"open_clip {type(model.text).__name__}, {self._kind.pooling}"

    def preprocess(self, item: str) -> Tensors:
        """Tokenize a text to ids `[t]` as far as the tower looks; `own` is where its own begin and end."""
        found = self._reader.read(item)
        require_tokens(found.words, item)
        if found.cut:
            self._too_long.give()
        needed = self._kind.needed(self.tower, found.ids)
        return {"ids": found.ids[:needed], "own": torch.tensor([found.start, min(found.end, needed)])}

    def collate(self, items: list[Tensors]) -> Tensors:
        """Pad ids to the longest row, `[b, t]`, and stack `own`, `[b, 2]`."""
        rows = [item["ids"] for item in items]
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self._kind.padding)
        return {"ids": padded, "own": torch.stack([item["own"] for item in items])}

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]` as open_clip's `encode_text` does."""
        return self._kind.features(self.tower, tensors["ids"])

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute tokens `[b, t, hidden]` after the last layer norm, and the mask of the text's own.

        Its own are the tokens of the text and the tokenizer's marks of start and end. A tower like SigLIP's
        attends to the padding as well, and even pools there; still the mask leaves padding out, and CoCa's
        class token.
        """
        tokens = self._kind.tokens(self.tower, tensors["ids"])
        starts, ends = tensors["own"].unsqueeze(2).unbind(1)  # [b, 1] each
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return tokens, (starts <= places) & (places < ends)


def _transformer(tower: Any) -> TowerKind:
    """The functions for open_clip's own transformer, pooled at an end token or on the whole context."""
    quicken(tower.transformer)
    causal = tower.attn_mask is not None and tower.cls_emb is None
    ends = {"argmax": _highest, "eos": _end_token} if causal else {}
    if tower.pool_type in ends:
        end = ends[tower.pool_type]
        features = partial(_at_end, end) if is_quick(tower.transformer) else _pool
        return TowerKind(
            needed=partial(_to_end, end), features=features, tokens=_causal, pooling=tower.pool_type
        )
    return TowerKind(needed=_to_context, features=_whole, tokens=_whole_tokens, pooling=tower.pool_type)


def _hugging_face(tower: Any) -> TowerKind:
    """The functions for a text tower of transformers, which masks its padding on either side."""
    return TowerKind(
        needed=_to_padding,
        features=lambda tower, ids: _run_masked(tower, ids)[0],
        tokens=lambda tower, ids: _run_masked(tower, ids)[1],
        padding=int(tower.config.pad_token_id),
        pooling=f"{tower.config.model_type}, {type(tower.pooler).__name__}",
    )


_KINDS = {TextTransformer: _transformer, HFTextEncoder: _hugging_face}


def _highest(tower: Any, ids: Tensor) -> Tensor:
    return ids.argmax(dim=-1)


def _end_token(tower: Any, ids: Tensor) -> Tensor:
    found: Tensor = ids == tower.eos_id
    return found.int().argmax(dim=-1)


def _to_end(end: End, tower: Any, ids: Tensor) -> int:
    """The number of ids up to the end token. Gain: 3.4 times for captions (tests/benchmarks/gains.py)."""
    return int(end(tower, ids)) + 1


def _to_context(tower: Any, ids: Tensor) -> int:
    return len(ids)


def _to_padding(tower: Any, ids: Tensor) -> int:
    seen = (ids != tower.config.pad_token_id).nonzero()
    return int(seen[-1]) + 1 if len(seen) else 1


def _at_end(end: End, tower: Any, ids: Tensor) -> Tensor:
    """Compute features of a causal TextTransformer, with its last block at the end tokens only."""
    hidden, mask = _embed(tower, ids)
    return _project(tower, tower.ln_final(outputs_at(tower.transformer, hidden, end(tower, ids), mask)))


def _pool(tower: Any, ids: Tensor) -> Tensor:
    """Compute features of a causal TextTransformer whose blocks aren't open_clip's usual ones."""
    found = text_global_pool(_causal(tower, ids), ids, tower.pool_type, eos_token_id=tower.eos_id)
    return _project(tower, found)


def _causal(tower: Any, ids: Tensor) -> Tensor:
    """Compute tokens of a causal TextTransformer for short ids, which its own forward doesn't take."""
    hidden, mask = _embed(tower, ids)
    tokens: Tensor = tower.ln_final(tower.transformer(hidden, attn_mask=mask))
    return tokens


def _embed(tower: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Embed ids `[b, t]` for the blocks, `[b, t, hidden]`, and give the causal mask `[t, t]`."""
    length = ids.shape[1]
    hidden = tower.token_embedding(ids) + tower.positional_embedding[:length]
    return hidden, tower.attn_mask[:length, :length]


def _project(tower: Any, features: Tensor) -> Tensor:
    projection = tower.text_projection  # a module, a matrix, or None
    if projection is None:
        return features
    projected: Tensor = projection(features) if isinstance(projection, nn.Module) else features @ projection
    return projected


def _whole(tower: Any, ids: Tensor) -> Tensor:
    """Compute features of a TextTransformer for ids of the whole context."""
    found = tower(ids)
    features: Tensor = found[0] if isinstance(found, tuple) else found  # CoCa's gives its tokens, too
    return features


def _whole_tokens(tower: Any, ids: Tensor) -> Tensor:
    """Compute tokens of a TextTransformer for ids of the whole context, without CoCa's class token."""
    found = tower.forward_intermediates(ids, indices=1, normalize_intermediates=True, output_fmt="NLC")
    tokens: Tensor = found["text_intermediates"][-1]
    return tokens


def _run_masked(tower: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Compute features and tokens of a HFTextEncoder, with the first token whatever the pooler."""
    mask = (ids != tower.config.pad_token_id).long()
    found = tower.transformer(input_ids=ids, attention_mask=mask)
    return tower.proj(tower.pooler(found, mask)), found.last_hidden_state
