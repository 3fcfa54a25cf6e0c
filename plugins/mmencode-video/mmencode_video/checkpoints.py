"""Local folders of transformers' video models are read as settings and tensors; nothing of them runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoVideoProcessor

from mmencode.checkpoints import (
    Bounded,
    describe_error,
    fill,
    matters,
    read_object,
    read_state,
    require_file,
    settings_digest,
)
from mmencode.encoders.pixels import fit_to_crop, fit_to_resize, fit_to_squeeze
from mmencode.errors import UnknownNameError, WeightsError

from .policy import Policy
from .video import Video

_SAFELY = {"local_files_only": True, "trust_remote_code": False}
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_PROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
_LARGEST = 2**13  # pixels of a side that preprocessing may make
_SIDES = ("height", "width", "edge", "size")


class Checkpoint:
    """A folder as `save_pretrained` writes it, whose settings can't run code or fetch anything."""

    def __init__(self, path: str, family: str, kind: str) -> None:
        if not path.startswith((".", "/", "~")) and not Path(path).is_absolute():
            raise UnknownNameError(
                f"{path!r} is no folder: its path begins with /, ./, ../ or ~",
                remedy=f"download the checkpoint, and name its folder: {family}./{path}",
            )
        self.folder = Path(path).expanduser()
        self.name = path
        if not self.folder.is_dir():
            raise WeightsError(
                f"there is no folder {path!r}",
                remedy="name the folder that holds config.json, the weights and the preprocessing's settings",
            )
        self.settings = self.read("config.json")
        found = self.settings.get("model_type")
        if found != kind:
            raise WeightsError(
                f"the checkpoint {path!r} is a {found!r:.80}, and {family} takes a {kind!r}",
                culprit=str(self.folder / "config.json"),
                remedy="`mmencode list` shows the families of this plugin and others",
            )

    @property
    def architecture(self) -> str:
        """The kind of model and a digest of its settings, for the identity."""
        digest = settings_digest(self.settings, matters)
        return f"transformers {self.settings['model_type']} {digest}"

    def read(self, file: str) -> dict[str, Any]:
        """Read the JSON object in a file; WeightsError for one that isn't there, or wants code to be run."""
        require_file(self.folder / file, "it belongs to the files that save_pretrained writes")
        found = read_object(self.folder / file)
        waiting: list[Any] = [found]
        while waiting:
            value = waiting.pop()
            waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
            for key, inner in value.items() if isinstance(value, dict) else ():
                kernel = "attn_implementation" in key and "/" in str(inner)
                if kernel or (key in ("auto_map", "quantization_config") and inner):
                    raise WeightsError(
                        f"the checkpoint {self.name!r} is refused: its {file} has {key} {inner!r:.200}",
                        culprit=str(self.folder / file),
                        remedy="choose one that transformers itself can load in full precision; code of a "
                        "checkpoint is never run",
                    )
        return found

    def config(self, kind: Any, settings: dict[str, Any] | None = None) -> Any:
        """Make the configuration of a model of its settings; WeightsError for settings that make none."""
        try:
            config = kind.from_dict(dict(self.settings if settings is None else settings))
        except Exception as cause:
            raise WeightsError(
                f"transformers can't read the config of {self.name!r}: {describe_error(cause)}",
                culprit=str(self.folder / "config.json"),
                remedy="put the checkpoint's own config.json there",
            ) from cause
        config._attn_implementation = None  # transformers' choice, sdpa where there is one
        return config

    def build(self, make: Callable[[], nn.Module]) -> nn.Module:
        """Build a module and fill it with the weights, in float32; WeightsError unless they fit exactly."""
        file = next((self.folder / name for name in _WEIGHTS if (self.folder / name).exists()), None)
        if file is None:
            raise WeightsError(
                f"the checkpoint {self.name!r} has no {' or '.join(_WEIGHTS)}",
                culprit=str(self.folder),
                remedy="put its weights there as one file: save_pretrained(folder, max_shard_size='100GB')",
            )
        state = read_state(file)
        shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        try:
            with Bounded(shapes, repr(self.name)):
                made = make()
        except WeightsError:
            raise
        except Exception as cause:
            raise WeightsError(
                f"the settings of {self.name!r} make no model: {describe_error(cause)}",
                culprit=str(self.folder / "config.json"),
                remedy="put the config.json there that belongs to the weights",
            ) from cause
        fill(
            made,
            state,
            f"the weights of {self.name!r} don't fit its settings",
            "put the config.json there that belongs to the weights",
            culprit=str(file),
            optional={name for name, _ in made.named_buffers()},  # tables that the model makes itself
            ignored={name for name in state if name.endswith("position_ids")},
        )
        return made.eval().requires_grad_(False)

    def processor(self, auto: Any) -> Any:
        """Load the preprocessing of frames by an Auto class; WeightsError for absurd sizes."""
        files = [file for file in _PROCESSORS if (self.folder / file).is_file()]
        for file in files:
            _require_moderate(self.read(file), str(self.folder / file))
        if not files:
            raise WeightsError(
                f"the checkpoint {self.name!r} has no {' or '.join(_PROCESSORS)}",
                culprit=str(self.folder),
                remedy="put the checkpoint's own there: it says how frames are prepared",
            )
        try:
            return auto.from_pretrained(self.folder, **_SAFELY)
        except Exception as cause:
            raise WeightsError(
                f"the preprocessing of {self.name!r} can't be read: {describe_error(cause)}",
                culprit=str(self.folder),
                remedy="put the checkpoint's own preprocessor_config.json there",
            ) from cause


def _require_moderate(settings: Any, file: str) -> None:
    """Raise WeightsError for sides of pictures that no model has, since one frame would fill the memory."""
    waiting: list[tuple[str, Any]] = [("", settings)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += list(value.items())
        elif isinstance(value, list):
            waiting += [(name, inner) for inner in value]
        elif (
            type(value) in (int, float)
            and any(side in name for side in _SIDES)
            and not abs(value) <= _LARGEST
        ):
            raise WeightsError(
                f"the preprocessing has {name} {value}, and {_LARGEST} is the most",
                culprit=file,
                remedy="put the checkpoint's own settings there",
            )


class FrameReader:
    """Prepares the frames of a video one by one, as a checkpoint's own processor does it.

    Whether it is one of images or of videos, each frame gets the numbers that it would get among the others,
    and only the small prepared ones are held.
    """

    def __init__(self, checkpoint: Checkpoint, policy: Policy, **settings: Any) -> None:
        videos = _is_for_videos(checkpoint)
        self._processor = checkpoint.processor(AutoVideoProcessor if videos else AutoImageProcessor)
        self._key = "videos" if videos else "images"
        self._settings = {**settings, **({"do_sample_frames": False} if videos else {})}
        self._policy = policy
        self._fit = _limit_for(self._processor, settings)
        self.rule = f"{policy}; {_describe(self._processor, self._settings)}"

    def read(self, video: Video) -> Tensor:
        """Prepare the chosen frames, `[t, 3, h, w]`."""
        made: list[Tensor] = []
        before = None
        for pixels in self._policy.each(video):
            made.append(made[-1] if pixels is before else self._prepare(pixels))
            before = pixels
        return torch.stack(made)

    def _prepare(self, pixels: Any) -> Tensor:
        picture = self._fit(Image.fromarray(pixels))
        given: Any = [np.array(picture)[None]] if self._key == "videos" else [picture]
        found = self._processor(**{self._key: given}, return_tensors="pt", **self._settings)
        (tensor,) = [value for key, value in found.items() if key.startswith("pixel_values")]
        frame: Tensor = tensor.reshape(-1, *tensor.shape[-3:])[0]
        return frame


def _is_for_videos(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint's settings are of a processor of videos rather than of images."""
    if (checkpoint.folder / "video_preprocessor_config.json").is_file():
        return True
    for file in ("processor_config.json", "preprocessor_config.json"):
        if (checkpoint.folder / file).is_file():
            settings = checkpoint.read(file)
            return "video_processor" in settings or "video_processor_type" in settings
    return False


def _limit_for(processor: Any, settings: dict[str, Any]) -> Callable[[Image.Image], Image.Image]:
    """Choose the check that keeps a slender frame from taking gigabytes when a processor resizes it."""
    size = settings.get("size") or getattr(processor, "size", None) or {}
    if not size.get("shortest_edge"):
        return fit_to_squeeze
    return fit_to_crop if getattr(processor, "do_center_crop", False) else fit_to_resize


def _describe(processor: Any, given: dict[str, Any]) -> str:
    """Describe the settings of a processor, for the space's identity."""
    settings = {
        key: value
        for key, value in {**processor.to_dict(), **given}.items()
        if value is not None and not key.startswith("_") and key != "processor_class"
    }
    return ", ".join(f"{key} {value}" for key, value in sorted(settings.items()))


def require_multiple(policy: Policy, step: int, name: str) -> None:
    """Raise UnknownNameError for a number of frames that a model can't take."""
    if policy.count is None or policy.count % step:
        raise UnknownNameError(
            f"{name!r} takes a number of frames that is a multiple of {step}, and this is {policy}",
            remedy=f"write <count>:{name}, with such a count",
        )
