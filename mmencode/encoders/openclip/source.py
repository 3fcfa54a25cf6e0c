"""Finds the weights and the tokenizer of an open_clip model by a name, a file or a folder."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip
from open_clip.hf_configs import arch_dict
from open_clip.model import set_model_preprocess_cfg
from open_clip.pretrained import get_pretrained_cfg
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer, SimpleTokenizer
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from ...errors import MmencodeError, UnknownNameError, WeightsError
from ...errors.causes import describe_error
from ...errors.suggestions import did_you_mean
from ...inputs.settings import read_object, require_file
from ...inputs.tokenizers import require_tokenizer
from ...plugins.packages import find_package
from . import model as openclip_model
from .settings import FILE, Settings, Tower, architecture, preparation, read_config, require_model

_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz")
_FOLDER, _HUB = "local-dir:", "hf-hub:"
_OPTIONS = re.compile(r"(?P<rest>.*)\?(?P<options>[\w=.&-]+)")
_NAMES = (  # the first one that is there is used, as in open_clip
    *("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin"),
    *("open_clip_pytorch_model.pth", "model.safetensors", "pytorch_model.bin", "pytorch_model.pth"),
    "model.pth",
)
_PIXELS = ("mean", "std", "interpolation", "resize_mode")


@dataclass(frozen=True, kw_only=True)
class Source:
    """The source of one set of weights: a published tag, a repository of a hub, or local files.

    name      the architecture, or `local-dir:<folder>` or `hf-hub:<org/repo>`
    weights   the tag, the repository or the file
    folder    the one of the local files, which alone are read then; None where a hub may be asked
    options   `force_preprocess_cfg`: image preprocessing, where it isn't open_clip's default
    resize    whether position embeddings of another size are interpolated
    """

    name: str
    weights: str
    folder: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    resize: bool = False

    def model(self, towers: Collection[str] = ("image", "text")) -> Any:
        """Build the model in float32, with the weights of `towers` in `visual` and `text` whatever its class.

        The other tower has the sizes that it should have, and no numbers.

        Raises WeightsError when the weights can't be obtained, are damaged or of another architecture.
        """
        try:
            settings, prepared = self._settings(), dict(self.options.get("force_preprocess_cfg", {}))
            if self.name.startswith(_HUB):
                prepared = preparation(self._hub_config().get("preprocess_cfg") or {}, self.name)
            own = not self.name.startswith((_HUB, _FOLDER))
            file = Path(self.weights) if self.folder is not None else Path(self._fetch())
            model = openclip_model.load(settings, file, self.name, towers, own=own, resize=self.resize)
            prepared["size"] = model.visual.image_size
            set_model_preprocess_cfg(model, merge_preprocess_dict(PreprocessCfg(), prepared))
        except MmencodeError:
            raise
        except Exception as cause:  # torch, safetensors and the hub each fail in their own way
            raise WeightsError(
                f"the weights {self.weights!r} of {self.name!r} can't be loaded: {describe_error(cause)}",
                culprit=f"open_clip {open_clip.__version__}, reading {self.weights}",
                remedy="a local file must be a whole safetensors file or state dict of this architecture, "
                "and hold tensors but no code; a tag must be loaded once where there is a network, or the "
                "path of a local file passed in its place",
            ) from cause
        if own and self.folder is None:
            self._warn_of_activations(settings)
        return model

    def tokenizer(self) -> Any:
        """Load the tokenizer that the weights were trained with; WeightsError when it can't be obtained."""
        remedy = "load it once where there is a network, or copy that machine's cache (HF_HOME)"
        if self.folder is not None:
            remedy = f"put its files, tokenizer.json and tokenizer_config.json, beside {self.weights}"
        try:
            text = self._settings()["text_cfg"]
            if text.get("hf_tokenizer_name"):
                return _hub_tokenizer(text, self.folder)
            if self.folder is None:
                return open_clip.get_tokenizer(self.name)
            if "siglip" in self.name.lower() and not self.name.startswith(_FOLDER):
                raise WeightsError(  # open_clip would fetch a vocabulary, for the sake of the name
                    f"the settings of {self.name!r} name no tokenizer, and local weights ask no hub for one",
                    remedy="name it in the model's config, text_cfg.hf_tokenizer_name, and put its files "
                    f"beside {self.weights}",
                )
            options = {"context_length": text.get("context_length", DEFAULT_CONTEXT_LENGTH)}
            return SimpleTokenizer(**(text.get("tokenizer_kwargs") or {}) | options)
        except MmencodeError:
            raise
        except Exception as cause:  # a hub that can't be reached fails in many ways, and so do broken files
            raise WeightsError(
                f"the tokenizer of {self.name!r} can't be obtained: {describe_error(cause)}", remedy=remedy
            ) from cause

    def architecture(self, tower: Tower) -> str:
        """Describe one tower for its identity, in which the place of the weights plays no part."""
        return architecture(self._settings(), tower) + (", positions resized" if self.resize else "")

    def _settings(self) -> Settings:
        if self.name.startswith(_HUB):
            settings: Settings = self._hub_config()["model_cfg"]
        elif self.name.startswith(_FOLDER):
            settings = read_config(Path(self.name.removeprefix(_FOLDER)) / FILE)["model_cfg"]
        else:
            settings = open_clip.get_model_config(self.name)
        return settings if self.folder is None else _local_text(settings, self.folder)

    def _warn_of_activations(self, settings: Mapping[str, Any]) -> None:
        """Warn where a tag was trained with other activations than its architecture has."""
        trained = bool(get_pretrained_cfg(self.name, self.weights).get("quick_gelu"))
        if trained != bool(settings.get("quick_gelu")):
            this, other = ("with", "without") if trained else ("without", "with")
            warnings.warn(
                f"the weights {self.weights!r} were trained {this} QuickGELU; {self.name!r} computes {other} "
                "it, so that their vectors are worse; `mmencode list 'openclip/*'` shows where else they are",
                UserWarning,
                stacklevel=2,
            )

    def _hub_config(self) -> Settings:
        config: Settings = open_clip.factory._get_hf_config(self.name.removeprefix(_HUB))
        require_model(config, self.name)
        return config

    def _fetch(self) -> str:
        """Give the path of the weights in a cache, into which they are fetched if they aren't there."""
        if self.name.startswith(_HUB):
            return str(open_clip.factory.download_pretrained_from_hf(self.name.removeprefix(_HUB)))
        return str(open_clip.factory.download_pretrained(get_pretrained_cfg(self.name, self.weights)))


def find(variant: str) -> Source:
    """Find the source of weights by the name of a space without its `openclip/`.

    Raises UnknownNameError with the nearest names, WeightsError for a local file that can't be used.
    """
    if variant.startswith(_FOLDER):
        place, options = _split(variant.removeprefix(_FOLDER))
        return _folder(Path(place).expanduser(), **options)
    name, _, weights = variant.partition("/")
    if weights.startswith(_HUB):
        return Source(name=weights, weights=weights)
    _require_architecture(name)
    if weights.lower() not in {tag.lower() for tag in open_clip.list_pretrained_tags_by_model(name)}:
        place, options = _split(weights)
        if place.startswith("~") or os.sep in place or place.endswith(_FILES) or os.path.isfile(place):
            return _file(name, Path(place).expanduser(), **options)
        raise _unknown_tag(name, weights)
    return Source(
        name=name,
        weights=weights,
        options={"force_preprocess_cfg": preparation(get_pretrained_cfg(name, weights), weights)},
    )


def _split(written: str) -> tuple[str, dict[str, Any]]:
    """Split a path from the options after its question mark: `resize`, `preprocess=<tag>`."""
    found = _OPTIONS.fullmatch(written)
    if found is None or os.path.exists(written):
        return written, {}
    options: dict[str, Any] = {}
    for option in found["options"].split("&"):
        name, equals, value = option.partition("=")
        if option == "resize":
            options["resize"] = True
        elif name == "preprocess" and equals:
            options["preprocess"] = value
        else:
            raise UnknownNameError(
                f"there is no option {option!r} of local weights",
                remedy="behind the path there may be ?resize, ?preprocess=<tag>, or ?resize&preprocess=<tag>",
            )
    return found["rest"], options


def _file(name: str, path: Path, *, preprocess: str = "", resize: bool = False) -> Source:
    """The source of a local checkpoint, with the image preprocessing that it was trained with.

    open_clip itself gives every local file the preprocessing of OpenAI's CLIP (open_clip#1068).
    """
    if not path.is_file():
        require_file(path, "check the path of the checkpoint")  # which says what it is instead
    return Source(
        name=name,
        weights=str(path),
        folder=path.parent,
        options={"force_preprocess_cfg": _find_preparation(name, path, preprocess)},
        resize=resize,
    )


def _find_preparation(name: str, path: Path, tag: str) -> Settings:
    """Find a file's preprocessing by the tag, the settings beside it, or published weights that agree."""
    published = {
        known: preparation(get_pretrained_cfg(name, known), known)
        for known in open_clip.list_pretrained_tags_by_model(name)
    }
    published = {known: {key: cfg[key] for key in _PIXELS if key in cfg} for known, cfg in published.items()}
    if tag:
        if tag not in published:
            raise _unknown_tag(name, tag)
        return published[tag]
    if (beside := path.parent / FILE).exists():
        return preparation(read_object(beside).get("preprocess_cfg") or {}, str(beside))
    ways: dict[str, str] = {}
    for known, cfg in published.items():
        ways.setdefault(", ".join(f"{key} {value}" for key, value in cfg.items()), known)
    if len(ways) > 1:
        choices = "; ".join(f"?preprocess={known} for {way}" for way, known in ways.items())
        raise WeightsError(
            f"{str(path)!r} doesn't say how images are prepared, and published weights of {name!r} differ",
            remedy=f"say it behind the path: {choices}; or put its {FILE} beside it",
        )
    return next(iter(published.values()), {})


def _folder(folder: Path, *, preprocess: str = "", resize: bool = False) -> Source:
    """The source of a folder that open_clip saved: open_clip_config.json, weights, perhaps a tokenizer."""
    if not folder.is_dir():
        raise WeightsError(
            f"there is no folder {str(folder)!r}",
            remedy="check the path; the folder holds open_clip_config.json, the weights and the tokenizer",
        )
    if preprocess:
        raise UnknownNameError(
            f"the folder {str(folder)!r} says itself how images are prepared", remedy="leave ?preprocess out"
        )
    prepared = preparation(read_config(folder / FILE).get("preprocess_cfg") or {}, str(folder / FILE))
    return Source(
        name=f"{_FOLDER}{folder}",
        weights=str(_weights_in(folder)),
        folder=folder,
        options={"force_preprocess_cfg": prepared},
        resize=resize,
    )


def _weights_in(folder: Path) -> Path:
    """Find a folder's weights by a name that open_clip or a hub gives them, or take the only ones there."""
    found = sorted(
        path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".pth", ".pt")
    )
    named = [folder / name for name in _NAMES if folder / name in found]
    if len(found) > 1 and not named:
        raise WeightsError(
            f"{str(folder)!r} has weights in {', '.join(path.name for path in found)}",
            remedy=f"call those that are meant {_NAMES[0]}",
        )
    if not found:
        raise WeightsError(
            f"there are no weights in {str(folder)!r}",
            remedy=f"put {_NAMES[0]} there, or another .safetensors, .bin, .pth or .pt file",
        )
    return (named or found)[0]


def _local_text(settings: Settings, folder: Path) -> Settings:
    """Point settings with a text tower of transformers to the folder's config.json; keep others."""
    text = settings["text_cfg"]
    name = text.get("hf_model_name")
    if not name:
        return settings
    _require_transformers()
    path = folder / "config.json"
    config = read_object(
        path, f"put the config.json of {name} there: it says how the text tower is built, and no hub is asked"
    )
    kind, kernel = config.get("model_type"), str(config.get("attn_implementation"))
    if kind not in arch_dict or "/" in kernel:  # such a kernel is code from a hub
        raise WeightsError(
            f"{str(path)!r} describes no text tower of open_clip: model_type {kind!r}",
            remedy=f"put the config.json of {name} there; model_type is one of {', '.join(arch_dict)}, and "
            "attn_implementation names no hub",
        )
    return {**settings, "text_cfg": {**text, "hf_model_name": str(folder)}}


def _hub_tokenizer(settings: Mapping[str, Any], folder: Path | None) -> Any:
    """Load a tokenizer of transformers, from the folder if one is given, and never with code of its own."""
    _require_transformers()
    if folder is not None:
        if not (folder / "tokenizer.json").exists():
            raise FileNotFoundError(f"{folder / 'tokenizer.json'}; local weights ask no hub for a tokenizer")
        require_tokenizer(folder)
    options = dict(settings.get("tokenizer_kwargs") or {}) | {"trust_remote_code": False}
    return HFTokenizer(
        str(folder or settings["hf_tokenizer_name"]),
        context_length=settings.get("context_length", DEFAULT_CONTEXT_LENGTH),
        tokenizer_mode=settings.get("tokenizer_mode"),
        **options | ({} if folder is None else {"local_files_only": True}),
    )


def _require_transformers() -> None:
    need = "the text tower or the tokenizer of these weights needs the package transformers"
    find_package("transformers", need, "pip install transformers")


def _require_architecture(name: str) -> None:
    known = open_clip.list_models()
    if name not in known:
        raise UnknownNameError(
            f"open_clip {open_clip.__version__} has no architecture {name!r}",
            remedy=did_you_mean(name, known) or "open_clip.list_models() lists them all",
        )


def _unknown_tag(architecture: str, tag: str) -> UnknownNameError:
    known = open_clip.list_pretrained_tags_by_model(architecture)
    choices = ", ".join(known) or "none"
    return UnknownNameError(
        f"open_clip has no weights {tag!r} for {architecture!r}, and there is no such file in {os.getcwd()}",
        remedy=f"{did_you_mean(tag, known)} its tags are {choices}; a local checkpoint is named by its "
        "path".lstrip(),
    )
