"""The audio encoder YAMNet, whose scores of 521 AudioSet tags are projected into the space."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from mmencode import Encoder, LabelAnchored, Tensors, Waveform
from mmencode.encoder import pad_rows

from . import anchors, frontend
from .sources import YAMNET, read

TAGS, SILENCE = 521, 494

_CONVOLUTIONS = 27
_HALVING = (0, 3, 7, 11, 23)  # the convolutions with stride 2
_AT_ONCE = 32  # patches; more leave the processor's cache, and a long recording would take all memory
_SILENT = 0.95
_LEAST_WEIGHT = 1e-3


class YamNet(Encoder):
    """Encodes recordings to scores of 521 tags, the mean over patches that aren't silent.

    Gemmeke et al., "Audio Set", ICASSP 2017, for the tags; the network is MobileNet v1 (Howard et al. 2017).
    """

    width = TAGS
    preprocessing = frontend.WORDS
    pooling = (
        "mean of tag scores over patches, weighted by 1 - Silence; Silence itself only if all are silent"
    )
    windows = frontend.WINDOWS

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(*_convolutions(weights))
        self.classifier = nn.Linear(1024, TAGS)
        self.load_state_dict(weights)
        self._log_mel = frontend.LogMel()

    def preprocess(self, item: Waveform) -> Tensors:
        """Compute log-mel patches `[patches, 96, 64]`."""
        return {"patches": torch.from_numpy(self._log_mel(item.resample(frontend.RATE).samples))}

    def collate(self, items: list[Tensors]) -> Tensors:
        """Join the patches of all items, `[patches, 96, 64]`, with `counts` `[b]` of each item's patches."""
        patches = [item["patches"] for item in items]
        return {"patches": torch.cat(patches), "counts": torch.tensor([len(part) for part in patches])}

    def cost(self, tensors: Tensors) -> int:
        """The number of patches."""
        return len(tensors["patches"])

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, 521]`, a score from 0 to 1 for each tag."""
        return torch.stack([_pool(scores) for scores in self._scores(tensors)])

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute the tag scores of each patch, `[b, patches, 521]`, and the mask `[b, patches]`."""
        return pad_rows(self._scores(tensors))

    def _scores(self, tensors: Tensors) -> list[Tensor]:
        """Compute the tag scores of each item's patches, `[patches, 521]`."""
        scores = torch.cat([self._tag(part) for part in torch.split(tensors["patches"], _AT_ONCE)])
        return list(torch.split(scores, tensors["counts"].tolist()))

    def _tag(self, patches: Tensor) -> Tensor:
        maps = self.convolutions(patches.unsqueeze(1))  # [patches, 1024, 3, 2]
        scores: Tensor = self.classifier(maps.mean(dim=(2, 3))).sigmoid()
        return scores


def encoder() -> YamNet:
    """Read YAMNet from its package; MissingPackageError or WeightsError when it isn't there as released."""
    return YamNet(_rename(_initialisers(read(YAMNET)))).eval().requires_grad_(False)


def projection() -> LabelAnchored:
    """Build the projection: the mean anchor of the ten tags whose scores exceed their prior most."""
    data = anchors.read(anchors.AUDIO)
    return LabelAnchored(data["anchors"], activation="none", prior=data["prior"], floor=0.01, top=10)


def _pool(scores: Tensor) -> Tensor:
    """Average an item's scores `[patches, 521]` to `[521]`, in which silent patches hardly count."""
    silence = scores[:, SILENCE]
    weight = (1 - silence).clamp_min(_LEAST_WEIGHT)
    pooled = (weight[:, None] * scores).sum(dim=0) / weight.sum()
    pooled[SILENCE] *= (silence >= _SILENT).all()
    return pooled


def _convolutions(weights: dict[str, Tensor]) -> list[nn.Module]:
    """Build one ordinary convolution, then depthwise and pointwise in turn, with batch norms folded in."""
    modules: list[nn.Module] = []
    for index in range(_CONVOLUTIONS):
        width, inputs, size, _ = weights[_place(index, "weight")].shape
        groups = width if index % 2 else 1
        if index in _HALVING:
            halving = nn.Conv2d(inputs * groups, width, size, stride=2, groups=groups)
            modules += [nn.ZeroPad2d((0, 1, 0, 1)), halving, nn.ReLU(inplace=True)]
        else:
            plain = nn.Conv2d(inputs * groups, width, size, padding=size // 2, groups=groups)
            modules += [nn.Identity(), plain, nn.ReLU(inplace=True)]
    return modules


def _place(index: int, kind: str) -> str:
    return f"convolutions.{3 * index + 1}.{kind}"


def _initialisers(archive: bytes) -> dict[str, Tensor]:
    """Read the constants of the ONNX graph in an archive; its quantization nodes are ignored."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        names = {name.rpartition(".")[2]: name for name in files.namelist()}
        graph: Any = onnx.load_model_from_string(files.read(names["onnx"])).graph
        data = files.read(names["data"])
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in tensor.external_data}
            start = int(place["offset"])
            tensor.raw_data = data[start : start + int(place["length"])]
            tensor.data_location = onnx.TensorProto.DEFAULT
    return {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer
    }


def _rename(initialisers: dict[str, Tensor]) -> dict[str, Tensor]:
    """Map the export's names to those of `YamNet`; it numbers its convolutions in steps of three from 241."""
    weights = {f"classifier.{kind}": initialisers[f"model.classifier.{kind}"] for kind in ("weight", "bias")}
    for index in range(_CONVOLUTIONS):
        weights[_place(index, "weight")] = initialisers[f"onnx::Conv_{241 + 3 * index}"]
        weights[_place(index, "bias")] = initialisers[f"onnx::Conv_{242 + 3 * index}"]
    return weights
