"""Every open_clip architecture: its image and its text tower, one space for each set of weights.

The name is `openclip/<architecture>/<weights>`; the weights are a pretrained tag, `hf-hub:org/repo`, or the
path of a local checkpoint, which is read without asking any hub.
"""

from __future__ import annotations

import difflib
import hashlib
import threading
import warnings
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg
from open_clip.tokenizer import HFTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import VisionTransformer, text_global_pool
from PIL import Image
from torch import Tensor, nn

from ..encoder import Encoder, Tensors
from ..errors import MmencodeError, UnknownNameError, WeightsError
from ..spec import Scoring

_LOCAL = (".safetensors", ".pt", ".pth", ".bin")
_PIXELS = ("mean", "std", "interpolation", "resize_mode")


class OpenClipImage(Encoder):
    """The image tower of an open_clip model, with the preprocessing of its weights."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower: nn.Module = model.visual
        self.width = int(model.text.output_dim)
        self._scoring = _scoring(model)
        settings = PreprocessCfg(**model.visual.preprocess_cfg)
        self.preprocessing = ", ".join(f"{name} {value}" for name, value in asdict(settings).items())
        self.pooling = f"open_clip {type(model.visual).__name__}"
        self._transform = image_transform_v2(settings, is_train=False)

    def preprocess(self, item: Image.Image) -> Tensors:
        """Normalised pixels `[3, h, w]`."""
        return {"pixels": self._transform(item)}

    def forward(self, tensors: Tensors) -> Tensor:
        """Features `[b, width]`, as open_clip's `encode_image` gives them."""
        return _pooled(self.tower(tensors["pixels"]))

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """The patches `[b, t, hidden]` of open_clip's own vision transformers, without the class token."""
        if not isinstance(self.tower, VisionTransformer):
            raise NotImplementedError(f"open_clip's {type(self.tower).__name__} gives no patches")
        found = self.tower.forward_intermediates(
            tensors["pixels"], indices=1, normalize_intermediates=True, output_fmt="NLC"
        )
        tokens: Tensor = found["image_intermediates"][-1]
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)

    @property
    def scoring(self) -> Scoring:
        """The scale and bias that the model was trained with; those with a bias are of SigLIP's kind."""
        return self._scoring

    @property
    def grid(self) -> tuple[int, int] | None:
        """The rows and columns of open_clip's own vision transformers."""
        return tuple(self.tower.grid_size) if isinstance(self.tower, VisionTransformer) else None


class OpenClipText(Encoder):
    """The text tower of an open_clip model, with its tokenizer.

    A causal tower that pools at the end token doesn't look at the padding behind it, so that is never
    computed: equal results, and several times as fast on captions.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__()
        self.tower: Any = model.text
        self.width = int(model.text.output_dim)
        self._tokenize = tokenizer
        self._context = int(tokenizer.context_length)
        self._end = _end_token(model.text)
        self._unsaid = [f"a text is longer than {self._context} tokens, and the rest is left out; said once"]
        self._lock = threading.Lock()  # open_clip's tokenizers keep a cache that was not made for threads
        self.preprocessing = f"at most {self._context} tokens"
        self.tokenizer = _fingerprint(tokenizer)
        self.pooling = f"open_clip {type(model.text).__name__}, {getattr(model.text, 'pool_type', 'its own')}"

    def preprocess(self, item: str) -> Tensors:
        """Token ids `[t]`: up to the end token where only those count, else the whole context."""
        with self._lock:
            ids = self._tokenize([item])[0]
            if self._is_cut(item):
                with suppress(IndexError):  # the first thread says it
                    warnings.warn(self._unsaid.pop(), UserWarning, stacklevel=2)
        return {"ids": ids if self._end is None else ids[: self._end(ids) + 1]}

    def collate(self, items: list[Tensors]) -> Tensors:
        """Ids `[b, t]`, padded with zeros to the longest."""
        rows = [item["ids"] for item in items]
        return {"ids": nn.utils.rnn.pad_sequence(rows, batch_first=True)}

    def forward(self, tensors: Tensors) -> Tensor:
        """Features `[b, width]`, as open_clip's `encode_text` gives them."""
        ids = tensors["ids"]
        return _pooled(self.tower(ids)) if self._end is None else _causal(self.tower, ids)[0]

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Contextual tokens `[b, t, hidden]` of causal towers, and the mask of those up to the end token."""
        if self._end is None:
            raise NotImplementedError("its text tower attends to padding, which has no tokens of its own")
        ids = tensors["ids"]
        ends = torch.tensor([self._end(row) for row in ids], device=ids.device)
        return _causal(self.tower, ids)[1], torch.arange(ids.shape[1], device=ids.device) <= ends[:, None]

    def _is_cut(self, text: str) -> bool:
        if len(text.encode()) + 2 <= self._context:  # a token is at least one byte; two mark start and end
            return False
        if isinstance(self._tokenize, HFTokenizer):
            whole = self._tokenize.tokenizer(self._tokenize.clean_fn(text), verbose=False).input_ids
            return len(whole) > self._context
        return len(self._tokenize.encode(text)) + 2 > self._context


def image(variant: str) -> OpenClipImage:
    """The image tower of `<architecture>/<weights>`; UnknownNameError or WeightsError when there is none."""
    return OpenClipImage(_model(variant))


def text(variant: str) -> OpenClipText:
    """The text tower of `<architecture>/<weights>`; UnknownNameError or WeightsError when there is none."""
    model = _model(variant)
    architecture, _, weights = variant.partition("/")
    name = weights if weights.startswith("hf-hub:") else architecture
    remedy = "load it once where there is a network, or copy that machine's cache (HF_HOME)"
    try:
        if _is_local(weights) and _hub_tokenizer(architecture):
            remedy = f"put its files, tokenizer.json and tokenizer_config.json, beside {weights}"
            tokenizer = _local_tokenizer(architecture, Path(weights).expanduser().parent)
        else:
            tokenizer = open_clip.get_tokenizer(name)
    except Exception as cause:  # a hub that can't be reached fails in many ways, and so do broken files
        raise WeightsError(
            f"the tokenizer of {name!r} can't be obtained: {type(cause).__name__}: {cause}", remedy=remedy
        ) from cause
    return OpenClipText(model, tokenizer)


def _hub_tokenizer(architecture: str) -> str:
    """The hub's name of the architecture's tokenizer; "" where open_clip brings its own."""
    return str(open_clip.get_model_config(architecture)["text_cfg"].get("hf_tokenizer_name", ""))


def _local_tokenizer(architecture: str, folder: Path) -> Any:
    """The architecture's tokenizer from the checkpoint's folder: local means local."""
    if not (folder / "tokenizer.json").is_file():
        raise FileNotFoundError(f"{folder / 'tokenizer.json'}; local weights ask no hub for a tokenizer")
    settings = open_clip.get_model_config(architecture)["text_cfg"]
    return HFTokenizer(
        str(folder),
        context_length=settings.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH),
        tokenizer_mode=settings.get("tokenizer_mode"),
        local_files_only=True,
        **settings.get("tokenizer_kwargs", {}),
    )


def _model(variant: str) -> Any:
    """The whole model in float32, its text tower built apart, so that all kinds have `visual` and `text`."""
    architecture, _, weights = variant.partition("/")
    options: dict[str, Any] = {"force_custom_text": True, "weights_only": True, "pretrained_text": False}
    if weights.startswith("hf-hub:"):
        name, what = weights, weights
    else:
        _require_architecture(architecture)
        name, what = architecture, weights
        options["pretrained"] = weights
        if _is_local(weights):
            options |= _local(architecture, weights)
        else:
            _require_tag(architecture, weights)
    try:
        return open_clip.create_model(name, require_pretrained=True, **options).eval()
    except MmencodeError:
        raise
    except Exception as cause:  # torch, safetensors and the hub each fail in their own way
        raise WeightsError(
            f"the weights {what!r} of {name!r} can't be loaded: {type(cause).__name__}: {cause}",
            culprit=f"open_clip {open_clip.__version__}, reading {what}",
            remedy="a local file must be a whole safetensors file or state dict of this architecture; a tag "
            "must be loaded once where there is a network, or the path of a local file passed in its place",
        ) from cause


def _is_local(weights: str) -> bool:
    return weights.endswith(_LOCAL) or weights.startswith(("/", "./", "../", "~"))


def _local(architecture: str, weights: str) -> dict[str, Any]:
    """What a local file needs: its path, and the preprocessing that all published weights of this kind share.

    open_clip itself gives every local file the preprocessing of OpenAI's CLIP (open_clip#1068).
    """
    path = Path(weights).expanduser()
    if not path.is_file():
        raise WeightsError(f"there is no file {weights!r}", remedy="check the path of the checkpoint")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    known = [get_pretrained_cfg(architecture, tag) for tag in tags]
    settings = [{key: cfg[key] for key in _PIXELS if cfg.get(key) is not None} for cfg in known]
    shared = settings[0] if settings and all(other == settings[0] for other in settings) else {}
    return {"pretrained": str(path), "force_preprocess_cfg": shared}


def _require_architecture(name: str) -> None:
    known = open_clip.list_models()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        raise UnknownNameError(
            f"open_clip {open_clip.__version__} has no architecture {name!r}",
            remedy=f"did you mean {' or '.join(near)}?" if near else "open_clip.list_models() lists them all",
        )


def _require_tag(architecture: str, tag: str) -> None:
    known = open_clip.list_pretrained_tags_by_model(architecture)
    if tag.lower() not in {other.lower() for other in known}:
        choices = ", ".join(known) or "none; pass the path of a local checkpoint"
        raise UnknownNameError(
            f"open_clip has no weights {tag!r} for {architecture!r}",
            remedy=f"its tags are {choices}",
        )


def _end_token(tower: Any) -> Any:
    """How to find the end token in a row of ids, for towers where nothing behind it counts; else None."""
    causal = getattr(tower, "attn_mask", None) is not None and tower.cls_emb is None
    if causal and tower.pool_type == "argmax":
        return lambda ids: int(ids.argmax())
    if causal and tower.pool_type == "eos":
        return lambda ids: int((ids == tower.eos_id).int().argmax())
    return None


def _causal(tower: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Features `[b, width]` and tokens `[b, t, hidden]` of open_clip's causal TextTransformer, for short ids.

    Its own forward pass takes ids `[b, t]` of the whole context only.
    """
    length = ids.shape[1]
    hidden = tower.token_embedding(ids) + tower.positional_embedding[:length]  # [b, t, hidden]
    hidden = tower.transformer(hidden, attn_mask=tower.attn_mask[:length, :length])
    hidden = tower.ln_final(hidden)
    pooled = text_global_pool(hidden, ids, tower.pool_type, eos_token_id=tower.eos_id)
    projection = tower.text_projection  # a module, a matrix, or None
    if projection is not None:
        pooled = projection(pooled) if isinstance(projection, nn.Module) else pooled @ projection
    return pooled, hidden


def _scoring(model: Any) -> Scoring:
    scale, bias = float(model.logit_scale.detach().exp()), getattr(model, "logit_bias", None)
    if bias is None:
        return Scoring(kind="softmax", scale=scale)
    return Scoring(kind="sigmoid", scale=scale, bias=float(bias.detach()))


def _pooled(output: Any) -> Tensor:
    """CoCa's towers give their tokens, too."""
    pooled: Tensor = output[0] if isinstance(output, tuple) else output
    return pooled


def _fingerprint(tokenizer: Any) -> str:
    """A digest of what the tokenizer makes of a text that has something of everything."""
    probe = (
        "A photo of 3 DOGS, naïve café — “quoted”; e.g. x²! 日本 🙂 don't_stop (at) http://x.y?z=1 &amp; more"
    )
    ids = tokenizer([probe])[0].to(torch.int64)
    return f"{type(tokenizer).__name__} sha256:{hashlib.sha256(ids.numpy().tobytes()).hexdigest()}"
