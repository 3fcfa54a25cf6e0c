"""Where VAEs come from: a folder, or a repository of the hub whose two files are fetched once."""

from __future__ import annotations

import json
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from mmencode.errors import UnknownNameError, WeightsError

CONFIG, WEIGHTS, SUBFOLDER = "config.json", "diffusion_pytorch_model.safetensors", "vae"
KINDS = ("AutoencoderKL", "AutoencoderTiny")
_VARIANT = re.compile(r"(?P<place>.+?)(@(?P<size>[0-9]+))?")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Source:
    """A folder with config.json and weights, the name that stood for it, and the size if one was named."""

    folder: Path
    name: str
    size: int | None = None

    def fitting(self, default: int, factor: int) -> int:
        """The size to use; UnknownNameError when the one that was asked for is no multiple of the factor."""
        size = -(-default // factor) * factor if self.size is None else self.size
        if size < factor or size % factor:
            near = max(1, round(size / factor)) * factor
            raise UnknownNameError(
                f"the VAE {self.name!r} takes no images of {size} pixels",
                remedy=f"ask for a multiple of {factor}: vae/{self.name}@{near}",
            )
        return size


def find(variant: str) -> Source:
    """The source that the rest of a name stands for: `<folder>[@size]` or `<org/repo>[@size]`.

    A pipeline's VAE is that in its folder vae. Raises WeightsError when a file isn't there, UnknownNameError
    for what is neither a folder nor looks like a repository.
    """
    parts = _VARIANT.fullmatch(variant)
    if parts is None:
        raise _unknown(variant)
    place, size = parts["place"], int(parts["size"]) if parts["size"] else None
    path = Path(place).expanduser()
    if path.is_dir():
        return Source(_whole(path), place, size)
    if place.startswith(("/", "./", "../", "~")) or path.exists():
        raise WeightsError(
            f"there is no folder {place!r}", remedy=f"name the folder that holds {CONFIG} and {WEIGHTS}"
        )
    if not _REPOSITORY.fullmatch(place):
        raise _unknown(place)
    return Source(_fetched(place), place, size)


def model(source: Source) -> Any:
    """The VAE in float32, read from the folder alone; WeightsError unless all of it is there and fits."""
    config = _config(source.folder / CONFIG)
    kind = getattr(diffusers, config["_class_name"])
    try:
        loaded, found = kind.from_pretrained(
            str(source.folder),
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    except Exception as cause:  # diffusers, safetensors and torch each fail in their own way
        raise _unfit(source, _words(cause)) from cause
    wrong = [
        f"{key}: {found[key][:3]}"
        for key in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if found[key]
    ]
    if wrong or found["error_msgs"]:
        raise _unfit(source, _short("; ".join([*wrong, *found["error_msgs"]])))
    return loaded.float().eval()


def _whole(folder: Path) -> Path:
    """The folder itself, or its `vae` where it is a pipeline's."""
    if not (folder / CONFIG).is_file() and (folder / SUBFOLDER / CONFIG).is_file():
        folder = folder / SUBFOLDER
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise WeightsError(
                f"there is no file {str(folder / name)!r}",
                remedy="save the VAE by its save_pretrained(folder), which writes both files; weights of "
                "other kinds, .bin for one, may hold code and aren't read",
            )
    return folder


def _fetched(repository: str) -> Path:
    """The snapshot of a repository in the local cache, with the two files in it; asked for once."""
    try:
        try:
            config, subfolder = hf_hub_download(repository, CONFIG), None
        except EntryNotFoundError:  # a pipeline's
            config, subfolder = hf_hub_download(repository, CONFIG, subfolder=SUBFOLDER), SUBFOLDER
        hf_hub_download(repository, WEIGHTS, subfolder=subfolder)
    except Exception as cause:  # a hub that can't be reached fails in many ways
        raise WeightsError(
            f"the VAE {repository!r} can't be obtained: {_words(cause)}",
            culprit=f"it tried to fetch {CONFIG} and {WEIGHTS}, also from {SUBFOLDER}/, of that repository",
            remedy="load it once where there is a network, or copy that machine's cache (HF_HOME), or name a "
            "local folder that holds the two files: vae/<folder>",
        ) from cause
    return _whole(Path(config).parent)


def _config(path: Path) -> dict[str, Any]:
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise WeightsError(
            f"{str(path)!r} can't be read: {_words(cause)}",
            remedy="restore the file that was saved with the VAE",
        ) from cause
    kind = found.get("_class_name") if isinstance(found, dict) else None
    if kind not in KINDS:
        raise WeightsError(
            f"{str(path)!r} describes no VAE that is read here: _class_name {kind!r}",
            remedy=f"name a folder of {' or '.join(KINDS)}",
        )
    config: dict[str, Any] = found
    return config


def _unfit(source: Source, why: str) -> WeightsError:
    return WeightsError(
        f"the VAE {source.name!r} can't be loaded: {why}",
        culprit=f"diffusers {diffusers.__version__}, reading {source.folder}",
        remedy=f"{WEIGHTS} must be whole and belong to the {CONFIG} beside it",
    )


def _unknown(place: str) -> UnknownNameError:
    return UnknownNameError(
        f"no VAE is called {place!r}", remedy="name a folder, vae/<folder>, or a repository, vae/<org>/<repo>"
    )


def _words(cause: Exception) -> str:
    return _short(f"{type(cause).__name__}: {cause}")


def _short(text: str) -> str:
    return textwrap.shorten(text, 400)
