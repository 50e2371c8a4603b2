"""Layers that exporters spell out in primitive operators, recognised and made one node again.

``gelu``: ``x * 0.5 * (1 + erf(x / sqrt 2))`` or its form with tanh, factors in any order.
``hard_swish``: ``x * relu6(x + 3) / 6``, or x times the hard sigmoid of slope 1/6.
``layer_norm``: ``(x - mean) / sqrt(mean of squares + epsilon) * gamma + beta``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from edgekit.converters.passes.dead_nodes import remove_dead_nodes
from edgekit.dtypes import Array, DType
from edgekit.graph import Graph, Node, Tensor
from edgekit.ops.spec import OpView


def recognise_patterns(graph: Graph) -> Graph:
    """Return the graph with these patterns replaced by one node each."""
    search = _Search(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.append(
            search.gelu(node) or search.hard_swish(node) or search.layer_norm(node) or node
        )
    return remove_dead_nodes(graph.replace(nodes=nodes, tensors=search.tensors))


@dataclass(frozen=True, slots=True)
class _Product:
    """A product: a number and the tensors that it multiplies, sorted by name."""

    number: float
    tensors: tuple[str, ...]

    def is_close(self, number: float, *tensors: str) -> bool:
        """Whether it is this number (to 1 part in 1,000) times these tensors."""
        return self.tensors == tuple(sorted(tensors)) and math.isclose(
            self.number, number, rel_tol=1e-3
        )


class _Search:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._producers = graph.producers()
        self._consumers = graph.consumers()
        self.tensors: list[Tensor] = []

    def gelu(self, node: Node) -> Node | None:
        """Return the gelu that computes a node's output."""
        product = self._product_of(node)
        if product is None or len(product.tensors) != 2:
            return None
        for x, gate in (product.tensors, product.tensors[::-1]):
            bell = self._minus(gate, 1.0)
            if bell is None or not product.is_close(0.5, x, gate):
                continue
            inner = self._producers.get(bell)
            if inner is not None and inner.op == "erf":
                argument = self._product(inner.inputs[0])
                if argument.is_close(math.sqrt(0.5), x):
                    return self._unary(node, "gelu", x, approximate="none")
            if inner is not None and inner.op == "tanh" and self._is_cubic(inner.inputs[0], x):
                return self._unary(node, "gelu", x, approximate="tanh")
        return None

    def _is_cubic(self, name: str, x: str) -> bool:
        """Whether a tensor is ``sqrt(2 / pi) * (x + 0.044715 * x ** 3)``."""
        outer = self._product(name)
        if len(outer.tensors) != 1 or not outer.is_close(math.sqrt(2 / math.pi), *outer.tensors):
            return False
        total = self._producers.get(outer.tensors[0])
        if total is None or total.op != "add" or x not in total.inputs:
            return False
        other = total.inputs[1 - total.inputs.index(x)]
        return self._product(other).is_close(0.044715, x, x, x)

    def hard_swish(self, node: Node) -> Node | None:
        """Return the hard swish that computes a node's output."""
        product = self._product_of(node)
        if product is None or len(product.tensors) != 2:
            return None
        for x, gate in (product.tensors, product.tensors[::-1]):
            inner = self._producers.get(gate)
            if inner is None:
                continue
            if inner.op == "hard_sigmoid" and product.is_close(1.0, x, gate):
                found = self._is_sixth(inner) and inner.inputs[0] == x
            else:
                clamped = inner.op == "relu6" and product.is_close(1 / 6, x, gate)
                found = clamped and self._minus(inner.inputs[0], 3.0) == x
            if found:
                return self._unary(node, "hard_swish", x)
        return None

    def _is_sixth(self, node: Node) -> bool:
        """Whether a hard sigmoid is ``clip(x / 6 + 0.5, 0, 1)``."""
        view = OpView.of(self._graph, node)
        slope, offset = view.float_attr("alpha"), view.float_attr("beta")
        return math.isclose(slope, 1 / 6, rel_tol=1e-3) and offset == 0.5

    def layer_norm(self, node: Node) -> Node | None:
        """Return the layer_norm that computes a node's output, with what scale and shift follow.

        Matches at the last node: the addition of beta, else the multiplication by gamma.
        """
        beta = gamma = ""
        core: Node | None = node
        if node.op == "add":
            beta, core = self._constant_and_rest(node)
        if core is not None and core.op == "mul" and self._statistics(core) is None:
            gamma, core = self._constant_and_rest(core)
        found = self._statistics(core) if core is not None else None
        if found is None or not gamma or self._is_followed_by_beta(node, beta):
            return None
        x, axes, epsilon = found
        whole = self._graph.tensors[x].shape
        shape = tuple(dim for dim in whole[axes[0] :] if isinstance(dim, int))
        if axes != tuple(range(axes[0], len(whole))) or len(shape) != len(axes):
            return None
        if self._graph.tensors[node.outputs[0]].shape != whole:
            return None
        operands = [self._affine(name, shape) for name in (gamma, beta) if name]
        if any(operand is None for operand in operands):
            return None
        names = tuple(operand for operand in operands if operand is not None)
        attrs = {"axis": axes[0], "epsilon": epsilon}
        return replace(node, op="layer_norm", inputs=(x, *names), attrs=attrs)

    def _is_followed_by_beta(self, node: Node, beta: str) -> bool:
        """Whether the only reader adds a constant, so that the match belongs there."""
        readers = self._consumers[node.outputs[0]]
        if beta or len(readers) != 1 or readers[0].op != "add":
            return False
        return node.outputs[0] not in self._graph.outputs and bool(
            self._constant_and_rest(readers[0])[0]
        )

    def _statistics(self, node: Node) -> tuple[str, tuple[int, ...], float] | None:
        """Return (x, axes, epsilon) where a node computes ``(x - mean) / deviation``."""
        if node.op not in {"div", "mul"} or len(node.inputs) != 2:
            return None
        orders = (node.inputs,) if node.op == "div" else (node.inputs, node.inputs[::-1])
        for centred, divisor in orders:
            root = self._producers.get(divisor)
            if root is None or root.op != ("sqrt" if node.op == "div" else "rsqrt"):
                continue
            variance, epsilon = self._plus_number(root.inputs[0])
            found = self._centred(centred)
            if found is None or epsilon is None:
                continue
            x, axes = found
            mean = self._producers.get(variance)
            if mean is None or self._mean_axes(mean) != axes:
                continue
            if self._product(mean.inputs[0]).is_close(1.0, centred, centred):
                return x, axes, epsilon
        return None

    def _centred(self, name: str) -> tuple[str, tuple[int, ...]] | None:
        """Return (x, axes) where a tensor is ``x - mean(x, axes)``."""
        node = self._producers.get(name)
        if node is None or node.op != "sub":
            return None
        mean = self._producers.get(node.inputs[1])
        axes = self._mean_axes(mean) if mean is not None else None
        if mean is None or axes is None or mean.inputs[0] != node.inputs[0]:
            return None
        return node.inputs[0], axes

    def _mean_axes(self, node: Node) -> tuple[int, ...] | None:
        if node.op != "reduce_mean":
            return None
        view = OpView.of(self._graph, node)
        rank = len(view.input(0).shape)
        axes = tuple(sorted(axis % rank for axis in view.ints_attr("axes")))
        return axes if view.bool_attr("keep_dims") and axes else None

    def _affine(self, name: str, shape: tuple[int, ...]) -> str | None:
        """Return gamma or beta with the shape of the normalised axes, or None if it has more."""
        tensor = self._graph.tensors[name]
        found = tensor.static_shape
        while len(found) > len(shape) and found[0] == 1:
            found = found[1:]
        if tensor.dtype is not DType.FLOAT32 or len(found) > len(shape):
            return None
        if found == tensor.static_shape == shape:
            return name
        try:
            data: Array = np.ascontiguousarray(np.broadcast_to(tensor.data.reshape(found), shape))
        except ValueError:
            return None
        new, number = f"{name}.normalised", 1
        while new in self._graph.tensors:
            new, number = f"{name}.normalised.{number}", number + 1
        self.tensors.append(Tensor.constant(new, data))
        return new

    def _unary(self, node: Node, op: str, x: str, **attrs: str) -> Node | None:
        """Return a node of one input in place of ``node``, unless shapes differ."""
        if self._graph.tensors[x].shape != self._graph.tensors[node.outputs[0]].shape:
            return None
        return replace(node, op=op, inputs=(x,), attrs=dict(attrs))

    def _product_of(self, node: Node) -> _Product | None:
        """Return the product that a multiplication or division computes."""
        if node.op not in {"mul", "div"} or node.attrs.get("activation", "none") != "none":
            return None
        return self._product(node.outputs[0])

    def _product(self, name: str, depth: int = 6) -> _Product:
        """Return a tensor as a product, looking through at most ``depth`` nodes."""
        number = self._number(name)
        if number is not None:
            return _Product(number, ())
        node = self._producers.get(name)
        if node is None or depth == 0 or node.attrs.get("activation", "none") != "none":
            return _Product(1.0, (name,))
        if node.op == "square":
            return _times(*[self._product(node.inputs[0], depth - 1)] * 2)
        if node.op == "pow" and self._number(node.inputs[1]) == 3.0:
            return _times(*[self._product(node.inputs[0], depth - 1)] * 3)
        if node.op == "mul":
            return _times(*(self._product(part, depth - 1) for part in node.inputs))
        divisor = self._number(node.inputs[1]) if node.op == "div" else None
        if divisor:
            return _times(self._product(node.inputs[0], depth - 1), _Product(1 / divisor, ()))
        return _Product(1.0, (name,))

    def _number(self, name: str) -> float | None:
        tensor = self._graph.tensors[name]
        if not tensor.is_constant or tensor.elements != 1 or tensor.dtype is not DType.FLOAT32:
            return None
        return float(tensor.data.reshape(()))

    def _plus_number(self, name: str) -> tuple[str, float | None]:
        """Return (rest, number) where a tensor is the sum of the two."""
        node = self._producers.get(name)
        if node is None or node.op != "add" or node.attrs.get("activation", "none") != "none":
            return "", None
        for index in (0, 1):
            number = self._number(node.inputs[index])
            if number is not None:
                return node.inputs[1 - index], number
        return "", None

    def _minus(self, name: str, number: float) -> str | None:
        rest, found = self._plus_number(name)
        return rest if found == number else None

    def _constant_and_rest(self, node: Node) -> tuple[str, Node | None]:
        """Return the constant operand of a node, and the producer of the other."""
        for index in (0, 1):
            if self._graph.tensors[node.inputs[index]].is_constant:
                return node.inputs[index], self._producers.get(node.inputs[1 - index])
        return "", None


def _times(*parts: _Product) -> _Product:
    tensors = sorted(name for part in parts for name in part.tensors)
    return _Product(math.prod(part.number for part in parts), tuple(tensors))
