"""What a node asks of a device: multiply-accumulates, elements and bytes, by operator class.

Sizes follow the precision that a plan is costed for, so that float32, float16 and int8 forms of a
float graph can be compared before anything is converted. A graph that is quantized already is
costed with precision None: every node as its own tensors say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from edgekit.cost.instructions import width_factor
from edgekit.dtypes import DType
from edgekit.graph import Graph, Node, Tensor
from edgekit.ops import spec_of
from edgekit.ops.checks import SMALL
from edgekit.ops.spec import OpView

Precision = Literal["float32", "float16", "int8", "int8_dynamic"]
"""``int8_dynamic``: products with constant weights in int8, activations stay float32."""

OpClass = Literal["conv", "conv3x3", "depthwise", "matmul", "elementwise", "view"]

_MATMUL = frozenset({"fully_connected", "matmul", "svdf", "unidirectional_lstm"})
_CONV = frozenset({"conv2d", "transpose_conv2d"})
_VIEW = frozenset({"reshape", "identity"})
_ROWS = frozenset({"gather", "take_prefix"})
"""Operators that read of a table only what they return."""
_COSTLY = frozenset(
    {"softmax", "layer_norm", "batch_norm", "gelu", "erf", "exp", "log", "tanh", "sigmoid"}
    | {"softplus", "elu", "sqrt", "rsqrt", "pow", "div", "hard_swish"}
)
_COSTLY_FACTOR = 10
"""Simple operations that one element of a transcendental or a normalization stands for."""
_COPIES = frozenset({"slice", "paste", "concat", "blank"})
_COPIED_ELEMENTS = 16
"""Elements that are copied in the time of one simple operation on one: rows go whole words at a
time, without arithmetic."""
_CAST_TRAFFIC = 5
"""Bytes moved for each byte of float16: a cast reads 2 and writes 4, the node moves 4."""
_BYTES = {"float32": 4, "float16": 2, "int8": 1, "int8_dynamic": 4}


@dataclass(frozen=True, slots=True)
class Work:
    """What one node asks of a device.

    Parameters
    ----------
    op : str
        The operator, for what a processor may refuse.
    op_class : str
        Which efficiency applies.
    dtype : str or None
        Arithmetic: ``float32``, ``float16``, ``int8``; None where any will do (indices).
    macs : int
        Multiply-accumulates; simple operations for ``elementwise``.
    elements : int
        Elements of the outputs.
    activation_bytes, weight_bytes : int
        Read and written once.
    calls : int
        Kernels that run for it, each with its overhead.
    width_factor : float
        Instructions over those of the same layer in int8: other than 1 where values have fewer
        bits (:mod:`edgekit.cost.instructions`).
    """

    op: str
    op_class: OpClass
    dtype: str | None
    macs: int
    elements: int
    activation_bytes: int
    weight_bytes: int
    calls: int = 1
    width_factor: float = 1.0


def node_work(graph: Graph, node: Node, precision: Precision | None = None) -> Work:
    """Return what a node asks of a device.

    Parameters
    ----------
    graph : Graph
        With static shapes.
    node : Node
        Of ``graph``.
    precision : str or None
        What float tensors become; None for the graph as it is.

    Raises
    ------
    UnsupportedOpError
        If edgekit has no such operator.
    ModelError
        If a shape is not static.
    """
    view = OpView.of(graph, node)
    op_class = _op_class(view)
    elements = sum(tensor.elements for tensor in view.outputs)
    weight_bytes, activation_bytes = 0, 0
    most = _most_moved(view)
    dynamic = precision == "int8_dynamic" and _has_weights(view)
    for tensor in (*view.inputs, *view.outputs):
        if tensor is None or op_class == "view":
            continue
        if tensor.is_constant:
            read = min(tensor.elements, elements) if node.op in _ROWS else tensor.elements
            weight_bytes += read if dynamic else _bytes_of(read, tensor, precision)
        else:
            moved = min(tensor.elements, most)
            activation_bytes += _bytes_of(moved, tensor, precision)
    return Work(
        op=node.op,
        op_class=op_class,
        dtype="int8" if dynamic else _dtype(view, precision),
        macs=_operations(view, op_class),
        elements=elements,
        activation_bytes=activation_bytes + (_quantizing_bytes(view) if dynamic else 0),
        weight_bytes=weight_bytes,
        calls=2 if dynamic else 1,
        width_factor=width_factor(view),
    )


def as_executed(work: Work, executor: str) -> Work:
    """Return what an executor really does where it does not compute as the graph says.

    onnxruntime's CPU provider has float16 kernels for few operators: it converts weights to float32
    at load and puts casts around the nodes, so that float16 is slower than float32 there
    (microsoft/onnxruntime#25824: 4 times on a Raspberry Pi 5, more than half of it casts).
    """
    if executor != "onnxruntime" or work.dtype != "float16":
        return work
    return replace(
        work,
        dtype="float32",
        activation_bytes=work.activation_bytes * _CAST_TRAFFIC,
        weight_bytes=work.weight_bytes * 2,
        calls=3 * work.calls,
    )


def tensor_bytes(tensor: Tensor, precision: Precision | None = None) -> int:
    """Return the bytes of a tensor at a precision, for what crosses a link."""
    return _bytes_of(tensor.elements, tensor, precision)


def _op_class(view: OpView) -> OpClass:
    op = view.node.op
    if op in _VIEW:
        return "view"
    if op in _MATMUL:
        return "matmul"
    if op == "depthwise_conv2d":
        return "depthwise"
    if op in _CONV:
        return _conv_class(view)
    return "elementwise"


def _conv_class(view: OpView) -> OpClass:
    """Class of a convolution: grouped by channel, 3x3 with stride 1, or any other."""
    weights = view.input(1).static_shape
    channels_last = view.node.attrs.get("layout") == "NHWC"
    kernel = weights[1:3] if channels_last else weights[2:4]
    channels = weights[3] if channels_last else weights[1]
    groups = view.node.attrs.get("groups", 1)
    if isinstance(groups, int) and groups > 1 and channels == 1:
        return "depthwise"
    small_stride = view.node.attrs.get("strides", (1, 1)) == (1, 1)
    if kernel == (3, 3) and small_stride and groups == 1 and channels >= 16:
        return "conv3x3"
    return "conv"


def _has_weights(view: OpView) -> bool:
    weights = view.optional_input(1)
    return view.node.op in _MATMUL | _CONV and weights is not None and weights.is_constant


def _quantizing_bytes(view: OpView) -> int:
    """Bytes that quantizing the input at run time moves: once for the range, once to convert."""
    return view.input(0).elements * (4 + 4 + 1)


def _most_moved(view: OpView) -> int:
    """Return how many elements of a tensor are touched by what moves a part of one, else all."""
    if view.node.op == "slice":
        return view.outputs[0].elements
    if view.node.op == "paste" and view.optional_input(1) is not None:
        return view.input(0).elements  # in the place of the canvas
    return max(tensor.elements for tensor in (*view.inputs, *view.outputs) if tensor is not None)


def _bytes_of(elements: int, tensor: Tensor, precision: Precision | None) -> int:
    """Return the bytes of some elements of a tensor; of weights two share a byte at most."""
    if precision is None or not tensor.dtype.is_float:
        bits = max(tensor.dtype.bits, 4) if tensor.is_constant else tensor.dtype.bits
        return -(-elements * bits // 8)
    return elements * _BYTES[precision]


def _dtype(view: OpView, precision: Precision | None) -> str | None:
    tensors = [tensor for tensor in (*view.inputs, *view.outputs) if tensor is not None]
    if any(tensor.dtype.is_float for tensor in tensors):
        if precision is not None:
            return "float32" if precision == "int8_dynamic" else precision
        return "float16" if any(t.dtype is DType.FLOAT16 for t in tensors) else "float32"
    small = (*SMALL, DType.UINT8, DType.INT16)
    return "int8" if any(tensor.dtype in small for tensor in tensors) else None


def _operations(view: OpView, op_class: OpClass) -> int:
    if op_class == "view":
        return 0
    macs = spec_of(view.node).macs(view)
    if op_class != "elementwise":
        return macs
    computed = min(sum(tensor.elements for tensor in view.outputs), _most_moved(view))
    if view.node.op in _COPIES:
        return -(-computed // _COPIED_ELEMENTS)
    return max(macs, computed) * (_COSTLY_FACTOR if view.node.op in _COSTLY else 1)
