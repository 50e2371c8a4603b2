"""Element-wise operators, activations and matrix products."""

from __future__ import annotations

import math

import numpy as np

from edgekit.converters.importers.onnx_ops.layer import Layer, Mapper
from edgekit.dtypes import Array, DType


def _unary(op: str) -> Mapper:
    return lambda layer: (layer.emit(op, [layer.input(0)]),)


def _binary(op: str) -> Mapper:
    return lambda layer: (layer.emit(op, [layer.input(0), layer.input(1)]),)


def _many(op: str) -> Mapper:
    """Map an operator of any number of inputs to a chain of binary ones."""

    def mapper(layer: Layer) -> tuple[str, ...]:
        result = layer.input(0)
        for index in range(1, len(layer.inputs)):
            result = layer.emit(op, [result, layer.input(index)])
        return (result,)

    return mapper


def _with_alpha(op: str, default: float) -> Mapper:
    return lambda layer: (
        layer.emit(op, [layer.input(0)], alpha=layer.float_attr("alpha", default)),
    )


def _mean(layer: Layer) -> tuple[str, ...]:
    total = _many("add")(layer)[0]
    return (layer.emit("mul", [total, layer.scalar(1.0 / len(layer.inputs))]),)


def _pow(layer: Layer) -> tuple[str, ...]:
    base, exponent = layer.tensor(0), layer.tensor(1)
    if exponent.is_constant and exponent.elements == 1 and base.dtype.is_float:
        value = float(exponent.data.reshape(()))
        op = {2.0: "square", 0.5: "sqrt"}.get(value)
        if op is not None and len(exponent.shape) <= len(base.shape):
            return (layer.emit(op, [base.name]),)
    power = exponent.name
    if exponent.dtype is not base.dtype:
        power = layer.emit("cast", [power], dtype=base.dtype.value)
    return (layer.emit("pow", [base.name, power]),)


def _reciprocal(layer: Layer) -> tuple[str, ...]:
    return (layer.emit("div", [layer.scalar(1.0), layer.input(0)]),)


def _ceil(layer: Layer) -> tuple[str, ...]:
    negative = layer.emit("floor", [layer.emit("neg", [layer.input(0)])])
    return (layer.emit("neg", [negative]),)


def _clip(layer: Layer) -> tuple[str, ...]:
    if layer.opset < 11:
        low, high = layer.float_attr("min", -math.inf), layer.float_attr("max", math.inf)
    else:
        low = layer.constant_scalar(1, -math.inf)
        high = layer.constant_scalar(2, math.inf)
    x = layer.tensor(0)
    named = {(0.0, math.inf): "relu", (0.0, 6.0): "relu6", (-1.0, 1.0): "relu_n1_1"}
    op = named.get((low, high))
    if op is not None and x.dtype is DType.FLOAT32:
        return (layer.emit(op, [x.name]),)
    return (layer.emit("clip", [x.name], min=low, max=high),)


def _hard_sigmoid(layer: Layer) -> tuple[str, ...]:
    alpha, beta = layer.float_attr("alpha", 0.2), layer.float_attr("beta", 0.5)
    return (layer.emit("hard_sigmoid", [layer.input(0)], alpha=alpha, beta=beta),)


def _gelu(layer: Layer) -> tuple[str, ...]:
    approximate = layer.text_attr("approximate", "none")
    if approximate not in {"none", "tanh"}:
        raise layer.fail(f"attribute approximate cannot be {approximate!r}")
    return (layer.emit("gelu", [layer.input(0)], approximate=approximate),)


def _selu(layer: Layer) -> tuple[str, ...]:
    """Defaults as in the ONNX operator reference, Selu-6."""
    alpha, gamma = layer.float_attr("alpha", 1.6732632), layer.float_attr("gamma", 1.0507010)
    scaled = layer.emit("elu", [layer.input(0)], alpha=alpha)
    return (layer.emit("mul", [scaled, layer.scalar(gamma)]),)


def _softsign(layer: Layer) -> tuple[str, ...]:
    size = layer.emit("add", [layer.emit("abs", [layer.input(0)]), layer.scalar(1.0)])
    return (layer.emit("div", [layer.input(0), size]),)


def _mish(layer: Layer) -> tuple[str, ...]:
    gate = layer.emit("tanh", [layer.emit("softplus", [layer.input(0)])])
    return (layer.emit("mul", [layer.input(0), gate]),)


def _prelu(layer: Layer) -> tuple[str, ...]:
    return (layer.emit("prelu", [layer.input(0), layer.input(1)]),)


def _where(layer: Layer) -> tuple[str, ...]:
    return (layer.emit("where", [layer.input(0), layer.input(1), layer.input(2)]),)


def _matmul(layer: Layer) -> tuple[str, ...]:
    """Vectors become matrices of one row or column, as NumPy's matmul does."""
    a_shape, b_shape = layer.shape(0), layer.shape(1)
    if not a_shape or not b_shape:
        raise layer.fail("a matrix product needs at least one dimension")
    a = layer.reshape(layer.input(0), (1, *a_shape) if len(a_shape) == 1 else a_shape)
    b = layer.reshape(layer.input(1), (*b_shape, 1) if len(b_shape) == 1 else b_shape)
    product = _product(layer, a, b)
    shape = list(layer.builder.tensors[product].static_shape)
    if len(b_shape) == 1:
        del shape[-1]
    if len(a_shape) == 1:
        del shape[-1 if len(b_shape) == 1 else -2]
    return (layer.reshape(product, shape),)


def _product(layer: Layer, a: str, b: str) -> str:
    left, right = layer.builder.tensors[a], layer.builder.tensors[b]
    constant_weights = right.is_constant and not left.is_constant and len(right.shape) == 2
    if not constant_weights or right.dtype is not DType.FLOAT32:
        return layer.emit("matmul", [a, b])
    weights = _transposed_constant(layer, b)
    return layer.emit("fully_connected", [a, weights, ""], keep_dims=True, activation="none")


def _transposed_constant(layer: Layer, name: str) -> str:
    """Return a constant matrix transposed, still read only when it is needed."""
    tensor = layer.builder.tensors[name]
    return layer.builder.add_lazy_constant(
        f"{name}.transposed",
        tensor.static_shape[::-1],
        tensor.dtype.numpy,
        lambda: np.ascontiguousarray(tensor.data.T),
    )


def _gemm(layer: Layer) -> tuple[str, ...]:
    alpha, beta = layer.float_attr("alpha", 1.0), layer.float_attr("beta", 1.0)
    transpose_a, transpose_b = layer.int_attr("transA", 0) != 0, layer.int_attr("transB", 0) != 0
    if len(layer.shape(0)) != 2 or len(layer.shape(1)) != 2:
        raise layer.fail("Gemm multiplies matrices of two dimensions")
    bias = _gemm_bias(layer, beta)
    if layer.tensor(1).is_constant and not transpose_a and alpha == 1.0 and bias is not None:
        name = layer.input(1)
        weights = name if transpose_b else _transposed_constant(layer, name)
        return (
            layer.emit(
                "fully_connected",
                [layer.input(0), weights, bias],
                keep_dims=False,
                activation="none",
            ),
        )
    product = layer.emit(
        "matmul",
        [layer.input(0), layer.input(1)],
        transpose_a=transpose_a,
        transpose_b=transpose_b,
    )
    if alpha != 1.0:
        product = layer.emit("mul", [product, layer.scalar(alpha)])
    if layer.has(2):
        addend = layer.input(2)
        if beta != 1.0:
            addend = layer.emit("mul", [addend, layer.scalar(beta)])
        product = layer.emit("add", [product, addend])
    return (product,)


def _gemm_bias(layer: Layer, beta: float) -> str | None:
    """Return the bias as one number a column; "" where there is none, None where it is not that."""
    if not layer.has(2):
        return ""
    addend = layer.tensor(2)
    if not layer.tensor(1).is_constant:
        return None
    columns = layer.shape(1)[0 if layer.int_attr("transB", 0) else 1]
    if not addend.is_constant or addend.elements not in {1, columns}:
        return None
    if any(dim != 1 for dim in addend.static_shape[:-1]):
        return None
    data = np.broadcast_to(addend.data.astype(np.float32).reshape(-1), (columns,))
    return layer.add_constant(np.ascontiguousarray(data * np.float32(beta)))


def _constant_only(function: np.ufunc) -> Mapper:
    """Map an operator that is only met in computations about shapes and positions."""

    def mapper(layer: Layer) -> tuple[str, ...]:
        arrays = [layer.constant(index) for index in range(function.nin)]
        result: Array = np.asarray(function(*arrays))
        layer.builder.spend(result.nbytes, layer.origin)
        return (layer.add_constant(result),)

    return mapper


MAPPERS: dict[str, Mapper] = {
    **{name: _many(op) for name, op in (("Sum", "add"), ("Max", "maximum"), ("Min", "minimum"))},
    **{
        name: _binary(op)
        for name, op in (
            ("Add", "add"),
            ("Sub", "sub"),
            ("Mul", "mul"),
            ("Div", "div"),
            ("Equal", "equal"),
            ("Less", "less"),
            ("Greater", "greater"),
            ("LessOrEqual", "less_equal"),
            ("GreaterOrEqual", "greater_equal"),
            ("And", "logical_and"),
            ("Or", "logical_or"),
        )
    },
    **{
        name: _unary(op)
        for name, op in (
            ("Abs", "abs"),
            ("Erf", "erf"),
            ("Exp", "exp"),
            ("Floor", "floor"),
            ("HardSwish", "hard_swish"),
            ("Log", "log"),
            ("Neg", "neg"),
            ("Not", "logical_not"),
            ("Relu", "relu"),
            ("Sigmoid", "sigmoid"),
            ("Softplus", "softplus"),
            ("Sqrt", "sqrt"),
            ("Tanh", "tanh"),
        )
    },
    "Ceil": _ceil,
    "Clip": _clip,
    "Cos": _constant_only(np.cos),
    "Elu": _with_alpha("elu", 1.0),
    "Gelu": _gelu,
    "Gemm": _gemm,
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _with_alpha("leaky_relu", 0.01),
    "MatMul": _matmul,
    "Mean": _mean,
    "Mish": _mish,
    "Mod": _constant_only(np.mod),
    "PRelu": _prelu,
    "Pow": _pow,
    "Reciprocal": _reciprocal,
    "Round": _constant_only(np.rint),
    "Selu": _selu,
    "Sign": _constant_only(np.sign),
    "Sin": _constant_only(np.sin),
    "Softsign": _softsign,
    "Where": _where,
}
