"""The sides that gpu.py compares: mmencode's, the libraries' own, and what might be faster."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import weights
from gpu_bench import (
    TINY_SOUND,
    TYPES,
    Bench,
    Clip,
    Side,
    batches_on_device,
    encode_prepared,
    inferring,
    prepare,
)
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, normalize
from torchvision.io import decode_jpeg

import mmencode
from mmencode import EncoderSpec, Runtime, Waveform
from mmencode.engine.runtime import move


def forwards(bench: Bench, clip: Clip, modality: str, dtype: str) -> dict[str, Callable[[], Side]]:
    """The model's own pass, the encoder's, and the engine's path: the same items, dtype and batches."""
    space = clip.space(dtype)
    prepared = prepare(space, modality, clip.items(modality))
    batches = batches_on_device(space, modality, prepared)
    sizes = [len(next(iter(batch.values()))) for batch in batches]

    def own() -> Side:
        model = clip.model(dtype)
        if modality == "text":
            whole = clip.tokenizer(clip.bench.texts).to(bench.device)
            run = model.encode_text
        else:
            whole = torch.rand(max(sizes), 3, 224, 224, device=bench.device).to(TYPES[dtype])
            run = model.encode_image
        parts = whole.split(sizes) if modality == "text" else [whole[:size] for size in sizes]
        return inferring(lambda: [run(part).cpu() for part in parts])

    tower = space.tower(modality)
    return {
        "the model's own pass": own,
        "the encoder's pass": lambda: inferring(lambda: [tower.forward(batch).cpu() for batch in batches]),
        "encode, from prepared tensors": lambda: partial(encode_prepared, space, modality, prepared),
    }


def from_files(bench: Bench, clip: Clip) -> dict[str, Callable[[], Side]]:
    """Files to vectors by each side, and the parts that nobody can do without."""
    space, files = clip.space(bench.best), bench.files
    quick = clip.space(bench.best, fast=True)

    def opened(paths: Sequence[Path]) -> list[Image.Image]:
        return [Image.open(path).convert("RGB") for path in paths]

    def loop() -> Side:
        model = clip.model(bench.best)

        def run() -> object:
            rows = []
            for start in range(0, len(files), bench.batch):
                images = [clip.transform(image) for image in opened(files[start : start + bench.batch])]
                batch = torch.stack(images).to(bench.device, TYPES[bench.best])
                rows.append(normalize(model.encode_image(batch).float(), dim=-1))
            return torch.cat(rows).cpu()

        return inferring(run)

    def forward() -> Side:
        batches = batches_on_device(space, "image", prepare(space, "image", files))
        tower = space.tower("image")
        return inferring(lambda: [tower.forward(batch).cpu() for batch in batches])

    return {
        "reading and preprocessing alone": lambda: partial(prepare, space, "image", files),
        "mmencode": lambda: lambda: space.encode("image", files).vectors,
        "mmencode, fast=True": lambda: partial(quick.encode, "image", files),
        "forward passes alone": forward,
        "decode_jpeg on the device, alone": lambda: partial(decode_there, bench, files),
        "decode_jpeg on the device, resized there, and passes": lambda: decoded_passes(bench, clip),
        f"open_clip's own loop, {bench.best}": loop,
        **{
            f"sentence-transformers, {dtype}": partial(clip.sentences, files, dtype, opened)
            for dtype in bench.dtypes
        },
    }


def decode_there(bench: Bench, files: Sequence[Path]) -> list[Tensor]:
    """Decode JPEGs on the device, `[3, h, w]` each, a batch at a time."""
    found: list[Tensor] = []
    for start in range(0, len(files), bench.batch):
        part = [
            torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
            for path in files[start : start + bench.batch]
        ]
        found = decode_jpeg(part, device=bench.device)
    return found


def decoded_passes(bench: Bench, clip: Clip) -> Side:
    """The whole path with decoding and resizing on the device: other pixels than Pillow's, so a what-if."""
    model, files = clip.model(bench.best), bench.files

    def run() -> object:
        rows = []
        for start in range(0, len(files), bench.batch):
            pixels = decode_there(bench, files[start : start + bench.batch])
            images = [
                interpolate(each[None].float(), size=(224, 224), mode="bicubic", antialias=True)
                for each in pixels
            ]
            batch = (torch.cat(images) / 255).to(TYPES[bench.best])
            rows.append(normalize(model.encode_image(batch).float(), dim=-1))
        return torch.cat(rows).cpu()

    return inferring(run)


def of_texts(bench: Bench, clip: Clip) -> dict[str, Callable[[], Side]]:
    """Captions to vectors by each side."""
    texts = bench.texts

    def loop() -> Side:
        model = clip.model(bench.best)

        def run() -> object:
            parts = [texts[start : start + bench.batch] for start in range(0, len(texts), bench.batch)]
            rows = [model.encode_text(clip.tokenizer(part).to(bench.device)) for part in parts]
            return normalize(torch.cat(rows).float(), dim=-1).cpu()

        return inferring(run)

    found: dict[str, Callable[[], Side]] = {
        **{
            f"sentence-transformers, {dtype}": partial(clip.sentences, texts, dtype, list)
            for dtype in bench.dtypes
        },
        f"open_clip's own loop, {bench.best}": loop,
    }
    for dtype in bench.dtypes:
        space = clip.space(dtype)
        found[f"mmencode, {dtype}"] = lambda space=space: lambda: space.encode("text", texts).vectors
    return found


def sound_space(bench: Bench, dtype: str) -> mmencode.Space:
    """A space of wav2vec 2.0 with the weights that transformers has."""
    weights.transformers_audio(**(TINY_SOUND if bench.small else {}))
    dim = weights.transformers_audio().config.hidden_size
    spec = EncoderSpec(name="wav2vec2", modality="audio", target="weights:audio", dim=dim)
    return mmencode.Space("wav2vec2", [spec], runtime=Runtime(str(bench.device), dtype))


def of_sounds(bench: Bench) -> dict[str, Callable[[], Side]]:
    """Recordings to vectors by transformers and by mmencode."""
    items = [Waveform(samples, rate) for samples, rate in bench.sounds]
    spaces = {dtype: sound_space(bench, dtype) for dtype in bench.dtypes}

    def one_by_one() -> Side:
        model = copy.deepcopy(weights.transformers_audio()).to(bench.device)
        inputs = [torch.from_numpy(samples)[None] for samples, _ in bench.sounds]
        return inferring(
            lambda: torch.cat(
                [model(each.to(bench.device)).last_hidden_state.mean(dim=1) for each in inputs]
            ).cpu()
        )

    found: dict[str, Callable[[], Side]] = {"transformers, one by one": one_by_one}
    for dtype, space in spaces.items():
        found[f"mmencode, {dtype}"] = lambda space=space: lambda: space.encode("audio", items).vectors
    return found


def of_dtypes(bench: Bench, clip: Clip, modality: str) -> dict[str, Callable[[], Side]]:
    """Passes from prepared tensors in each dtype."""

    def make(dtype: str) -> Side:
        space = clip.space(dtype)
        return partial(encode_prepared, space, modality, prepare(space, modality, clip.items(modality)))

    made: dict[str, Callable[[], Side]] = {dtype: partial(make, dtype) for dtype in TYPES}
    if bench.device.type == "cuda":
        made["float32 by TF32"] = lambda: _with_tf32(make("float32"))
    return made


def _with_tf32(side: Side) -> Side:
    def run() -> object:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            return side()
        finally:
            torch.set_float32_matmul_precision(before)

    return run


def of_sweep(bench: Bench) -> Iterator[tuple[str, str, mmencode.Space]]:
    """The encoders whose batches are tried."""
    for clip in bench.clips:
        for modality in ("text", "image"):
            yield clip.name, modality, clip.space(bench.best)
    yield "wav2vec 2.0", "audio", sound_space(bench, bench.best)


def speed_of_batch(bench: Bench, space: mmencode.Space, modality: str, size: int) -> tuple[float, int, float]:
    """Items a second of one batch, the numbers in it, and the MiB at the peak, weights and all."""
    items: Sequence[Any] = {
        "text": bench.texts,
        "image": bench.files,
        "audio": [Waveform(samples, rate) for samples, rate in bench.sounds[-1:]],
    }[modality]
    tower = space.tower(modality)
    some = prepare(space, modality, items[: min(size, 64, len(items))])
    tensors = [some[number % len(some)].tensors or {} for number in range(size)]
    elements = sum(tensor.numel() for item in tensors for tensor in item.values())
    batch = move(tower.encoder.collate(tensors), tower.device, tower.dtype)
    run = bench.synchronised(inferring(lambda: tower.forward(batch)))
    run()
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    seconds = []
    for _ in range(bench.rounds):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated(bench.device) / 2**20 if bench.device.type == "cuda" else 0.0
    return size / sorted(seconds)[len(seconds) // 2], elements, peak


def of_graphs(bench: Bench, clip: Clip, modality: str) -> dict[str, Callable[[], Side]]:
    """One batch by the encoder as it is, compiled, and as a CUDA graph."""
    space = clip.space(bench.best)
    tower = space.tower(modality)
    some = prepare(space, modality, clip.items(modality)[: bench.batch])
    batch = batches_on_device(space, modality, some)[0]

    def compiled(**options: Any) -> Side:
        run = torch.compile(copy.deepcopy(tower.encoder), **options)
        return inferring(lambda: run(batch))

    def compiled_space() -> Side:
        other = clip.space(bench.best, compile=True).tower(modality)
        return inferring(lambda: other.forward(batch))

    def graph() -> Side:
        side = torch.cuda.Stream(bench.device)
        with torch.inference_mode(), torch.cuda.stream(side):
            for _ in range(3):
                tower.encoder(batch)
        side.synchronize()
        recorded = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(recorded):
            tower.encoder(batch)
        return recorded.replay

    found: dict[str, Callable[[], Side]] = {
        "as it is": lambda: inferring(lambda: tower.encoder(batch)),
        "CUDA graph": graph,
    }
    if not bench.small:
        found |= {
            "compile=True": compiled_space,
            "torch.compile, reduce-overhead": partial(compiled, mode="reduce-overhead"),
        }
    return found


def of_products(bench: Bench, width: int) -> dict[str, Callable[[], Side]]:
    """A product `[tokens, width] x [width, 4 width]` in types of 16 and of 8 bits, scaling not counted."""
    rows = 64 if bench.small else bench.batch * 50
    device = bench.device
    left, right = torch.randn(rows, width, device=device), torch.randn(4 * width, width, device=device)

    def plain(dtype: torch.dtype) -> Side:
        one, other = left.to(dtype), right.to(dtype)
        return lambda: one @ other.T

    def whole() -> Side:
        one, other = (20 * left).to(torch.int8), (20 * right).to(torch.int8)
        return lambda: torch._int_mm(one, other.T)

    def eight() -> Side:
        one, other = left.to(torch.float8_e4m3fn), right.to(torch.float8_e4m3fn)
        unit = torch.ones((), device=device)
        return lambda: torch._scaled_mm(one, other.T, scale_a=unit, scale_b=unit, out_dtype=torch.bfloat16)

    return {
        "bfloat16": partial(plain, torch.bfloat16),
        "float16": partial(plain, torch.float16),
        "float32": partial(plain, torch.float32),
        "int8, torch._int_mm": whole,
        "float8 e4m3, torch._scaled_mm": eight,
    }


def of_copies(bench: Bench) -> dict[str, Callable[[], Side]]:
    """A batch of pixels `[b, 3, 224, 224]` to the device by each way that there is."""
    size = 224 if not bench.small else 32
    items = [torch.randint(0, 256, (3, size, size), dtype=torch.uint8) for _ in range(bench.batch)]
    device = bench.device
    shape = (len(items), *items[0].shape)

    def pinned() -> Tensor:
        return torch.empty(shape, dtype=torch.uint8, pin_memory=True)

    def kept() -> Side:
        room = pinned()

        def run() -> object:
            torch.stack(items, out=room)
            return room.to(device, non_blocking=True)

        return run

    return {
        "stack, pin, copy": lambda: lambda: move({"pixels": torch.stack(items)}, device, torch.float32),
        "stack, copy from pageable memory": lambda: lambda: torch.stack(items).to(device),
        "stack into pinned memory, copy": lambda: (
            lambda: torch.stack(items, out=pinned()).to(device, non_blocking=True)
        ),
        "stack into one pinned buffer, copy": kept,
        f"pin alone, {os.cpu_count()} cores": lambda: lambda: pinned().copy_(torch.zeros(shape).byte()),
    }
