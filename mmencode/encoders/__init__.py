"""The built-in encoders and modalities, declared as any plugin does it; each library has its own module."""

from __future__ import annotations

from collections.abc import Iterator

from ..plugins.core_modalities import CORE
from ..plugins.hookspecs import hookimpl
from ..plugins.modality import ModalitySpec
from ..plugins.spec import AUDIO, IMAGE, TEXT, EncoderSpec


@hookimpl
def mmencode_encoders() -> Iterator[EncoderSpec]:
    """Declare the families of checkpoints that the libraries below mmencode provide."""
    for modality in (IMAGE, TEXT):
        yield EncoderSpec(
            name=f"openclip-{modality}/*",
            modality=modality,
            target="mmencode.encoders.openclip:towers",
            shared=True,
            space="openclip/*",
            prompt="a photo of a {label}" if modality == IMAGE else "{label}",
            description="CLIP and its kin: openclip/<architecture>/<tag, or local file>, "
            "openclip/hf-hub:<org/repo>, openclip/local-dir:<folder>",
            licence="each checkpoint its own",
            source="https://github.com/mlfoundations/open_clip",
            catalogue="mmencode.encoders.catalogue:openclip.tsv",
        )
    yield EncoderSpec(
        name="timm/*",
        modality=IMAGE,
        target="mmencode.encoders.timm:build",
        description="any timm architecture, features before the classifier",
        licence="each checkpoint its own",
        source="https://github.com/huggingface/pytorch-image-models",
        catalogue="mmencode.encoders.catalogue:timm.tsv",
    )
    yield EncoderSpec(
        name="torchaudio/*",
        modality=AUDIO,
        target="mmencode.encoders.torchaudio:build",
        description="wav2vec 2.0, HuBERT and WavLM: torchaudio/<BUNDLE>, or <BUNDLE>/<local file>",
        licence="each checkpoint its own",
        source="https://github.com/pytorch/audio",
        catalogue="mmencode.encoders.catalogue:torchaudio.tsv",
    )


@hookimpl
def mmencode_modalities() -> Iterator[ModalitySpec]:
    """Declare text, image and audio."""
    yield from CORE.values()
