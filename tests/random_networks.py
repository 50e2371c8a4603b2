"""Random small image networks, for properties that must hold for every graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgekit.dtypes import DType
from edgekit.graph import Attr, Graph, Node, Tensor, TensorKind
from edgekit.ops import spec_of
from edgekit.ops.spec import OpView

Array = np.ndarray[Any, Any]


class NetworkBuilder:
    """Adds nodes to a graph; shapes are inferred, weights are random but reproducible."""

    def __init__(self, shape: tuple[int | str, ...], seed: int = 0, dtype: DType = DType.FLOAT32):
        self.random = np.random.default_rng(seed)
        self.tensors = {"image": Tensor("image", shape, dtype, TensorKind.INPUT)}
        self.nodes: list[Node] = []

    def weights(self, *shape: int, low: float = -1.0, high: float = 1.0) -> str:
        name = f"weights{len(self.tensors)}"
        data = self.random.uniform(low, high, shape).astype(np.float32)
        self.tensors[name] = Tensor.constant(name, data)
        return name

    def number(self, value: float) -> str:
        name = f"number{len(self.tensors)}"
        self.tensors[name] = Tensor.constant(name, np.array(value, np.float32))
        return name

    def add(self, op: str, *inputs: str, **attrs: Attr) -> str:
        return self.add_many(op, *inputs, **attrs)[0]

    def add_many(self, op: str, *inputs: str, **attrs: Attr) -> list[str]:
        node = Node(f"layer{len(self.nodes)}", op, inputs, (), attrs)
        view = OpView(node, tuple(self.tensors[n] if n else None for n in inputs), ())
        names = []
        for kind in spec_of(node).infer(view):
            name = f"t{len(self.tensors)}"
            self.tensors[name] = Tensor(name, kind.shape, kind.dtype)
            names.append(name)
        self.nodes.append(Node(node.name, op, inputs, tuple(names), attrs, node.name))
        return names

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].static_shape

    def graph(self, *outputs: str) -> Graph:
        return Graph("net", self.tensors, tuple(self.nodes), ("image",), outputs)


Step = Callable[[NetworkBuilder, str], str]


def conv(net: NetworkBuilder, x: str, groups: int = 0, **changes: Attr) -> str:
    """Add a convolution that keeps height and width; groups are drawn unless given."""
    channels = net.shape(x)[1]
    groups = groups or int(net.random.choice([1, channels]))
    filters = channels * int(net.random.integers(1, 3))
    attrs: dict[str, Attr] = {
        "strides": (1, 1),
        "dilations": (1, 1),
        "padding": ((1, 1), (1, 1)),
        "groups": groups,
        "layout": "NCHW",
        "activation": "none",
        **changes,
    }
    bias = net.weights(filters) if net.random.random() < 0.5 else ""
    return net.add("conv2d", x, net.weights(filters, channels // groups, 3, 3), bias, **attrs)


def _batch_norm(net: NetworkBuilder, x: str) -> str:
    channels = net.shape(x)[1]
    statistics = [net.weights(channels) for _ in range(3)]
    variance = net.weights(channels, low=0.5, high=2)
    return net.add("batch_norm", x, *statistics, variance, epsilon=1e-3, axis=1)


def _pool(net: NetworkBuilder, x: str) -> str:
    op = str(net.random.choice(["max_pool2d", "average_pool2d"]))
    window = {"kernel": (2, 2), "strides": (1, 2), "padding": ((0, 1), (1, 0))}
    return net.add(op, x, **window, layout="NCHW", activation="none")


def _scale(net: NetworkBuilder, x: str) -> str:
    op = str(net.random.choice(["add", "mul", "sub", "div", "prelu"]))
    shape = (net.shape(x)[1], 1, 1) if net.random.random() < 0.7 else (1,)
    return net.add(op, x, net.weights(*shape, low=0.5, high=2))


def _activation(net: NetworkBuilder, x: str) -> str:
    return net.add(str(net.random.choice(["relu", "relu6", "sigmoid", "tanh", "abs"])), x)


def _residual(net: NetworkBuilder, x: str) -> str:
    same = [n for n, t in net.tensors.items() if t.shape == net.shape(x) and not t.is_constant]
    return net.add(str(net.random.choice(["add", "mul", "maximum"])), x, same[0])


def _gate(net: NetworkBuilder, x: str) -> str:
    mean = net.add("reduce_mean", x, axes=(2, 3), keep_dims=True)
    return net.add("mul", x, net.add("sigmoid", mean))


def _concat(net: NetworkBuilder, x: str) -> str:
    axis = int(net.random.integers(1, 4))
    return net.add("concat", x, net.add("neg", x), axis=axis, activation="none")


def _cut(net: NetworkBuilder, x: str) -> str:
    shape = net.shape(x)
    begin = tuple(0 if dim < 3 else 1 for dim in shape)
    return net.add("slice", x, begin=begin, end=shape, strides=(1, 1, 1, 1))


def _pad(net: NetworkBuilder, x: str) -> str:
    mode = str(net.random.choice(["constant", "edge"]))
    padding = ((0, 0), (0, 0), (1, 0), (0, 2))
    return net.add("pad", x, padding=padding, mode=mode, value=0.0)


def _turn(net: NetworkBuilder, x: str) -> str:
    return net.add("transpose", x, perm=tuple(int(a) for a in net.random.permutation(4)))


def _halves(net: NetworkBuilder, x: str) -> str:
    axis = int(net.random.integers(1, 4))
    dim = net.shape(x)[axis]
    if dim < 2:
        return x
    first, second = net.add_many("split", x, axis=axis, sizes=(1, dim - 1))
    return net.add("add", second, net.add("reduce_max", first, axes=(axis,), keep_dims=True))


def _softmax(net: NetworkBuilder, x: str) -> str:
    return net.add("softmax", x, axis=int(net.random.integers(0, 4)), beta=1.0)


def _fold(net: NetworkBuilder, x: str) -> str:
    batch, channels, height, width = net.shape(x)
    flat = net.add("reshape", x, shape=(batch, channels, height * width))
    return net.add("reshape", net.add("relu", flat), shape=(batch, channels, width, height))


def _tile(net: NetworkBuilder, x: str) -> str:
    return x if max(net.shape(x)) > 24 else net.add("tile", x, repeats=(1, 2, 1, 1))


STEPS: tuple[Step, ...] = (
    *(conv, conv, _batch_norm, _pool, _scale, _scale, _activation, _residual, _gate),
    *(_concat, _cut, _pad, _turn, _halves, _softmax, _fold, _tile),
)


def random_network(seed: int, depth: int) -> tuple[Graph, dict[str, Array]]:
    """Return a network of ``depth`` random steps, and an input for it."""
    net = NetworkBuilder((1, 3, 6, 5), seed)
    x = "image"
    outputs: list[str] = []
    for _ in range(depth):
        if np.prod(net.shape(x)) > 4000:
            x = net.add("reduce_mean", x, axes=(3,), keep_dims=True)
        x = STEPS[int(net.random.integers(len(STEPS)))](net, x)
        if net.random.random() < 0.1 and x != "image" and x not in outputs:
            outputs.append(x)
    if x == "image" or x in outputs:
        x = net.add("relu", x)
    pooled = net.add("reduce_max", x, axes=(2, 3), keep_dims=False)
    image = np.random.default_rng(seed).uniform(-1, 1, (1, 3, 6, 5)).astype(np.float32)
    return net.graph(*outputs, pooled, x), {"image": image}
