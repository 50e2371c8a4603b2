"""The model in memory: typed, immutable tensors and nodes in topological order.

A graph is what importers make, passes transform and emitters read. Passes are pure functions that
return a new graph; :meth:`Graph.replace` and :func:`dataclasses.replace` are how they do it.

Conventions
-----------
- Structural parameters (reshape targets, axes, paddings, slices) are node *attributes*, never
  tensors: importers fold the constants. Only data that is computed with is a tensor.
- An absent optional input of a node is the empty string.
- A dimension is a positive integer, or a name such as ``"sequence"`` for one that varies from run
  to run; ``Graph.dims`` holds the value that plans assume (:meth:`Graph.bind` applies it).
- Quantized tensors follow TensorFlow Lite: ``real = scale * (stored - zero_point)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError

Dim = int | str
Shape = tuple[Dim, ...]
Attr = bool | int | float | str | tuple["Attr", ...]


class TensorKind(Enum):
    """What a tensor's bytes are to the memory plan."""

    INPUT = "input"
    """Given by the caller at every run."""
    CONSTANT = "constant"
    """Known at conversion; lies in flash or in the weights file."""
    ACTIVATION = "activation"
    """Computed by a node; lives from its producer to its last consumer (outputs: to the end)."""
    STATE = "state"
    """Zero at load, kept and updated in place from run to run (recurrent state)."""


@dataclass(frozen=True, slots=True, eq=False)
class Quantization:
    """Affine quantization of a tensor, ``real = scale * (stored - zero_point)``.

    Parameters
    ----------
    scale : array of float32, shape (1,) or (C,)
        Positive and finite; one per channel where ``axis`` is set.
    zero_point : array of int32, same shape as ``scale``
    axis : int or None
        Axis of the channels, None for one scale for the whole tensor.
    """

    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int32]
    axis: int | None = None

    @classmethod
    def per_tensor(cls, scale: float, zero_point: int) -> Quantization:
        """Quantization by one scale and zero point."""
        return cls(np.array([scale], np.float32), np.array([zero_point], np.int32))

    def same_as(self, other: Quantization | None) -> bool:
        """Whether both map stored values to the same reals."""
        return (
            other is not None
            and self.axis == other.axis
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """One tensor of a graph.

    Parameters
    ----------
    name : str
        Unique in the graph.
    shape : tuple of int or str
        Empty for a scalar.
    dtype : DType
    kind : TensorKind
    quantization : Quantization or None
    load : callable returning an array, or None
        Reads the data of a constant when it is needed (large weights stay on disk until then).
    """

    name: str
    shape: Shape
    dtype: DType
    kind: TensorKind = TensorKind.ACTIVATION
    quantization: Quantization | None = None
    load: Callable[[], Array] | None = None

    @classmethod
    def constant(cls, name: str, data: Array, quantization: Quantization | None = None) -> Tensor:
        """Return a constant that holds ``data`` (not copied)."""
        dtype = DType.from_numpy(data.dtype)
        return cls(name, tuple(data.shape), dtype, TensorKind.CONSTANT, quantization, lambda: data)

    @property
    def data(self) -> Array:
        """The data of a constant.

        Raises
        ------
        ModelError
            If the tensor is not a constant, or its file does not hold the declared shape.
        """
        if self.load is None:
            raise ModelError(f"tensor {self.name} has no data: it is not a constant")
        array = self.load()
        if tuple(array.shape) != self.shape or array.dtype != self.dtype.numpy:
            raise ModelError(
                f"tensor {self.name}: data is {array.dtype}{list(array.shape)}, "
                f"declared {self.dtype.value}{list(self.shape)}"
            )
        return array

    @property
    def is_constant(self) -> bool:
        """Whether the data is known at conversion."""
        return self.kind is TensorKind.CONSTANT

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The shape, where every dimension is a number.

        Raises
        ------
        ModelError
            If a dimension is a name; bind the graph first.
        """
        for dim in self.shape:
            if isinstance(dim, str):
                raise ModelError(f"tensor {self.name}: dimension '{dim}' has no value")
        return tuple(int(dim) for dim in self.shape)

    @property
    def elements(self) -> int:
        """Number of elements (static shapes only)."""
        return math.prod(self.static_shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of the data, without alignment (static shapes only)."""
        return self.dtype.size_bytes(self.static_shape)

    @property
    def stored_bytes(self) -> int:
        """Bytes that a constant takes where kernels read it: two narrow weights share a byte."""
        return max(self.size_bytes, -(-self.elements // 2) if self.dtype.is_packed else 0)


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation.

    Parameters
    ----------
    name : str
        Unique in the graph.
    op : str
        Name of an operator in :mod:`edgekit.ops`.
    inputs, outputs : tuple of str
        Tensor names; an absent optional input is ``""``.
    attrs : mapping
        Attributes, as the operator's module documents them.
    origin : str
        The layer in the source model, for messages: for instance ``"operator 3 CONV_2D"``.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Attr] = field(default_factory=dict)
    origin: str = ""

    @property
    def where(self) -> str:
        """The node as a user knows it: its name, and its origin where that differs."""
        return f"{self.name} ({self.origin})" if self.origin else self.name


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A model.

    Parameters
    ----------
    name : str
    tensors : mapping of name to Tensor
    nodes : tuple of Node
        In topological order.
    inputs, outputs : tuple of str
    dims : mapping
        Value that plans assume for each named dimension.
    metadata : mapping
        Facts about the source (format, producer, digest).

    Raises
    ------
    ModelError
        If a name is unknown, a tensor has two producers, or a node reads what is not yet computed.
    """

    name: str
    tensors: Mapping[str, Tensor]
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dims: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ready = {name for name, t in self.tensors.items() if t.kind is not TensorKind.ACTIVATION}
        names: set[str] = set()
        for node in self.nodes:
            if node.name in names:
                raise ModelError(f"two nodes are called {node.name}")
            names.add(node.name)
            self._check_node(node, ready)
        for name in (*self.inputs, *self.outputs):
            if name not in ready:
                raise ModelError(f"graph {self.name}: nothing computes {name}")

    def _check_node(self, node: Node, ready: set[str]) -> None:
        for name in node.inputs:
            if name and name not in ready:
                raise ModelError(
                    f"layer {node.where} reads {name}, which nothing before it computes"
                )
        for name in node.outputs:
            if name not in self.tensors:
                raise ModelError(f"layer {node.where} writes {name}, which is not declared")
            if name in ready:
                raise ModelError(f"layer {node.where} writes {name}, which has a value already")
            ready.add(name)

    def replace(
        self,
        *,
        nodes: Sequence[Node] | None = None,
        tensors: Iterable[Tensor] = (),
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> Graph:
        """Return a graph with other nodes, and ``tensors`` added or replaced by name.

        Tensors that no node, input or output names any more are dropped.
        """
        new_nodes = self.nodes if nodes is None else tuple(nodes)
        new_inputs = self.inputs if inputs is None else tuple(inputs)
        new_outputs = self.outputs if outputs is None else tuple(outputs)
        known = {**self.tensors, **{tensor.name: tensor for tensor in tensors}}
        used = {*new_inputs, *new_outputs}
        for node in new_nodes:
            used.update(node.inputs)
            used.update(node.outputs)
        kept = {name: tensor for name, tensor in known.items() if name in used}
        return replace(self, tensors=kept, nodes=new_nodes, inputs=new_inputs, outputs=new_outputs)

    def bind(self, dims: Mapping[str, int] | None = None) -> Graph:
        """Return the graph with every named dimension set to its value.

        Parameters
        ----------
        dims : mapping, optional
            Values that take precedence over ``Graph.dims``.

        Raises
        ------
        ModelError
            If a dimension has no value.
        """
        values = {**self.dims, **(dims or {})}

        def bound(tensor: Tensor) -> Tensor:
            missing = [d for d in tensor.shape if isinstance(d, str) and d not in values]
            if missing:
                raise ModelError(f"dimension '{missing[0]}' of {tensor.name} has no value")
            shape = tuple(values[d] if isinstance(d, str) else d for d in tensor.shape)
            return tensor if shape == tensor.shape else replace(tensor, shape=shape)

        tensors = {name: bound(tensor) for name, tensor in self.tensors.items()}
        return replace(self, tensors=tensors, dims={})

    def producers(self) -> dict[str, Node]:
        """Return the node that writes each computed tensor."""
        return {output: node for node in self.nodes for output in node.outputs}

    def consumers(self) -> dict[str, list[Node]]:
        """Return the nodes that read each tensor, in order; every tensor has an entry."""
        readers: dict[str, list[Node]] = {name: [] for name in self.tensors}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    readers[name].append(node)
        return readers

    def constants(self) -> list[Tensor]:
        """Return the constants, in order of declaration."""
        return [tensor for tensor in self.tensors.values() if tensor.is_constant]

    @property
    def weights_bytes(self) -> int:
        """Bytes of all constants, as kernels store them."""
        return sum(tensor.stored_bytes for tensor in self.constants())

    @property
    def parameters(self) -> int:
        """Number of elements of all constants."""
        return sum(tensor.elements for tensor in self.constants())
