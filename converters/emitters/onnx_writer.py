"""A graph of ONNX nodes under construction; see :mod:`.onnx`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.errors import MissingDependencyError, UnsupportedOpError
from edgekit.graph import Attr, Graph, Node, Tensor
from edgekit.ops.spec import OpView

OnnxAttr = int | float | str | Sequence[int]

_LARGEST_FLOAT16 = float(np.finfo(np.float16).max)


class OnnxWriter:
    """Collects ONNX nodes and constants.

    Parameters
    ----------
    graph : Graph
        In NCHW.
    float16 : bool
        Whether float32 tensors are written as float16.
    """

    def __init__(self, graph: Graph, *, float16: bool) -> None:
        try:
            import onnx
        except ImportError as error:
            raise MissingDependencyError("onnx", library="onnx") from error
        self._onnx = onnx
        self.graph = graph
        self.float16 = float16
        self.nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._names = set(graph.tensors)
        self._node_names: set[str] = set()

    @property
    def float_type(self) -> np.dtype[np.generic]:
        """The type of numbers that are computed with."""
        return np.dtype(np.float16 if self.float16 else np.float32)

    def add(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attrs: OnnxAttr
    ) -> None:
        """Add an ONNX node; attributes are written in the order of their names, empty ones not."""
        name, number = outputs[0], 1
        while name in self._node_names:
            name, number = f"{outputs[0]}.{number}", number + 1
        self._node_names.add(name)
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        written = {key: value for key, value in attrs.items() if value != ()}
        self.nodes.append(
            self._onnx.helper.make_node(op, list(inputs), list(outputs), name=name, **written)
        )

    def new(self, op: str, inputs: Sequence[str], wish: str, **attrs: OnnxAttr) -> str:
        """Add an ONNX node with one output of a new name, and return the name."""
        output = self.free_name(f"{wish}/{op}")
        self.add(op, inputs, [output], **attrs)
        return output

    def free_name(self, wish: str) -> str:
        """Return a name that no tensor has, and reserve it."""
        name, number = wish, 1
        while name in self._names:
            name, number = f"{wish}.{number}", number + 1
        self._names.add(name)
        return name

    def constant(self, wish: str, data: Array) -> str:
        """Add a constant as it is, and return its name."""
        name = self.free_name(wish)
        self._constants[name] = self._tensor(name, data)
        return name

    def ints(self, wish: str, values: Sequence[int]) -> str:
        """Add an int64 constant of one axis, and return its name."""
        return self.constant(wish, np.array(values, np.int64))

    def number(self, wish: str, value: float, dtype: np.dtype[np.generic] | None = None) -> str:
        """Add a scalar constant, of the type that is computed with unless told otherwise."""
        return self.constant(wish, self.stored(np.array(value, dtype or np.float32)))

    def stored(self, data: Array) -> Array:
        """Return data as it is written: float32 as float16 where the graph is.

        Finite values beyond the range of float16 become the largest, not infinite.
        """
        if not self.float16 or data.dtype != np.float32:
            return data
        finite = np.clip(data.astype(np.float32), -_LARGEST_FLOAT16, _LARGEST_FLOAT16)
        return np.where(np.isinf(data.astype(np.float32)), data, finite).astype(np.float16)

    def initializers(self) -> list[Any]:
        """Return the constants that nodes read, in order of first use."""
        found: dict[str, Any] = {}
        for node in self.nodes:
            for name in node.input:
                if name in self._constants:
                    found[name] = self._constants[name]
                elif name in self.graph.tensors and name not in found:
                    tensor = self.graph.tensors[name]
                    if tensor.is_constant:
                        found[name] = self._tensor(name, self.stored(tensor.data))
        return list(found.values())

    def value_info(self, tensor: Tensor) -> Any:
        """Return the declaration of an input or output, named dimensions kept."""
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(tensor.dtype.numpy)
        return self._onnx.helper.make_tensor_value_info(tensor.name, kind, tensor.shape)

    def onnx_type(self, dtype: DType, *, border: bool = False) -> int:
        """Return the ONNX number of an element type as stored inside, or at the graph's border."""
        stored = self.float_type if dtype is DType.FLOAT32 and not border else dtype.numpy
        return int(self._onnx.helper.np_dtype_to_tensor_dtype(stored))

    def _tensor(self, name: str, data: Array) -> Any:
        return self._onnx.numpy_helper.from_array(
            np.ascontiguousarray(data).reshape(data.shape), name
        )


class Emission:
    """A node while it is written: its attributes, inputs and outputs."""

    def __init__(self, writer: OnnxWriter, node: Node) -> None:
        self.writer = writer
        self.node = node
        self.view = OpView.of(writer.graph, node)
        self.inputs = node.inputs
        self.output = node.outputs[0]

    def input(self, index: int) -> str:
        """Return the name of an input, empty where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def new(self, op: str, inputs: Sequence[str], **attrs: OnnxAttr) -> str:
        """Add an ONNX node with a new output."""
        return self.writer.new(op, inputs, self.output, **attrs)

    def finish(self, op: str, inputs: Sequence[str], **attrs: OnnxAttr) -> None:
        """Add the ONNX node that computes the output, and the fused activation behind it."""
        activation = self.node.attrs.get("activation", "none")
        if activation == "none":
            self.writer.add(op, inputs, [self.output], **attrs)
            return
        before = self.new(op, inputs, **attrs)
        if activation == "relu":
            self.writer.add("Relu", [before], [self.output])
        elif activation == "tanh":
            self.writer.add("Tanh", [before], [self.output])
        elif activation in {"relu6", "relu_n1_1"}:
            self.clip(before, *((0.0, 6.0) if activation == "relu6" else (-1.0, 1.0)))
        else:
            raise self.refuse(f"the fused activation {activation} is unknown")

    def clip(self, name: str, low: float, high: float) -> None:
        """Add a ``Clip`` that computes the output; infinite bounds are left out."""
        dtype = self.view.outputs[0].dtype.numpy
        bounds = [
            self.writer.number(f"{self.output}/bound", bound, dtype) if np.isfinite(bound) else ""
            for bound in (low, high)
        ]
        self.writer.add("Clip", [name, *bounds], [self.output])

    def ints(self, values: Sequence[int]) -> str:
        """Add an int64 constant."""
        return self.writer.ints(f"{self.output}/numbers", values)

    def number(self, value: float) -> str:
        """Add a scalar constant of the type that is computed with."""
        return self.writer.number(f"{self.output}/number", value)

    def attr(self, name: str) -> Attr | None:
        """Return an attribute, or None."""
        return self.node.attrs.get(name)

    def refuse(self, hint: str) -> UnsupportedOpError:
        """Return the error for a node that ONNX cannot express."""
        return UnsupportedOpError(
            self.node.op, node=self.node.where, where="ONNX output", hint=hint
        )
