"""Text encoders of sentence-transformers checkpoints: their modules and prompts, without that library."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmencode import Tensors
from mmencode.errors import UnknownNameError, WeightsError

from .loading import sign
from .modules import Head, head
from .prompts import fill_in, named_prompt, read_prompts, read_widths
from .sources import Checkpoint, find, modules_of
from .text import TextEncoder, context, text_model
from .tokenizer import CheckpointTokenizer

_FAMILY, _RETRIEVAL = "transformers/sentence/", "transformers/retrieval/"
_PLAIN = {"method": "forward", "method_output_name": "last_hidden_state"}


class SentenceEncoder(TextEncoder):
    """A text model of transformers, and the modules that follow it in `modules.json`.

    Every text gets the prompt before it, without a space in between. `forward_tokens` gives the text
    model's own outputs, of the prompt, too.
    """

    def __init__(self, model: Any, tokenizer: CheckpointTokenizer, head: Head, prompt: str) -> None:
        super().__init__(model, tokenizer, "modules.json")
        self.head = head
        self.width = head.width
        self.prompt = prompt
        self._excluded = tokenizer.length(prompt) if prompt and not head.include_prompt else 0
        self.preprocessing = f"{tokenizer.rule}, prompt {prompt!r}"
        self.pooling = f"{model.config.model_type}, {head.words}" + (
            f", without {self._excluded} tokens of the prompt" if self._excluded else ""
        )

    def with_prompt(self, prompt: str) -> SentenceEncoder:
        """Make an encoder of the same model and modules with another prompt."""
        other = SentenceEncoder(self.model, self.reader, self.head, prompt)
        other.architecture, other.widths = self.architecture, self.widths
        other.weights_digest = self.weights_digest
        return other

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]` as `SentenceTransformer.encode` does."""
        tokens, mask = self.forward_tokens(tensors)
        features: Tensor = self.head(tokens, mask, self._excluded)
        return features


def build(variant: str) -> SentenceEncoder:
    """Build the encoder `<id or folder>` with the checkpoint's default prompt, or `<prompt>:<id or folder>`.

    Raises UnknownNameError for a prompt or an id that doesn't exist, WeightsError for a checkpoint that is
    refused, isn't whole, or has modules of other kinds.
    """
    name, colon, rest = variant.partition(":")
    if not colon or "/" in name or "\\" in name:
        name, rest = "", variant
    checkpoint = find(rest, f"{_FAMILY}{name}{':' if name else ''}")
    prompts, default = read_prompts(checkpoint)
    if name and name not in prompts:
        raise UnknownNameError(
            f"the checkpoint {rest!r} has no prompt {name!r}",
            remedy=f"its prompts are {', '.join(prompts) or 'none'}; without one: {_FAMILY}{rest}",
        )
    return _build(checkpoint, prompts[name] if name else default)


def retrieval(variant: str, modalities: tuple[str, ...], instruction: str = "") -> dict[str, SentenceEncoder]:
    """Build the encoders of documents and of queries, which share the model and differ in their prompts.

    An instruction takes the place of the one in the prompt of queries. Raises InstructionError for a
    checkpoint whose prompt has no place for one.
    """
    checkpoint = find(variant, _RETRIEVAL)
    prompts, _ = read_prompts(checkpoint)
    said = {
        "text": named_prompt(prompts, "document"),
        "text:query": fill_in(named_prompt(prompts, "query"), instruction, checkpoint),
    }
    built: list[SentenceEncoder] = []
    for key in modalities:
        built.append(built[0].with_prompt(said[key]) if built else _build(checkpoint, said[key]))
    return dict(zip(modalities, built, strict=True))


def _build(checkpoint: Checkpoint, prompt: str) -> SentenceEncoder:
    (first, inner), *modules = modules_of(checkpoint)
    if first != "Transformer":
        family = {"CLIPModel": "clip", "Router": "omni", "Asym": "omni"}.get(first)
        name = f"; name it transformers/{family}/{checkpoint.name}" if family else ""
        raise WeightsError(
            f"modules.json of {checkpoint.name!r} doesn't begin with a Transformer, but with the {first} in "
            f"{inner.folder.name!r}",
            culprit=str(checkpoint.folder),
            remedy=f"only models of text are read here{name}",
        )
    settings = _settings(inner)
    model = text_model(inner)
    longest = settings.get("max_seq_length")
    most = min(filter(None, (context(model), longest)), default=None)
    lower = bool(settings.get("do_lower_case"))
    tokenizer = CheckpointTokenizer(inner, model.config, most, own=not longest, lower=lower)
    encoder = SentenceEncoder(model, tokenizer, head(modules, int(model.config.hidden_size)), prompt)
    sign(encoder, inner)
    encoder.widths = read_widths((checkpoint, inner), encoder.width)
    return encoder


def _settings(checkpoint: Checkpoint) -> dict[str, Any]:
    """Read the Transformer module's settings; WeightsError when they ask for more than its last layer."""
    file = "sentence_bert_config.json"
    if not (checkpoint.folder / file).is_file():
        return {}
    settings = checkpoint.settings(file)
    task = settings.get("transformer_task", "feature-extraction")
    way = settings.get("modality_config", {"text": _PLAIN}).get("text")
    if task != "feature-extraction" or way != _PLAIN or settings.get("processing_kwargs"):
        raise WeightsError(
            f"{file} of {checkpoint.name!r} asks for more than the outputs of a text model: {settings}",
            culprit=str(checkpoint.folder / file),
            remedy="only texts are read here, as they are, and the last layer is taken; name it "
            f"transformers/omni/{checkpoint.name}",
        )
    return settings
