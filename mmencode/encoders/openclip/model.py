"""Builds a whole open_clip model from settings and a file of weights, and guesses nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from open_clip.coca_model import CoCa
from open_clip.convert import convert_state_dict, load_big_vision_weights
from open_clip.model import (
    CustomTextCLIP,
    convert_to_custom_text_state_dict,
    resize_pos_embed,
    resize_text_pos_embed,
)
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

from ...inputs.building import sketch
from ...inputs.pickled import require_stored
from ...inputs.settings import require_file
from ...inputs.weights import fill, read_state, shapes_of

_DRAWS = {
    *(Tensor.normal_, Tensor.uniform_, Tensor.erfinv_),
    *(init.normal_, init.uniform_, init.kaiming_uniform_),
}
_BIG_VISION = ".npz"
_SCALES = ("logit_scale", "logit_bias")
_PLACES = {"image": "visual.", "text": "text."}
_POSITIONS = "positional_embedding"
_POSITION_IDS = "text.transformer.embeddings.position_ids"  # of older versions of transformers


class _Undrawn(TorchFunctionMode):
    """Skips drawing initial weights, most of a large model's loading time; the checkpoint replaces them all.

    It surely does, since it must have every tensor but the scales, which aren't drawn; a tower that isn't
    wanted is dropped.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else options["tensor"]
        return func(*args, **options)


def load(
    settings: Mapping[str, Any],
    path: Path,
    name: str,
    towers: Collection[str],
    *,
    own: bool,
    resize: bool = False,
) -> Any:
    """Build the model that the settings describe, in float32 and with a separate text tower, from a file.

    Only the weights of `towers`, "image" and "text", are copied; those of others have the right sizes, too.
    With `own`, the settings are open_clip's; others are first checked to describe no larger model than the
    file has weights for. With `resize`, position embeddings of another image size or context are
    interpolated, as open_clip does unasked. Where the file lacks the scale or bias that training gives,
    `logit_scale` is None.
    """
    if path.suffix == _BIG_VISION:
        return _of_big_vision(settings, path)
    if not own:
        sketch(lambda: _build(settings), shapes_of(path), repr(name))
    state = read_state(path)
    model = _build(settings)
    state = _convert(model, state)
    if resize:
        resize_pos_embed(state, model)
        resize_text_pos_embed(state, model)
    origin = f"{str(path)!r} doesn't hold the weights of open_clip's {name!r}"
    places = tuple(place for tower, place in _PLACES.items() if tower not in towers)
    unread = [tensor for tensor in model.state_dict() if tensor.startswith(places)]
    lacking = fill(model, state, origin, _remedy(model, state), optional=_SCALES, unread=unread)
    if lacking & set(_SCALES):
        model.logit_scale = None
    return model.eval()


def _build(settings: Mapping[str, Any]) -> Any:
    arguments = {name: deepcopy(value) for name, value in settings.items() if name != "custom_text"}
    arguments["vision_cfg"]["timm_model_pretrained"] = False
    arguments["text_cfg"]["hf_model_pretrained"] = False
    kind = CoCa if "multimodal_cfg" in arguments else CustomTextCLIP
    with _Undrawn():
        return kind(**arguments, cast_dtype=None)


def _of_big_vision(settings: Mapping[str, Any], path: Path) -> Any:
    """Build a model from SigLIP's weights in the form that its authors publish."""
    require_file(path)
    require_stored(path)
    model = _build(settings)
    load_big_vision_weights(model, str(path))
    return model.eval()


def _convert(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state's tensors to this model's names; open_clip translates Apple's and older checkpoints."""
    state = convert_state_dict(model, _without_trainers_prefix(state))
    state = convert_to_custom_text_state_dict(state)
    expected = model.state_dict()
    for name in _SCALES:
        if name in state and name in expected and state[name].numel() == expected[name].numel():
            state[name] = state[name].reshape(expected[name].shape)
    if _POSITION_IDS not in expected:
        state.pop(_POSITION_IDS, None)
    return state


def _without_trainers_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off `model.` or another prefix that stands before every tensor of the image tower."""
    prefixes = {name.partition("visual.")[0] for name in state if "visual." in name}
    if len(prefixes) != 1 or prefixes == {""}:
        return state
    (prefix,) = prefixes
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _remedy(model: Any, state: Mapping[str, Tensor]) -> str:
    """The remedy for weights that don't fit, which names ?resize where only position embeddings differ."""
    expected = model.state_dict()
    unequal = {
        name for name, value in state.items() if name in expected and value.shape != expected[name].shape
    }
    plain = (
        "a local file must be a whole safetensors file or state dict of this architecture; name the one that "
        "it was saved from"
    )
    if not unequal or not all(name.endswith(_POSITIONS) for name in unequal):
        return plain
    return (
        f"{plain}. They are of another image size or context: ?resize behind the name interpolates the "
        "positions, which gives other vectors and is a space of its own"
    )
