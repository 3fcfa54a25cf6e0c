"""Any timm architecture as an image encoder: the features before its classifier."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import timm
import torch
from PIL import Image
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from timm.models import get_pretrained_cfg, load_state_dict
from torch import Tensor, nn

from ..encoder import Encoder, Tensors
from ..errors import UnknownNameError, WeightsError

DataConfig = Mapping[str, Any]


class TimmEncoder(Encoder):
    """What a timm model sees just before it would classify, with timm's own preprocessing.

    `data_config` is what `timm.data.resolve_data_config` gives; None takes the model's own. The encoder
    takes the model over: its classifier is dropped, it is put into eval mode and channels_last layout.

    The transform leaves pixels as uint8, a quarter of the memory, and they are normalised on the device.
    """

    def __init__(self, model: nn.Module, *, data_config: DataConfig | None = None) -> None:
        super().__init__()
        timm_model: Any = model
        own = resolve_data_config(model=timm_model)  # type: ignore[no-untyped-call]
        config = dict(own if data_config is None else data_config)
        timm_model.reset_classifier(0)
        # Convolutions are faster on a CPU in this layout and differ by rounding only;
        # transformers, which have one convolution, run at the same speed.
        self.model: Any = timm_model.to(memory_format=torch.channels_last)
        self.width = int(timm_model.head_hidden_size)
        self.preprocessing = _describe(config)
        self.pooling = f"timm {timm_model.pretrained_cfg['architecture']}, features before the classifier"
        self._transform = create_transform(**config, is_training=False, normalize=False)
        self._size = tuple(config["input_size"])
        self._mean = [255 * value for value in config["mean"]]
        self._std = [255 * value for value in config["std"]]
        self.eval().requires_grad_(False)

    def preprocess(self, item: Image.Image) -> Tensors:
        """Pixels `[3, h, w]`, uint8, resized and cropped, not yet normalised."""
        return {"pixels": self._transform(item)}

    def forward(self, tensors: Tensors) -> Tensor:
        """Features `[b, width]` of pixels `[b, 3, h, w]`."""
        features: Tensor = self.model.forward_head(self._hidden(tensors), pre_logits=True)
        return features

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Patches of a transformer, or places of a convolutional map, `[b, rows * columns, width]`.

        Class and register tokens are left out, so that the rest fills `grid`.
        """
        hidden = self._hidden(tensors)
        if hidden.ndim == 4:
            maps = hidden if hidden.shape[-1] == self.model.num_features else hidden.permute(0, 2, 3, 1)
            tokens = maps.flatten(1, 2)  # [b, rows * columns, width]
        else:
            tokens = hidden[:, getattr(self.model, "num_prefix_tokens", 0) :]
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)

    def _hidden(self, tensors: Tensors) -> Tensor:
        """The last layer's outputs, as timm gives them: `[b, t, width]`, or a map of either layout."""
        hidden: Tensor = self.model.forward_features(self._normalised(tensors["pixels"]))
        return hidden

    @property
    def grid(self) -> tuple[int, int] | None:
        """The rows and columns of the map, or of the patches; None where timm doesn't say."""
        with torch.inference_mode():
            hidden = self._hidden({"pixels": torch.zeros(1, *self._size, dtype=torch.uint8)})
        if hidden.ndim == 4:
            channels_last = hidden.shape[-1] == self.model.num_features
            rows, columns = hidden.shape[1:3] if channels_last else hidden.shape[2:]
            return int(rows), int(columns)
        grid = getattr(getattr(self.model, "patch_embed", None), "grid_size", None)
        return None if grid is None else (int(grid[0]), int(grid[1]))

    def _normalised(self, pixels: Tensor) -> Tensor:
        """In float32, because bfloat16 can't hold most means; then in the dtype of the weights."""
        shape, device = (1, -1, 1, 1), pixels.device
        mean = torch.tensor(self._mean, device=device).view(shape)
        std = torch.tensor(self._std, device=device).view(shape)
        pixels = pixels.to(torch.float32, memory_format=torch.channels_last)
        return pixels.sub_(mean).div_(std).to(next(self.model.parameters()).dtype)


def build(variant: str) -> TimmEncoder:
    """Load the checkpoint `architecture` or `architecture.tag`, from the cache or from where timm keeps it.

    With `/<path>` behind it, a local checkpoint of that architecture is read instead, and nothing fetched.
    Raises UnknownNameError when timm has no such checkpoint, WeightsError when it can't be obtained or read.
    """
    name, slash, path = variant.partition("/")
    if slash:
        return TimmEncoder(_local(name, path))
    _require_known(variant)
    try:
        model = timm.create_model(variant, pretrained=True)
    except Exception as cause:  # each of timm's sources fails in its own way, and none gave a model
        raise WeightsError(
            f"the weights of timm's {variant!r} can't be obtained: {type(cause).__name__}: {cause}",
            culprit=f"it tried to fetch {_origin(variant)}, which isn't in the local cache",
            remedy="load it once where there is a network, or copy that machine's cache (HF_HOME); "
            "a model built from a file of yours becomes an encoder by TimmEncoder(model)",
        ) from cause
    return TimmEncoder(model)


def _local(name: str, path: str) -> nn.Module:
    """The model without its classifier, filled from a file; a classifier in the file may have any labels."""
    if not timm.is_model(name):
        raise _unknown(name, known=False)
    file = Path(path).expanduser()
    if not file.is_file():
        raise WeightsError(f"there is no file {path!r}", remedy="check the path of the checkpoint")
    model: Any = timm.create_model(name, num_classes=0)
    heads = model.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
    try:
        state = load_state_dict(str(file), weights_only=True)
        model.load_state_dict({key: value for key, value in state.items() if not key.startswith(heads)})
    except Exception as cause:  # safetensors, zipfile, pickle and torch each fail in their own way
        words = textwrap.shorten(f"{type(cause).__name__}: {cause}", 400)
        raise WeightsError(
            f"{path!r} doesn't hold the weights of timm's {name!r}: {words}",
            remedy="a local file must be a whole safetensors file or a state dict of this architecture, "
            "and hold tensors but no code",
        ) from cause
    return cast(nn.Module, model)


def _require_known(variant: str) -> None:
    architectures, checkpoints = timm.list_models(), timm.list_pretrained()
    if variant in checkpoints or (variant in architectures and timm.is_model_pretrained(variant)):
        return
    raise _unknown(variant, known=variant in architectures)


def _unknown(variant: str, *, known: bool) -> UnknownNameError:
    near = difflib.get_close_matches(variant, [*timm.list_models(), *timm.list_pretrained()], n=5)
    return UnknownNameError(
        f"timm {timm.__version__} has {'no weights for' if known else 'no checkpoint'} {variant!r}",
        remedy=f"did you mean {', '.join(near)}?" if near else "timm.list_pretrained() lists them all",
    )


def _origin(variant: str) -> str:
    config: Any = get_pretrained_cfg(variant)
    return str(config.hf_hub_id or config.url)


def _describe(config: DataConfig) -> str:
    _, height, width = config["input_size"]
    return (
        f"RGB {height}x{width}, {config['crop_mode']} crop {config['crop_pct']:g}, "
        f"{config['interpolation']}, mean {_numbers(config['mean'])}, std {_numbers(config['std'])}"
    )


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)
