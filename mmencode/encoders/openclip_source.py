"""Where open_clip's models come from: a name, a file or a folder becomes a model and its tokenizer."""

from __future__ import annotations

import difflib
import json
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import open_clip
from open_clip.hf_configs import arch_dict
from open_clip.pretrained import get_pretrained_cfg
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

from ..errors import MissingPackageError, MmencodeError, UnknownNameError, WeightsError

_FILES = (".safetensors", ".pt", ".pth", ".bin")
_FOLDER, _HUB = "local-dir:", "hf-hub:"
_PIXELS = ("mean", "std", "interpolation", "resize_mode")
_DRAWS = {
    *(Tensor.normal_, Tensor.uniform_, Tensor.erfinv_),
    *(init.normal_, init.uniform_, init.kaiming_uniform_),
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """One set of weights.

    name      as `open_clip.create_model` takes it
    weights   the tag, the repository or the file, for messages
    folder    of the local files: nothing else is read then, and no hub is asked; None where a hub may be
    options   further arguments of `create_model`
    """

    name: str
    weights: str
    folder: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def model(self) -> Any:
        """The whole model in float32, its text tower apart, so that all kinds have `visual` and `text`.

        Raises WeightsError when the weights can't be obtained, are damaged or of another architecture.
        """
        options = {"require_pretrained": True, "pretrained_text": False, **self.options}
        try:
            with _Undrawn():
                model = open_clip.create_model(
                    self.name, force_custom_text=True, weights_only=True, **options
                )
            return model.eval()
        except Exception as cause:  # torch, safetensors and the hub each fail in their own way
            raise WeightsError(
                f"the weights {self.weights!r} of {self.name!r} can't be loaded: {_words(cause)}",
                culprit=f"open_clip {open_clip.__version__}, reading {self.weights}",
                remedy="a local file must be a whole safetensors file or state dict of this architecture, "
                "and hold tensors but no code; a tag must be loaded once where there is a network, or the "
                "path of a local file passed in its place",
            ) from cause

    def tokenizer(self) -> Any:
        """The tokenizer that the weights were trained with; WeightsError when it can't be obtained."""
        remedy = "load it once where there is a network, or copy that machine's cache (HF_HOME)"
        if self.folder is not None:
            remedy = f"put its files, tokenizer.json and tokenizer_config.json, beside {self.weights}"
        try:
            settings = open_clip.get_model_config(self.name)["text_cfg"]
            if settings.get("hf_tokenizer_name"):
                return _hub_tokenizer(settings, self.folder)
            return open_clip.get_tokenizer(self.name)
        except MmencodeError:
            raise
        except Exception as cause:  # a hub that can't be reached fails in many ways, and so do broken files
            raise WeightsError(
                f"the tokenizer of {self.name!r} can't be obtained: {_words(cause)}", remedy=remedy
            ) from cause


class _Undrawn(TorchFunctionMode):
    """Draws no initial weights: most of a large model's loading time, and the checkpoint replaces them all.

    That it does is sure, since open_clip reads it strictly and `require_pretrained` makes it read one.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else options["tensor"]
        return func(*args, **options)


def find(variant: str) -> Source:
    """The source that the name of a space stands for, behind `openclip/`.

    Raises UnknownNameError with the nearest names, WeightsError when a local file isn't what it must be.
    """
    if variant.startswith(_FOLDER):
        return _folder(Path(variant.removeprefix(_FOLDER)).expanduser())
    architecture, _, weights = variant.partition("/")
    if weights.startswith(_HUB):
        return Source(name=weights, weights=weights)
    _require_architecture(architecture)
    if weights.endswith(_FILES) or weights.startswith(("/", "./", "../", "~")):
        return _file(architecture, Path(weights).expanduser())
    _require_tag(architecture, weights)
    return Source(name=architecture, weights=weights, options={"pretrained": weights})


def _file(architecture: str, path: Path) -> Source:
    """A local checkpoint, with the preprocessing that all published weights of its architecture share.

    open_clip itself gives every local file the preprocessing of OpenAI's CLIP (open_clip#1068).
    """
    if not path.is_file():
        raise WeightsError(f"there is no file {str(path)!r}", remedy="check the path of the checkpoint")
    known = [
        get_pretrained_cfg(architecture, tag) for tag in open_clip.list_pretrained_tags_by_model(architecture)
    ]
    settings = [{key: cfg[key] for key in _PIXELS if cfg.get(key) is not None} for cfg in known]
    shared = settings[0] if settings and all(other == settings[0] for other in settings) else {}
    options = {"pretrained": str(path), "force_preprocess_cfg": shared}
    options |= _local_text(open_clip.get_model_config(architecture)["text_cfg"], path.parent)
    return Source(name=architecture, weights=str(path), folder=path.parent, options=options)


def _folder(folder: Path) -> Source:
    """A folder as open_clip saves it: open_clip_config.json, weights, and a tokenizer where it names one."""
    if not folder.is_dir():
        raise WeightsError(
            f"there is no folder {str(folder)!r}",
            remedy="check the path; the folder holds open_clip_config.json, the weights and the tokenizer",
        )
    settings = _described(folder / "open_clip_config.json")["text_cfg"]
    file = open_clip.factory._find_checkpoint_in_dir(folder)
    if file is None:
        raise WeightsError(
            f"there are no weights in {str(folder)!r}",
            remedy="put open_clip_model.safetensors there, or another .safetensors, .bin or .pth file",
        )
    options = _local_text(settings, folder)
    return Source(name=f"{_FOLDER}{folder}", weights=file, folder=folder, options=options)


def _described(path: Path) -> dict[str, Any]:
    """The model that an open_clip_config.json describes."""
    config = _read(path, "put it there: open_clip saves it with the weights, and hubs keep it beside them")
    found = config.get("model_cfg")
    model: dict[str, Any] = found if isinstance(found, dict) else {}
    vision, text = model.get("vision_cfg"), model.get("text_cfg")
    if not isinstance(vision, dict) or not isinstance(text, dict) or "embed_dim" not in model:
        raise WeightsError(
            f"{str(path)!r} describes no open_clip model",
            remedy="make it an object whose model_cfg holds embed_dim, vision_cfg and text_cfg",
        )
    if ":" in str(vision.get("timm_model_name")):  # timm would ask a hub for its configuration
        raise WeightsError(
            f"{str(path)!r} wants the image tower {vision['timm_model_name']!r} from elsewhere",
            remedy="make timm_model_name the plain name of one of timm's architectures",
        )
    return model


def _local_text(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What makes open_clip build a text tower of transformers from the folder's config.json; else nothing."""
    name = settings.get("hf_model_name")
    if not name:
        return {}
    _require_transformers()
    path = folder / "config.json"
    config = _read(
        path, f"put the config.json of {name} there: it says how the text tower is built, and no hub is asked"
    )
    kind, kernel = config.get("model_type"), str(config.get("attn_implementation"))
    if kind not in arch_dict or "/" in kernel:  # such a kernel is code from a hub
        raise WeightsError(
            f"{str(path)!r} describes no text tower of open_clip: model_type {kind!r}",
            remedy=f"put the config.json of {name} there; model_type is one of {', '.join(arch_dict)}, and "
            "attn_implementation names no hub",
        )
    return {"text_cfg": {**settings, "hf_model_name": str(folder), "hf_model_pretrained": False}}


def _hub_tokenizer(settings: Mapping[str, Any], folder: Path | None) -> Any:
    """A tokenizer of transformers: from the folder, where there is one, and never with code of its own."""
    _require_transformers()
    if folder is not None and not (folder / "tokenizer.json").is_file():
        raise FileNotFoundError(f"{folder / 'tokenizer.json'}; local weights ask no hub for a tokenizer")
    options = dict(settings.get("tokenizer_kwargs") or {}) | {"trust_remote_code": False}
    return HFTokenizer(
        str(folder or settings["hf_tokenizer_name"]),
        context_length=settings.get("context_length", DEFAULT_CONTEXT_LENGTH),
        tokenizer_mode=settings.get("tokenizer_mode"),
        **options | ({} if folder is None else {"local_files_only": True}),
    )


def _require_transformers() -> None:
    if find_spec("transformers") is None:
        raise MissingPackageError(
            "these weights need the package transformers, for their text tower or their tokenizer",
            remedy="pip install transformers",
        )


def _require_architecture(name: str) -> None:
    known = open_clip.list_models()
    if name not in known:
        raise UnknownNameError(
            f"open_clip {open_clip.__version__} has no architecture {name!r}",
            remedy=_near(name, known) or "open_clip.list_models() lists them all",
        )


def _require_tag(architecture: str, tag: str) -> None:
    known = open_clip.list_pretrained_tags_by_model(architecture)
    if tag.lower() not in {other.lower() for other in known}:
        choices = ", ".join(known) or "none; pass the path of a local checkpoint"
        raise UnknownNameError(
            f"open_clip has no weights {tag!r} for {architecture!r}",
            remedy=f"{_near(tag, known)} its tags are {choices}".strip(),
        )


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(near)}?" if near else ""


def _read(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a local file; WeightsError with the file and the remedy."""
    if not path.is_file():
        raise WeightsError(f"there is no file {str(path)!r}", remedy=remedy)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise WeightsError(f"{str(path)!r} can't be read: {_words(cause)}", remedy=remedy) from cause
    if not isinstance(found, dict):
        raise WeightsError(f"{str(path)!r} holds no JSON object", remedy=remedy)
    return found


def _words(cause: Exception) -> str:
    return textwrap.shorten(f"{type(cause).__name__}: {cause}", 400)
