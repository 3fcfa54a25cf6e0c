"""Layers behind the model of a checkpoint of late interaction, and the choice of tokens that count."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmencode.encoder import pad_rows
from mmencode.errors import WeightsError

from .late_recipes import DOCUMENT, Recipe
from .modules import Dense, Normalize, dense
from .sources import Checkpoint
from .weights import read_weights

_TOKENS = "token_embeddings"


class TokenPooling(nn.Module):
    """Merges alike vectors of an item to their mean, as sentence-transformers' HierarchicalTokenPooling.

    Ward's clustering on cosine distances (Clavié, Chaffin and Adams, "Reducing the Footprint of Multi-Vector
    Retrieval with Minimal Performance Impact via Token Pooling", 2024), by scipy, on the CPU.
    """

    def __init__(self, factor: float, protected: int, unit: bool, roles: tuple[str, ...]) -> None:
        super().__init__()
        self.factor, self.protected, self.unit, self.roles = factor, protected, unit, roles

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Merge the vectors of tokens `[b, t, width]` that count, and give the mask of what is left."""
        rows = [self._pool(row[counted]) for row, counted in zip(tokens, mask.bool(), strict=True)]
        merged, kept = pad_rows(rows)
        return merged.to(tokens.device), kept.to(tokens.device)

    def _pool(self, rows: Tensor) -> Tensor:
        first, others = rows[: self.protected], rows[self.protected :]
        wanted = max(int(len(others) // self.factor), 1)
        if wanted < len(others):
            labels = _cluster(others.float().cpu(), wanted).to(rows.device)
            sums = torch.zeros(int(labels.max()) + 1, rows.shape[1], dtype=rows.dtype, device=rows.device)
            sums.index_add_(0, labels, others)
            rows = torch.cat([first, sums / torch.bincount(labels)[:, None]])
        return normalize(rows, dim=-1) if self.unit else rows

    def extra_repr(self) -> str:
        """The settings, for the module's repr."""
        unit = "" if self.unit else ", lengths kept"
        return f"factor {self.factor:g}, {self.protected} protected, {'+'.join(self.roles)}{unit}"


class Counts:
    """Tells which tokens of a role count: all that a checkpoint doesn't skip, or only those that it keeps."""

    def __init__(self, recipe: Recipe, tokenizer: Any, role: str) -> None:
        mask = recipe.mask or {}
        words, kept = mask.get("skiplist_words") or [], mask.get("keep_only_token_ids") or []
        tasks = mask.get("skiplist_tasks") or [DOCUMENT]
        lists = (words, [tasks] if isinstance(tasks, str) else tasks, kept)
        sound = all(isinstance(each, list) for each in lists) and all(type(one) is int for one in kept)
        if not sound or not all(isinstance(word, str) for each in lists[:2] for word in each):
            raise WeightsError(
                f"the tokens that count of {recipe.base.name!r} are {dict(mask)!r:.200}",
                culprit=str(recipe.base.folder),
                remedy="make skiplist_words and skiplist_tasks lists of words, and keep_only_token_ids one "
                "of numbers",
            )
        ids = [(tokenizer.convert_tokens_to_ids(word), word) for word in words if role in lists[1]]
        unknown = tokenizer.unk_token_id
        known = {
            one for one, word in ids if one is not None and (one != unknown or word == tokenizer.unk_token)
        }
        self._skipped = torch.tensor(sorted(known), dtype=torch.long)
        self._kept = torch.tensor(sorted(kept) if role == DOCUMENT else [], dtype=torch.long)

    def of(self, ids: Tensor) -> Tensor:
        """Tell of each id `[t]` whether it counts."""
        counted = ~torch.isin(ids, self._skipped)
        return counted & torch.isin(ids, self._kept) if len(self._kept) else counted

    def __str__(self) -> str:
        """Say in a few words which ids count, for the identity."""
        lists = {"but": self._skipped, "of": self._kept}
        shown = [f" {word} {len(ids)} ids {_digest(ids)}" for word, ids in lists.items() if len(ids)]
        return f"all tokens{''.join(shown)}"


def _digest(ids: Tensor) -> str:
    return f"sha256:{hashlib.sha256(str(ids.tolist()).encode()).hexdigest()}"


def in_words(layers: nn.ModuleList) -> list[str]:
    """Describe each layer in a line, for the identity."""
    return [" ".join(str(layer).split()) for layer in layers]


def apply_layers(layers: nn.ModuleList, role: str, tokens: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Take tokens `[b, t, width]` through layers, and those that count through the pooling of a role."""
    for layer in layers:
        if not isinstance(layer, TokenPooling):
            tokens = layer(tokens)
        elif role in layer.roles:
            tokens, counted = layer(tokens, counted)
    return tokens, counted


def _cluster(rows: Tensor, wanted: int) -> Tensor:
    """Assign each of the rows `[t, width]` to one of at most `wanted` clusters."""
    from scipy.cluster.hierarchy import fcluster, linkage  # imported here, since few checkpoints need it
    from scipy.spatial.distance import squareform

    distances = (1 - rows @ rows.T).clamp_(0, 2).numpy()
    tree = linkage(squareform(distances, checks=False), method="ward")
    labels = torch.from_numpy(fcluster(tree, t=wanted, criterion="maxclust")).long()
    found: Tensor = torch.unique(labels, return_inverse=True)[1]  # ties may leave numbers out
    return found


def layers_of(recipe: Recipe, width: int) -> tuple[nn.ModuleList, int]:
    """Build the layers behind a text model of that width, and give the width that they lead to.

    Raises WeightsError for modules of other kinds, in another order, or without their weights.
    """
    if recipe.inline:
        layer = _inline(recipe.base)
        _require_width(recipe.base, layer.linear.in_features, width)
        return nn.ModuleList([layer]), layer.linear.out_features
    layers: list[nn.Module] = []
    pooled = False
    for kind, part in recipe.layers:
        settings = part.settings("config.json") if (part.folder / "config.json").is_file() else {}
        if kind == "Dense":
            layer, reached = dense(part, _TOKENS)
            _require_width(part, layer.linear.in_features, width)
            layers.append(layer)
            width = reached
        elif kind == "Normalize":
            if settings.get("module_input_name") == _TOKENS:
                layers.append(Normalize())
        elif kind == "HierarchicalTokenPooling":
            layers.append(_token_pooling(part, settings))
            pooled = True
        elif kind != "MultiVectorMask" or pooled:
            behind = "behind its token pooling " if kind == "MultiVectorMask" else ""
            raise WeightsError(
                f"modules.json of {part.name!r} has a {kind} {behind}",
                culprit=str(part.folder),
                remedy="behind the Transformer only Dense, MultiVectorMask, Normalize and "
                "HierarchicalTokenPooling are computed, the mask before the pooling",
            )
    return nn.ModuleList(layers), width


def _inline(checkpoint: Checkpoint) -> Dense:
    """Read ColBERT's projection from the file of its text model; WeightsError when it isn't there."""
    weights = read_weights(checkpoint).get("linear.weight")
    if weights is None or weights.ndim != 2:
        raise WeightsError(
            f"the checkpoint {checkpoint.name!r} has no linear.weight, ColBERT's projection, in its weights",
            culprit=str(checkpoint.folder),
            remedy="fetch it again; its model.safetensors must be of an HF_ColBERT",
        )
    layer = Dense(weights.shape[1], weights.shape[0], False, nn.Identity(), False)
    layer.linear.weight.data = weights.float().clone()
    return layer


def _require_width(part: Checkpoint, found: int, width: int) -> None:
    if found != width:
        raise WeightsError(
            f"a layer in {str(part.folder)!r} takes vectors of {found} numbers, and gets {width}",
            remedy="put the config.json and weights there that belong to the text model",
        )


def _token_pooling(part: Checkpoint, settings: dict[str, Any]) -> TokenPooling:
    try:
        import scipy  # noqa: F401
    except ImportError as cause:
        raise WeightsError(
            f"the checkpoint {part.name!r} pools its tokens, which needs scipy",
            culprit=str(part.folder),
            remedy='pip install "mmencode-transformers[pooling]"',
        ) from cause
    factor, protected = settings.get("pool_factor", 1.0), settings.get("num_protected_tokens", 1)
    tasks = settings.get("tasks") or [DOCUMENT]
    sound = (
        type(factor) in (int, float)
        and math.isfinite(factor)
        and factor >= 1
        and type(protected) is int
        and protected >= 0
        and isinstance(tasks, list)
        and all(isinstance(task, str) for task in tasks)
    )
    if not sound:
        raise WeightsError(
            f"the token pooling in {str(part.folder)!r} is {settings!r:.200}",
            remedy="make pool_factor a number from 1, num_protected_tokens one from 0, tasks a list of words",
        )
    return TokenPooling(
        float(factor), protected, bool(settings.get("normalize_embeddings", False)), tuple(tasks)
    )
