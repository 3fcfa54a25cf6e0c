"""The forward pass of an encoder by a backend: exported or found, opened, and compared with torch's."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..._version import __version__
from ...card import TowerCard
from ...encoder import Encoder
from ...errors import EncoderError, MmencodeError
from ...plugins.registry import registry
from ...plugins.spec import EncoderSpec
from ...projection import Projection
from ..backend_names import ONNXRUNTIME, require_backend
from .exporting import IN_INT8, OPSET, export, refuse
from .keeping import Kept, keep
from .proving import Exported, make_batches, make_singles
from .quantising import Quantised, quantise
from .sessions import Sessions

FORMAT = "1"  # of what is kept: increased when the same facts would make another graph


def compute_by(backend: str, encoder: Encoder, spec: EncoderSpec, card: TowerCard) -> Exported:
    """Make an encoder's forward pass by a backend, from a graph that is kept for the next process.

    It is compared with torch's on the probes; a graph that was kept and differs is made anew, once. Raises
    EncoderError where the encoder can't be exported, or its graph computes something else.
    """
    forward, _ = _prove(backend, encoder, spec, card)
    return forward


def compute_in_int8(
    encoder: Encoder, spec: EncoderSpec, card: TowerCard, projection: Projection
) -> tuple[Quantised, float]:
    """Make a transformer's forward pass in int8, with the least cosine to float32 vectors of the probes.

    A UserWarning says that cosine, too. Raises as `compute_by`, and EncoderError for another network.
    """
    require_backend(ONNXRUNTIME)
    exact, kept = _prove(ONNXRUNTIME, encoder, spec, card)
    facts = {**_facts(spec, card), "precision": spec.precision, "rounded by": version(ONNXRUNTIME)}
    rounded = keep(facts, lambda file: quantise(kept.file, spec, file))
    forward = Quantised(exact, Sessions(ONNXRUNTIME, rounded.file), rounded)
    with torch.no_grad():
        least = min(
            _cosine(projection(encoder(one)), projection(forward(one))) for one in make_singles(encoder, spec)
        )
    exact.release()
    if not least > 0:
        raise refuse(spec, f"loses all in int8: a cosine of {least:.3f} to float32's", IN_INT8)
    warnings.warn(
        f"encoder {spec.name!r} computes in int8: its vectors of generated items keep a cosine of "
        f"{least:.4f} at least to those of float32, and they are another space's",
        UserWarning,
        stacklevel=2,
    )
    return forward, least


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(cosine_similarity(one, other, dim=-1).min())


def _prove(backend: str, encoder: Encoder, spec: EncoderSpec, card: TowerCard) -> tuple[Exported, Kept]:
    """Open the graph of an encoder, and compare what it computes."""
    if spec.outputs != "one":
        raise refuse(spec, "gives many vectors for an item, which only torch computes")
    batches = make_batches(encoder, spec)
    while True:
        kept = keep(_facts(spec, card), lambda file: export(encoder, spec, batches[0], file))
        forward = Exported(encoder, spec, Sessions(backend, kept.file), kept)
        try:
            with torch.no_grad():
                for batch in batches:
                    forward.prove(batch)
            return forward, kept
        except EncoderError:
            forward.release()
            kept.forget()  # so that nobody opens it again
            if not kept.old:
                raise


def _facts(spec: EncoderSpec, card: TowerCard) -> Mapping[str, str]:
    """List what a graph depends on, as far as it is known; the rest shows when it is compared."""
    try:
        code = f"{registry().distribution(spec.name)} {registry().version(spec.name)}"
    except MmencodeError:  # no plugin declares it
        code = spec.target
    return {
        "format": FORMAT,
        "tower": replace(card, precision="").digest,
        "code": f"mmencode {__version__}, {code}",
        "by": f"torch {torch.__version__}, onnx {version('onnx')}, opset {OPSET}",
    }
