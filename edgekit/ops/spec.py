"""What an operator is: one record, defined in one file of :mod:`edgekit.ops`.

The reference function is the definition of the operator; every other executor is compared with it.
Floating-point arithmetic follows ONNX or TensorFlow Lite as the operator's module says; int8
arithmetic is TensorFlow Lite Micro's, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Attr, Graph, Node, Shape, Tensor
from edgekit.ops.kernel_set import KernelSet


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape and element type, as shape inference returns them."""

    shape: Shape
    dtype: DType


@dataclass(frozen=True, slots=True, eq=False)
class OpView:
    """A node together with its tensors: all that shape, cost and quantization rules may look at.

    ``inputs[i]`` is None where an optional input is absent. During shape inference ``outputs`` is
    empty, or holds the declared tensors of a graph that has some already.
    """

    node: Node
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]

    @classmethod
    def of(cls, graph: Graph, node: Node) -> OpView:
        """Return the view of a node of ``graph``."""
        inputs = tuple(graph.tensors[name] if name else None for name in node.inputs)
        return cls(node, inputs, tuple(graph.tensors[name] for name in node.outputs))

    def input(self, index: int) -> Tensor:
        """Return a required input.

        Raises
        ------
        ModelError
            If the node has no such input.
        """
        tensor = self.inputs[index] if index < len(self.inputs) else None
        if tensor is None:
            raise ModelError(f"layer {self.node.where}: input {index} of {self.node.op} is missing")
        return tensor

    def optional_input(self, index: int) -> Tensor | None:
        """Return an input, or None where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else None

    def int_attr(self, name: str, default: int | None = None) -> int:
        """Return an integer attribute (ModelError where it is missing or no integer)."""
        value = self._attr(name, default)
        if not isinstance(value, int):
            raise self._wrong_attr(name, value)
        return int(value)

    def float_attr(self, name: str, default: float | None = None) -> float:
        """Return a number attribute (ModelError where it is missing or no number)."""
        value = self._attr(name, default)
        if not isinstance(value, int | float):
            raise self._wrong_attr(name, value)
        return float(value)

    def str_attr(self, name: str, default: str | None = None) -> str:
        """Return a text attribute (ModelError where it is missing or no text)."""
        value = self._attr(name, default)
        if not isinstance(value, str):
            raise self._wrong_attr(name, value)
        return value

    def bool_attr(self, name: str, default: bool | None = None) -> bool:
        """Return a truth-value attribute (ModelError where it is missing or no truth value)."""
        value = self._attr(name, default)
        if not isinstance(value, bool):
            raise self._wrong_attr(name, value)
        return value

    def ints_attr(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Return an attribute that is a tuple of integers (ModelError otherwise)."""
        value = self._attr(name, default)
        if not isinstance(value, tuple) or not all(isinstance(item, int) for item in value):
            raise self._wrong_attr(name, value)
        return tuple(item for item in value if isinstance(item, int))

    def pairs_attr(self, name: str) -> tuple[tuple[int, int], ...]:
        """Return an attribute that is a tuple of integer pairs, such as paddings."""
        value = self._attr(name, None)
        if not isinstance(value, tuple):
            raise self._wrong_attr(name, value)
        pairs: list[tuple[int, int]] = []
        for item in value:
            if not isinstance(item, tuple) or len(item) != 2:
                raise self._wrong_attr(name, value)
            first, second = item
            if not isinstance(first, int) or not isinstance(second, int):
                raise self._wrong_attr(name, value)
            pairs.append((first, second))
        return tuple(pairs)

    def _attr(self, name: str, default: Attr | None) -> Attr | None:
        value = self.node.attrs.get(name, default)
        if value is None:
            raise ModelError(f"layer {self.node.where}: attribute {name} is missing")
        return value

    def _wrong_attr(self, name: str, value: object) -> ModelError:
        return ModelError(f"layer {self.node.where}: attribute {name} cannot be {value!r}")


@dataclass(frozen=True, slots=True, eq=False)
class OpCall:
    """One execution of a node: its view and the arrays of its inputs.

    Arrays of ``STATE`` inputs may be written in place; all others must not.
    """

    view: OpView
    arrays: tuple[Array | None, ...]

    def array(self, index: int) -> Array:
        """Return the array of a required input (ModelError where it is absent)."""
        array = self.arrays[index] if index < len(self.arrays) else None
        if array is None:
            node = self.view.node
            raise ModelError(f"layer {node.where}: input {index} of {node.op} is missing")
        return array

    def optional_array(self, index: int) -> Array | None:
        """Return the array of an input, or None where it is absent."""
        return self.arrays[index] if index < len(self.arrays) else None


class QuantRule(Enum):
    """How static int8 quantization treats an operator."""

    FLOAT_ONLY = "float_only"
    """Stays in floating point; neighbours are dequantized."""
    WEIGHTED = "weighted"
    """Input 0 int8, input 1 int8 symmetric per channel, input 2 int32 bias, output int8."""
    REQUANTIZED = "requantized"
    """Every input and output int8, each with its own scale (add, mul, mean, ...)."""
    SAME_SCALE = "same_scale"
    """Output takes the scale of input 0 (pooling, reshape, transpose, pad, slice, ...)."""
    JOINED = "joined"
    """All inputs are brought to the scale of the output (concat)."""
    FIXED_OUTPUT = "fixed_output"
    """Output scale is prescribed by the operator (softmax, logistic, tanh)."""


@dataclass(frozen=True, slots=True, eq=False)
class OpCase:
    """One test case of an operator, run on every executor.

    Parameters
    ----------
    id : str
        Readable test id.
    inputs : tuple of (Tensor, array) or None
        Declared tensor and its data; None for an absent optional input.
    outputs : tuple of Tensor
        Declared outputs (quantization matters).
    attrs : mapping
    tolerance : float
        Largest absolute difference allowed between executors; 0 for integer arithmetic.
    """

    id: str
    inputs: tuple[tuple[Tensor, Array] | None, ...]
    outputs: tuple[Tensor, ...]
    attrs: Mapping[str, Attr] = field(default_factory=dict)
    tolerance: float = 0.0


def _no_macs(_: OpView) -> int:
    return 0


def _no_scratch(_: OpView, __: KernelSet) -> int:
    return 0


def _always(_: OpView) -> bool:
    return True


def _no_cases() -> Iterable[OpCase]:
    return ()


@dataclass(frozen=True, slots=True, eq=False)
class OpSpec:
    """Everything that edgekit knows about an operator.

    Parameters
    ----------
    name : str
        As in ``Node.op``; the file in :mod:`edgekit.ops` that defines it documents inputs,
        attributes and arithmetic.
    infer : callable
        Shapes and element types of the outputs from the inputs and attributes. Works with named
        dimensions where the operator can.
    reference : callable
        The definition: arrays of the outputs from an :class:`OpCall`.
    macs : callable
        Multiply-accumulates of one execution (static shapes).
    scratch_bytes : callable
        Temporary memory that the native kernel of a set needs, equal to what the C twin says.
    quantization : QuantRule
    fixed_output : tuple of (scale, zero_point), optional
        For ``QuantRule.FIXED_OUTPUT``.
    channel_axis : int
        Axis of input 1 that carries output channels, for ``QuantRule.WEIGHTED``.
    in_place : tuple of (input, output) index pairs
        Which input's memory the output may take where the input dies here.
    in_place_when : callable
        For which nodes that holds; for all of them unless said otherwise.
    in_place_bytes : callable
        Temporary memory that a native kernel needs on top where it does so.
    cases : callable
        Test cases.
    """

    name: str
    infer: Callable[[OpView], Sequence[TensorType]]
    reference: Callable[[OpCall], Sequence[Array]]
    macs: Callable[[OpView], int] = _no_macs
    scratch_bytes: Callable[[OpView, KernelSet], int] = _no_scratch
    quantization: QuantRule = QuantRule.FLOAT_ONLY
    fixed_output: tuple[float, int] | None = None
    channel_axis: int = 0
    in_place: tuple[tuple[int, int], ...] = ()
    in_place_when: Callable[[OpView], bool] = _always
    in_place_bytes: Callable[[OpView], int] = _no_macs
    cases: Callable[[], Iterable[OpCase]] = _no_cases
