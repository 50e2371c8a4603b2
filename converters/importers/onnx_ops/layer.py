"""What a mapping function sees of an ONNX node, and how it adds nodes to the graph.

Shapes are inferred as nodes are added, and a node whose inputs are all constants is computed at
once. So everything that ONNX computes about shapes is a plain array by the time it is needed as an
attribute, and the graph holds only what depends on the model's inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edgekit.converters.importers.onnx_ops.tensors import (
    ELEMENT_TYPES,
    MAX_ELEMENTS,
    TensorSource,
    printable,
)
from edgekit.converters.passes.fold_constants import NOT_FOLDED
from edgekit.dtypes import Array, DType
from edgekit.errors import ModelFormatError, UnsupportedOpError
from edgekit.graph import Attr, Node, Quantization, Tensor, TensorKind
from edgekit.ops import spec_of
from edgekit.ops.spec import OpCall, OpSpec, OpView, QuantRule

FOLD_BUDGET_BYTES = 64 * 2**20
"""Bytes of computed constants allowed beside the size of the model file itself."""


OnnxAttr = int | float | str | Array | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
"""Value of an ONNX attribute."""


class GraphBuilder:
    """Collects tensors and nodes; computes what is constant.

    Parameters
    ----------
    source : TensorSource
        Where tensor data comes from.
    fold_budget_bytes : int
        Largest total size of constants that may be computed here.
    """

    def __init__(self, source: TensorSource, fold_budget_bytes: int) -> None:
        self.source = source
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self._budget_bytes = fold_budget_bytes
        self._node_names: set[str] = set()

    def free_name(self, wish: str) -> str:
        """Return ``wish``, with a number behind it where a tensor has that name already."""
        wish = printable(wish)
        name, number = wish, 1
        while not name or name in self.tensors:
            name, number = f"{wish or 'tensor'}.{number}", number + 1
        return name

    def node_name(self, wish: str) -> str:
        """Return a name that no other node has, and reserve it."""
        name, number = wish, 1
        while name in self._node_names:
            name, number = f"{wish}.{number}", number + 1
        self._node_names.add(name)
        return name

    def add_constant(self, wish: str, data: Array) -> str:
        """Add a constant; float16 and double become float32, which everything computes in."""
        name = self.free_name(wish)
        self.tensors[name] = Tensor.constant(name, _computable(data))
        return name

    def add_lazy_constant(
        self,
        wish: str,
        shape: Sequence[int],
        dtype: np.dtype[np.generic],
        load: Callable[[], Array],
        quantization: Quantization | None = None,
    ) -> str:
        """Add a constant whose data is read when it is needed."""
        name = self.free_name(wish)
        kind = DType.FLOAT32 if dtype.kind == "f" else DType.from_numpy(dtype)
        self.tensors[name] = Tensor(
            name,
            tuple(shape),
            kind,
            TensorKind.CONSTANT,
            quantization,
            lambda: _computable(load()),
        )
        return name

    def check_shape(self, shape: Sequence[int], where: str) -> None:
        """Raise ModelFormatError where a tensor of this shape cannot be meant."""
        if any(dim < 1 for dim in shape) or math.prod(shape) > MAX_ELEMENTS:
            raise self.source.fail(f"{where} has the impossible shape {list(shape)}")

    def add_node(
        self,
        node: Node,
        quantization: Sequence[Quantization | None],
        *,
        fold: bool = True,
    ) -> tuple[str, ...]:
        """Add a node (its outputs named by wish) and return the names of its outputs.

        Unless ``fold`` is false, a node of which all inputs are constant is computed instead.
        """
        inputs = tuple(self.tensors[name] if name else None for name in node.inputs)
        view = OpView(node, inputs, ())
        spec = spec_of(node)
        types = spec.infer(view)
        outputs: list[Tensor] = []
        inherited = _inherited_quantization(spec, inputs)
        for wish, kind, quant in zip(node.outputs, types, quantization, strict=True):
            shape = tuple(int(dim) for dim in kind.shape)
            self.check_shape(shape, f"the result of layer {node.where}")
            # The name is taken at once, so that the next output cannot get it too.
            name = self.free_name(wish)
            tensor = Tensor(name, shape, kind.dtype, quantization=quant or inherited)
            self.tensors[name] = tensor
            outputs.append(tensor)
        names = tuple(tensor.name for tensor in outputs)
        node = replace(node, outputs=names)
        if fold and node.op not in NOT_FOLDED and self._can_fold(inputs, outputs):
            call = OpCall(
                OpView(node, inputs, tuple(outputs)), tuple(t.data if t else None for t in inputs)
            )
            arrays = spec.reference(call)
            self.tensors.update(
                (t.name, Tensor.constant(t.name, np.ascontiguousarray(a).reshape(t.static_shape)))
                for t, a in zip(outputs, arrays, strict=True)
            )
        else:
            self.nodes.append(node)
        return names

    def _can_fold(self, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> bool:
        known = [tensor for tensor in inputs if tensor is not None]
        plain = all(tensor.quantization is None for tensor in (*known, *outputs))
        if not known or not plain or not all(tensor.is_constant for tensor in known):
            return False
        size_bytes = sum(tensor.size_bytes for tensor in outputs)
        if size_bytes > self._budget_bytes:
            return False
        self._budget_bytes -= size_bytes
        return True

    def spend(self, size_bytes: int, where: str) -> None:
        """Take a computed constant out of the budget (ModelFormatError where it is used up)."""
        if size_bytes > self._budget_bytes:
            raise self.source.fail(
                f"layer {where} computes a constant of {size_bytes:,} bytes, more than a model of "
                "this size can need"
            )
        self._budget_bytes -= size_bytes

    def rename(self, old: str, new: str, first_node: int) -> None:
        """Rename a tensor that no node before ``first_node`` knows."""
        self.tensors[new] = replace(self.tensors.pop(old), name=new)
        for index in range(first_node, len(self.nodes)):
            node = self.nodes[index]
            self.nodes[index] = replace(
                node,
                inputs=tuple(new if name == old else name for name in node.inputs),
                outputs=tuple(new if name == old else name for name in node.outputs),
            )


def _inherited_quantization(spec: OpSpec, inputs: Sequence[Tensor | None]) -> Quantization | None:
    """Return the quantization that an operator which only moves data hands on."""
    first = inputs[0] if inputs else None
    if spec.quantization is not QuantRule.SAME_SCALE or first is None or first.quantization is None:
        return None
    return first.quantization if first.quantization.axis is None else None


def _computable(data: Array) -> Array:
    return data.astype(np.float32) if data.dtype in (np.float16, np.float64) else data


@dataclass(slots=True, eq=False)
class Layer:
    """One ONNX node while it is mapped.

    Parameters
    ----------
    builder : GraphBuilder
    op : str
        ONNX operator.
    name, origin : str
        The node's name (or operator and index), and how messages call it.
    opset : int
        Version of the operator set.
    inputs : tuple of str
        Names of the graph's tensors; absent inputs are empty.
    outputs : tuple of str
        Names in the ONNX file; unused outputs are empty.
    attributes : mapping
        ONNX attributes by name.
    """

    builder: GraphBuilder
    op: str
    name: str
    origin: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, OnnxAttr] = field(default_factory=dict)

    def has(self, index: int) -> bool:
        """Whether an input is present."""
        return index < len(self.inputs) and bool(self.inputs[index])

    def input(self, index: int) -> str:
        """Return the name of a required input."""
        if not self.has(index):
            raise self.fail(f"input {index} is missing")
        return self.inputs[index]

    def tensor(self, index: int) -> Tensor:
        """Return the tensor of a required input."""
        return self.builder.tensors[self.input(index)]

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of a required input."""
        return self.tensor(index).static_shape

    def constant(self, index: int) -> Array:
        """Return the data of an input that must be known at conversion."""
        tensor = self.tensor(index)
        if not tensor.is_constant:
            raise self.refuse(f"input {index} ({tensor.name}) must be a constant")
        return tensor.data

    def constant_ints(self, index: int) -> tuple[int, ...]:
        """Return a constant input as integers."""
        array = self.constant(index)
        if array.dtype.kind not in "iu" or array.ndim > 1:
            raise self.fail(f"input {index} must hold integers")
        return tuple(int(value) for value in np.atleast_1d(array))

    def constant_scalar(self, index: int, default: float) -> float:
        """Return a constant input of one number, or ``default`` where it is absent."""
        if not self.has(index):
            return default
        array = self.constant(index)
        if array.size != 1:
            raise self.fail(f"input {index} must be one number")
        return float(array.reshape(()))

    def int_attr(self, name: str, default: int | None = None) -> int:
        """Return an integer attribute."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self._wrong(name, value)
        return value

    def float_attr(self, name: str, default: float | None = None) -> float:
        """Return a number attribute."""
        value = self.attributes.get(name, default)
        if not isinstance(value, float):
            raise self._wrong(name, value)
        return value

    def text_attr(self, name: str, default: str | None = None) -> str:
        """Return a text attribute."""
        value = self.attributes.get(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, value)
        return value

    def ints_attr(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Return an attribute that is a list of integers."""
        value = self.attributes.get(name, default)
        if not isinstance(value, tuple) or not all(isinstance(item, int) for item in value):
            raise self._wrong(name, value)
        return tuple(item for item in value if isinstance(item, int))

    def array_attr(self, name: str) -> Array:
        """Return an attribute that is a tensor."""
        value = self.attributes.get(name)
        if not isinstance(value, np.ndarray):
            raise self._wrong(name, value)
        return value

    def _wrong(self, name: str, value: object) -> ModelFormatError:
        if value is None:
            return self.fail(f"attribute {name} is missing")
        return self.fail(f"attribute {name} cannot be {str(value)[:40]!r}")

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        **attrs: Attr,
    ) -> str:
        """Add a node with one output and return the name of the output."""
        return self._add(op, inputs, attrs, 1, None)[0]

    def emit_quantize(self, name: str, dtype: DType, quantization: Quantization) -> str:
        """Add a ``quantize`` node and return the name of the output."""
        return self._add("quantize", [name], {"dtype": dtype.value}, 1, quantization)[0]

    def emit_many(
        self,
        op: str,
        inputs: Sequence[str],
        count: int,
        **attrs: Attr,
    ) -> tuple[str, ...]:
        """Add a node with ``count`` outputs and return their names."""
        return self._add(op, inputs, attrs, count, None)

    def _add(
        self,
        op: str,
        inputs: Sequence[str],
        attrs: Mapping[str, Attr],
        count: int,
        quantization: Quantization | None,
    ) -> tuple[str, ...]:
        wishes = tuple(f"{self.name}/{op}" for _ in range(count))
        node = Node(
            self.builder.node_name(self.name), op, tuple(inputs), wishes, attrs, self.origin
        )
        return self.builder.add_node(node, [quantization] * count)

    def add_constant(self, data: Array) -> str:
        """Add a constant and return its name."""
        return self.builder.add_constant(f"{self.name}/constant", data)

    def scalar(self, value: float) -> str:
        """Add a float32 constant of one number and return its name."""
        return self.add_constant(np.array(value, np.float32))

    def reshape(self, name: str, shape: Sequence[int]) -> str:
        """Add a reshape to a known shape; nothing where the shape is that already."""
        if self.builder.tensors[name].shape == tuple(shape):
            return name
        return self.emit("reshape", [name], shape=tuple(shape))

    def axis(self, value: int, rank: int) -> int:
        """Return an axis counted from the front (ModelFormatError where it does not exist)."""
        if not -rank <= value < rank:
            raise self.fail(f"axis {value} does not exist in {rank} dimensions")
        return value % rank if rank else 0

    def axes(self, values: Sequence[int], rank: int) -> tuple[int, ...]:
        """Return axes counted from the front, sorted."""
        axes = sorted({self.axis(value, rank) for value in values})
        if len(axes) != len(values):
            raise self.fail(f"an axis appears twice in {list(values)}")
        return tuple(axes)

    def fail(self, message: str) -> ModelFormatError:
        """Return the error for a node that contradicts the ONNX standard."""
        return self.builder.source.fail(f"layer {self.origin}: {message}")

    def refuse(self, hint: str) -> UnsupportedOpError:
        """Return the error for a node that is valid but cannot be converted."""
        return UnsupportedOpError(
            self.op, node=self.origin, where=str(self.builder.source.path), hint=printable(hint)
        )


Mapper = Callable[[Layer], tuple[str, ...]]
"""Adds what stands for an ONNX node and returns the tensor of each output."""


def dtype_of(source: TensorSource, onnx_type: int, where: str) -> DType:
    """Return the element type that stands for an ONNX one; all floats are computed in float32.

    Raises
    ------
    ModelFormatError
        If edgekit has no such element type.
    """
    name = ELEMENT_TYPES.get(onnx_type)
    if name is None:
        raise source.fail(f"{where} has ONNX element type {onnx_type}, which is not supported")
    if name in {"float16", "float64", "uint16"}:
        return DType.FLOAT32
    return DType(name)
