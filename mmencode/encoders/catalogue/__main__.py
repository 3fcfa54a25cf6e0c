"""Write the catalogues of the built-in families from the installed libraries, or compare them.

timm's takes some minutes: each architecture is built once, without memory for weights, to learn its width.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..._atomic import file_aside
from ...arguments.lists import split_lines

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Library:
    """The library that one catalogue is written from: its distribution, names, and the width of each."""

    distribution: str
    names: Callable[[], Iterable[str]]
    dim: Callable[[str], int | None]


def openclip_names() -> list[str]:
    """List every pretrained tag of every architecture of open_clip."""
    import open_clip

    return [f"{architecture}/{tag}" for architecture, tag in open_clip.list_pretrained()]


def openclip_dim(name: str) -> int:
    """Read the width that an architecture of open_clip gives to both towers."""
    import open_clip

    return int(open_clip.get_model_config(name.partition("/")[0])["embed_dim"])


def timm_names() -> list[str]:
    """List every pretrained tag of every architecture of timm."""
    import timm

    return list(timm.list_pretrained())


def timm_dim(name: str) -> int | None:
    """Find the width of features before the classifier of a timm model; None where it pools nothing."""
    return _timm_width(name.partition(".")[0])


@functools.cache
def _timm_width(architecture: str) -> int | None:
    import timm
    import torch

    with torch.device("meta"):
        model: Any = timm.create_model(architecture)
    # The vision parts of a few language models give tokens only; TimmEncoder refuses them.
    return int(model.head_hidden_size) if hasattr(model, "reset_classifier") else None


def torchaudio_names() -> list[str]:
    """List every wav2vec 2.0, HuBERT and WavLM bundle of torchaudio."""
    from torchaudio import pipelines

    return [name for name, value in vars(pipelines).items() if isinstance(value, pipelines.Wav2Vec2Bundle)]


def torchaudio_dim(name: str) -> int:
    """Read the width of the transformer of a torchaudio bundle."""
    from torchaudio import pipelines

    return int(getattr(pipelines, name)._params["encoder_embed_dim"])


LIBRARIES = {
    "openclip": Library("open_clip_torch", openclip_names, openclip_dim),
    "timm": Library("timm", timm_names, timm_dim),
    "torchaudio": Library("torchaudio", torchaudio_names, torchaudio_dim),
}


def write(key: str, folder: Path = FOLDER) -> None:
    """Write the catalogue of one library: its version, then a name, a tab and the dim on each line."""
    library = LIBRARIES[key]
    listed = [f"# {library.distribution} {_version_installed(library)}"]
    for name in sorted(library.names()):
        dim = library.dim(name)
        listed.append(name if dim is None else f"{name}\t{dim}")
    with file_aside(folder / f"{key}.tsv") as aside:
        aside.write_text("\n".join(listed) + "\n", "utf-8")


def version_in_catalogue(key: str) -> str:
    """Read from a catalogue the version of the library that it was written from."""
    header, _, _ = (FOLDER / f"{key}.tsv").read_text("utf-8").partition("\n")
    return header.rpartition(" ")[2]


def compare(key: str) -> tuple[set[str], set[str]]:
    """Find the names that only the catalogue has, and those that only the installed library has."""
    rows = split_lines((FOLDER / f"{key}.tsv").read_text("utf-8"))[1:]
    listed, published = {row.partition("\t")[0] for row in rows}, set(LIBRARIES[key].names())
    return listed - published, published - listed


def _version_installed(library: Library) -> str:
    return version(library.distribution).partition("+")[0]  # without the build: cu130, cpu


def _check(key: str) -> bool:
    """Print the names that differ between catalogue and library, and tell whether there are none."""
    gone, new = compare(key)
    installed = _version_installed(LIBRARIES[key])
    print(f"{key}: written from {version_in_catalogue(key)}, {installed} is installed")
    for sign, names in (("-", gone), ("+", new)):
        for name in sorted(names):
            print(f"  {sign} {name}")
    return not gone and not new


def main(arguments: list[str] | None = None) -> int:
    """Write the named catalogues, or all; with --check compare them, and return 1 when one differs."""
    parser = argparse.ArgumentParser(prog="python -m mmencode.encoders.catalogue", description=__doc__)
    parser.add_argument("library", nargs="*", help=f"{', '.join(LIBRARIES)}; all when none is named")
    parser.add_argument("--check", action="store_true", help="compare with the installed libraries instead")
    options = parser.parse_args(arguments)
    keys = options.library or list(LIBRARIES)
    if unknown := set(keys) - set(LIBRARIES):
        parser.error(f"there is no catalogue of {', '.join(sorted(unknown))}")
    if options.check:
        same = [_check(key) for key in keys]
        return 0 if all(same) else 1
    for key in keys:
        write(key)
    return 0


if __name__ == "__main__":
    sys.exit(main())
