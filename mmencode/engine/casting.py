"""The dtype of encoders: what was asked for, or with "auto" the fastest that their vectors can bear."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..encoder import Encoder, Tensors
from ..encoder.notices import without_notices
from ..plugins.spec import EncoderSpec
from .building import Built
from .generated import generated_values
from .miscomputed import mend
from .runtime import Runtime, move

AUTO_COSINE = 0.9999  # to float32: what dtype="auto" asks of an encoder before it uses another type


def cast(built: Sequence[Built], runtime: Runtime, device: torch.device) -> list[torch.dtype | None]:
    """Cast encoders on their device, and give the dtype of each; None for one that didn't bear it.

    That one's weights are rounded by then, and it must be built again. Encoders that share weights have one
    dtype, which all of them bear.
    """
    found: dict[int, torch.dtype | None] = {}
    for group in _join_sharing(built):
        dtype = _cast_group([built[place] for place in group], runtime, device)
        found |= dict.fromkeys(group, dtype)
    return [found[place] for place in range(len(built))]


def _join_sharing(built: Sequence[Built]) -> list[list[int]]:
    """Group the places of encoders that share tensors, directly or through others."""
    groups: list[tuple[set[int], list[int]]] = []
    for place, each in enumerate(built):
        held = {id(tensor) for tensor in (*each.encoder.parameters(), *each.encoder.buffers())}
        held.add(id(each.encoder))
        joined = [group for group in groups if group[0] & held]
        groups = [group for group in groups if not group[0] & held]
        groups.append(
            (held.union(*(ids for ids, _ in joined)), [*(at for _, places in joined for at in places), place])
        )
    return [places for _, places in groups]


def _cast_group(group: Sequence[Built], runtime: Runtime, device: torch.device) -> torch.dtype | None:
    """Cast to the dtype that was asked for; with "auto" to float32 unless all vectors can bear less.

    That is what an encoder's author promises; a family can't for all of its members, so with these a few
    generated items are compared. None where they can't bear it: then the weights are rounded already. Gain:
    1.7 times, where the processor's products are twice as fast (tests/benchmarks/gains.py).
    """
    wanted = torch.float32 if any(each.spec.precision for each in group) else runtime.dtype
    if not runtime.exact and not all(_is_promised(each.spec) for each in group):
        wanted = torch.float32
    tried = [] if runtime.exact or wanted == torch.float32 else [each for each in group if each.spec.variant]
    exact = [
        forward_generated(each.encoder, each.encoder, each.spec, device, torch.float32) for each in tried
    ]
    for each in group:
        each.encoder.to(wanted)
        mend(each.encoder)
    for each, before in zip(tried, exact, strict=True):
        after = forward_generated(each.encoder, each.encoder, each.spec, device, wanted)
        if not (len(before) and cosine_similarity(before, after).min() >= AUTO_COSINE):
            return None
    return wanted


def _is_promised(spec: EncoderSpec) -> bool:
    """Whether an encoder may be cast: by its author's word, or for a family's member if it stands a trial."""
    promised = spec.bf16_cosine or 0.0
    return promised > 0 if spec.variant else promised >= AUTO_COSINE


def forward_generated(
    forward: Callable[[Tensors], Tensor],
    encoder: Encoder,
    spec: EncoderSpec,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Features `[b, width]` of generated items; none for a modality that only a plugin knows."""
    with without_notices():
        items = [encoder.preprocess(item) for item in generated_values(spec.modality, spec.parts)]
    if not items:
        return torch.empty(0, encoder.width)
    with torch.inference_mode():
        features = forward(move(encoder.collate(items), device, dtype))
    return features.float()
