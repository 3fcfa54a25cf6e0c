"""The transformer as a text encoder of mmencode, with its tokenizer, pooling and files."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from mmencode import Encoder, Tensors, pooling
from mmencode.checkpoints import (
    describe_error,
    folder_aside,
    read_object,
    read_state,
    require_tokenizer,
    require_tokens,
)
from mmencode.encoder import Notice, pad_rows
from mmencode.errors import WeightsError

from .transformer import Transformer, sinusoids

CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "weights.safetensors"
FORMAT = 1
# Larger sizes in a config are a mistake, and would take all memory.
_MOST = {
    "vocabulary": 2**20,
    "width": 2**14,
    "layers": 2**8,
    "heads": 2**10,
    "inner": 2**16,
    "tokens": 2**14,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a transformer; texts of more than `tokens` tokens are cut."""

    vocabulary: int
    width: int = 256
    layers: int = 2
    heads: int = 4
    inner: int = 512
    tokens: int = 128

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) is not int or not 0 < value <= _MOST[name]:
                raise ValueError(f"{name} is {value!r}: make it an int from 1 to {_MOST[name]}")
        if self.width % (2 * self.heads):
            raise ValueError(f"a width of {self.width} can't be divided among {self.heads} heads, in pairs")


class ScratchText(Encoder):
    """Encodes texts to the mean of their contextual tokens; longer ones are cut, with one warning."""

    pooling = "mean"

    def __init__(self, shape: Shape, tokenizer: str, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.width = shape.width
        self.preprocessing = f"subwords, the first {shape.tokens}"
        self.architecture = "scratch " + ", ".join(f"{name} {value}" for name, value in asdict(shape).items())
        self.tokenizer = f"sha256:{hashlib.sha256(tokenizer.encode()).hexdigest()}"
        self.transformer = Transformer(**asdict(shape), dropout=dropout)
        self._json = tokenizer
        self._tokenizer = Tokenizer.from_str(tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(shape.tokens)
        self._too_long = Notice(
            f"a text is longer than {shape.tokens} tokens, and the rest is left out; split long texts to "
            "keep them whole. Said once for each time the encoder is loaded"
        )

    def preprocess(self, item: str) -> Tensors:
        """Tokenize a text to ids `[t]`."""
        encoding = self._tokenizer.encode(item)
        require_tokens(encoding.special_tokens_mask.count(0), item)
        if encoding.overflowing:
            self._too_long.give()
        return {"ids": torch.tensor(encoding.ids)}

    def collate(self, items: list[Tensors]) -> Tensors:
        """Pad token ids to the longest item, `[b, t]`, with the mask of those that count."""
        ids, mask = pad_rows([item["ids"] for item in items])
        return {"ids": ids, "mask": mask}

    def cost(self, tensors: Tensors) -> int:
        """The number of tokens."""
        return len(tensors["ids"])

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]`, the mean of the contextual tokens."""
        return pooling.mean(*self.forward_tokens(tensors))

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute contextual tokens `[b, t, width]` and their mask `[b, t]`."""
        hidden: Tensor = self.transformer(tensors["ids"], tensors["mask"])
        return hidden, tensors["mask"]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the folder that `scratch/<folder>` names: config.json, tokenizer.json, weights.safetensors.

        It appears whole or not at all. Raises FileExistsError when it is there.
        """
        Path(folder).parent.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.contiguous() for name, tensor in self.transformer.state_dict().items()}
        with folder_aside(folder) as target:
            target.mkdir()
            (target / CONFIG).write_text(
                json.dumps({"format": FORMAT, **asdict(self.shape)}, indent=2) + "\n"
            )
            (target / TOKENIZER).write_text(self._json, encoding="utf-8")
            save_file(state, target / WEIGHTS)


def encoder(variant: str) -> ScratchText:
    """Read the folder that `save` wrote; WeightsError, which names the file, when it isn't whole."""
    folder = Path(variant).expanduser()
    shape = _shape(_existing(folder, CONFIG))
    path = _existing(folder, TOKENIZER)
    require_tokenizer(folder, "restore the file that was saved with the weights")
    try:
        with torch.device("meta"):  # no memory before the weights are seen to have these sizes
            loaded = ScratchText(shape, path.read_text(encoding="utf-8"))
    except Exception as cause:  # tokenizers raises plain Exceptions
        raise _unfit(path, cause, "make it a tokenizer of the library tokenizers, saved as JSON") from cause
    path = _existing(folder, WEIGHTS)
    _require_vocabulary(loaded, folder)
    try:
        loaded.transformer.load_state_dict(read_state(path), assign=True)
    except WeightsError:
        raise
    except Exception as cause:  # torch fails in several ways
        raise _unfit(path, cause, f"save it again with the {CONFIG} that it was trained with") from cause
    loaded.transformer.positions = sinusoids(shape.tokens, shape.width)
    return loaded.eval().requires_grad_(False)


def _existing(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise WeightsError(
            f"there is no file {str(path)!r}",
            remedy=f"name a folder with {CONFIG}, {TOKENIZER} and {WEIGHTS}: scratch/<folder>; "
            "`python -m mmencode_scratch.train FOLDER` writes one",
        )
    return path


def _shape(path: Path) -> Shape:
    try:
        found = read_object(path, "restore the file that was saved with the weights")
        if found.pop("format", None) != FORMAT:
            raise ValueError(f"its format isn't {FORMAT}")
        return Shape(**found)
    except (ValueError, TypeError) as cause:
        raise _unfit(path, cause, "restore the file that was saved with the weights") from cause


def _require_vocabulary(loaded: ScratchText, folder: Path) -> None:
    known = loaded._tokenizer.get_vocab()
    if known and max(known.values()) >= loaded.shape.vocabulary:
        raise WeightsError(
            f"{str(folder / TOKENIZER)!r} has ids up to {max(known.values())}, and {CONFIG} a vocabulary of "
            f"{loaded.shape.vocabulary}",
            remedy="put the tokenizer there that the weights were trained with",
        )


def _unfit(path: Path, cause: Exception, remedy: str) -> WeightsError:
    return WeightsError(f"{str(path)!r} can't be read: {describe_error(cause)}", remedy=remedy)
