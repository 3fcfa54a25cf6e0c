"""Checkpoints of Hugging Face transformers and sentence-transformers as encoders of mmencode.

Declaring them imports nothing heavy; the README has the table of names.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmencode import EncoderSpec, hookimpl

__version__ = "0.1.0"

_PROMPTS = {
    "image": "a photo of a {label}",
    "audio": "the sound of {label}",
    "video": "a video of a {label}",
}
_OMNI = [
    *((modality, "") for modality in ("text", "image", "audio", "video")),
    *((modality, "") for modality in ("image+text", "audio+text", "video+text", "interleaved")),
    *((modality, "query") for modality in ("text", "image", "image+text")),
]
_SOURCE = "https://github.com/huggingface/transformers"


@hookimpl
def mmencode_encoders() -> Iterator[EncoderSpec]:
    """Declare the families of checkpoints; names end in a hub's id, `<id>@<revision>`, or a folder."""
    yield _family(
        "text",
        "text",
        "text:build",
        "BERT and its kin, T5, BART, decoders: transformers/text/<cls, mean, max or last>:<id or folder>",
    )
    yield _family(
        "sentence",
        "text",
        "sentence:build",
        "sentence-transformers checkpoints: transformers/sentence/<id or folder>, or <prompt>:<id or folder>",
    )
    for role in ("", "query"):
        yield _family(
            f"retrieval-{role or 'text'}",
            "text",
            "sentence:retrieval",
            "sentence-transformers checkpoints with prompts for documents and for queries: "
            "transformers/retrieval/<id or folder>",
            space="retrieval",
            shared=True,
            role=role,
        )
    yield _family(
        "image",
        "image",
        "image:build",
        "DINOv2, DINOv3, ViT: transformers/image/<cls or mean>:<id or folder>",
    )
    yield _family(
        "speech",
        "audio",
        "speech:build",
        "wav2vec 2.0, HuBERT, WavLM, Whisper, AST: transformers/speech/<mean or max>:<id or folder>",
    )
    for modality in ("image", "text"):
        prompt = "a photo of a {label}" if modality == "image" else "{label}"
        yield _family(
            f"clip-{modality}",
            modality,
            "clip:towers",
            "CLIP, MetaCLIP 2, AltCLIP, Chinese-CLIP, AIMv2, TIPS v2, SigLIP: transformers/clip/<id or path>",
            space="clip",
            prompt=prompt,
            shared=True,
        )
    for modality in ("audio", "text"):
        prompt = "the sound of {label}" if modality == "audio" else "{label}"
        yield _family(
            f"clap-{modality}",
            modality,
            "clap:towers",
            "CLAP: transformers/clap/<id or folder>",
            space="clap",
            prompt=prompt,
            shared=True,
        )
    for modality, role in _OMNI:
        yield _family(
            f"omni-{role and f'{role}-'}{modality.replace('+', '-')}",
            modality,
            "omni:towers",
            "EmbeddingGemma 2, Qwen3-VL-Embedding, Qwen2-VL, sentence-transformers of several modalities: "
            "transformers/omni/<id or folder>",
            space="omni",
            prompt=_PROMPTS.get(modality, "{label}"),
            shared=True,
            offers="omni_layout:offers",
            parts=("audio", "image", "text", "video") if modality == "interleaved" else (),
            role=role,
        )
    for modality, role in (("image", ""), ("text", ""), ("text", "query")):
        yield _family(
            f"late-{role or modality}",
            modality,
            "late:towers",
            "late interaction: MultiVectorEncoder, PyLate, ColBERT; ColPali, ColQwen2, ColModernVBERT: "
            "transformers/late/<id or folder>",
            space="late",
            shared=True,
            offers="late:offers",
            role=role,
            outputs="many",
        )
    for modality in ("audio", "video", "text", "audio+video", "audio+text", "video+text"):
        yield _family(
            f"pe-av-{modality.replace('+', '-')}",
            modality,
            "pe_av:towers",
            "Perception Encoder audio-visual: transformers/pe-av/<id or folder>",
            space="pe-av",
            prompt=_PROMPTS.get(modality, "{label}"),
            shared=True,
            offers="pe_av:offers",
        )


def _family(
    name: str,
    modality: str,
    target: str,
    description: str,
    *,
    space: str = "",
    prompt: str = "{label}",
    shared: bool = False,
    offers: str = "",
    parts: tuple[str, ...] = (),
    role: str = "",
    outputs: str = "one",
) -> EncoderSpec:
    return EncoderSpec(
        name=f"transformers/{name}/*",
        modality=modality,
        target=f"mmencode_transformers.{target}",
        space=f"transformers/{space}/*" if space else "",
        prompt=prompt,
        description=description,
        licence="each checkpoint its own",
        source=_SOURCE,
        shared=shared,
        offers=f"mmencode_transformers.{offers}" if offers else "",
        parts=parts,
        role=role,
        instructed=bool(role),
        outputs=outputs,
    )
