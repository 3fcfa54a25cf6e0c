"""Encoders exported to ONNX: as a graph of their forward pass over the tensors of a batch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ...encoder import Encoder
from ...errors import EncoderError
from ...errors.causes import describe_error
from ...isolation.guarding import Guard
from ...plugins.spec import EncoderSpec

OPSET = 17
FEATURES = "features"
_ALONE = Guard()  # torch exports one network at a time, and warnings are filtered for all threads
BY_TORCH = (
    "load the space without a backend, so that torch computes it, or for other modalities only, "
    "modalities=(...): vectors of both may be compared"
)
IN_INT8 = "load the space in float32, which is another one, or for other modalities only, modalities=(...)"


class ByPosition(nn.Module):
    """An encoder whose tensors are arguments, in the order of their names, since graphs have no mappings."""

    encoder: Encoder

    def __init__(self, encoder: Encoder, names: Sequence[str]) -> None:
        super().__init__()
        self.encoder, self._names = encoder, tuple(names)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute features `[b, width]`."""
        features: Tensor = self.encoder(dict(zip(self._names, tensors, strict=True)))
        return features


def export(encoder: Encoder, spec: EncoderSpec, tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write the graph of an encoder, traced on these tensors, every size of which may be another one.

    torch's older exporter is used, since the newer needs onnxscript. Raises EncoderError where it fails.
    """
    names = list(tensors)
    sizes = {name: {at: f"{name}_{at}" for at in range(tensors[name].ndim)} for name in names}
    try:
        with _ALONE, torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what tracing may miss is found when the graph is compared
            torch.onnx.export(
                ByPosition(encoder, names).eval(),
                tuple(tensor.clone() for tensor in tensors.values()),
                file,
                dynamo=False,
                input_names=names,
                output_names=[FEATURES],
                dynamic_axes=sizes,
                opset_version=OPSET,
            )
    except OSError:
        raise
    except Exception as cause:  # the encoder's own code, and torch has many types of errors
        raise refuse(spec, f"can't be exported to ONNX: {describe_error(cause)}") from cause


def refuse(spec: EncoderSpec, why: str, remedy: str = BY_TORCH) -> EncoderError:
    """Make the error of an encoder that only torch can compute as it should be."""
    return EncoderError(f"encoder {spec.name!r} ({spec.key}) {why}", remedy=remedy)
