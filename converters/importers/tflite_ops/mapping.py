"""From TensorFlow Lite operators to those of :mod:`edgekit.ops`.

One function for each kind of operator takes a :class:`Layer` and returns the parts it becomes.
Constant operands that say how to compute (axes, paddings, shapes) become attributes here, and
padding "SAME" becomes numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgekit.converters.importers.tflite_ops.images import IMAGE_MAPPINGS
from edgekit.converters.importers.tflite_ops.layer import Layer, Part
from edgekit.converters.importers.tflite_ops.shapes import SHAPE_MAPPINGS
from edgekit.graph import Attr

MapLayer = Callable[[Layer], list[Part]]


def _plain(op: str, operands: int, **attrs: Attr) -> MapLayer:
    """Return the mapping of an operator that is the same operator here."""

    def mapped(layer: Layer) -> list[Part]:
        return [Part(op, tuple(layer.number(index) for index in range(operands)), attrs)]

    return mapped


def _arithmetic(op: str) -> MapLayer:
    def mapped(layer: Layer) -> list[Part]:
        inputs = (layer.number(0), layer.number(1))
        return [Part(op, inputs, {"activation": layer.activation()})]

    return mapped


def _with_optional(layer: Layer, operands: int) -> tuple[int, ...]:
    """Return required operands and, where it is there, the one after them (a bias)."""
    required = tuple(layer.number(index) for index in range(operands))
    return (*required, layer.number(operands)) if layer.has(operands) else required


def _fully_connected(layer: Layer) -> list[Part]:
    if layer.option("weights_format"):
        raise layer.unsupported("the weights are shuffled; export the model with default weights")
    attrs: dict[str, Attr] = {
        "activation": layer.activation(),
        "keep_dims": bool(layer.option("keep_num_dims")),
    }
    return [Part("fully_connected", _with_optional(layer, 2), attrs)]


def _softmax(layer: Layer) -> list[Part]:
    attrs: dict[str, Attr] = {"axis": -1, "beta": layer.number_option("beta", 1.0)}
    output_dtype = layer.dtype_of(layer.output)
    if output_dtype is not layer.dtype_of(layer.tensor(0)):
        attrs["output_dtype"] = output_dtype.value
    return [Part("softmax", (layer.number(0),), attrs)]


def _leaky_relu(layer: Layer) -> list[Part]:
    return [Part("leaky_relu", (layer.number(0),), {"alpha": layer.number_option("alpha")})]


def _gelu(layer: Layer) -> list[Part]:
    approximate = "tanh" if layer.option("tanh") else "none"
    return [Part("gelu", (layer.number(0),), {"approximate": approximate})]


def _typed(op: str) -> MapLayer:
    """Return the mapping of an operator that is about the type of its output."""

    def mapped(layer: Layer) -> list[Part]:
        return [Part(op, (layer.number(0),), {"dtype": layer.dtype_of(layer.output).value})]

    return mapped


def _batch_matmul(layer: Layer) -> list[Part]:
    attrs: dict[str, Attr] = {
        "transpose_a": bool(layer.option("adj_x")),
        "transpose_b": bool(layer.option("adj_y")),
    }
    return [Part("matmul", (layer.number(0), layer.number(1)), attrs)]


def _svdf(layer: Layer) -> list[Part]:
    bias = layer.number(3) if layer.has(3) else -1
    inputs = (layer.number(0), layer.number(1), layer.number(2), bias, layer.number(4))
    return [Part("svdf", inputs, {"rank": layer.option("rank"), "activation": layer.activation()})]


def _lstm(layer: Layer) -> list[Part]:
    if len(layer.inputs) not in (20, 24):
        raise layer.damaged(f"has {len(layer.inputs)} inputs, not 20 or 24")
    attrs: dict[str, Attr] = {
        "activation": layer.activation(),
        "cell_clip": layer.number_option("cell_clip"),
        "projection_clip": layer.number_option("projection_clip"),
        "time_major": bool(layer.option("time_major")),
    }
    absent = (-1,) * (24 - len(layer.inputs))
    return [Part("unidirectional_lstm", (*layer.inputs, *absent), attrs)]


MAPPINGS: Mapping[str, MapLayer] = {
    "ABS": _plain("abs", 1),
    "ADD": _arithmetic("add"),
    "BATCH_MATMUL": _batch_matmul,
    "CAST": _typed("cast"),
    "DEQUANTIZE": _plain("dequantize", 1),
    "DIV": _arithmetic("div"),
    "ELU": _plain("elu", 1, alpha=1.0),
    "EQUAL": _plain("equal", 2),
    "EXP": _plain("exp", 1),
    "FLOOR": _plain("floor", 1),
    "FULLY_CONNECTED": _fully_connected,
    "GELU": _gelu,
    "GREATER": _plain("greater", 2),
    "GREATER_EQUAL": _plain("greater_equal", 2),
    "HARD_SWISH": _plain("hard_swish", 1),
    "LEAKY_RELU": _leaky_relu,
    "LESS": _plain("less", 2),
    "LESS_EQUAL": _plain("less_equal", 2),
    "LOG": _plain("log", 1),
    "LOGICAL_AND": _plain("logical_and", 2),
    "LOGICAL_NOT": _plain("logical_not", 1),
    "LOGICAL_OR": _plain("logical_or", 2),
    "LOGISTIC": _plain("sigmoid", 1),
    "MAXIMUM": _plain("maximum", 2),
    "MINIMUM": _plain("minimum", 2),
    "MUL": _arithmetic("mul"),
    "NEG": _plain("neg", 1),
    "POW": _plain("pow", 2),
    "PRELU": _plain("prelu", 2),
    "QUANTIZE": _typed("quantize"),
    "RELU": _plain("relu", 1),
    "RELU6": _plain("relu6", 1),
    "RELU_N1_TO_1": _plain("relu_n1_1", 1),
    "RSQRT": _plain("rsqrt", 1),
    "SELECT": _plain("where", 3),
    "SELECT_V2": _plain("where", 3),
    "SOFTMAX": _softmax,
    "SQRT": _plain("sqrt", 1),
    "SQUARE": _plain("square", 1),
    "SQUARED_DIFFERENCE": _plain("squared_difference", 2),
    "SUB": _arithmetic("sub"),
    "SVDF": _svdf,
    "TANH": _plain("tanh", 1),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    **IMAGE_MAPPINGS,
    **SHAPE_MAPPINGS,
}
"""By name in the schema."""
