"""Turns items of several modalities into the tensors of one model, as its own processor does."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
from typing import Any

import torch
from torch import Tensor
from transformers import AutoProcessor, PreTrainedTokenizerBase, ProcessorMixin

from mmencode import Tensors, Waveform
from mmencode.checkpoints import require_tokenizer, require_tokens
from mmencode.encoder import Notice
from mmencode.errors import InputError, WeightsError

from .loading import PREPROCESSING, describe, load_extractor
from .omni_layout import Route
from .omni_tokenizer import SharedTokenizer
from .omni_video import clip_of
from .sources import Checkpoint
from .templates import MOST, TemplateMemoryError, render
from .tokenizer import load_plain

Part = tuple[str, Any]
_ENDLESS = 10**9  # transformers writes a model_max_length of 1e30 where there is none
_ARGUMENTS = {"text": "text", "image": "images", "audio": "audio", "video": "videos"}
_SUBPROCESSORS = {"image": "image_processor", "audio": "feature_extractor", "video": "video_processor"}


class OmniReader:
    """Reads items for one route of a checkpoint, with the words of one prompt before them.

    Where the checkpoint has a chat template, each item is a user's turn, and the prompt the system's.
    """

    def __init__(
        self, checkpoint: Checkpoint, processor: Any, route: Route, most: int | None, prompt: str
    ) -> None:
        self.route, self.prompt = route, prompt
        self._processor = copy.copy(processor)
        self._plain = getattr(processor, "tokenizer", processor)
        if isinstance(self._plain, PreTrainedTokenizerBase):
            self.tokenizer: SharedTokenizer | None = SharedTokenizer(self._plain, most, route.lower)
        else:
            self.tokenizer = None
        if self.tokenizer is not None and processor is not self._plain:
            self._processor.tokenizer = self.tokenizer
        self._too_long = Notice(
            f"a recording is longer than {self.longest} samples, and the rest is left out; said once"
        )
        self.padding = int(getattr(self._plain, "pad_token_id", None) or 0)
        self._marks = {
            kind: mark
            for kind in _ARGUMENTS
            if isinstance(mark := getattr(processor, f"{kind}_token", None), str)
        }
        self._template = self._find_template(checkpoint) if route.chats else ""
        self._suffix = self._find_suffix_of(checkpoint) if route.chats else []
        starts = self.prompt and not route.chats and self.tokenizer is not None
        self.excluded = self._count_prompt() if starts else 0

    def words(self, key: str) -> str:
        """Describe what items of a modality become, for the identity."""
        parts = [part for part in _ARGUMENTS if part in key.split("+") or key == "interleaved"]
        told = [f"prompt {self.prompt or self.route.system!r}"]
        if self.tokenizer is not None:
            most = self.tokenizer.most
            told.append(
                f"the {'first' if self._side == 'right' else 'last'} {most} tokens" if most else "all tokens"
            )
        for part in parts:
            made = getattr(self._processor, _SUBPROCESSORS.get(part, ""), None)
            if made is not None:
                told.append(f"{part}: {describe(made)}")
            if options := self.route.options.get(part):
                told.append(f"{part}: {json.dumps(options, sort_keys=True)}")
        return "; ".join(told)

    @property
    def longest(self) -> int | None:
        """The samples of a recording that the processor looks at, the first ones; None for all."""
        extractor = getattr(self._processor, "feature_extractor", None)
        if extractor is None:
            return None
        taken = inspect.signature(type(extractor).__call__).parameters
        default = taken["max_length"].default if "max_length" in taken else None
        most = self.route.options.get("audio", {}).get("max_length", default)
        return int(most) if isinstance(most, int) else None

    @property
    def identity(self) -> str:
        """A digest of the tokenizer and the chat template."""
        if self.tokenizer is None:
            return ""
        facts = (self._template, dict(self.route.chat), self.route.end, self._marks, self.tokenizer.content)
        return f"sha256:{hashlib.sha256(repr(facts).encode()).hexdigest()}"

    @property
    def _side(self) -> str:
        return str(getattr(self._plain, "truncation_side", "right"))

    def read(self, parts: list[Part]) -> Tensors:
        """Turn the parts of one item into tensors with the processor's names: ids `[t]`, media `[n, ...]`."""
        texts = [value for kind, value in parts if kind == "text"]
        for text in texts:
            self._refuse_marks(text)
        if not self.route.chats:
            return self._plainly(parts)
        rendered = self._render(parts)
        special = not (self._plain.bos_token and rendered.startswith(self._plain.bos_token))
        if len(texts) == len(parts):
            return self._text(rendered, special)
        options = {} if special else {"add_special_tokens": False}
        return self._process([*_media(parts), ("text", rendered)], **options)

    def _plainly(self, parts: list[Part]) -> Tensors:
        """Read an item without a chat: a text behind the prompt, or parts by the processor."""
        parts = [(kind, self.prompt + value if kind == "text" else value) for kind, value in parts]
        if [kind for kind, _ in parts] != ["text"]:
            return self._process(parts)
        found = self._require_tokenizer().cut(parts[0][1], True)
        if not found.overflowing:
            require_tokens(found.special_tokens_mask.count(0), parts[0][1])
        return {"input_ids": torch.tensor(found.ids)}

    def _text(self, rendered: str, special: bool) -> Tensors:
        """Tokenize a chat of texts only; where it is cut, the words that end a chat are put back."""
        found = self._require_tokenizer().cut(rendered, special)
        ids = torch.tensor(found.ids)
        if found.overflowing and self._suffix:
            kept = min(len(self._suffix), len(ids))
            ids[-kept:] = torch.tensor(self._suffix[-kept:])
        return {"input_ids": ids}

    def _process(self, parts: list[Part], **options: Any) -> Tensors:
        """Have the checkpoint's processor read an item with media."""
        given: dict[str, list[Any]] = {}
        named: dict[str, dict[str, Any]] = {
            kind: dict(self.route.options.get(kind, {})) for kind in _SUBPROCESSORS
        }
        for kind, value in parts:
            if kind == "audio":
                rate = int(self._processor.feature_extractor.sampling_rate)
                named["audio"]["sampling_rate"] = rate
                value = value.resample(rate).samples if isinstance(value, Waveform) else value
                if self.longest and len(value) > self.longest:
                    self._too_long.give()
            elif kind == "video":
                value, facts = clip_of(value, self._processor.video_processor)
                named["video"] |= facts
            given.setdefault(_ARGUMENTS[kind], []).append(value)
        if self.route.chats:  # as many for the only chat of the batch
            given |= {name: [given[name]] for name in ("images", "videos") if name in given}
        found = self._call(given, named, options)
        found = {key: value for key, value in found.items() if isinstance(value, Tensor)}
        if "input_ids" in found:
            found["input_ids"] = found["input_ids"][0]
            self._require_room(found["input_ids"])
        found.pop("attention_mask", None)
        if "mm_token_type_ids" in found:
            found["mm_token_type_ids"] = found["mm_token_type_ids"][0]
        return found

    def _call(self, given: dict[str, Any], named: dict[str, dict[str, Any]], options: dict[str, Any]) -> Any:
        if isinstance(self._processor, ProcessorMixin):
            return self._processor(
                **given,
                text_kwargs={"padding": False, "truncation": False},
                images_kwargs=named["image"],
                audio_kwargs={"padding": True, **named["audio"]},
                videos_kwargs=named["video"],
                common_kwargs={"return_tensors": "pt"},
                **options,
            )
        (values,) = given.values()  # an image processor, or an extractor of sounds, alone
        (kind,) = (kind for kind, name in _ARGUMENTS.items() if name in given)
        return self._processor(values, return_tensors="pt", **named[kind])

    def _require_room(self, ids: Tensor) -> None:
        most = self.tokenizer.most if self.tokenizer else None
        if most and len(ids) > most:
            raise InputError(
                f"the item takes {len(ids)} tokens, and the checkpoint {most} at most",
                source="",
                remedy="give a smaller image, a shorter recording or video, or fewer parts",
                fault="limit",
            )

    def _require_tokenizer(self) -> SharedTokenizer:
        if self.tokenizer is None:
            raise InputError(
                "the checkpoint has no tokenizer, and takes no text", source="", remedy="leave texts out"
            )
        return self.tokenizer

    def _refuse_marks(self, text: str) -> None:
        """Raise InputError for a text with a mark that stands for an image or another medium."""
        for kind, mark in self._marks.items():
            if mark in text:
                raise InputError(
                    f"the text has the mark {mark!r}, which stands for {kind} in this checkpoint",
                    source=f"text {text[:40]!r}",
                    remedy="take it out of the text; give media as parts of their own",
                )

    def _render(self, parts: list[Part]) -> str:
        content = [{"type": kind, kind: value if kind == "text" else ""} for kind, value in parts]
        turns: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if system := self.prompt or self.route.system:
            turns.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
        try:
            rendered = render(self._template, turns, {**self._plain.special_tokens_map, **self.route.chat})
        except TemplateMemoryError as cause:
            raise InputError(
                f"the checkpoint's chat template makes more than {MOST >> 20} MiB of the item",
                source="",
                remedy="give the checkpoint another chat_template.jinja, or take another checkpoint",
                fault="limit",
            ) from cause
        return f"{rendered}{self.route.end}"

    def _find_template(self, checkpoint: Checkpoint) -> str:
        found = getattr(self._processor, "chat_template", None)
        found = found.get("default") if isinstance(found, dict) else found
        if not isinstance(found, str) or self.tokenizer is None:
            raise WeightsError(
                f"the checkpoint {checkpoint.name!r} has no chat template",
                culprit=str(checkpoint.folder),
                remedy="put its chat_template.jinja there, which save_pretrained writes",
            )
        return found

    def _find_suffix_of(self, checkpoint: Checkpoint) -> list[int]:
        """Find the suffix; WeightsError where the template makes too much of two short texts."""
        try:
            return self._find_suffix()
        except InputError as cause:
            raise WeightsError(
                f"the checkpoint {checkpoint.name!r} is refused: its chat template makes more than "
                f"{MOST >> 20} MiB of a short text",
                culprit=str(checkpoint.folder),
                remedy="put another chat_template.jinja there, or fetch the checkpoint again",
            ) from cause

    def _find_suffix(self) -> list[int]:
        """Find the tokens behind every text in a chat: those that chats of two texts end with alike."""
        tokenizer = self._require_tokenizer()
        first, second = (self._render([("text", words)]) for words in ("0", "1 2 3 4"))
        special = not (self._plain.bos_token and first.startswith(self._plain.bos_token))
        one, other = tokenizer.whole(first, special), tokenizer.whole(second, special)
        count = next(
            (
                place
                for place, (left, right) in enumerate(zip(reversed(one), reversed(other), strict=False))
                if left != right
            ),
            0,
        )
        return one[len(one) - count :] if count else []

    def _count_prompt(self) -> int:
        """Count the tokens that a prompt puts before a text, marks at the start included."""
        ids = self._require_tokenizer().whole(self.prompt, True)
        return len(ids) - (bool(ids) and ids[-1] in self._plain.all_special_ids)


def load_processor(checkpoint: Checkpoint, route: Route) -> Any:
    """Load the whole processor of a checkpoint; WeightsError where a file is missing, or refused."""
    texts, checkpoint = checkpoint, checkpoint.holding(*PREPROCESSING[:2])
    if not checkpoint.has(*PREPROCESSING[:2]) and not route.ways.keys() - {"text", "message"}:
        settings = checkpoint.whole.settings("config.json")
        if any(settings.get(part) for part in ("vision_config", "audio_config")):
            checkpoint.require("processor_config.json", "preprocessor_config.json")
        return load_plain(texts)  # a model of texts alone
    if any((checkpoint.folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json")):
        require_tokenizer(checkpoint.folder)
    made = load_extractor(checkpoint, AutoProcessor)
    plain = getattr(made, "tokenizer", made)
    if isinstance(plain, PreTrainedTokenizerBase) and not plain.is_fast:
        raise WeightsError(
            f"the tokenizer of {checkpoint.name!r} is a {type(plain).__name__}, which has no fast form",
            culprit=str(checkpoint.folder),
            remedy="put a tokenizer.json there, and name a fast tokenizer_class in tokenizer_config.json",
        )
    for name in _SUBPROCESSORS.values():
        if getattr(getattr(made, name, None), "dither", 0.0):  # noise, drawn anew each time
            getattr(made, name).dither = 0.0
    return made


def limit_of(processor: Any, config: Any, route: Route) -> int | None:
    """Find the most tokens of an item: the checkpoint's own, or as many as tokenizer and model take."""
    if route.limit:
        return route.limit
    plain = getattr(processor, "tokenizer", processor)
    limits = [getattr(plain, "model_max_length", None), getattr(config, "max_position_embeddings", None)]
    return min((int(limit) for limit in limits if limit and 0 < limit < _ENDLESS), default=None)


def _media(parts: list[Part]) -> list[Part]:
    return [(kind, value) for kind, value in parts if kind != "text"]
