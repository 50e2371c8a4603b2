"""Small graphs built in code, for tests of what is done with graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import strategies as st

from edgekit.dtypes import Array, DType
from edgekit.graph import Attr, Graph, Node, Shape, Tensor, TensorKind
from edgekit.ops import cases, registry
from edgekit.ops.spec import OpCase
from edgekit.shapes import infer_shapes


class Builder:
    """Adds nodes one by one; shapes are inferred at the end."""

    def __init__(self, name: str = "small") -> None:
        self.name = name
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []

    def input(self, name: str, *shape: int | str) -> str:
        self.tensors[name] = Tensor(name, tuple(shape), DType.FLOAT32, TensorKind.INPUT)
        self.inputs.append(name)
        return name

    def constant(self, name: str, data: Array) -> str:
        self.tensors[name] = Tensor.constant(name, data)
        return name

    def node(self, op: str, *inputs: str, **attrs: Attr) -> str:
        name = f"{op}_{len(self.nodes)}"
        output = f"{name}_out"
        self.nodes.append(Node(name, op, tuple(inputs), (output,), attrs))
        self.tensors[output] = Tensor(output, (), DType.FLOAT32)
        return output

    def reshape(self, x: str, *shape: int) -> str:
        return self.node("reshape", x, shape=tuple(shape))

    def dense(self, x: str, c_in: int, c_out: int, seed: int = 0) -> str:
        data = np.random.default_rng(seed).normal(size=(c_out, c_in)).astype(np.float32)
        weights = self.constant(f"weights_{len(self.nodes)}", data)
        return self.node("fully_connected", x, weights, activation="none", keep_dims=False)

    def add(self, a: str, b: str) -> str:
        return self.node("add", a, b, activation="none")

    def graph(self, *outputs: str, dims: Mapping[str, int] | None = None) -> Graph:
        made = Graph(
            self.name,
            self.tensors,
            tuple(self.nodes),
            tuple(self.inputs),
            outputs,
            dict(dims or {}),
        )
        return infer_shapes(made)


def overwritable(case: OpCase) -> Graph:
    """Return a graph in which the node of a case may take over the memory of its first input."""
    given = [pair[0] for pair in case.inputs if pair]
    x, y = given[0], case.outputs[0]
    middle = Tensor("middle", x.shape, x.dtype, TensorKind.ACTIVATION, x.quantization)
    end = Tensor("end", y.shape, y.dtype, TensorKind.ACTIVATION, y.quantization)
    names = ("middle", *(tensor.name for tensor in given[1:]))
    return Graph(
        case.id,
        {tensor.name: tensor for tensor in (*given, middle, y, end)},
        (
            Node("before", "relu", (x.name,), ("middle",), {}),
            Node("between", case.id, names, (y.name,), case.attrs),
            Node("after", "relu", (y.name,), ("end",), {}),
        ),
        (x.name,),
        ("end",),
    )


def square_convolution(side: int = 6, channels: int = 4) -> OpCase:
    """Return an int8 convolution by 3 by 3 whose output has the input's shape."""
    return cases.case(
        "conv2d",
        registry()["conv2d"].infer,
        (
            cases.int8_input("x", (1, side, side, channels)),
            cases.int8_weights("weights", (channels, 3, 3, channels), 0),
            cases.int32_bias("bias", channels),
        ),
        {"padding": ((1, 1), (1, 1)), "layout": "NHWC"},
        scale=0.4,
    )


def chain(*, width: int = 16) -> Graph:
    """Dense, abs, reshape, dense: in-place and view in a row."""
    b = Builder("chain")
    x = b.input("x", 1, width)
    hidden = b.node("abs", b.dense(x, width, 4 * width))
    folded = b.reshape(hidden, 4, width)
    return b.graph(b.dense(folded, width, 3, seed=1))


def residual() -> Graph:
    """Return a block whose input is needed again at its end."""
    b = Builder("residual")
    x = b.input("x", 1, 8)
    start = b.dense(x, 8, 8)
    inner = b.node("abs", b.dense(b.node("abs", start), 8, 8, seed=1))
    return b.graph(b.add(start, inner))


def wide_then_narrow(branches: int = 3) -> Graph:
    """Return branches that widen and narrow again: all wide parts first is the worst order."""
    b = Builder("branches")
    x = b.input("x", 1, 4)
    wide = [b.dense(x, 4, 64, seed=i) for i in range(branches)]
    narrow = [b.dense(w, 64, 2, seed=i) for i, w in enumerate(wide)]
    total = narrow[0]
    for other in narrow[1:]:
        total = b.add(total, other)
    return b.graph(total)


def random_inputs(graph: Graph, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(size=_sizes(graph, graph.tensors[name].shape)).astype(np.float32)
        for name in graph.inputs
    }


def _sizes(graph: Graph, shape: Shape) -> Sequence[int]:
    return [graph.dims[dim] if isinstance(dim, str) else dim for dim in shape]


@st.composite
def random_graphs(draw: st.DrawFn, largest: int = 9) -> Graph:
    """Graphs of unary, binary, view and widening operators with any sharing of values."""
    b = Builder("random")
    values = [(b.input("x", 1, 8), 8)]
    for index in range(draw(st.integers(1, largest))):
        source, width = draw(st.sampled_from(values))
        same = [name for name, other in values if other == width]
        kind = draw(st.sampled_from(("abs", "add", "view", "dense")))
        if kind == "abs":
            values.append((b.node("abs", source), width))
        elif kind == "add":
            values.append((b.add(source, draw(st.sampled_from(same))), width))
        elif kind == "view":
            values.append((b.reshape(b.reshape(source, width, 1), 1, width), width))
        else:
            wider = draw(st.sampled_from((2, 8, 32)))
            values.append((b.dense(source, width, wider, seed=index), wider))
    names = [name for name, _ in values[1:]]
    outputs = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
    return b.graph(*dict.fromkeys((*outputs, names[-1])))
