"""Perception Encoder's towers for sounds, videos, both together, and texts, in one space."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoFeatureExtractor, AutoVideoProcessor

from mmencode import Encoder, Tensors, Waveform
from mmencode.errors import InputError, WeightsError

from .architectures import refusal, require_kind
from .loading import describe, keep, load, load_config, load_extractor, require_whole, sign
from .omni_video import clip_of
from .sources import Checkpoint, find
from .text import context
from .tokenizer import CheckpointTokenizer

FAMILY = "transformers/pe-av/"
_PARTS = ("audio", "text", "video")
_KINDS = {
    "pe_audio": ("audio", "text"),
    "pe_video": ("text", "video"),
    "pe_audio_video": ("audio", "audio+text", "audio+video", "text", "video", "video+text"),
}
_ALONE = {"audio": ("audio", "text"), "video": ("text", "video")}  # of both, with the text head for one


def offers(variant: str) -> tuple[str, ...]:
    """The modalities and composites that `<id or folder>` takes, from its settings alone.

    Raises UnknownNameError or WeightsError when there is no such checkpoint, or it isn't of this family.
    """
    word, rest = _split(variant)
    checkpoint = find(rest, FAMILY, weights=False)
    kind = checkpoint.whole.settings("config.json").get("model_type")
    if kind not in _KINDS:
        raise refusal(checkpoint, load_config(checkpoint), f"{FAMILY} takes {', '.join(_KINDS)}")
    return _ALONE.get(word, _KINDS[kind])


def _split(variant: str) -> tuple[str, str]:
    """Split off the word before a colon that says which text head is meant; "" for that of both."""
    word, colon, rest = variant.partition(":")
    return (word, rest) if colon and word in _ALONE else ("", variant)


class PeEncoder(Encoder):
    """A modality or composite of Perception Encoder, each set of parts by its own head.

    What is padded beside it changes a recording's codec features at its end, so only sounds and videos of one
    length share a pass, without padding. An item of a composite of which one part is absent is that of the
    other alone.
    """

    def __init__(
        self, key: str, networks: dict[str, nn.Module], heads: dict[str, nn.Module], readers: Any
    ) -> None:
        super().__init__()
        self.key = key
        self.networks = nn.ModuleDict(networks)
        self.heads = nn.ModuleDict(heads)
        self.width = int(next(iter(heads.values())).proj.out_features)  # type: ignore[union-attr, arg-type]
        self._tokenizer, self._extractor, self._clips = readers
        built: dict[str, Any] = networks
        timed = [part for part in networks if part in ("audio", "video")]
        self._most = {part: int(built[part].config.max_position_embeddings) for part in timed}
        told = []
        if "text" in networks:
            told.append(self._tokenizer.rule)
            self.tokenizer = self._tokenizer.identity
        if "audio" in key.split("+"):
            told.append(describe(self._extractor))
            self.windows = f"the whole, of at most {self._most['audio']} frames"
        if "video" in key.split("+"):
            told.append(describe(self._clips))
        self.preprocessing = "; ".join(told)
        self.pooling = f"Perception Encoder's own, by the heads {', '.join(sorted(heads))}"

    def preprocess(self, item: Any) -> Tensors:
        """Read the parts of an item: ids `[t]`, samples `[n]` in whole hops, frames `[t, 3, h, w]`."""
        names = self.key.split("+")
        parts = {names[0]: item} if len(names) == 1 else dict(zip(names, item, strict=True))
        read: dict[str, Callable[[Any], Tensor]] = {
            "text": self._words,
            "audio": self._sound,
            "video": self._frames,
        }
        return {name: read[name](part) for name, part in parts.items() if part is not None}

    def _words(self, text: str) -> Tensor:
        ids, _ = self._tokenizer.read(text)
        return ids  # type: ignore[no-any-return]

    def _sound(self, wave: Waveform) -> Tensor:
        rate = int(self._extractor.sampling_rate)
        samples = wave.resample(rate).samples
        self._require_room(-(-len(samples) // int(self._extractor.hop_length)), "audio", "the recording")
        found = self._extractor(np.asarray(samples), sampling_rate=rate, return_tensors="pt")
        return found["input_values"].reshape(-1).float()  # type: ignore[no-any-return]

    def _frames(self, video: Any) -> Tensor:
        clip, facts = clip_of(video, self._clips)
        given = {"do_sample_frames": False} if facts else {}
        if not facts and getattr(self._clips, "num_frames", None) and self._clips.do_sample_frames:
            given = {"do_sample_frames": True}
        found = self._clips(videos=[clip], return_tensors="pt", **given)["pixel_values_videos"][0]
        self._require_room(len(found), "video", "the video")
        return found.float()  # type: ignore[no-any-return]

    def _require_room(self, count: int, part: str, what: str) -> None:
        if count > self._most[part]:
            raise InputError(
                f"{what} has {count} frames, and the checkpoint has positions for {self._most[part]}",
                source="",
                remedy="cut it into shorter ones",
                fault="limit",
            )

    def collate(self, items: list[Tensors]) -> Tensors:
        """Pad ids `[b, t]`; join samples and frames of all items, with the number that each of them has."""
        joined: Tensors = {}
        for name in self.key.split("+"):
            given = [item[name] for item in items if name in item]
            counts = [len(item[name]) if name in item else 0 for item in items]
            joined[f"{name}_counts"] = torch.tensor(counts)
            if name == "text":
                rows = [item.get(name, torch.zeros(0, dtype=torch.long)) for item in items]
                joined[name] = pad_sequence(rows, batch_first=True, padding_value=self._tokenizer.padding)
            else:
                joined[name] = torch.cat(given) if given else torch.zeros(0)
        return joined

    def cost(self, tensors: Tensors) -> int:
        """The number of values in all parts."""
        return sum(tensor.numel() for tensor in tensors.values())

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]`, those of items with equal lengths together."""
        names = self.key.split("+")
        counts = [tensors[f"{name}_counts"].tolist() for name in names]
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, each in enumerate(zip(*counts, strict=True)):
            alike = (
                min(count, 1) if name == "text" else count for name, count in zip(names, each, strict=True)
            )
            groups.setdefault(tuple(alike), []).append(row)
        split: dict[str, Any] = {
            name: tensors[name] if name == "text" else tensors[name].split_with_sizes(count)
            for name, count in zip(names, counts, strict=True)
        }
        found, order = [], []
        for lengths, rows in groups.items():
            present = [name for name, length in zip(names, lengths, strict=True) if length]
            parts = {name: torch.stack([split[name][row] for row in rows]) for name in present}
            if "text" in parts:
                own = tensors["text_counts"][rows]
                most = int(own.max())
                places = torch.arange(most, device=own.device)
                parts["text"], parts["mask"] = parts["text"][:, :most], (places < own[:, None]).long()
            found.append(self._compute(present, parts))
            order += rows
        return torch.cat(found)[torch.tensor(order, device=found[0].device).argsort()]

    def _compute(self, present: list[str], parts: Tensors) -> Tensor:
        """Compute the features of items that have the same parts, of the same lengths."""
        name = "+".join(present)
        if name == "audio+video":
            both = self.networks["audio_video"](
                input_values=parts["audio"][:, None], pixel_values_videos=parts["video"]
            )
            return self.heads[_head(name)](both.pooler_output)  # type: ignore[no-any-return]
        pooled = []
        for part in sorted(present, key=lambda part: part == "text"):  # the text's half comes last
            if part == "audio":
                pooled.append(self.networks["audio"](input_values=parts["audio"][:, None]).pooler_output)
            elif part == "video":
                pooled.append(self.networks["video"](pixel_values_videos=parts["video"]).pooler_output)
            else:
                words = self.networks["text"](
                    input_ids=parts["text"], attention_mask=parts["mask"], output_hidden_states=True
                )
                pooled.append(words.hidden_states[-1][:, 0])
        return self.heads[_head(name)](torch.cat(pooled, dim=-1))  # type: ignore[no-any-return]


def _head(name: str) -> str:
    return name.replace("+", "_")


def towers(variant: str, modalities: Collection[str] = ("text",)) -> dict[str, Encoder]:
    """Build the encoders of `<id or folder>`; with `audio:` or `video:` before it, the text head is for that.

    Raises UnknownNameError or WeightsError when there is none.
    """
    word, rest = _split(variant)
    checkpoint = find(rest, FAMILY)
    config = load_config(checkpoint)
    require_kind(checkpoint, config, FAMILY)
    model, missing = load(checkpoint, config)
    build = _Build(checkpoint, model, missing, word)
    return {key: build.encoder(key) for key in modalities}


class _Build:
    """The networks, heads and readers of one checkpoint while its encoders are made."""

    def __init__(self, checkpoint: Checkpoint, model: Any, missing: set[str], word: str) -> None:
        self._checkpoint, self._model, self._missing = checkpoint, model, missing
        kind = model.config.model_type
        audio = model.audio_model if kind == "pe_audio_video" else model
        video = model.video_model if kind == "pe_audio_video" else model
        self._networks, self._heads = {"text": model.text_model}, {}
        texts = {}
        if kind != "pe_video":
            self._networks["audio"], self._heads["audio"] = audio.audio_encoder, audio.audio_head
            texts["audio"] = audio.text_audio_head
        if kind != "pe_audio":
            self._networks["video"], self._heads["video"] = video.video_encoder, video.video_head
            texts["video"] = video.text_video_head
        if kind == "pe_audio_video":
            both = model.audio_video_encoder
            both.embedder.audio_encoder, both.embedder.video_encoder = (
                audio.audio_encoder,
                video.video_encoder,
            )
            self._networks["audio_video"] = both
            self._heads |= {
                "audio_video": model.audio_video_head,
                "audio_text": model.audio_plus_text_head,
                "video_text": model.video_plus_text_head,
                "text_video": model.video_plus_text_head,
            }
            texts[""] = model.text_audio_video_head
        self._heads["text"] = texts.get(word) or next(iter(texts.values()))
        if word and word not in texts:
            raise WeightsError(
                f"the checkpoint {checkpoint.name!r} is a {kind}, and has no towers for {word}",
                remedy=f"leave the word out: {FAMILY}{checkpoint.name}",
            )
        if not word and "" in texts:
            self._heads["text"] = texts[""]
        self._kept: set[int] = set()

    def encoder(self, key: str) -> PeEncoder:
        """Build the encoder of one modality or composite."""
        parts = key.split("+")
        networks = {part: self._networks[part] for part in parts}
        names = [*parts, _head(key)]
        if key == "audio+video":
            networks["audio_video"] = self._networks["audio_video"]
        heads = {name: self._heads[name] for name in dict.fromkeys(names)}
        used = (*networks.values(), *heads.values())
        require_whole(self._checkpoint, self._model, self._missing, *used)
        self._keep(*used)
        made = PeEncoder(key, networks, heads, self._readers(parts))
        sign(made, self._checkpoint)
        return made

    def _keep(self, *used: nn.Module) -> None:
        new = [part for part in used if id(part) not in self._kept]
        self._kept |= {id(part) for part in new}
        keep(*new)

    def _readers(self, parts: list[str]) -> tuple[Any, Any, Any]:
        tokenizer = extractor = clips = None
        if "text" in parts:
            text = self._model.config.text_config
            tokenizer = CheckpointTokenizer(self._checkpoint, text, context(self._model.text_model))
        if "audio" in parts:
            extractor = load_extractor(self._checkpoint, AutoFeatureExtractor)
        if "video" in parts:
            clips = load_extractor(self._checkpoint, AutoVideoProcessor)
        return tokenizer, extractor, clips
