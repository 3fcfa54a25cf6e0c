"""What the sides of gpu.py share: device, items, models of random weights, the engine from prepared items."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import weights
from common import captions, photographs, recordings
from safetensors.torch import save_file
from torch import Tensor

import mmencode
from mmencode.engine.call import Call, Prepared
from mmencode.engine.lane import EmbeddingLane
from mmencode.engine.runtime import move
from mmencode.engine.sharing import SharedLanes
from mmencode.engine.streams import streams
from mmencode.engine.windows import cut_batches, gather_windows
from mmencode.inputs import Limits, reader

Side = Callable[[], object]
TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_TINY = {"layers": 1, "width": 64}
TINY_SOUND = {
    **{"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64},
    **{"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2},
}


def describe(device: torch.device) -> str:
    """The device in words: a GPU's own name and memory."""
    if device.type != "cuda":
        return str(device)
    found = torch.cuda.get_device_properties(device)
    return f"{found.name}, {found.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"


@dataclass(eq=False)
class Bench:
    """The device, the items and the models that all parts share, each made when first asked for."""

    device: torch.device
    folder: Path
    results: Path
    rounds: int
    small: bool
    spaces: dict[Any, mmencode.Space] = field(default_factory=dict)

    @property
    def dtypes(self) -> tuple[str, ...]:
        return ("float32",) if self.small else ("float32", "bfloat16")

    @property
    def best(self) -> str:
        """The dtype of parts that have one."""
        return self.dtypes[-1]

    @property
    def batches(self) -> tuple[int, ...]:
        return (2, 4) if self.small else (16, 32, 64, 128, 256, 512, 1024, 2048)

    @property
    def batch(self) -> int:
        """Items of the libraries' own batches."""
        return 4 if self.small else 256

    @property
    def widths(self) -> tuple[int, ...]:
        return (64,) if self.small else (768, 1024)

    @cached_property
    def texts(self) -> list[str]:
        return captions(12 if self.small else 8192)

    @cached_property
    def files(self) -> list[Path]:
        """A few hundred different photographs, over and over."""
        some = photographs(self.folder / "photographs", 4 if self.small else 256)
        return some * (1 if self.small else 8)

    @cached_property
    def sounds(self) -> list[tuple[np.ndarray, int]]:
        return recordings(2)[:1] if self.small else recordings(64)

    @cached_property
    def clips(self) -> list[Clip]:
        return [Clip(self, name) for name in (("ViT-B-32",) if self.small else ("ViT-B-32", "ViT-L-14"))]

    def space(self, name: str, dtype: str, **options: Any) -> mmencode.Space:
        key = name, dtype, tuple(options.items())
        if key not in self.spaces:
            self.spaces[key] = mmencode.load(name, device=str(self.device), dtype=dtype, **options)
        return self.spaces[key]

    def synchronised(self, side: Side) -> Side:
        """The side, ended only when the device has done all of it."""

        def run() -> object:
            found = side()
            self.wait()
            return found

        return run

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def free(self) -> None:
        """Give back memory that torch keeps of a side, so that the next one isn't disturbed."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


class Clip:
    """One set of random weights of an architecture, saved, and loaded by each side in its own way."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.bench, self.name = bench, name
        self.settings = copy.deepcopy(open_clip.get_model_config(name))
        if bench.small:
            self.settings["vision_cfg"] |= _TINY
            self.settings["text_cfg"] |= {**_TINY, "heads": 1}
        self.folder = bench.folder / name
        self.folder.mkdir()
        torch.manual_seed(0)
        model = open_clip.CLIP(**self.settings).eval()
        settings = {"model_cfg": self.settings, "preprocess_cfg": {}}
        (self.folder / "open_clip_config.json").write_text(json.dumps(settings))
        save_file(model.state_dict(), self.folder / "open_clip_model.safetensors")
        self.place = f"local-dir:{self.folder}"
        self.tokenizer = open_clip.get_tokenizer("ViT-B-32")
        self.transform = open_clip.image_transform(224, is_train=False)

    def model(self, dtype: str) -> Any:
        model, _ = open_clip.create_model_from_pretrained(self.place)
        return model.eval().to(self.bench.device, TYPES[dtype])

    def space(self, dtype: str, **options: Any) -> mmencode.Space:
        return self.bench.space(f"openclip/{self.place}", dtype, **options)

    @cached_property
    def theirs(self) -> Path:
        """The folder of the same weights for transformers."""
        model, _ = open_clip.create_model_from_pretrained(self.place)
        return weights.to_transformers(model, self.folder / "transformers", self.settings)

    def sentences(self, items: Sequence[Any], dtype: str, read: Callable[[Sequence[Any]], Any]) -> Side:
        """Its own way of sentence-transformers, in batches as large as it likes them."""
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(self.theirs), device=str(self.bench.device)).to(TYPES[dtype])
        return lambda: model.encode(read(items), batch_size=self.bench.batch, normalize_embeddings=True)

    def items(self, modality: str) -> Sequence[Any]:
        return self.bench.texts if modality == "text" else self.bench.files


def unit_rows(found: object) -> np.ndarray | None:
    """The vectors that a side gives, of length 1; None where it gives something else."""
    rows = getattr(found, "vectors", found)
    if isinstance(rows, Tensor):
        rows = rows.float().cpu().numpy()
    if not isinstance(rows, np.ndarray) or rows.ndim != 2:
        return None
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def inferring(run: Side) -> Side:
    """The side in torch's inference mode."""

    def do() -> object:
        with torch.inference_mode():
            return run()

    return do


def prepare(space: mmencode.Space, modality: str, items: Sequence[Any]) -> list[Prepared]:
    """Read and preprocess items in as many threads as the space has."""
    encoder, read = space.tower(modality).encoder, reader(modality)

    def one(pair: tuple[int, Any]) -> Prepared:
        tensors = encoder.preprocess(read(pair[1], Limits()))
        elements = sum(tensor.numel() for tensor in tensors.values())
        size = sum(tensor.nbytes for tensor in tensors.values())
        return Prepared(pair[0], "", tensors, encoder.cost(tensors), size, elements)

    with ThreadPoolExecutor(space.runtime.workers) as pool:
        return list(pool.map(one, enumerate(items), chunksize=4))


def encode_prepared(space: mmencode.Space, modality: str, prepared: list[Prepared]) -> np.ndarray:
    """The engine's path from prepared tensors to vectors, windows and lanes and all."""
    tower = space.tower(modality)
    call = Call((tower,), prepared, space.runtime, Limits(), "raise", lambda done, failed: None, sys.maxsize)
    lanes = [EmbeddingLane(call, tower, stream) for stream in streams(tower.device)]
    return np.concatenate([part.rows for part in SharedLanes(lanes).run(gather_windows(call, prepared))])


def batches_on_device(space: mmencode.Space, modality: str, prepared: list[Prepared]) -> list[Any]:
    """The batches that the engine would make, collated and moved."""
    tower = space.tower(modality)
    cut = cut_batches(prepared, tower.budget, space.runtime)
    collated = (tower.encoder.collate([item.tensors for item in batch if item.tensors]) for batch in cut)
    return [move(batch, tower.device, tower.dtype) for batch in collated]
