"""Checkpoints that take several modalities into one space: omni models, by one network for all of them."""

from __future__ import annotations

import copy
import inspect
import unicodedata
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmencode import Encoder, Tensors
from mmencode.errors import InputError, WeightsError

from .loading import load, load_config, require_whole, sign
from .modules import Head, Normalize, build_layers, head
from .omni_layout import DOCUMENTS, FAMILY, INTERLEAVED, PARTS, Layout, Route, Way, read
from .omni_reading import OmniReader, limit_of, load_processor
from .prompts import fill_in
from .sources import find

_ROWS = ("input_ids", "mm_token_type_ids", "token_type_ids")  # of an item `[t]`; the others are `[n, ...]`
_VISUAL: dict[str, tuple[str, ...]] = {"image": ("visual",), "video": ("visual",)}
# The parts of a network that only some modalities use. Those of other architectures are kept whole.
_TOWERS: dict[str, dict[str, tuple[str, ...]]] = {
    "embedding_gemma2": {
        "image": ("vision_tower", "embed_vision"),
        "video": ("vision_tower", "embed_vision"),
        "audio": ("audio_tower", "embed_audio"),
    },
    "qwen3_vl": _VISUAL,
    "qwen2_vl": _VISUAL,
    "qwen2_5_vl": _VISUAL,
}


class OmniEncoder(Encoder):
    """One modality, composite or interleaving of a network that takes several, pooled as the checkpoint says.

    Rows are padded at the end, whichever side the checkpoint's tokenizer pads: with the mask, no token sees
    padding. The networks of a checkpoint's encoders are one.
    """

    def __init__(
        self, key: str, network: Any, way: Way, reader: OmniReader, head: nn.Module, width: int
    ) -> None:
        super().__init__()
        self.network = network
        self.head = head
        self.width = width
        self.key, self.way, self.reader = key, way, reader
        self._pools = isinstance(head, Head)
        self._excluded = reader.excluded if self._pools and not getattr(head, "include_prompt", True) else 0
        accepted = inspect.signature(getattr(network, way.method)).parameters
        open_ended = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in accepted.values())
        self._accepted = None if open_ended and way.method == "forward" else frozenset(accepted)
        self.preprocessing = reader.words(key)
        self.tokenizer = reader.identity
        if "audio" in key.split("+") or key == INTERLEAVED:
            self.windows = f"the first {reader.longest} samples" if reader.longest else "the whole"
        told = head.words if isinstance(head, Head) else ", ".join(map(str, head.children()))
        self.pooling = f"{way.method} {'.'.join(way.output)}, {told}" + (
            f", without {self._excluded} tokens of the prompt" if self._excluded else ""
        )

    def preprocess(self, item: Any) -> Tensors:
        """Turn the parts of an item into tensors with the names of the checkpoint's processor."""
        return self.reader.read(self._parts(item))

    def _parts(self, item: Any) -> list[tuple[str, Any]]:
        if self.key == INTERLEAVED:
            for modality, _ in item:
                self._require_taken(modality)
            return list(item)
        names = self.key.split("+")
        if len(names) == 1:
            return [(self.key, item)]
        return [(name, value) for name, value in zip(names, item, strict=True) if value is not None]

    def _require_taken(self, modality: str) -> None:
        if modality not in self.reader.route.ways:
            taken = ", ".join(part for part in PARTS if part in self.reader.route.ways)
            raise InputError(
                f"the checkpoint takes no {modality} among the parts of an item",
                source="",
                remedy=f"it takes {taken}",
            )

    def collate(self, items: list[Tensors]) -> Tensors:
        """Pad ids to the longest row, with their mask, and join the media of all items in order."""
        joined: Tensors = {}
        for key in dict.fromkeys(key for item in items for key in item):
            present = [item[key] for item in items if key in item]
            if key not in _ROWS:
                joined[key] = torch.cat(_pad(present))
                continue
            rows = [item.get(key, torch.zeros_like(item["input_ids"])) for item in items]
            fill = self.reader.padding if key == "input_ids" else 0
            joined[key] = pad_sequence(rows, batch_first=True, padding_value=fill)
        if "input_ids" in joined:
            lengths = torch.tensor([len(item["input_ids"]) for item in items])
            joined["attention_mask"] = (
                torch.arange(joined["input_ids"].shape[1])[None] < lengths[:, None]
            ).long()
        return joined

    def cost(self, tensors: Tensors) -> int:
        """The number of tokens; where there are none, of numbers."""
        return len(tensors["input_ids"]) if "input_ids" in tensors else super().cost(tensors)

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]` as `SentenceTransformer.encode` does."""
        if self._pools:
            found = self._outputs(tensors)
            features: Tensor = self.head(found, _mask(found, tensors), self._excluded)
        else:
            features = self.head(_without_padding(self._outputs, tensors))
        return features

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute the model's outputs `[b, t, hidden]`, and the mask of those that aren't padding."""
        if not self._pools:
            raise NotImplementedError(f"{type(self.network).__name__} gives one vector for an item")
        found = self._outputs(tensors)
        return found, _mask(found, tensors)

    def _outputs(self, tensors: Tensors) -> Tensor:
        given = {
            key: value for key, value in tensors.items() if self._accepted is None or key in self._accepted
        }
        found = getattr(self.network, self.way.method)(**given)
        if "rope_deltas" in vars(self.network):  # left for a generation that never comes
            self.network.rope_deltas = None
        for name in self.way.output:
            found = found[name] if isinstance(found, dict) and name in found else getattr(found, name)
        output: Tensor = found
        return output.flatten(2).transpose(1, 2) if output.ndim == 4 else output


def towers(variant: str, modalities: Collection[str] = PARTS, instruction: str = "") -> dict[str, Encoder]:
    """Build the encoders of `<id or folder>` for some modalities over one network, and keep no more of it.

    An instruction takes the place of the one before queries: in a chat the system's turn, elsewhere the part
    of the prompt that is one. Raises UnknownNameError or WeightsError when there is none.
    """
    checkpoint = find(variant, FAMILY)
    layout = read(checkpoint)
    build = _Build(layout, instruction)
    return {key: build.encoder(key) for key in modalities}


class _Build:
    """The networks and heads of one checkpoint while its encoders are made, each once."""

    def __init__(self, layout: Layout, instruction: str) -> None:
        self.layout, self.instruction = layout, instruction
        self._networks: dict[str, tuple[Any, Any, set[str], Any]] = {}
        self._heads: dict[int, tuple[nn.Module, int]] = {}
        self._kept: set[int] = set()

    def encoder(self, asked: str) -> OmniEncoder:
        """Build the encoder of one modality, or of the queries of one, "text:query"."""
        key, _, role = asked.partition(":")
        route = self.layout.route(key, role or "document")
        way = route.way(key) if route else None
        if route is None or way is None:
            raise WeightsError(
                f"the checkpoint {self.layout.checkpoint.name!r} takes no {asked}",
                remedy="`mmencode list` shows the families of this plugin",
            )
        model, config, missing, processor = self._network(route)
        network = _part(model, key)
        require_whole(route.model, model, missing, network)
        self._keep(network)
        prompt = self._ask(route) if role else self.layout.prompt(*DOCUMENTS)
        reader = OmniReader(route.model, processor, route, limit_of(processor, config, route), prompt)
        behind, width = self._head(route, config)
        made = OmniEncoder(key, network, way, reader, behind, width)
        sign(made, route.model)
        return made

    def _ask(self, route: Route) -> str:
        """The words before queries: the caller's instruction, or else the checkpoint's own."""
        own = self.layout.prompt("query")
        if not self.instruction or not route.chats:
            return fill_in(own, self.instruction, self.layout.checkpoint)
        words = self.instruction.strip()
        return words if unicodedata.category(words[-1]).startswith("P") else f"{words}."

    def _keep(self, network: nn.Module) -> None:
        """Copy the parameters of a network out of the checkpoint's file, unless they were copied before."""
        for parameter in network.parameters():
            if id(parameter) not in self._kept:
                self._kept.add(id(parameter))
                parameter.data = parameter.data.clone()

    def _network(self, route: Route) -> tuple[Any, Any, set[str], Any]:
        place = str(route.model.folder)
        if place not in self._networks:
            config = load_config(route.model)
            for each in (config, getattr(config, "text_config", None)):
                if each is not None:
                    each.use_cache = False
            model, missing = load(route.model, config)
            self._networks[place] = (model, config, missing, load_processor(route.model, route))
        return self._networks[place]

    def _head(self, route: Route, config: Any) -> tuple[nn.Module, int]:
        if id(route) not in self._heads:
            self._heads[id(route)] = _make_head(route, config)
        return self._heads[id(route)]


def _make_head(route: Route, config: Any) -> tuple[nn.Module, int]:
    """Build what is behind the model, and tell the width of its vectors."""
    if route.modules is None:
        width = _width(config, 0)
        return Head([route.default], True, [Normalize()], width), width
    modules = list(route.modules)
    if route.pooled:
        layers, width = build_layers(
            modules, int(getattr(config, "projection_dim", None) or _width(config, 0))
        )
        return nn.Sequential(*layers), width
    settings = modules[0][1].settings("config.json") if modules and modules[0][0] == "Pooling" else {}
    told = settings.get("embedding_dimension") or settings.get("word_embedding_dimension")
    built = head(modules, _width(config, int(told or 0)))
    return built, built.width


def _width(config: Any, told: int) -> int:
    """The width of a model's outputs, which a Pooling tells too; EmbeddingGemma 2 projects them behind it."""
    text = getattr(config, "text_config", None) or config
    projected = getattr(text, "embedding_dim", None)
    return int(projected or told or getattr(text, "hidden_size", None) or config.hidden_size)


def _part(model: Any, key: str) -> Any:
    """Make a shell of a model that has only the parts which a modality uses; they stay the model's own."""
    towers = _TOWERS.get(model.config.model_type)
    if towers is None:
        return model
    used = PARTS if key == INTERLEAVED else key.split("+")
    kept = {name for part in used for name in towers.get(part, ())}
    unused = {name for names in towers.values() for name in names} - kept
    shell = copy.copy(model)
    shell._modules = {name: None if name in unused else part for name, part in model._modules.items()}
    return shell


def _pad(values: list[Tensor]) -> list[Tensor]:
    """Lengthen media along their second dimension with zeros, so that they can be joined."""
    if len({value.shape[1:] for value in values}) == 1:
        return values
    most = max(value.shape[1] for value in values)
    grown = []
    for value in values:
        shape = (len(value), most - value.shape[1], *value.shape[2:])
        grown.append(torch.cat([value, value.new_zeros(shape)], dim=1))
    return grown


def _without_padding(compute: Callable[[Tensors], Tensor], tensors: Tensors) -> Tensor:
    """Compute rows of each length by themselves, since a model may pool whatever stands at their end."""
    mask = tensors.get("attention_mask")
    if mask is None or bool(mask.all()) or any(len(value) != len(mask) for value in tensors.values()):
        return compute(tensors)
    lengths = mask.sum(dim=1)
    rows, found = [], []
    for length in sorted({*lengths.tolist()}):
        (places,) = (lengths == length).nonzero(as_tuple=True)
        alike = {
            key: value[places][:, :length] if key in (*_ROWS, "attention_mask") else value[places]
            for key, value in tensors.items()
        }
        rows.append(places)
        found.append(compute(alike))
    return torch.cat(found)[torch.cat(rows).argsort()]


def _mask(found: Tensor, tensors: Tensors) -> Tensor:
    mask = tensors.get("attention_mask")
    if mask is not None and mask.shape[1] == found.shape[1]:
        return mask.bool()
    return torch.ones(found.shape[:2], dtype=torch.bool, device=found.device)
