"""Audio encoders of torchaudio's bundles: wav2vec 2.0, HuBERT and WavLM, the mean over the last layer.

The name is `torchaudio/<BUNDLE>`, as in `torchaudio.pipelines`, for the published weights, or
`torchaudio/<BUNDLE>/<path>` for a local checkpoint of that architecture, which is read without a network.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn.functional import layer_norm, pad
from torchaudio.models import wav2vec2_model, wavlm_model

from ..encoder import Encoder, Tensors, windows
from ..errors import UnknownNameError, WeightsError
from ..errors.suggestions import did_you_mean
from ..inputs import Waveform
from ..inputs.settings import settings_digest
from ..inputs.weights import fill, read_state, reason
from ..isolation.copying import structural_copy

Windows = Literal["mean", "first"]

SECONDS = 15.0  # in pre-training these models saw crops of at most 15.6 s (base) and 20 s (large)

_SOURCE = "https://download.pytorch.org/torchaudio/models/"  # of the bundles that name no other
_FACTORIES = {"Wav2Vec2": wav2vec2_model, "WavLM": wavlm_model}


class TorchaudioEncoder(Encoder):
    """A torchaudio `Wav2Vec2Model`, pooled over the frames of its transformer's output.

    model      the result of `bundle.get_model()` or of torchaudio's factories. It isn't changed: the encoder
               has a copy of its modules, which shares its memory, without the head
    rate       the sampling rate of the model's input, in Hz
    normalise  whether each window is scaled to mean 0 and variance 1; done anyway where `get_model()` says so
    windows    for a recording longer than `seconds`: "mean" pools over the frames of all its windows,
               "first" takes the first window only
    seconds    the length of a window

    A frame is the output of the last layer after the model's last layer norm. Windows follow each other
    without overlap; a last window that is too short for a frame is left out. A recording that is too short
    for a frame is padded with zeros to that length (400 samples for all published bundles).

    Raises ValueError for another value of `windows`, and for windows too short for a frame.
    """

    width: int
    preprocessing: str
    windows: str

    def __init__(
        self,
        model: nn.Module,
        *,
        rate: int,
        normalise: bool = False,
        windows: Windows = "mean",
        seconds: float = SECONDS,
    ) -> None:
        super().__init__()
        own: Any = getattr(model, "model", model)  # get_model() wraps those that normalise
        self.model: Any = structural_copy(own)
        self.width = int(self.model.encoder.feature_projection.projection.out_features)
        self._rate = rate
        self._normalise = normalise or bool(getattr(model, "normalize_waveform", False))
        self._least = _receptive_field(self.model)
        self._window = _window(windows, seconds, rate, self._least)
        self._policy = windows
        self.model.aux = None
        self._describe()
        self.eval().requires_grad_(False)

    def _describe(self) -> None:
        scaling = ", each window to mean 0 and variance 1" if self._normalise else ""
        which = "all consecutive windows" if self._policy == "mean" else "the first window"
        self.preprocessing = f"mono, {self._rate} Hz, sinc resampling{scaling}"
        self.pooling = "mean over frames of the last layer, after the last layer norm"
        self.windows = (
            f"{which} of {self._window} samples, no last one below {self._least}; "
            f"a shorter recording is followed by zeros up to {self._least}"
        )

    def preprocess(self, item: Waveform) -> Tensors:
        """Cut a recording into windows, `samples` `[n]` in order, with their `lengths` `[windows]`."""
        samples = torch.tensor(item.resample(self._rate).samples)  # [n]
        if self._policy == "first":
            samples = samples[: self._window]
        cut = windows.cut(samples, self._window, self._least)
        cut = [pad(window, (0, max(0, self._least - len(window)))) for window in cut]
        if self._normalise:
            cut = [layer_norm(window, window.shape) for window in cut]
        return windows.tensors_of(cut)

    def collate(self, items: list[Tensors]) -> Tensors:
        """Join recordings to `samples` `[n]`, `lengths` `[windows]`, and `counts` `[b]` of their windows."""
        return windows.collate(items)

    def cost(self, tensors: Tensors) -> int:
        """The number of samples: recordings of one length share batches, and their windows passes."""
        return len(tensors["samples"])

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]`: the mean over all frames of a recording, added up in float32."""
        count = len(tensors["lengths"])
        sums = torch.zeros(count, self.width, device=tensors["samples"].device)
        frames = torch.zeros(count, 1, device=sums.device)
        for places, hidden in self._frames(tensors):
            sums[places] = hidden.sum(dim=1, dtype=torch.float32)
            frames[places] = hidden.shape[1]
        counts = tensors["counts"].tolist()
        items = zip(sums.split_with_sizes(counts), frames.split_with_sizes(counts), strict=True)
        features = torch.stack([total.sum(dim=0) / number.sum() for total, number in items])
        return features.to(tensors["samples"].dtype)

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute frames `[b, t, width]`, those of all windows in order, and their mask `[b, t]`."""
        return windows.rows(self._frames(tensors), tensors["counts"])

    def _frames(self, tensors: Tensors) -> Iterator[tuple[list[int], Tensor]]:
        """Compute the frames `[k, t, width]` of windows of one length at a time, with their places."""
        for places, samples in windows.passes(tensors):
            features, _ = self.model.feature_extractor(samples, None)
            yield places, self.model.encoder(features)


def build(variant: str) -> TorchaudioEncoder:
    """Build the encoder of `<BUNDLE>`, with published weights, or of `<BUNDLE>/<path>`, with those of a file.

    Raises UnknownNameError when torchaudio has no such bundle, WeightsError when its weights can't be
    fetched, or the file isn't there, isn't whole, holds code or is of another architecture.
    """
    name, slash, path = variant.partition("/")
    bundle = _bundle(name)
    state = read_state(Path(path).expanduser()) if slash else _fetch(name, bundle)
    model: Any = _FACTORIES[bundle._model_type](**{**bundle._params, "aux_num_out": None})
    _fill(model, state, name, repr(path) if slash else f"the cached copy of {_url(bundle)}")
    encoder = TorchaudioEncoder(model, rate=int(bundle.sample_rate), normalise=bundle._normalize_waveform)
    encoder.architecture = f"torchaudio {bundle._model_type} {settings_digest(bundle._params, _counts)}"
    return encoder


def _counts(setting: str) -> bool:
    """Whether vectors depend on a setting of a bundle, unlike on dropout and the size of the head."""
    return not setting.endswith(("dropout", "layer_drop")) and setting != "aux_num_out"


def _bundle(name: str) -> Any:
    kind = torchaudio.pipelines.Wav2Vec2Bundle
    known = {key: value for key, value in vars(torchaudio.pipelines).items() if isinstance(value, kind)}
    if name not in known:
        raise UnknownNameError(
            f"torchaudio {torchaudio.__version__} has no wav2vec 2.0, HuBERT or WavLM bundle {name!r}",
            remedy=did_you_mean(name.upper(), known) or f"there are {', '.join(known)}",
        )
    return known[name]


def _url(bundle: Any) -> str:
    path = str(bundle._path)
    return path if path.startswith("https") else _SOURCE + path


def _fetch(name: str, bundle: Any) -> Any:
    """Fetch the published state dict through torch.hub's cache; a file with code in it is refused."""
    url = _url(bundle)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True)
    except Exception as cause:  # the network, the disk and a broken cached file fail in their own ways
        raise WeightsError(
            f"the weights of torchaudio's {name!r} can't be obtained: {reason(cause)}",
            culprit=f"it tried to read {url} through the cache {folder}",
            remedy="load it once where there is a network, or copy that machine's file into the cache; "
            f"delete a broken one there; a local file is named by its path: torchaudio/{name}/<path>",
        ) from cause


def _fill(model: nn.Module, state: Any, name: str, origin: str) -> None:
    """Copy a state dict into a model that it must fit as a whole; its head is ignored."""
    expected = model.state_dict()
    numbers = sum(tensor.numel() for tensor in expected.values())
    fill(
        model,
        state,
        f"{origin} doesn't hold the weights of torchaudio's {name!r}",
        "name the bundle that the local file was made with, or fetch the file again",
        culprit=f"expected the state dict of that bundle's model: {len(expected)} tensors, {numbers} numbers",
        ignored=("aux.weight", "aux.bias"),
    )


def _receptive_field(model: Any) -> int:
    """The number of samples that the convolutions of a model make one frame of."""
    layers = model.feature_extractor.conv_layers
    return windows.receptive_field((layer.kernel_size, layer.stride) for layer in layers)


def _window(windows: str, seconds: float, rate: int, least: int) -> int:
    """Compute the length of a window in samples; ValueError for a policy or a length that can't be."""
    if windows not in ("mean", "first"):
        raise ValueError(f'windows is {windows!r}: make it "mean" or "first"')
    if seconds * rate < least:
        raise ValueError(f"windows of {seconds} s are too short: make them {least / rate} s or longer")
    return int(seconds * rate)
