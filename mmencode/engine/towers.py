"""Towers: an encoder and its projection, built from a spec and checked against what it declares."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torch.nn.parameter import is_lazy

from ..card import TowerCard, tower_card
from ..encoder import Encoder, identify
from ..errors import EncoderError, IdentityError, WeightsError
from ..inputs.weights import require_numbers
from ..isolation.copying import Borrowed, snapshot, structural_copy
from ..isolation.fence import own_numbers, plain_load
from ..plugins.packages import require_packages
from ..plugins.spec import EncoderSpec
from ..plugins.targets import build, culprit_of
from ..projection import IdentityProjection, Projection, load_shipped
from .budget import Budget
from .compiling import Compiled, name_cache
from .generated import generated_values
from .packing import pack
from .runtime import Runtime, move

AUTO_COSINE = 0.9999  # to float32: what dtype="auto" asks of an encoder before it uses another type


@dataclass(frozen=True, eq=False, slots=True)
class Tower:
    """One modality of a loaded space on one device; `dim` is the width of its embeddings.

    `forward` takes tensors to features: the encoder itself, or compiled where that was asked for.
    """

    spec: EncoderSpec
    encoder: Encoder
    forward: Encoder | Compiled
    projection: Projection
    card: TowerCard
    dim: int
    device: torch.device
    dtype: torch.dtype
    borrowed: Borrowed
    budget: Budget = field(default_factory=Budget)

    def require_as_loaded(self) -> None:
        """Raise IdentityError when the encoder's network is somebody else's, too, and was changed since."""
        changed = self.borrowed.find_changed()
        if changed is not None:
            raise IdentityError(
                f"the weights of encoder {self.spec.name!r} were changed after it was loaded, such as "
                f"{changed!r}: its vectors would no longer be those of its card",
                remedy="load the space again once its network has been trained; where training and encoding "
                "go on together, let the target make the encoder of copy.deepcopy(network)",
            )


@dataclass(frozen=True, eq=False, slots=True)
class _Built:
    """A tower as its spec's targets built it: in float32 on the CPU, copied, and looked at."""

    encoder: Encoder
    projection: Projection
    card: TowerCard
    borrowed: Borrowed


@plain_load()
def load_tower(
    spec: EncoderSpec,
    runtime: Runtime,
    device: torch.device | None = None,
    projection: Projection | None = None,
) -> Tower:
    """Build, check, move and pack or compile one encoder; the projection stays float32.

    A projection that is given takes the place of the spec's own.

    Raises MissingPackageError, WeightsError, EncoderError when the target gives something else than an
    Encoder, IdentityError when it isn't what the spec declares.
    """
    device = device or runtime.device
    built = _build_checked(spec, projection)
    dtype = _cast(built.encoder.to(device), spec, runtime, device)
    if dtype is None:
        built, dtype = _build_checked(spec, projection), torch.float32
    encoder = built.encoder.to(device)
    if not runtime.compile:
        pack(encoder)
    built.borrowed.watch(encoder)
    forward = Compiled(encoder, spec.name) if runtime.compile else encoder
    if device.type == "cuda":
        _warm_up(forward, encoder, spec, device, dtype)
    return Tower(
        spec=spec,
        encoder=encoder,
        forward=forward,
        projection=built.projection.to(device),
        card=built.card,
        dim=spec.dim or encoder.width,
        device=device,
        dtype=dtype,
        borrowed=built.borrowed,
    )


def _warm_up(
    forward: Encoder | Compiled,
    encoder: Encoder,
    spec: EncoderSpec,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Make what an encoder makes when first used, before several streams use it."""
    _forward_generated(forward, encoder, spec, device, dtype)
    torch.cuda.synchronize(device)


def _cast(encoder: Encoder, spec: EncoderSpec, runtime: Runtime, device: torch.device) -> torch.dtype | None:
    """Cast to the dtype that was asked for; with "auto" to float32 unless its vectors can bear less.

    That is what its author promises; a family can't for all of its members, so with these a few generated
    items are compared. None where they can't bear it: then the weights are rounded already. Gain: 1.7 times,
    where the processor's products are twice as fast (tests/benchmarks/gains.py).
    """
    wanted = runtime.dtype
    promised = spec.bf16_cosine or 0.0
    if not runtime.exact and not spec.variant and promised < AUTO_COSINE:
        wanted = torch.float32
    if runtime.exact or not spec.variant or wanted == torch.float32:
        encoder.to(wanted)
        return wanted
    exact = _forward_generated(encoder, encoder, spec, device, torch.float32)
    found = _forward_generated(encoder.to(wanted), encoder, spec, device, wanted)
    near = promised and len(exact) and cosine_similarity(exact, found).min() >= AUTO_COSINE
    return wanted if near else None


def _forward_generated(
    forward: Encoder | Compiled,
    encoder: Encoder,
    spec: EncoderSpec,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Features `[b, width]` of generated items; none for a modality that only a plugin knows."""
    items = [encoder.preprocess(item) for item in generated_values(spec.modality)]
    if not items:
        return torch.empty(0, encoder.width)
    with torch.inference_mode():
        features = forward(move(encoder.collate(items), device, dtype))
    return features.float()


@plain_load()
def build_tower(spec: EncoderSpec, given: Projection | None = None) -> tuple[Encoder, Projection, TowerCard]:
    """Build an encoder and its projection in float32 on the CPU, with the card of what they are found to be.

    The encoder is a copy that shares the parameters' memory with what the target gave, and nothing else, so
    that whoever has that goes on with it as it was.
    """
    built = _build_checked(spec, given)
    return built.encoder, built.projection, built.card


def _build_checked(spec: EncoderSpec, given: Projection | None) -> _Built:
    require_packages(spec)
    encoder = structural_copy(_build_encoder(spec))
    projection = _projection(spec, given)
    _require_filled(encoder, spec)
    outputs = "many" if encoder.gives_many else "one"
    if outputs != spec.outputs:
        raise EncoderError(
            f"encoder {spec.name!r} has the outputs {outputs!r}, and its spec says {spec.outputs!r}",
            remedy='its author makes it a MultiEncoder with EncoderSpec(outputs="many"), or neither',
            culprit=culprit_of(spec),
        )
    for module in (encoder, projection):
        module.eval().requires_grad_(False)
    if projection.width not in (None, encoder.width):
        raise EncoderError(
            f"encoder {spec.name!r} gives features of width {encoder.width}, and its projection takes "
            f"{projection.width}",
            remedy="fit the projection to this encoder's features",
        )
    require_numbers(encoder, spec.name)
    borrowed = Borrowed(encoder)
    used = projection if given is not None or spec.projection else None
    found = identify(encoder, used, spec.variant)
    if spec.identity is not None and not spec.identity.architecture:  # it was written before there was one
        found = replace(found, architecture="")
    if spec.identity is not None and found != spec.identity:
        raise _not_as_declared(spec, asdict(spec.identity), asdict(found))
    return _Built(encoder, projection, tower_card(spec, found), borrowed)


def _require_filled(encoder: Encoder, spec: EncoderSpec) -> None:
    """WeightsError for a network whose weights are only announced."""
    for name, tensor in (*encoder.named_parameters(), *encoder.named_buffers()):
        if is_lazy(tensor) or tensor.is_meta:
            raise WeightsError(
                f"the target of encoder {spec.name!r} gave a network without numbers in {name!r}",
                culprit=f"{spec.target}",
                remedy="fill its weights before it is given: run a lazy layer once, load what is on the meta "
                "device",
            )


def _build_encoder(spec: EncoderSpec) -> Encoder:
    """Build an encoder; the error for a member of a family says how to name another place of its weights."""
    try:
        built: Encoder = _build(spec, spec.target, Encoder)
        return built
    except WeightsError as error:
        if spec.variant and spec.identity is not None:
            moved = "if the weights lie elsewhere now, load the space from there and give it: "
            error.remedy += f"; {moved}load(folder, space=space), Index.open(folder, space=space)"
        raise


def _projection(spec: EncoderSpec, given: Projection | None) -> Projection:
    if given is not None:
        return snapshot(given)  # moving it to a device is no business of whoever gave it
    if not spec.projection:
        return IdentityProjection()
    if spec.ships_projection:
        return load_shipped(spec)
    declared: Projection = _build(spec, spec.projection, Projection)
    return snapshot(declared)


def _build(spec: EncoderSpec, target: str, kind: type[Any]) -> Any:
    """Import `target` and call it, and see to it that it gives what it should."""
    name_cache()
    with own_numbers():  # modules draw initial weights; the user's generator isn't theirs
        built = build(spec, target)
    if not isinstance(built, kind):
        raise EncoderError(
            f"{target} gave {type(built).__name__}",
            culprit=culprit_of(spec),
            remedy=f"make it return a mmencode.{kind.__name__}",
        )
    return built


def _not_as_declared(spec: EncoderSpec, declared: dict[str, str], found: dict[str, str]) -> IdentityError:
    differences = [
        f"{field}: declared {declared[field]!r}, found {found[field]!r}"
        for field in declared
        if declared[field] != found[field]
    ]
    return IdentityError(
        f"encoder {spec.name!r} is not what its plugin declares: {'; '.join(differences)}",
        remedy="reinstall the plugin and its weights; its author updates EncoderSpec.identity from "
        "mmencode.encoder.identify(encoder, projection)",
    )
