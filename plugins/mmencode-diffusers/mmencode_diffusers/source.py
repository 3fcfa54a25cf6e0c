"""Finds and loads VAEs: from a folder, or a repository of the hub whose two files are fetched once."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from mmencode.checkpoints import describe_error, matters, read_object, settings_digest, shapes_of, sketch
from mmencode.errors import UnknownNameError, WeightsError

CONFIG, WEIGHTS, SUBFOLDER = "config.json", "diffusion_pytorch_model.safetensors", "vae"
LARGEST = 2**13  # pixels of a side: more would take all memory for one image
KINDS = ("AutoencoderKL", "AutoencoderTiny")
_VARIANT = re.compile(r"(?P<place>.+?)(@(?P<size>[0-9]+))?")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class VaeFolder:
    """A folder with config.json and weights, the name that the user wrote, and the size if that has one."""

    folder: Path
    name: str
    size: int | None = None

    @property
    def architecture(self) -> str:
        """The kind of VAE and a digest of its settings, for the identity."""
        config = _config(self.folder / CONFIG)
        return f"diffusers {config['_class_name']} {settings_digest(config, matters)}"

    def choose_size(self, default: int, factor: int) -> int:
        """Choose the image size; UnknownNameError when the one in the name is no multiple of the factor."""
        size = -(-default // factor) * factor if self.size is None else self.size
        if not factor <= size <= LARGEST or size % factor:
            near = max(1, round(min(size, LARGEST) / factor)) * factor
            raise UnknownNameError(
                f"the VAE {self.name!r} takes no images of {size} pixels",
                remedy=f"ask for a multiple of {factor}: vae/{self.name}@{near}",
            )
        return size


def find(variant: str) -> VaeFolder:
    """Find a VAE by the end of an encoder's name: `<folder>[@size]` or `<org/repo>[@size]`.

    A pipeline's VAE is that in its folder vae. Raises WeightsError when a file isn't there, UnknownNameError
    for what is neither a folder nor looks like a repository.
    """
    parts = _VARIANT.fullmatch(variant)
    if parts is None:
        raise _unknown(variant)
    place, size = parts["place"], int(parts["size"]) if parts["size"] else None
    path = Path(place).expanduser()
    if path.is_dir():
        return VaeFolder(_find_folder(path), place, size)
    if place.startswith(("/", "./", "../", "~")) or path.exists():
        raise WeightsError(
            f"there is no folder {place!r}", remedy=f"name the folder that holds {CONFIG} and {WEIGHTS}"
        )
    if not _REPOSITORY.fullmatch(place):
        raise _unknown(place)
    return VaeFolder(_fetch(place), place, size)


def load_model(source: VaeFolder) -> Any:
    """Load the VAE in float32 from its folder alone; WeightsError unless all of it is there and fits."""
    config = _config(source.folder / CONFIG)
    kind = getattr(diffusers, config["_class_name"])
    try:
        shapes = shapes_of(source.folder / WEIGHTS)
        sketch(lambda: kind.from_config(config), shapes, repr(source.name))
        loaded, found = kind.from_pretrained(
            str(source.folder),
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    except WeightsError as error:
        raise _unfit(source, error.fact) from error
    except Exception as cause:  # diffusers, safetensors and torch each fail in their own way
        raise _unfit(source, describe_error(cause)) from cause
    wrong = [
        f"{key}: {found[key][:3]}"
        for key in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if found[key]
    ]
    if wrong or found["error_msgs"]:
        raise _unfit(source, "; ".join([*wrong, *map(str, found["error_msgs"])])[:500])
    return loaded.float().eval()


def _find_folder(folder: Path) -> Path:
    """Find the folder of the VAE itself, which a pipeline keeps in `vae`; WeightsError if it isn't whole."""
    if not (folder / CONFIG).is_file() and (folder / SUBFOLDER / CONFIG).is_file():
        folder = folder / SUBFOLDER
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise WeightsError(
                f"there is no file {str(folder / name)!r}",
                remedy="save the VAE by its save_pretrained(folder), which writes both files; weights of "
                "other kinds, .bin for one, may hold code and aren't read",
            )
    if os.path.lexists(folder / f"{WEIGHTS}.index.json"):  # diffusers would read the files that it names
        raise WeightsError(
            f"the weights in {str(folder)!r} are shards, by {WEIGHTS}.index.json",
            remedy=f"a VAE is small: save it as one file, {WEIGHTS}, and take the index away",
        )
    return folder


def _fetch(repository: str) -> Path:
    """Fetch the two files of a repository, unless they are in the hub's cache, and give their folder."""
    try:
        try:
            config, subfolder = hf_hub_download(repository, CONFIG), None
        except EntryNotFoundError:  # a pipeline's
            config, subfolder = hf_hub_download(repository, CONFIG, subfolder=SUBFOLDER), SUBFOLDER
        hf_hub_download(repository, WEIGHTS, subfolder=subfolder)
    except Exception as cause:  # a hub that can't be reached fails in many ways
        raise WeightsError(
            f"the VAE {repository!r} can't be obtained: {describe_error(cause)}",
            culprit=f"it tried to fetch {CONFIG} and {WEIGHTS}, also from {SUBFOLDER}/, of that repository",
            remedy="load it once where there is a network, or copy that machine's cache (HF_HOME), or name a "
            "local folder that holds the two files: vae/<folder>",
        ) from cause
    return _find_folder(Path(config).parent)


def _config(path: Path) -> dict[str, Any]:
    config = read_object(path, "restore the file that was saved with the VAE")
    kind = config.get("_class_name")
    if kind not in KINDS:
        raise WeightsError(
            f"{str(path)!r} describes no VAE that is read here: _class_name {kind!r}",
            remedy=f"name a folder of {' or '.join(KINDS)}",
        )
    if config.get("quantization_config") or config.get("auto_map"):
        raise WeightsError(
            f"{str(path)!r} asks for quantised weights or for code of its own",
            remedy="choose a VAE in full precision that diffusers itself can build",
        )
    return config


def _unfit(source: VaeFolder, why: str) -> WeightsError:
    return WeightsError(
        f"the VAE {source.name!r} can't be loaded: {why}",
        culprit=f"diffusers {diffusers.__version__}, reading {source.folder}",
        remedy=f"{WEIGHTS} must be whole and belong to the {CONFIG} beside it",
    )


def _unknown(place: str) -> UnknownNameError:
    return UnknownNameError(
        f"no VAE is called {place!r}", remedy="name a folder, vae/<folder>, or a repository, vae/<org>/<repo>"
    )
