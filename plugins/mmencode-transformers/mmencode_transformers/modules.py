"""The modules after the text model of a sentence-transformers checkpoint: pooling, layers, normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmencode import pooling
from mmencode.checkpoints import fill
from mmencode.errors import WeightsError

from .sources import Checkpoint
from .weights import read_weights

_FLAGS = {  # as older checkpoints write them; several are joined in this order
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_ACTIVATIONS = {
    kind.__name__: kind
    for kind in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.LeakyReLU)
}


class Head(nn.Module):
    """Pooling and the layers after it: token outputs and their mask to features `[b, width]`."""

    def __init__(self, modes: list[str], include_prompt: bool, layers: list[nn.Module], width: int) -> None:
        super().__init__()
        self.modes, self.include_prompt, self.width = modes, include_prompt, width
        self.layers = nn.Sequential(*layers)
        names = [str(layer) for layer in layers]
        self.words = ", ".join(["+".join(modes), *names])

    def forward(self, tokens: Tensor, mask: Tensor, excluded: int = 0) -> Tensor:
        """Compute features of tokens `[b, t, width]`, of which the first `excluded` aren't pooled."""
        mask = mask.clone()
        mask[:, :excluded] = False
        features: Tensor = self.layers(torch.cat([_MODES[mode](tokens, mask) for mode in self.modes], dim=-1))
        return features


class Dense(nn.Module):
    """A linear layer and its activation, as sentence-transformers names their weights."""

    def __init__(self, inputs: int, outputs: int, bias: bool, activation: nn.Module, residual: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=bias)
        self.activation = activation
        self.added = residual
        if residual and inputs != outputs:
            self.residual = nn.Linear(inputs, outputs, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map features `[b, inputs]` to `[b, outputs]`."""
        found: Tensor = self.activation(self.linear(features))
        if not self.added:
            return found
        return found + (self.residual(features) if hasattr(self, "residual") else features)

    def extra_repr(self) -> str:
        """The word `residual` where the input is added, for the module's repr."""
        return "residual" if self.added else ""


class Normed(nn.Module):
    """A layer norm, as sentence-transformers names its weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise features `[b, width]` to mean 0 and variance 1, scaled and shifted."""
        found: Tensor = self.norm(features)
        return found


class Normalize(nn.Module):
    """Scales features to unit length."""

    def forward(self, features: Tensor) -> Tensor:
        """Scale each of the features `[b, width]` to unit length."""
        return normalize(features, dim=-1)


def head(modules: list[tuple[str, Checkpoint]], width: int) -> Head:
    """Build the head that modules.json describes after its Transformer, for token outputs of that width.

    Raises WeightsError for modules of other kinds, or without their weights.
    """
    if not modules or modules[0][0] != "Pooling":
        raise WeightsError(
            "modules.json has no Pooling behind its Transformer",
            remedy="choose a checkpoint that gives one vector for each text; one of late interaction is "
            "transformers/late/<id or folder>",
        )
    settings = modules[0][1].settings("config.json")
    modes = _pooling(settings)
    layers, reached = build_layers(modules[1:], width * len(modes))
    return Head(modes, bool(settings.get("include_prompt", True)), layers, reached)


def build_layers(modules: list[tuple[str, Checkpoint]], width: int) -> tuple[list[nn.Module], int]:
    """Build the layers behind the pooling, and tell the width of what they give; raises as `head`."""
    layers: list[nn.Module] = []
    reached = width
    for kind, part in modules:
        if kind not in _LAYERS:
            raise WeightsError(
                f"modules.json of {part.name!r} has a {kind}",
                remedy=f"behind the pooling only {', '.join(_LAYERS)} are computed",
            )
        layer, reached = _LAYERS[kind](part, reached)
        layers.append(layer)
    return layers, reached


def _pooling(settings: dict[str, Any]) -> list[str]:
    named = settings.get("pooling_mode")
    modes = [named] if isinstance(named, str) else list(named or [])
    modes = modes or [mode for flag, mode in _FLAGS.items() if settings.get(flag)] or ["mean"]
    if unknown := [mode for mode in modes if mode not in _MODES]:
        raise WeightsError(f"there is no pooling {unknown[0]!r}", remedy=f"there are {', '.join(_MODES)}")
    return modes


def dense(part: Checkpoint, place: str = "sentence_embedding") -> tuple[Dense, int]:
    """Build the linear layer in a folder, for vectors at that place, and give the width that it leads to."""
    settings = part.settings("config.json")
    name = str(settings.get("activation_function") or "torch.nn.modules.activation.Tanh")
    activation = _ACTIVATIONS.get(name.rpartition(".")[2]) if name.startswith("torch.nn.") else None
    places = {settings.get(key) for key in ("module_input_name", "module_output_name")}
    if activation is None or not places <= {None, place}:
        raise WeightsError(
            f"{str(part.folder)!r} is a Dense that isn't computed here: {settings}",
            remedy=f"its activation must be one of {', '.join(_ACTIVATIONS)}, its input {place}",
        )
    inputs, outputs = int(settings["in_features"]), int(settings["out_features"])
    bias, residual = bool(settings.get("bias", True)), bool(settings.get("use_residual"))
    layer = Dense(inputs, outputs, bias, activation(), residual)
    _fill(layer, part)
    return layer, outputs


def _layer_norm(part: Checkpoint, width: int) -> tuple[nn.Module, int]:
    return _fill(Normed(int(part.settings("config.json")["dimension"])), part), width


def _fill(layer: nn.Module, part: Checkpoint) -> nn.Module:
    """Copy the weights of a layer into it, from safetensors or a pickle that holds only tensors."""
    fill(
        layer,
        read_weights(part),
        f"the weights in {str(part.folder)!r} can't be loaded",
        "put its model.safetensors there, whole and of the sizes in config.json",
    )
    return layer


def _sum(hidden: Tensor, weights: Tensor) -> Tensor:
    return (hidden * weights.unsqueeze(-1).to(hidden.dtype)).sum(dim=1)


def _cls(hidden: Tensor, mask: Tensor) -> Tensor:
    """Take the first token that counts."""
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.int().argmax(dim=1)]


def _mean_sqrt(hidden: Tensor, mask: Tensor) -> Tensor:
    return _sum(hidden, mask) / mask.sum(dim=1, keepdim=True).sqrt()


def _mean_by_position(hidden: Tensor, mask: Tensor) -> Tensor:
    """Average tokens weighted by position (SGPT; Muennighoff, "GPT Sentence Embeddings", 2022)."""
    weights = mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return _sum(hidden, weights) / weights.sum(dim=1, keepdim=True)


_MODES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _cls,
    "max": pooling.max,
    "mean": pooling.mean,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _mean_by_position,
    "lasttoken": pooling.last_token,
}
_LAYERS: dict[str, Callable[[Checkpoint, int], tuple[nn.Module, int]]] = {
    "Dense": lambda part, width: dense(part),
    "LayerNorm": _layer_norm,
    "Normalize": lambda part, width: (Normalize(), width),
    "Dropout": lambda part, width: (nn.Identity(), width),
}
