"""The network EfficientNet-Lite0, up to its features: a stem, sixteen blocks and a head of convolutions.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019, without
squeeze-and-excitation and with ReLU6, as TensorFlow's Lite models have it. Layers have timm's names.
"""

from __future__ import annotations

from torch import Tensor, nn

EPSILON = 1e-3  # of the batch norms, as TensorFlow trained them
STEM, HEAD = 32, 1280  # channels
# A line for each stage: its blocks, their kernels' size, the first one's stride, expansion and channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class EfficientNetLite0(nn.Module):
    """Takes normalised images `[b, 3, h, w]`, of 224 x 224 when it was trained, to features `[b, 1280]`."""

    def __init__(self) -> None:
        super().__init__()
        self.pad = _same(3, 2)
        self.conv_stem = nn.Conv2d(3, STEM, 3, stride=2, bias=False)
        self.bn1, self.act1 = _norm(STEM), nn.ReLU6(inplace=True)
        stages, channels = [], STEM
        for count, kernel, stride, expansion, out in STAGES:
            blocks: list[nn.Module] = []
            for place in range(count):
                step = stride if place == 0 else 1
                blocks.append(
                    Separable(channels, kernel, step, out)
                    if expansion == 1
                    else Inverted(channels, kernel, step, channels * expansion, out)
                )
                channels = out
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = nn.Conv2d(channels, HEAD, 1, bias=False)
        self.bn2, self.act2 = _norm(HEAD), nn.ReLU6(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        """Average the last map of images `[b, 3, h, w]`, `[b, 1280]`."""
        return self.maps(images).mean(dim=(2, 3))

    def maps(self, images: Tensor) -> Tensor:
        """Compute the last map of images, `[b, 1280, h / 32, w / 32]`."""
        hidden = self.act1(self.bn1(self.conv_stem(self.pad(images))))
        hidden = self.act2(self.bn2(self.conv_head(self.blocks(hidden))))
        return hidden  # type: ignore[no-any-return]


class Separable(nn.Module):
    """A depthwise convolution, and one that mixes its channels."""

    def __init__(self, channels: int, kernel: int, stride: int, out: int) -> None:
        super().__init__()
        self.pad, self.conv_dw = _same(kernel, stride), _depthwise(channels, kernel, stride)
        self.bn1, self.act1 = _norm(channels), nn.ReLU6(inplace=True)
        self.conv_pw = nn.Conv2d(channels, out, 1, bias=False)
        self.bn2 = _norm(out)

    def forward(self, hidden: Tensor) -> Tensor:
        """Maps `[b, channels, h, w]` to `[b, out, h, w]`."""
        hidden = self.act1(self.bn1(self.conv_dw(self.pad(hidden))))
        return self.bn2(self.conv_pw(hidden))  # type: ignore[no-any-return]


class Inverted(nn.Module):
    """A depthwise convolution of widened maps, narrowed and, where sizes allow it, added to the inputs."""

    def __init__(self, channels: int, kernel: int, stride: int, wide: int, out: int) -> None:
        super().__init__()
        self.conv_pw = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn1, self.act1 = _norm(wide), nn.ReLU6(inplace=True)
        self.pad, self.conv_dw = _same(kernel, stride), _depthwise(wide, kernel, stride)
        self.bn2, self.act2 = _norm(wide), nn.ReLU6(inplace=True)
        self.conv_pwl = nn.Conv2d(wide, out, 1, bias=False)
        self.bn3 = _norm(out)
        self.adds = stride == 1 and channels == out

    def forward(self, hidden: Tensor) -> Tensor:
        """Maps `[b, channels, h, w]` to `[b, out, h / stride, w / stride]`."""
        inner = self.act1(self.bn1(self.conv_pw(hidden)))
        inner = self.act2(self.bn2(self.conv_dw(self.pad(inner))))
        narrow: Tensor = self.bn3(self.conv_pwl(inner))
        return narrow + hidden if self.adds else narrow


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPSILON)


def _depthwise(channels: int, kernel: int, stride: int) -> nn.Conv2d:
    padding = kernel // 2 if stride == 1 else 0
    return nn.Conv2d(channels, channels, kernel, stride=stride, padding=padding, groups=channels, bias=False)


def _same(kernel: int, stride: int) -> nn.Module:
    """TensorFlow's padding of maps of even sizes, which with a stride has one more to the right and below."""
    if stride == 1:
        return nn.Identity()  # the convolution pads itself
    before = (kernel - 2) // 2
    return nn.ZeroPad2d((before, kernel - 2 - before, before, kernel - 2 - before))
