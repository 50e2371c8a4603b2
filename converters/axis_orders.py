"""Tensors of a graph in other orders of axes than the source model's: what the layout pass moves.

Every tensor is stored in the order in which its producer writes it, and :class:`AxisOrders`
remembers that order. Where a reader needs another one, a transpose is added, once for each order;
a reshape where only axes of length 1 move. Constants are permuted at conversion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgekit.dtypes import Array
from edgekit.graph import Attr, Dim, Graph, Node, Quantization, Shape, Tensor, TensorKind

Perm = tuple[int, ...]
"""Order of axes: axis ``i`` of the stored tensor is axis ``perm[i]`` of the source model's."""

TO_LAST: Perm = (0, 2, 3, 1)
TO_FIRST: Perm = (0, 3, 1, 2)
_SUFFIXES = {TO_LAST: "nhwc", TO_FIRST: "nchw"}


def identity(rank: int) -> Perm:
    """Return the order that leaves axes where they are."""
    return tuple(range(rank))


def permuted(values: Sequence[Dim], perm: Perm) -> Shape:
    """Return one value for each axis in another order."""
    return tuple(values[axis] for axis in perm)


class AxisOrders:
    """The graph under construction, and in which order of axes each tensor is stored."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._lifted: dict[tuple[str, Perm], str] = {}
        self._nodes: list[Node] = []
        self._new: dict[str, Tensor] = {}
        self._node_names = {node.name for node in graph.nodes}
        self._views: dict[str, dict[Perm, str]] = {}
        computed = {name for node in graph.nodes for name in node.outputs}
        for name, tensor in graph.tensors.items():
            if name not in computed:
                self._views[name] = {identity(len(tensor.shape)): name}

    def tensor(self, name: str) -> Tensor:
        """Return a tensor of the source model."""
        return self.graph.tensors[name]

    def rank(self, name: str) -> int:
        """Return the number of axes of a tensor of the source model."""
        return len(self.graph.tensors[name].shape)

    def home(self, name: str) -> Perm:
        """Return the order in which a tensor was stored first."""
        return next(iter(self._views[name]))

    def has(self, name: str, perm: Perm) -> bool:
        """Whether a tensor is stored in this order already."""
        return perm in self._views[name]

    def stored(self, name: str, perm: Perm) -> str:
        """Return the name of a tensor stored in the order ``perm``, moving data where needed."""
        views = self._views[name]
        if perm not in views:
            tensor = self.tensor(name)
            if tensor.is_constant:
                views[perm] = self._permuted_constant(name, perm)
            else:
                views[perm] = self._moved(name, perm)
        return views[perm]

    def _permuted_constant(self, name: str, perm: Perm, lead: int = 0, keep_rank: int = 0) -> str:
        """Add a constant permuted, after ``lead`` axes of length 1 were put in front of it.

        Leading axes of length 1 of the result are dropped down to ``keep_rank`` axes (0: none).
        """
        source = self.tensor(name)
        shape = permuted((1,) * lead + source.shape, perm)
        drop = 0
        while keep_rank and len(shape) - drop > keep_rank and shape[drop] == 1:
            drop += 1
        lifted = (1,) * lead + source.static_shape
        final = tuple(int(dim) for dim in shape[drop:])

        def load() -> Array:
            return np.ascontiguousarray(source.data.reshape(lifted).transpose(perm)).reshape(final)

        new = replace(
            source,
            name=self._free_name(name, perm),
            shape=final,
            load=load,
            quantization=moved_quantization(source.quantization, perm, lead, drop),
        )
        self._new[new.name] = new
        return new.name

    def _moved(self, name: str, perm: Perm) -> str:
        home = self.home(name)
        source = self._stored_tensor(self._views[name][home])
        tensor = self.tensor(name)
        order = tuple(home.index(axis) for axis in perm)
        taken = name in self._new or perm != identity(len(perm))
        target = self._free_name(name, perm) if taken else name
        self._new[target] = replace(
            tensor,
            name=target,
            shape=permuted(tensor.shape, perm),
            kind=TensorKind.ACTIVATION,
            quantization=moved_quantization(tensor.quantization, perm),
        )
        op, attrs = transpose_or_reshape(source.shape, order)
        self._append(f"{name}/{op}", op, [source.name], [target], attrs)
        return target

    def add(
        self,
        node: Node,
        inputs: Sequence[str],
        output_perms: Sequence[Perm],
        attrs: dict[str, Attr] | None = None,
        op: str = "",
    ) -> None:
        """Add a node whose inputs are stored tensors and whose outputs are stored as given."""
        outputs: list[str] = []
        for name, perm in zip(node.outputs, output_perms, strict=True):
            tensor = self.tensor(name)
            target = name if perm == identity(len(perm)) else self._free_name(name, perm)
            self._new[target] = replace(
                tensor,
                name=target,
                shape=permuted(tensor.shape, perm),
                quantization=moved_quantization(tensor.quantization, perm),
            )
            self._views[name] = {perm: target}
            outputs.append(target)
        self._nodes.append(
            replace(
                node,
                op=op or node.op,
                inputs=tuple(inputs),
                outputs=tuple(outputs),
                attrs=dict(node.attrs) if attrs is None else attrs,
            )
        )

    def rename_axes(self, node: Node, perm: Perm) -> None:
        """Let the output of a transpose be the stored input, its axes remembered in a new order."""
        source, (output,) = node.inputs[0], node.outputs
        home = self.home(source)
        order = tuple(perm.index(axis) for axis in home)
        self._views[output] = {order: self._views[source][home]}

    def lifted(self, name: str, rank: int, perm: Perm) -> str:
        """Return a tensor of fewer axes for broadcasting against one stored in order ``perm``."""
        if (name, perm) not in self._lifted:
            self._lifted[name, perm] = self._lift(name, rank, perm)
        return self._lifted[name, perm]

    def _lift(self, name: str, rank: int, perm: Perm) -> str:
        tensor = self.tensor(name)
        lead = rank - len(tensor.shape)
        if perm == identity(rank) or all(dim == 1 for dim in tensor.shape):
            return self.stored(name, identity(len(tensor.shape)))
        if tensor.is_constant:
            return self._permuted_constant(name, perm, lead, keep_rank=max(1, len(tensor.shape)))
        plain = self.stored(name, identity(len(tensor.shape)))
        shape = (1,) * lead + tensor.shape
        target = self._free_name(name, perm)
        moved = replace(tensor, kind=TensorKind.ACTIVATION)
        self._new[target] = replace(moved, name=target, shape=permuted(shape, perm))
        if lead:
            middle = self._free_name(name, identity(rank))
            self._new[middle] = replace(moved, name=middle, shape=shape)
            self._append(
                f"{name}/reshape", "reshape", [plain], [middle], {"shape": explicit(shape)}
            )
            plain = middle
        op, attrs = transpose_or_reshape(shape, perm)
        self._append(f"{name}/{op}", op, [plain], [target], attrs)
        return target

    def stored_shape(self, name: str) -> Shape:
        """Return the shape of a stored tensor."""
        return self._stored_tensor(name).shape

    def finished(self) -> Graph:
        """Return the graph, its outputs under their names and in their order of axes."""
        written = {name for node in self._nodes for name in node.outputs}
        names: dict[str, str] = {}
        for name in self.graph.outputs:
            found = self.stored(name, identity(self.rank(name)))
            if found == name:
                continue
            self._new[name] = self.tensor(name)
            if found in written and found not in self.graph.outputs and found not in names:
                names[found] = name
            else:
                self._append(f"{name}/output", "identity", [found], [name], {})
        return self.graph.replace(nodes=_renamed(self._nodes, names), tensors=self._new.values())

    def _stored_tensor(self, name: str) -> Tensor:
        return self._new[name] if name in self._new else self.graph.tensors[name]

    def _append(
        self,
        wish: str,
        op: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        attrs: dict[str, Attr],
    ) -> None:
        name, number = wish, 1
        while name in self._node_names:
            name, number = f"{wish}.{number}", number + 1
        self._node_names.add(name)
        self._nodes.append(Node(name, op, tuple(inputs), tuple(outputs), attrs))

    def _free_name(self, name: str, perm: Perm) -> str:
        suffix = _SUFFIXES.get(perm, "x".join(str(axis) for axis in perm))
        wish = f"{name}.{suffix}"
        free, number = wish, 1
        while free in self._new or free in self.graph.tensors:
            free, number = f"{wish}.{number}", number + 1
        return free


def _renamed(nodes: Sequence[Node], names: Mapping[str, str]) -> list[Node]:
    return [
        replace(
            node,
            inputs=tuple(names.get(name, name) for name in node.inputs),
            outputs=tuple(names.get(name, name) for name in node.outputs),
        )
        for node in nodes
    ]


def transpose_or_reshape(shape: Sequence[Dim], order: Perm) -> tuple[str, dict[str, Attr]]:
    """Return the cheapest operator that permutes axes: reshape where only lengths 1 move."""
    if moves_only_ones(shape, order):
        return "reshape", {"shape": explicit(permuted(shape, order))}
    return "transpose", {"perm": order}


def moves_only_ones(shape: Sequence[Dim], order: Perm) -> bool:
    """Whether permuting axes leaves the data in memory as it is (and a reshape can say so)."""
    kept = [axis for axis in order if shape[axis] != 1]
    return kept == sorted(kept) and sum(isinstance(dim, str) for dim in shape) <= 1


def explicit(shape: Sequence[Dim]) -> tuple[int, ...]:
    """Return a reshape's target; the only named dimension is inferred."""
    return tuple(-1 if isinstance(dim, str) else dim for dim in shape)


def moved_quantization(
    quantization: Quantization | None, perm: Perm, lead: int = 0, drop: int = 0
) -> Quantization | None:
    """Return the quantization of a permuted tensor."""
    if quantization is None or quantization.axis is None:
        return quantization
    return replace(quantization, axis=perm.index(quantization.axis + lead) - drop)
