"""Transformers in int8: weights rounded once, and the inputs of each product while it is computed."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any, final

from torch import Tensor

from ...encoder import Tensors
from ...plugins.packages import import_package
from ...plugins.spec import EncoderSpec
from ..backend_names import ONNXRUNTIME, install_line
from .exporting import IN_INT8, refuse
from .proving import Exported
from .sessions import Sessions

_NEED = "int8 needs onnxruntime and onnx"


def quantise(exported: Path, spec: EncoderSpec, file: Path) -> None:
    """Write the graph of an encoder with the weights of its products in int8, a scale for each column.

    They have seven bits: with eight, processors without VNNI overflow, and give other vectors under the same
    id. Raises EncoderError for an encoder without attention, and for one of which convolutions are the most.
    """
    _require_transformer(exported, spec)
    library = import_package("onnxruntime.quantization", _NEED, install_line(ONNXRUNTIME))
    quiet = _Quiet()
    logging.getLogger().addFilter(quiet)
    try:
        library.quantize_dynamic(
            exported,
            file,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=library.QuantType.QInt8,
            use_external_data_format=len(list(exported.parent.glob("*"))) > 2,  # that of 2 GiB and more
        )
    finally:
        logging.getLogger().removeFilter(quiet)


class _Quiet(logging.Filter):
    """Lets no advice through from the thread that quantises: a traced graph needs no preparations."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep what comes from another thread, and errors."""
        return record.thread != self._thread or record.levelno >= logging.ERROR


@final
class Quantised:
    """The forward pass of an encoder in int8; the graph that it was made of goes on being proven."""

    def __init__(self, exact: Exported, sessions: Sessions, holder: object) -> None:
        self._exact, self._sessions, self._holder = exact, sessions, holder

    def __call__(self, tensors: Tensors) -> Tensor:
        """Features `[1, width]` of one item, since those of several would depend on each other."""
        if not self._exact.covers(tensors):
            self._exact.prove(tensors)
            self._exact.release()
        return self._sessions.run(tensors)


def _require_transformer(exported: Path, spec: EncoderSpec) -> None:
    """Raise EncoderError unless a graph has attention, and more weights in products than in convolutions."""
    onnx: Any = import_package("onnx", _NEED, install_line(ONNXRUNTIME))
    graph = onnx.load_model(str(exported), load_external_data=False).graph
    sizes = {one.name: _count(one.dims) for one in graph.initializer}
    weights = {
        kind: sum(sizes.get(node.input[1], 0) for node in graph.node if node.op_type == kind)
        for kind in ("MatMul", "Conv")
    }
    attends = any(node.op_type == "Softmax" for node in graph.node)
    if not attends or weights["MatMul"] <= weights["Conv"]:
        raise refuse(spec, 'is no transformer, and only these are computed with dtype="int8"', IN_INT8)


def _count(dims: Any) -> int:
    total = 1
    for size in dims:
        total *= size
    return total
