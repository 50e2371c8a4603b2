"""Shapes of well-known image networks, for published timings without their weights.

Each network is a list of layers with multiply-accumulates, input and output elements and weights,
written from the tables of the papers: MobileNet (arXiv 1704.04861, table 1), MobileNetV2
(1801.04381, table 2), ResNet (1512.03385, table 1), VGG (1409.1556, configuration D), SqueezeNet
1.1 (1602.07360 and its repository), GoogLeNet (1409.4842, table 1), AlexNet (Krizhevsky 2012,
grouped convolutions).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgekit.cost.work import OpClass


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: what a roofline needs to know.

    Parameters
    ----------
    op_class : str
        ``conv``, ``conv3x3``, ``depthwise`` or ``matmul``.
    macs, input_elements, output_elements, weight_elements : int
    """

    op_class: OpClass
    macs: int
    input_elements: int
    output_elements: int
    weight_elements: int


class _Builder:
    """Collects layers while it follows the shape (height = width, channels)."""

    def __init__(self, size: int, channels: int) -> None:
        self.size = size
        self.channels = channels
        self.layers: list[Layer] = []

    def conv(
        self, channels: int, kernel: int, stride: int = 1, groups: int = 1, pad: int | None = None
    ) -> None:
        padding = kernel // 2 if pad is None else pad
        size = (self.size + 2 * padding - kernel) // stride + 1
        weights = channels * (self.channels // groups) * kernel * kernel
        before, after = self.size**2 * self.channels, size**2 * channels
        macs = size * size * weights
        op_class: OpClass
        if groups == self.channels and groups > 1:
            op_class = "depthwise"
        elif kernel == 3 and stride == 1 and self.channels >= 16 and groups == 1:
            op_class = "conv3x3"
        else:
            op_class = "conv"
        self.layers.append(Layer(op_class, macs, before, after, weights))
        self.size, self.channels = size, channels

    def pool(self, kernel: int, stride: int) -> None:
        self.size = -(-(self.size - kernel) // stride) + 1

    def dense(self, outputs: int) -> None:
        inputs = self.size**2 * self.channels
        self.layers.append(Layer("matmul", inputs * outputs, inputs, outputs, inputs * outputs))
        self.size, self.channels = 1, outputs

    def global_pool(self) -> None:
        self.size = 1


def _mobilenet() -> list[Layer]:
    net = _Builder(224, 3)
    net.conv(32, 3, 2)
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
    plan += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    for channels, stride in plan:
        net.conv(net.channels, 3, stride, net.channels)
        net.conv(channels, 1)
    net.global_pool()
    net.dense(1000)
    return net.layers


def _mobilenet_v2() -> list[Layer]:
    net = _Builder(224, 3)
    net.conv(32, 3, 2)
    plan = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)]
    plan += [(6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expansion, channels, repeats, first_stride in plan:
        for index in range(repeats):
            wide = net.channels * expansion
            if expansion > 1:
                net.conv(wide, 1)
            net.conv(wide, 3, first_stride if index == 0 else 1, wide)
            net.conv(channels, 1)
    net.conv(1280, 1)
    net.global_pool()
    net.dense(1000)
    return net.layers


def _resnet(blocks: tuple[int, ...], bottleneck: bool) -> list[Layer]:
    net = _Builder(224, 3)
    net.conv(64, 7, 2)
    net.pool(3, 2)
    for stage, repeats in enumerate(blocks):
        width = 64 * 2**stage
        for index in range(repeats):
            stride = 2 if stage > 0 and index == 0 else 1
            size, channels = net.size, net.channels
            _residual(net, width, stride, bottleneck)
            if index == 0 and channels != net.channels:
                shortcut = _Builder(size, channels)
                shortcut.conv(net.channels, 1, stride)
                net.layers += shortcut.layers
    net.global_pool()
    net.dense(1000)
    return net.layers


def _residual(net: _Builder, width: int, stride: int, bottleneck: bool) -> None:
    if bottleneck:
        net.conv(width, 1, stride)
        net.conv(width, 3)
        net.conv(4 * width, 1)
    else:
        net.conv(width, 3, stride)
        net.conv(width, 3)


def _vgg16() -> list[Layer]:
    net = _Builder(224, 3)
    for channels, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(repeats):
            net.conv(channels, 3)
        net.pool(2, 2)
    for outputs in (4096, 4096, 1000):
        net.dense(outputs)
    return net.layers


def _branches(net: _Builder, branches: tuple[tuple[tuple[int, int], ...], ...]) -> None:
    """Run branches of (channels, kernel) from one input and join their outputs."""
    size, channels, joined = net.size, net.channels, 0
    for branch in branches:
        side = _Builder(size, channels)
        for outputs, kernel in branch:
            side.conv(outputs, kernel)
        net.layers += side.layers
        joined += side.channels
    net.channels = joined


def _squeezenet() -> list[Layer]:
    net = _Builder(227, 3)
    net.conv(64, 3, 2, pad=0)
    net.pool(3, 2)
    for squeeze, expand, pool in (
        (16, 64, False),
        (16, 64, True),
        (32, 128, False),
        (32, 128, True),
        (48, 192, False),
        (48, 192, False),
        (64, 256, False),
        (64, 256, False),
    ):
        net.conv(squeeze, 1)
        _branches(net, (((expand, 1),), ((expand, 3),)))
        if pool:
            net.pool(3, 2)
    net.conv(1000, 1)
    return net.layers


_INCEPTION = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)


def _googlenet() -> list[Layer]:
    net = _Builder(224, 3)
    net.conv(64, 7, 2)
    net.pool(3, 2)
    net.conv(64, 1)
    net.conv(192, 3)
    net.pool(3, 2)
    for index, (one, in3, out3, in5, out5, pool) in enumerate(_INCEPTION):
        if index in (2, 7):
            net.pool(3, 2)
        _branches(net, (((one, 1),), ((in3, 1), (out3, 3)), ((in5, 1), (out5, 5)), ((pool, 1),)))
    net.global_pool()
    net.dense(1000)
    return net.layers


def _alexnet() -> list[Layer]:
    net = _Builder(227, 3)
    net.conv(96, 11, 4, pad=0)
    net.pool(3, 2)
    net.conv(256, 5, groups=2)
    net.pool(3, 2)
    net.conv(384, 3)
    net.conv(384, 3, groups=2)
    net.conv(256, 3, groups=2)
    net.pool(3, 2)
    for outputs in (4096, 4096, 1000):
        net.dense(outputs)
    return net.layers


NETWORKS: dict[str, Callable[[], list[Layer]]] = {
    "squeezenet": _squeezenet,
    "mobilenet": _mobilenet,
    "mobilenet_v2": _mobilenet_v2,
    "googlenet": _googlenet,
    "resnet18": lambda: _resnet((2, 2, 2, 2), bottleneck=False),
    "alexnet": _alexnet,
    "vgg16": _vgg16,
    "resnet50": lambda: _resnet((3, 4, 6, 3), bottleneck=True),
}
"""Layers of each network, built on demand."""
