"""ColPali, ColQwen2 and ColModernVBERT: images of pages as documents, texts as queries."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import torch
import transformers
from PIL import Image
from torch import Tensor, nn
from transformers import AutoModelForPreTraining

from mmencode import MultiEncoder, Tensors
from mmencode.checkpoints import require_tokenizer
from mmencode.encoder import Notice, pad_rows
from mmencode.encoders.pixels import fit_to_squeeze
from mmencode.errors import WeightsError

from .architectures import require_kind
from .late_layers import Counts, apply_layers, in_words, layers_of
from .late_recipes import DOCUMENT, FAMILY, QUERY, Recipe
from .loading import PREPROCESSING, describe, keep, load, load_config, load_extractor, require_whole
from .tokenizer import CheckpointTokenizer

# By the kind of model: its processor, and the parts that texts don't need.
_KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "colpali": ("ColPaliProcessor", ("vlm.vision_tower", "vlm.multi_modal_projector")),
    "colqwen2": ("ColQwen2Processor", ("vlm.visual",)),
    "colmodernvbert": ("ColModernVBertProcessor", ("vlm.vision_model", "vlm.connector")),
}
_TILES = 16  # of an image, in a row; the models have tokens for 6
_SUFFIX = 10  # augmentation tokens behind a query, as the processors have them
_EDGE = 1e-6  # what stands for 0 in the corner of an empty tile


class LateModel(MultiEncoder):
    """A model of pages with the checkpoint's own processor; a subclass is one side of it.

    All tokens of an item count, as the models' own scoring has it: prompt, marks and suffix as well, unless
    sentence-transformers' MultiVectorMask says otherwise. Rows are padded at the end.
    """

    def __init__(self, model: Any, layers: nn.ModuleList, processor: Any, recipe: Recipe, role: str) -> None:
        super().__init__()
        self.model = model
        self.layers = layers
        self.width = int(model.config.embedding_dim)
        self.role = role
        self.reader = CheckpointTokenizer(
            recipe.base, model.config.get_text_config(), None, own=False, plain=processor.tokenizer
        )
        self._counts = Counts(recipe, processor.tokenizer, role)
        self._typed = model.config.model_type == "colpali"  # its texts look in both directions by their type
        self.tokenizer = self.reader.identity
        kind = model.config.model_type
        self.counting = f"{', '.join([kind, *in_words(layers)])}, as {role}, {self._counts}"

    def collate(self, items: list[Tensors]) -> Tensors:
        """Pad ids to the longest row, `[b, t]`, and pixels to the most tiles or patches, with masks."""
        ids, seen = pad_rows([item["input_ids"] for item in items], self.reader.padding)
        counted, _ = pad_rows([item["counted"] for item in items])
        others = items[0].keys() - {"input_ids", "counted"}
        rest = {key: _stack([item[key] for item in items]) for key in others}
        return {"input_ids": ids, "attention_mask": seen.long(), "counted": counted, **rest}

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute the vectors of all tokens `[b, t, width]`, and the mask of those that count."""
        inputs = {key: value for key, value in tensors.items() if key != "counted"}
        if self._typed:
            inputs["token_type_ids"] = torch.zeros_like(tensors["input_ids"])
        tokens = self.model(**inputs).embeddings
        return apply_layers(self.layers, self.role, tokens, tensors["counted"])


class LatePage(LateModel):
    """The side of documents: images of pages, behind the prompt that the processor puts before each."""

    def __init__(self, model: Any, layers: nn.ModuleList, processor: Any, recipe: Recipe) -> None:
        super().__init__(model, layers, processor, recipe, DOCUMENT)
        self._processor = processor
        prompt, mark = processor.visual_prompt_prefix, processor.image_token
        # ColPali's prompt has no place for the image, which stands before it.
        self._prompt = prompt if mark in prompt else f"{mark}{processor.tokenizer.bos_token}{prompt}\n"
        self.preprocessing = f"{describe(processor.image_processor)}, prompt {self._prompt!r}"

    def preprocess(self, item: Image.Image) -> Tensors:
        """Run the image processor, and tokenize the prompt with a token for each place of the image."""
        given = fit_to_squeeze(item.convert("RGB"))
        found = self._processor.image_processor([given], **self._processor.images_kwargs)
        places = self._processor.replace_image_token(found, image_idx=0)
        ids, _ = self.reader.read(self._prompt.replace(self._processor.image_token, places, 1))
        pixels = {key: found[key] for key in ("pixel_values", "pixel_attention_mask") if key in found}
        if "image_grid_thw" in found:  # ColQwen2 has a row for each patch of all images
            pixels["image_grid_thw"] = found["image_grid_thw"][0]
        else:
            pixels = {key: value[0] for key, value in pixels.items()}
        if pixels["pixel_values"].ndim == 4:
            _mark_empty(pixels["pixel_values"])
        return {"input_ids": ids, "counted": self._counts.of(ids), **pixels}


class LateQuestion(LateModel):
    """The side of queries: texts with the processor's prefix, and its augmentation tokens behind them."""

    def __init__(self, model: Any, layers: nn.ModuleList, processor: Any, recipe: Recipe) -> None:
        super().__init__(model, layers, processor, recipe, QUERY)
        kind = model.config.model_type
        start = processor.tokenizer.bos_token if kind == "colpali" else ""
        end = "" if kind == "colmodernvbert" else "\n"
        self._prompt = f"{start}{processor.query_prefix}{recipe.prompts.get(QUERY, '')}"
        self._suffix = f"{processor.query_augmentation_token * _SUFFIX}{end}"
        self._most = int(model.config.get_text_config().max_position_embeddings)
        self._tail = self.reader.length(self._suffix)
        self._too_long = Notice(
            f"a query is longer than {self._most} tokens, and the rest is left out; said once"
        )
        self.preprocessing = f"prompt {self._prompt!r}, suffix {self._suffix!r}, at most {self._most} tokens"

    def preprocess(self, item: str) -> Tensors:
        """Tokenize prefix, text and suffix; a long text loses its end, and keeps the suffix."""
        ids, _ = self.reader.read(item, self._prompt, self._suffix)
        if len(ids) > self._most:
            self._too_long.give()
            ids = torch.cat([ids[: self._most - self._tail], ids[len(ids) - self._tail :]])
        return {"input_ids": ids, "counted": self._counts.of(ids)}

    def cost(self, tensors: Tensors) -> int:
        """The number of tokens."""
        return len(tensors["input_ids"])


def build_pages(recipe: Recipe, roles: Collection[str]) -> dict[str, LateModel]:
    """Build the encoders of pages and of queries, which share one network; WeightsError as `towers`.

    The side of queries has none of the parts that look at images, so that these are loaded for pages alone.
    """
    config = load_config(recipe.base)
    require_kind(recipe.base, config, FAMILY)
    name, unused = _KINDS[config.model_type]
    require_tokenizer(recipe.base.holding(*PREPROCESSING[:2]).folder)
    processor = load_extractor(recipe.base, getattr(transformers, name), config.model_type == "colqwen2")
    _require_few_tiles(recipe, processor.image_processor)
    model, missing = load(recipe.base, config, AutoModelForPreTraining)
    texts = model
    for path in unused:
        texts = _without(texts, path)
    layers, _ = layers_of(recipe, int(config.embedding_dim))
    built: dict[str, LateModel] = {}
    for role in roles:
        kind, part = (LatePage, model) if role == DOCUMENT else (LateQuestion, texts)
        require_whole(recipe.base, model, missing, part)
        built[role] = kind(part, layers, processor, recipe)
    keep(*built.values())
    return built


def _require_few_tiles(recipe: Recipe, images: Any) -> None:
    """Raise WeightsError for settings that cut an image into a huge number of tiles, each with its tokens."""
    edges: list[Any] = [
        (getattr(images, name, None) or {}).get("longest_edge") for name in ("size", "max_image_size")
    ]
    if all(edges) and edges[0] > _TILES * edges[1]:
        raise WeightsError(
            f"the preprocessing of {recipe.base.name!r} cuts an image of {edges[0]} pixels into tiles of "
            f"{edges[1]}",
            culprit=str(recipe.base.folder),
            remedy=f"put the checkpoint's own preprocessing there; {_TILES} tiles in a row are the most",
        )


def _without(module: Any, path: str) -> Any:
    """Copy a module without the part at a path; the copy shares all other parts."""
    name, _, rest = path.partition(".")
    smaller = copy.copy(module)
    smaller._modules = dict(module._modules)
    smaller._modules[name] = _without(module._modules[name], rest) if rest else None
    return smaller


def _stack(rows: list[Tensor]) -> Tensor:
    """Stack tensors of equal rank, each padded with zeros at its ends to the largest."""
    shape = [max(sizes) for sizes in zip(*(row.shape for row in rows), strict=True)]
    stacked = rows[0].new_zeros(len(rows), *shape)
    for place, row in zip(stacked, rows, strict=True):
        place[tuple(slice(size) for size in row.shape)] = row
    return stacked


def _mark_empty(tiles: Tensor) -> None:
    """Mark tiles `[n, 3, h, w]` whose pixels are all zero, which the model would take for padding."""
    empty = (tiles == 0).flatten(1).all(dim=1)
    tiles[empty, 0, 0, 0] = _EDGE
