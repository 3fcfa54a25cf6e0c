"""The modalities of mmencode itself, which every plugin can use and none can take.

The built-ins declare them by the same hook as any plugin. They are known without asking a plugin, too, so
that a text is read while mmencode's own encoders are barred, and whatever other plugins do.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .modality import ModalitySpec
from .spec import AUDIO, IMAGE, TEXT

_HEIC, _JXL, _AV = ("pillow_heif", "pillow-heif"), ("pillow_jxl", "pillow-jxl-plugin"), ("av", "av")

CORE: Mapping[str, ModalitySpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            ModalitySpec(
                name=TEXT,
                reader="mmencode.inputs.text:read",
                value="builtins:str",
                inline=True,
                probes="mmencode.engine.generated:texts",
                samples="mmencode.testing.samples:texts",
                description="a str that isn't blank",
            ),
            ModalitySpec(
                name=IMAGE,
                reader="mmencode.inputs.image:read",
                value="PIL.Image:Image",
                scales=True,
                endings=(
                    *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".apng", ".webp", ".gif"),
                    *(".bmp", ".dib", ".tif", ".tiff", ".avif", ".mpo", ".ppm", ".pgm", ".pbm", ".pnm"),
                ),
                optional=(*((ending, *_HEIC) for ending in (".heic", ".heif", ".hif")), (".jxl", *_JXL)),
                probes="mmencode.engine.generated:images",
                samples="mmencode.testing.samples:images",
                single="mmencode.inputs.image:describe_single",
                shows="picture",
                description="a picture, upright and in RGB",
            ),
            ModalitySpec(
                name=AUDIO,
                reader="mmencode.inputs.audio:read",
                value="mmencode.inputs.waveform:Waveform",
                endings=(
                    *(".wav", ".wave", ".bwf", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".mpga"),
                    *(".aif", ".aiff", ".aifc", ".au", ".snd", ".w64", ".rf64", ".caf", ".voc", ".sph"),
                    *(".nist", ".avr", ".pvf", ".paf", ".xi", ".htk"),
                ),
                optional=tuple(
                    (ending, *_AV)
                    for ending in (
                        *(".m4a", ".m4b", ".aac", ".mka", ".weba", ".wma", ".amr", ".awb", ".3ga"),
                        *(".wv", ".ape", ".tta", ".ac3"),
                    )
                ),
                probes="mmencode.engine.generated:sounds",
                samples="mmencode.testing.samples:sounds",
                single="mmencode.inputs.audio:describe_single",
                shows="sound",
                preview="mmencode.inputs.source:read_bytes",
                description="a recording, mixed to one channel",
            ),
        )
    }
)
