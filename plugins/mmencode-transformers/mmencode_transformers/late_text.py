"""Text encoders of late interaction: checkpoints of sentence-transformers 6, PyLate and ColBERT."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from mmencode import MultiEncoder, Tensors
from mmencode.encoder import pad_rows
from mmencode.errors import WeightsError

from .late_layers import Counts, apply_layers, in_words, layers_of
from .late_recipes import QUERY, Expansion, Recipe
from .loading import keep
from .text import context, text_model
from .tokenizer import CheckpointTokenizer

_LONGEST = 2**15  # tokens of a query where a model has no limit of its own


class LateText(MultiEncoder):
    """A text model of transformers with layers on each token: the side of documents, or that of queries.

    Queries may be filled up with mask tokens, whose vectors count. Rows are padded at the end, whichever side
    the checkpoint's tokenizer pads, and no vector depends on that padding.
    """

    def __init__(
        self,
        model: Any,
        layers: nn.ModuleList,
        width: int,
        reader: CheckpointTokenizer,
        recipe: Recipe,
        role: str,
    ) -> None:
        super().__init__()
        self.model = model
        self.layers = layers
        self.width = width
        self.reader = reader
        self.role = role
        self._prompt = recipe.prompts.get(role, "")
        self._expansion = recipe.expansion if role == QUERY else None
        self._filler = _filler(recipe, reader) if self._expansion else 0
        self._left = bool(self._expansion and self._expansion.fixed and reader.plain.padding_side == "left")
        self._masked = recipe.mask is not None
        self._counts = Counts(recipe, reader.plain, role)
        self.preprocessing = f"{reader.rule}, prompt {self._prompt!r}{self._describe_filling()}"
        self.tokenizer = reader.identity
        self.counting = (
            f"{', '.join([model.config.model_type, *in_words(layers)])}, as {role}, {self._counts}"
            f"{'' if self._masked else ', but those that fill up'}"
        )

    def _describe_filling(self) -> str:
        """Describe how queries are filled up, for the identity."""
        if not (expansion := self._expansion):
            return ""
        least, side = "" if expansion.fixed else "at least ", "left" if self._left else "right"
        seen = "" if expansion.attend else ", unseen"
        return f", filled up on the {side} to {least}{expansion.length} by {self._filler}{seen}"

    def preprocess(self, item: str) -> Tensors:
        """Tokenize prompt and text to ids `[t]`, with what is looked at and what counts of them."""
        ids, _ = self.reader.read(item, self._prompt)
        seen = counted = torch.ones(len(ids), dtype=torch.bool)
        if self._expansion and (lacking := self._expansion.length - len(ids)) > 0:
            ends = (lacking, 0) if self._left else (0, lacking)
            ids = nn.functional.pad(ids, ends, value=self._filler)
            seen = nn.functional.pad(seen, ends, value=self._expansion.attend)
            counted = nn.functional.pad(counted, ends, value=self._masked or self._expansion.attend)
        return {"ids": ids, "seen": seen, "counted": counted & self._counts.of(ids)}

    def collate(self, items: list[Tensors]) -> Tensors:
        """Pad ids to the longest row, `[b, t]`; nothing looks at the padding, and none of it counts."""
        padding = {"ids": self.reader.padding, "seen": 0, "counted": 0}
        return {key: pad_rows([item[key] for item in items], value)[0] for key, value in padding.items()}

    def cost(self, tensors: Tensors) -> int:
        """The number of tokens."""
        return len(tensors["ids"])

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute the vectors of all tokens `[b, t, width]`, and the mask of those that count."""
        output = self.model(input_ids=tensors["ids"], attention_mask=tensors["seen"].long())
        return apply_layers(self.layers, self.role, output.last_hidden_state, tensors["counted"])


def build_texts(recipe: Recipe, roles: Collection[str]) -> dict[str, LateText]:
    """Build the encoders of texts in these roles, which share one text model; WeightsError as `towers`."""
    model = text_model(recipe.base)
    layers, width = layers_of(recipe, int(model.config.hidden_size))
    keep(layers)
    return {
        role: LateText(model, layers, width, _reader(recipe, model, role), recipe, role) for role in roles
    }


def _reader(recipe: Recipe, model: Any, role: str) -> CheckpointTokenizer:
    """Build the tokenizer of one role, which cuts texts to that role's length."""
    most, fits = recipe.lengths.get(role) or recipe.longest, context(model)
    expansion = recipe.expansion if role == QUERY else None
    if expansion and expansion.fixed:
        most = expansion.length
    elif expansion and recipe.lengths.get(role):
        most = max(most or 0, expansion.length)
    if expansion and expansion.length > (fits or _LONGEST):
        raise WeightsError(
            f"queries of {recipe.base.name!r} are filled up to {expansion.length} tokens, and its text model "
            f"takes {fits or _LONGEST}",
            culprit=str(recipe.base.folder),
            remedy="put the settings there that belong to the text model",
        )
    least = min(filter(None, (most, fits)), default=None)
    return CheckpointTokenizer(
        recipe.base, model.config, least, own=not most, lower=recipe.lower, marks=recipe.marks
    )


def _filler(recipe: Recipe, reader: CheckpointTokenizer) -> int:
    """Find the id of the token that fills queries up; WeightsError when the tokenizer has none."""
    expansion, plain = recipe.expansion or Expansion(0), reader.plain
    found = plain.mask_token_id if plain.mask_token_id is not None else plain.eos_token_id
    if expansion.token is not None:
        found = plain.convert_tokens_to_ids(expansion.token)
        found = None if found == plain.unk_token_id and expansion.token != plain.unk_token else found
    unseen = expansion.fixed and not expansion.attend and plain.padding_side == "left"
    if found is None or unseen:
        why = "stand before the text, which sees none of them" if unseen else f"are {expansion.token!r}"
        raise WeightsError(
            f"the tokens that fill up queries of {recipe.base.name!r} {why}",
            culprit=str(recipe.base.folder),
            remedy="its query_expansion must name a token of its tokenizer, which is one with a mask token "
            "otherwise, and pads on the right",
        )
    return int(found)
