"""Small int8 networks on images, of every layer that can be computed part by part."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from edgekit.dtypes import Array, DType
from edgekit.graph import Attr, Graph, Node, Quantization, Tensor, TensorKind
from edgekit.shapes import infer_shapes

Padding = tuple[tuple[int, int], tuple[int, int]]


@dataclass(slots=True)
class ImageBuilder:
    """Adds int8 layers one by one; shapes are inferred as they come."""

    rng: np.random.Generator
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)

    def image(self, height: int, width: int, channels: int, batch: int = 1) -> str:
        shape = (batch, height, width, channels)
        scale = Quantization.per_tensor(0.05, 3)
        self.tensors["x"] = Tensor("x", shape, DType.INT8, TensorKind.INPUT, scale)
        return "x"

    def size(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].static_shape

    def conv(
        self, x: str, channels: int, kernel: tuple[int, int], padding: Padding, **attrs: Attr
    ) -> str:
        weights = self._weights((channels, *kernel, self.size(x)[3]), axis=0)
        return self.node("conv2d", x, weights, padding=padding, layout="NHWC", **attrs)

    def depthwise(self, x: str, kernel: tuple[int, int], padding: Padding, **attrs: Attr) -> str:
        weights = self._weights((1, *kernel, self.size(x)[3]), axis=3)
        return self.node("depthwise_conv2d", x, weights, padding=padding, **attrs)

    def node(self, op: str, *inputs: str, scale_of: Attr = "", **attrs: Attr) -> str:
        name = f"{op}_{len(self.nodes)}"
        scale = self.tensors[str(scale_of)].quantization if scale_of else None
        zero_point = int(self.rng.integers(-9, 9))
        own = Quantization.per_tensor(float(self.rng.uniform(0.04, 0.2)), zero_point)
        output = Tensor(f"{name}_out", (), DType.INT8, TensorKind.ACTIVATION, scale or own)
        self.tensors[output.name] = output
        self.nodes.append(Node(name, op, inputs, (output.name,), attrs))
        self.tensors.update(self.graph(output.name).tensors)
        return output.name

    def graph(self, *outputs: str) -> Graph:
        used = {name for node in self.nodes for name in (*node.inputs, *node.outputs)}
        tensors = {name: t for name, t in self.tensors.items() if name in used | {"x"}}
        return infer_shapes(Graph("images", tensors, tuple(self.nodes), ("x",), outputs))

    def _weights(self, shape: tuple[int, ...], axis: int) -> str:
        name = f"weights_{len(self.nodes)}"
        channels = shape[axis]
        scales = self.rng.uniform(0.002, 0.02, channels).astype(np.float32)
        kind = Quantization(scales, np.zeros(channels, np.int32), axis)
        data = self.rng.integers(-127, 128, shape).astype(np.int8)
        self.tensors[name] = Tensor.constant(name, data, kind)
        return name


def image_of(graph: Graph, seed: int = 0) -> dict[str, Array]:
    shape = graph.tensors["x"].static_shape
    return {"x": np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)}


@st.composite
def image_graphs(draw: st.DrawFn, largest: int = 6) -> Graph:
    """Networks with windows of any stride, dilation and padding, residuals and joins."""
    b = ImageBuilder(np.random.default_rng(draw(st.integers(0, 2**16))))
    sizes = st.integers(9, 18)
    x = b.image(draw(sizes), draw(sizes), draw(st.integers(1, 4)), draw(st.sampled_from((1, 2))))
    for _ in range(draw(st.integers(1, largest))):
        kind = draw(st.sampled_from(("conv", "depthwise", "residual", "join", "pool", "pad")))
        x = _layer(draw, b, x, kind)
    return b.graph(x)


def _layer(draw: st.DrawFn, b: ImageBuilder, x: str, kind: str) -> str:
    _, height, width, channels = b.size(x)
    if min(height, width) < 6:
        return b.node("relu6", x)
    if kind == "residual":
        inner = b.depthwise(b.conv(x, channels, (1, 1), ((0, 0), (0, 0))), (3, 3), _SAME)
        return b.node("add", x, inner, activation=draw(st.sampled_from(("none", "relu"))))
    if kind == "join":
        wide = b.conv(x, 2, (5, 3), ((2, 2), (1, 1)))
        return b.node("concat", b.node("relu", x), wide, axis=draw(st.sampled_from((3, -1))))
    if kind == "pad":
        pairs = ((0, 0), (draw(_EDGES)), (draw(_EDGES)), (0, 0))
        return b.conv(b.node("pad", x, padding=pairs, scale_of=x), 3, (3, 3), ((0, 0), (0, 0)))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    dilations = (1, 1) if kind == "pool" else (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    spans = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    strides = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    # Less padding than a window is long: none lies in padding alone.
    first, second = (tuple(draw(st.integers(0, span)) for _ in range(2)) for span in spans)
    padding = ((first[0], first[1]), (second[0], second[1]))
    if kind == "pool":
        op = draw(st.sampled_from(("max_pool2d", "average_pool2d")))
        return b.node(op, x, kernel=kernel, strides=strides, padding=padding, scale_of=x)
    if kind == "depthwise":
        return b.depthwise(x, kernel, padding, strides=strides, dilations=dilations)
    return b.conv(x, draw(st.integers(1, 4)), kernel, padding, strides=strides, dilations=dilations)


_SAME: Padding = ((1, 1), (1, 1))
_EDGES = st.tuples(st.integers(0, 1), st.integers(0, 1))
