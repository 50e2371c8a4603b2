"""Small int8 networks of inverted residual blocks, for tests of narrower widths."""

from __future__ import annotations

import numpy as np

from edgekit.converters.calibration.ranges import calibrate
from edgekit.converters.quantization.static import quantize_static
from edgekit.dtypes import Array
from edgekit.graph import Attr, Graph
from tests.small_graphs import Builder


class BlockNetwork(Builder):
    """Convolutions with random weights, channels last."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.random = np.random.default_rng(seed)

    def conv(self, x: str, c_in: int, c_out: int, size: int = 1, activation: str = "none") -> str:
        shape = (c_out, size, size, c_in)
        return self._layer("conv2d", x, shape, size * size * c_in, activation, groups=1)

    def depthwise(self, x: str, channels: int) -> str:
        shape = (1, 3, 3, channels)
        return self._layer("depthwise_conv2d", x, shape, 9, "relu6", depth_multiplier=1)

    def _layer(
        self, op: str, x: str, shape: tuple[int, ...], taps: int, activation: str, **attrs: Attr
    ) -> str:
        number = len(self.nodes)
        data = self.random.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(taps))
        weights = self.constant(f"w{number}", data)
        channels = shape[0] if op == "conv2d" else shape[3]
        bias = self.random.standard_normal(channels).astype(np.float32) * np.float32(0.2)
        pad = ((shape[1] // 2,) * 2,) * 2
        common: dict[str, Attr] = {"strides": (1, 1), "dilations": (1, 1), "layout": "NHWC"}
        return self.node(
            op, x, weights, self.constant(f"b{number}", bias), padding=pad,
            activation=activation, **common, **attrs,
        )  # fmt: skip

    def block(self, x: str, channels: int, expanded: int) -> str:
        wide = self.depthwise(self.conv(x, channels, expanded, activation="relu6"), expanded)
        return self.add(self.conv(wide, expanded, channels), x)


def block_network(seed: int = 0, side: int = 8) -> Graph:
    """Return a float network: stem, two blocks with residuals, pool, concat, scores."""
    net = BlockNetwork(seed)
    x = net.conv(net.input("x", 1, side, side, 3), 3, 8, size=3, activation="relu6")
    x = net.block(net.block(x, 8, 24), 8, 16)
    pool: dict[str, Attr] = {"kernel": (2, 2), "strides": (2, 2), "padding": ((0, 0), (0, 0))}
    x = net.node("average_pool2d", x, **pool, layout="NHWC", activation="none")
    x = net.node("concat", x, net.conv(x, 8, 4), axis=3, activation="none")
    x = net.conv(x, 12, 16, activation="relu6")
    x = net.node("reduce_mean", x, axes=(1, 2), keep_dims=False)
    return net.graph(net.dense(x, 16, 5))


def samples_of(graph: Graph, count: int = 8, seed: int = 1) -> list[dict[str, Array]]:
    """Return inputs of a graph."""
    random = np.random.default_rng(seed)
    return [
        {
            name: random.standard_normal(graph.tensors[name].static_shape).astype(np.float32)
            for name in graph.inputs
        }
        for _ in range(count)
    ]


def int8_network(seed: int = 0) -> Graph:
    """Return the network in int8."""
    return quantized(block_network(seed))


def quantized(graph: Graph) -> Graph:
    """Return a float network in int8."""
    return quantize_static(graph, calibrate(graph, samples_of(graph)))
