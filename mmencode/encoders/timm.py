"""Image encoders of timm: the features before a model's classifier, and the classifier as a separate head."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from timm.data.config import resolve_data_config
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from timm.data.transforms_factory import create_transform
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from ..encoder import Encoder, Tensors
from ..errors import EncoderError, UnknownNameError, WeightsError
from ..errors.causes import describe_error
from ..errors.suggestions import did_you_mean
from ..inputs.weights import fill, read_state, reason
from ..isolation.copying import structural_copy
from .pixels import fit_to_crop, fit_to_squeeze
from .timm_preparation import DataConfig, describe, require_one


class TimmEncoder(Encoder):
    """A timm model without its classifier, with timm's own preprocessing.

    `data_config` is of the form that `timm.data.resolve_data_config` returns; None takes the model's own. The
    model stays as it is: a copy of its modules, which shares most of its memory, loses the classifier and is
    put into eval mode and channels_last layout.

    Pixels stay uint8, a quarter of the memory, until they are on the device and are normalised there.
    """

    width: int
    preprocessing: str
    pooling: str
    resolution: int

    def __init__(self, model: nn.Module, *, data_config: DataConfig | None = None) -> None:
        super().__init__()
        self._take(structural_copy(model), data_config)

    @classmethod
    def taking(cls, model: nn.Module, *, data_config: DataConfig | None = None) -> TimmEncoder:
        """Make the encoder of a model that nobody else uses, which is changed in place to save memory."""
        encoder = cls.__new__(cls)
        Encoder.__init__(encoder)
        encoder._take(model, data_config)
        return encoder

    def _take(self, model: nn.Module, data_config: DataConfig | None) -> None:
        timm_model: Any = model
        own = resolve_data_config(model=timm_model)  # type: ignore[no-untyped-call]
        config = dict(own if data_config is None else data_config)
        _drop_classifier(timm_model)
        # Convolutions are faster on a CPU in this layout and differ by rounding only;
        # transformers, which have one convolution, run at the same speed.
        self.model: Any = timm_model.to(memory_format=torch.channels_last)
        self.width = int(timm_model.head_hidden_size)
        self.preprocessing = describe(config)
        self.pooling = f"timm {_architecture(model)}, features before the classifier"
        self._transform = create_transform(**config, is_training=False, normalize=False)
        self._fit = fit_to_squeeze if config.get("crop_mode") in ("squash", "border") else fit_to_crop
        self._size = tuple(config["input_size"])
        self.resolution = math.ceil(min(self._size[1:]) / config["crop_pct"])
        self._mean = [255 * value for value in config["mean"]]
        self._std = [255 * value for value in config["std"]]
        self.eval().requires_grad_(False)

    def preprocess(self, item: Image.Image) -> Tensors:
        """Resize and crop an image to uint8 pixels `[3, h, w]`, which are normalised on the device."""
        return {"pixels": self._transform(self._fit(item))}

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]` of pixels `[b, 3, h, w]`."""
        features: Tensor = self.model.forward_head(self._last_layer(tensors), pre_logits=True)
        return features

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute patches of a transformer, or places of a convolutional map, `[b, rows * columns, width]`.

        Class and register tokens are left out, so that the rest fills `grid`.
        """
        hidden = self._last_layer(tensors)
        if hidden.ndim == 4:
            maps = hidden if hidden.shape[-1] == self.model.num_features else hidden.permute(0, 2, 3, 1)
            tokens = maps.flatten(1, 2)  # [b, rows * columns, width]
        else:
            tokens = hidden[:, getattr(self.model, "num_prefix_tokens", 0) :]
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)

    def _last_layer(self, tensors: Tensors) -> Tensor:
        """Compute the last layer's outputs `[b, t, width]`, or a map with channels first or last."""
        hidden: Tensor = self.model.forward_features(self._normalise(tensors["pixels"]))
        return hidden

    @property
    def grid(self) -> tuple[int, int] | None:
        """The rows and columns of the map, or of the patches; None where timm doesn't say."""
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            hidden = self._last_layer(
                {"pixels": torch.zeros(1, *self._size, dtype=torch.uint8, device=device)}
            )
        if hidden.ndim == 4:
            channels_last = hidden.shape[-1] == self.model.num_features
            rows, columns = hidden.shape[1:3] if channels_last else hidden.shape[2:]
            return int(rows), int(columns)
        grid = getattr(getattr(self.model, "patch_embed", None), "grid_size", None)
        return None if grid is None else (int(grid[0]), int(grid[1]))

    def _normalise(self, pixels: Tensor) -> Tensor:
        """Normalise pixels in float32, since bfloat16 can't hold most means, to the dtype of weights."""
        shape, device = (1, -1, 1, 1), pixels.device
        mean = torch.tensor(self._mean, device=device).view(shape)
        std = torch.tensor(self._std, device=device).view(shape)
        pixels = pixels.to(torch.float32, memory_format=torch.channels_last)
        return pixels.sub_(mean).div_(std).to(next(self.model.parameters()).dtype)


def _drop_classifier(model: Any) -> None:
    try:
        model.reset_classifier(0)
    except AttributeError as cause:
        raise EncoderError(
            f"timm's {_architecture(model)} gives tokens and no features",
            culprit="it is the vision part of a language model, which pools nothing",
            remedy="choose another checkpoint: those with a dim in `mmencode list 'timm/*'` have features",
        ) from cause


class TimmClassifier:
    """A timm model in two parts, encoder and classification head, with the labels of its classes.

    encoder       the TimmEncoder: features before the classifier, `[b, width]`
    head          takes features to the model's own logits, `[b, labels]`
    labels        a word or two for each logit: the first WordNet synonym of an ImageNet class
    descriptions  all synonyms and WordNet's definition: "crane: large long-necked wading bird ..."

    A model with as many classes as one of the ImageNets that timm knows (1k, 12k, 21k, 22k) has their labels;
    for another, pass your own, which are the descriptions too. The model isn't changed.

    Raises EncoderError when the model has no classifier, its head doesn't take the features alone (head and
    model must agree on an image of noise), or the labels are unknown; ValueError for labels of another
    number.
    """

    labels: tuple[str, ...]
    descriptions: tuple[str, ...]
    encoder: TimmEncoder
    head: nn.Module

    def __init__(
        self,
        model: nn.Module,
        *,
        labels: Sequence[str] | None = None,
        data_config: DataConfig | None = None,
    ) -> None:
        timm_model: Any = structural_copy(model).eval()
        name = _architecture(model)
        if not timm_model.num_classes:
            raise EncoderError(f"timm's {name} has no classifier", remedy="choose a checkpoint with labels")
        self.labels, self.descriptions = _labels(name, int(timm_model.num_classes), labels)
        head = _head(timm_model.get_classifier())
        noise = _noise(timm_model)
        with torch.no_grad():
            logits = timm_model(noise)
        self.encoder = TimmEncoder.taking(timm_model, data_config=data_config)
        self.head = head.eval().requires_grad_(False)
        _require_equal(name, self.encoder, self.head, noise, logits)


class _Mean(nn.Module):
    """The mean of several heads' logits, as timm's distilled models compute it."""

    def __init__(self, heads: Iterable[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, features: Tensor) -> Tensor:
        return torch.stack([head(features) for head in self.heads]).mean(dim=0)


def build(variant: str) -> TimmEncoder:
    """Load the checkpoint `architecture` or `architecture.tag`, from the cache or from where timm keeps it.

    With `/<path>` behind it, a local checkpoint of that architecture is read instead, and nothing fetched.
    Raises UnknownNameError when timm has no such checkpoint, WeightsError when it can't be obtained or read,
    and for a local one of an architecture whose tags prepare images differently, where none of them is named.
    """
    name, slash, path = variant.partition("/")
    encoder = TimmEncoder.taking(_load_local(name, path) if slash else _load_published(variant))
    encoder.architecture = f"timm {name.partition('.')[0]}"
    return encoder


def classifier(variant: str, labels: Sequence[str] | None = None) -> TimmClassifier:
    """Load a checkpoint as `build` does, and keep its classifier; a local one must hold it.

    `labels` are needed where its classes aren't those of an ImageNet that timm knows. Raises what `build` and
    TimmClassifier raise.
    """
    name, slash, path = variant.partition("/")
    model = _load_local_whole(name, path) if slash else _load_published(variant)
    return TimmClassifier(model, labels=labels)


def _labels(name: str, classes: int, own: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Find the labels of a number of classes, and their descriptions."""
    if own is not None:
        if isinstance(own, str) or len(own) != classes:
            raise ValueError(f"{len(own)} labels for the {classes} classes of timm's {name}: name each class")
        return tuple(own), tuple(own)
    subset = infer_imagenet_subset({"num_classes": classes})
    if subset is None:
        raise EncoderError(
            f"the {classes} outputs of timm's {name} are not the classes of an ImageNet that timm knows",
            remedy="pass what they mean: labels=[...], a word for each output in order",
        )
    known = ImageNetInfo(subset)
    words = tuple(synonyms.partition(",")[0] for synonyms in known.label_descriptions())
    return words, tuple(known.label_descriptions(detailed=True))


def _head(given: Any) -> nn.Module:
    """Make one module for features `[b, width]` of the result of timm's `get_classifier`."""
    if isinstance(given, tuple):  # the two heads of a distilled model
        return _Mean(map(_head, given))
    if isinstance(given, nn.Conv2d):  # a 1 x 1 convolution as the classifier
        return nn.Sequential(nn.Unflatten(1, (given.in_channels, 1, 1)), given, nn.Flatten())
    module: nn.Module = given
    return module


def _noise(model: nn.Module) -> Tensor:
    """An image `[1, 3, h, w]` of noise in the model's size, the same at each call."""
    size = resolve_data_config(model=model)["input_size"]  # type: ignore[no-untyped-call]
    noise = torch.randn(1, *size, generator=torch.Generator().manual_seed(0))
    return noise.to(next(model.parameters()))


def _require_equal(name: str, encoder: TimmEncoder, head: nn.Module, noise: Tensor, logits: Tensor) -> None:
    """Raise EncoderError unless the head's logits of the encoder's features equal the whole model's."""
    why, tolerance = "the logits differ", 1e-3 * float(logits.abs().max())
    try:
        with torch.no_grad():
            features = encoder.model.forward_head(encoder.model.forward_features(noise), pre_logits=True)
            found = head(features)
        if found.shape == logits.shape and torch.allclose(found, logits, rtol=0, atol=tolerance):
            return
    except Exception as cause:  # a head that wants something else than features fails in its own way
        why = describe_error(cause, 200)
    raise EncoderError(
        f"the classifier of timm's {name} can't be taken from its features: {why}",
        culprit="it looks at more than the features; each head of a distilled DeiT sees another token",
        remedy="take the features alone, by timm.build, or choose another checkpoint for the labels",
    )


def _load_published(variant: str) -> nn.Module:
    """Load a whole model with the weights that timm publishes."""
    _require_known(variant)
    try:
        return timm.create_model(variant, pretrained=True)
    except Exception as cause:  # each of timm's sources fails in its own way, and none gave a model
        raise WeightsError(
            f"the weights of timm's {variant!r} can't be obtained: {reason(cause)}",
            culprit=f"it tried to fetch {_origin(variant)}, which isn't in the local cache",
            remedy="load it once where there is a network, or copy that machine's cache (HF_HOME); "
            "a model built from a file of yours becomes an encoder by TimmEncoder(model)",
        ) from cause


def _load_local(name: str, path: str) -> nn.Module:
    """Load a model without its classifier from a file, whose classifier may have any labels."""
    state = _read(name, path)
    require_one(name, path)
    model: Any = timm.create_model(name, num_classes=1)
    whole = set(model.state_dict())
    model.reset_classifier(0)
    return _fill(model, state, path, ignored=whole - set(model.state_dict()))


def _load_local_whole(name: str, path: str) -> nn.Module:
    """Load a model from a file, with the classifier that the file holds, of whatever size."""
    state = _read(name, path)
    require_one(name, path)
    config: Any = get_pretrained_cfg(name)
    heads = config.classifier or ()
    first = heads if isinstance(heads, str) else next(iter(heads), "")
    if f"{first}.weight" not in state:
        raise WeightsError(
            f"{path!r} holds no classifier of timm's {name!r}",
            remedy="save the whole model; without its classifier the file is an encoder all the same",
        )
    return _fill(timm.create_model(name, num_classes=len(state[f"{first}.weight"])), state, path)


def _read(name: str, path: str) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint of a timm architecture; no code in it runs."""
    if not timm.is_model(name):
        raise _unknown(name, known=False)
    return read_state(Path(path).expanduser())


def _fill(
    model: nn.Module, state: Mapping[str, Tensor], path: str, ignored: Collection[str] = ()
) -> nn.Module:
    fill(
        model,
        state,
        f"{path!r} doesn't hold the weights of timm's {_architecture(model)!r}",
        "name the architecture that the file was saved from; it must hold all of its tensors, in their sizes",
        ignored=ignored,
    )
    return model


def _architecture(model: Any) -> str:
    return str(model.pretrained_cfg["architecture"])


def _require_known(variant: str) -> None:
    architectures, checkpoints = timm.list_models(), timm.list_pretrained()
    if variant in checkpoints or (variant in architectures and timm.is_model_pretrained(variant)):
        return
    raise _unknown(variant, known=variant in architectures)


def _unknown(variant: str, *, known: bool) -> UnknownNameError:
    known_names = [*timm.list_models(), *timm.list_pretrained()]
    return UnknownNameError(
        f"timm {timm.__version__} has {'no weights for' if known else 'no checkpoint'} {variant!r}",
        remedy=did_you_mean(variant, known_names) or "timm.list_pretrained() lists them all",
    )


def _origin(variant: str) -> str:
    config: Any = get_pretrained_cfg(variant)
    return str(config.hf_hub_id or config.url)
