"""How each of edgekit's operators is written in ONNX, operator set 17: a table of functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from edgekit.converters.emitters.onnx_writer import Emission, OnnxAttr
from edgekit.dtypes import Array, DType
from edgekit.graph import Quantization, Tensor

Emitter = Callable[[Emission], None]


def _plain(op: str, *attrs: str) -> Emitter:
    """Write an operator with the same inputs, and number attributes of the same name."""

    def emit(e: Emission) -> None:
        numbers = {name: e.view.float_attr(name) for name in attrs}
        e.finish(op, e.inputs, **numbers)

    return emit


def _flat_padding(padding: Sequence[Sequence[int]]) -> list[int]:
    return [pair[0] for pair in padding] + [pair[1] for pair in padding]


def _window_attrs(e: Emission) -> dict[str, OnnxAttr]:
    return {
        "strides": e.view.ints_attr("strides", (1, 1)),
        "dilations": e.view.ints_attr("dilations", (1, 1)),
        "pads": _flat_padding(e.view.pairs_attr("padding")),
    }


def _conv2d(e: Emission) -> None:
    kernel = e.view.input(1).static_shape[2:]
    groups = e.view.int_attr("groups", 1)
    e.finish("Conv", e.inputs, kernel_shape=kernel, group=groups, **_window_attrs(e))


def _transpose_conv2d(e: Emission) -> None:
    e.finish(
        "ConvTranspose",
        e.inputs,
        group=e.view.int_attr("groups", 1),
        kernel_shape=e.view.input(1).static_shape[2:],
        output_padding=e.view.ints_attr("output_padding", (0, 0)),
        **_window_attrs(e),
    )


def _constant_of(
    e: Emission, tensor: Tensor, function: Callable[[Array], Array], perm: Sequence[int]
) -> str:
    """Return weights transposed: at conversion where they are constant, else by a node."""
    if not tensor.is_constant:
        return e.new("Transpose", [tensor.name], perm=perm)
    data = e.writer.stored(np.ascontiguousarray(function(tensor.data)))
    return e.writer.constant(f"{tensor.name}/transposed", data)


def _max_pool(e: Emission) -> None:
    e.finish("MaxPool", e.inputs, kernel_shape=e.view.ints_attr("kernel"), **_window_attrs(e))


def _average_pool(e: Emission) -> None:
    attrs = _window_attrs(e)
    if attrs.pop("dilations") != (1, 1):
        raise e.refuse("average pooling with dilations needs a newer operator set")
    include = int(e.view.bool_attr("count_include_pad", False))
    kernel = e.view.ints_attr("kernel")
    e.finish("AveragePool", e.inputs, kernel_shape=kernel, count_include_pad=include, **attrs)


def _fully_connected(e: Emission) -> None:
    """Write ``Gemm`` for matrices, ``MatMul`` and ``Add`` where leading axes are kept."""
    x, weights = e.view.input(0), e.view.input(1)
    if len(x.shape) != 2 and e.view.bool_attr("keep_dims", False):
        turned = _constant_of(e, weights, lambda data: data.T, perm=(1, 0))
        if e.input(2):
            product = e.new("MatMul", [x.name, turned])
            e.finish("Add", [product, e.input(2)])
        else:
            e.finish("MatMul", [x.name, turned])
        return
    rows = x.name
    if len(x.shape) != 2:
        rows = e.new("Reshape", [x.name, e.ints((-1, weights.static_shape[1]))])
    e.finish("Gemm", [rows, weights.name, e.input(2)], transB=1)


def _matmul(e: Emission) -> None:
    names = []
    for index, attr in enumerate(("transpose_a", "transpose_b")):
        name = e.input(index)
        if e.view.bool_attr(attr, False):
            rank = len(e.view.input(index).shape)
            name = e.new("Transpose", [name], perm=(*range(rank - 2), rank - 1, rank - 2))
        names.append(name)
    e.finish("MatMul", names)


def _squared_difference(e: Emission) -> None:
    difference = e.new("Sub", e.inputs)
    e.finish("Mul", [difference, difference])


def _square(e: Emission) -> None:
    e.finish("Mul", [e.input(0), e.input(0)])


def _rsqrt(e: Emission) -> None:
    e.finish("Reciprocal", [e.new("Sqrt", e.inputs)])


def _clamp(low: float, high: float) -> Emitter:
    return lambda e: e.clip(e.input(0), low, high)


def _clip(e: Emission) -> None:
    e.clip(e.input(0), e.view.float_attr("min"), e.view.float_attr("max"))


def _gelu(e: Emission) -> None:
    """``x / 2 * (1 + erf(x / sqrt 2))``, or the form with tanh; operator set 17 has no Gelu."""
    x = e.input(0)
    if e.view.str_attr("approximate", "none") == "tanh":
        cube = e.new("Mul", [e.new("Mul", [x, x]), x])
        inner = e.new("Add", [x, e.new("Mul", [cube, e.number(0.044715)])])
        bell = e.new("Tanh", [e.new("Mul", [inner, e.number(math.sqrt(2 / math.pi))])])
    else:
        bell = e.new("Erf", [e.new("Div", [x, e.number(math.sqrt(2.0))])])
    gate = e.new("Mul", [x, e.new("Add", [bell, e.number(1.0)])])
    e.finish("Mul", [gate, e.number(0.5)])


def _softmax(e: Emission) -> None:
    x, beta = e.input(0), e.view.float_attr("beta", 1.0)
    if beta != 1.0:
        x = e.new("Mul", [x, e.number(beta)])
    e.finish("Softmax", [x], axis=e.view.int_attr("axis", -1))


def _reduce(op: str) -> Emitter:
    """Axes are an attribute in operator set 17, but an input of ``ReduceSum``."""

    def emit(e: Emission) -> None:
        rank = len(e.view.input(0).shape)
        axes = tuple(sorted(axis % rank for axis in e.view.ints_attr("axes")))
        keep = int(e.view.bool_attr("keep_dims"))
        if not axes:
            # ONNX would take no axes for all; ours reduces nothing.
            e.finish("Abs" if op == "ReduceL2" else "Identity", [e.input(0)])
        elif op == "ReduceMean" and rank == 4 and axes == (2, 3) and keep:
            e.finish("GlobalAveragePool", e.inputs)
        elif op == "ReduceSum":
            e.finish(op, [e.input(0), e.ints(axes)], keepdims=keep)
        else:
            e.finish(op, e.inputs, axes=axes, keepdims=keep)

    return emit


def _arg(op: str) -> Emitter:
    def emit(e: Emission) -> None:
        axis, keep = e.view.int_attr("axis"), int(e.view.bool_attr("keep_dims"))
        if e.view.outputs[0].dtype is DType.INT64:
            e.finish(op, [e.input(0)], axis=axis, keepdims=keep)
        else:
            found = e.new(op, [e.input(0)], axis=axis, keepdims=keep)
            e.finish("Cast", [found], to=e.writer.onnx_type(e.view.outputs[0].dtype))

    return emit


def _reshape(e: Emission) -> None:
    e.finish("Reshape", [e.input(0), e.ints(e.view.ints_attr("shape"))])


def _transpose(e: Emission) -> None:
    e.finish("Transpose", [e.input(0)], perm=e.view.ints_attr("perm"))


def _concat(e: Emission) -> None:
    e.finish("Concat", e.inputs, axis=e.view.int_attr("axis"))


def _pack(e: Emission) -> None:
    axis = e.view.int_attr("axis")
    parts = [e.new("Unsqueeze", [name, e.ints((axis,))]) for name in e.inputs]
    e.finish("Concat", parts, axis=axis)


def _split(e: Emission) -> None:
    sizes = e.ints(e.view.ints_attr("sizes"))
    e.writer.add("Split", [e.input(0), sizes], e.node.outputs, axis=e.view.int_attr("axis"))


def _unpack(e: Emission) -> None:
    axis = e.view.int_attr("axis")
    for index, output in enumerate(e.node.outputs):
        e.writer.add(
            "Gather",
            [e.input(0), e.writer.constant(f"{output}/index", np.array(index))],
            [output],
            axis=axis,
        )


def _slice(e: Emission) -> None:
    begin, end = e.view.ints_attr("begin"), e.view.ints_attr("end")
    strides = e.view.ints_attr("strides")
    axes = tuple(range(len(begin)))
    numbers = [e.ints(values) for values in (begin, end, axes, strides)]
    e.finish("Slice", [e.input(0), *numbers])


def _pad(e: Emission) -> None:
    pads = e.ints(_flat_padding(e.view.pairs_attr("padding")))
    mode = e.view.str_attr("mode", "constant")
    if mode == "symmetric":
        raise e.refuse("ONNX has no symmetric padding")
    inputs = [e.input(0), pads]
    if mode == "constant":
        dtype = e.view.input(0).dtype.numpy
        value = e.view.float_attr("value", 0.0)
        inputs.append(e.writer.number(f"{e.output}/value", value, dtype))
    e.finish("Pad", inputs, mode=mode)


def _paste(e: Emission) -> None:
    """Zeros around the image, then the canvas where these are."""
    _, rows, columns, _ = e.view.input(0).static_shape
    (height, width), (top, left) = e.view.ints_attr("size"), e.view.ints_attr("at")
    below, beside = height - top - rows, width - left - columns
    inputs = [e.input(0), e.ints((0, top, left, 0, 0, below, beside, 0))]
    if e.view.optional_input(1) is None:
        e.finish("Pad", inputs, mode="constant")
        return
    inside = np.zeros((1, height, width, 1), np.bool_)
    inside[:, top : top + rows, left : left + columns] = True
    mask = e.writer.constant(f"{e.output}/inside", inside)
    padded = e.new("Pad", inputs, mode="constant")
    if e.view.optional_input(2) is None:
        e.finish("Where", [mask, padded, e.input(1)])
        return
    when = e.writer.constant(f"{e.output}/when", np.array([e.view.int_attr("when")], np.int32))
    is_on = e.new("Equal", [e.new("Cast", [e.input(2)], to=e.writer.onnx_type(DType.INT32)), when])
    e.finish("Where", [is_on, e.new("Where", [mask, padded, e.input(1)]), e.input(1)])


def _gather(e: Emission) -> None:
    e.finish("Gather", e.inputs, axis=e.view.int_attr("axis", 0))


def _take_prefix(e: Emission) -> None:
    axis, like_axis = e.view.int_attr("axis"), e.view.int_attr("like_axis")
    rank = len(e.view.input(1).shape)
    shape = e.new("Shape", [e.input(1)])
    length = e.new("Gather", [shape, e.ints((like_axis % rank,))], axis=0)
    e.finish("Slice", [e.input(0), e.ints((0,)), length, e.ints((axis,))])


def _expand(e: Emission) -> None:
    e.finish("Expand", [e.input(0), e.ints(e.view.ints_attr("shape"))])


def _tile(e: Emission) -> None:
    e.finish("Tile", [e.input(0), e.ints(e.view.ints_attr("repeats"))])


def _resize(e: Emission) -> None:
    """``resize`` picks by floor, and by rounding halves up where corners are aligned."""
    align, half = e.view.bool_attr("align_corners"), e.view.bool_attr("half_pixel_centers")
    nearest = e.view.str_attr("mode") == "nearest"
    coordinates = "align_corners" if align else "half_pixel" if half else "asymmetric"
    size = e.view.ints_attr("size")
    shape = e.view.input(0).shape
    if any(isinstance(dim, str) for dim in shape[:2]):
        kept = e.new("Slice", [e.new("Shape", [e.input(0)]), e.ints((0,)), e.ints((2,))])
        sizes = e.new("Concat", [kept, e.ints(size)], axis=0)
    else:
        sizes = e.ints((*(int(dim) for dim in shape[:2]), *size))
    attrs: dict[str, OnnxAttr] = {
        "coordinate_transformation_mode": coordinates,
        "mode": "nearest" if nearest else "linear",
    }
    if nearest:
        attrs["nearest_mode"] = "round_prefer_ceil" if align or half else "floor"
    e.finish("Resize", [e.input(0), "", "", sizes], **attrs)


def _rearrange(op: str) -> Emitter:
    return lambda e: e.finish(op, e.inputs, blocksize=e.view.int_attr("block"))


def _batch_norm(e: Emission) -> None:
    epsilon = e.view.float_attr("epsilon", 1e-5)
    rank = len(e.view.input(0).shape)
    axis = e.view.int_attr("axis") % rank
    if axis == 1:
        e.finish("BatchNormalization", e.inputs, epsilon=epsilon)
        return
    gamma, beta, mean, variance = (e.view.input(i).data.astype(np.float32) for i in range(1, 5))
    shape = (-1, *[1] * (rank - 1 - axis))
    scale = (gamma / np.sqrt(variance + np.float32(epsilon))).astype(np.float32)
    names = [
        e.writer.constant(f"{e.output}/{what}", e.writer.stored(data.reshape(shape)))
        for what, data in (("scale", scale), ("shift", beta - mean * scale))
    ]
    e.finish("Add", [e.new("Mul", [e.input(0), names[0]]), names[1]])


def _layer_norm(e: Emission) -> None:
    axis, epsilon = e.view.int_attr("axis"), e.view.float_attr("epsilon", 1e-5)
    e.finish("LayerNormalization", e.inputs, axis=axis, epsilon=epsilon)


def _cast(e: Emission) -> None:
    e.finish("Cast", [e.input(0)], to=e.writer.onnx_type(DType(e.view.str_attr("dtype"))))


def _quantization(e: Emission, tensor: Tensor) -> tuple[list[str], dict[str, OnnxAttr]]:
    """Return the names of scale and zero point, and the axis."""
    quantization: Quantization | None = tensor.quantization
    if quantization is None:
        raise e.refuse(f"tensor {tensor.name} has no quantization")
    scale, zero = quantization.scale, quantization.zero_point.astype(tensor.dtype.numpy)
    if quantization.axis is None:
        scale, zero = scale.reshape(()), zero.reshape(())
    names = [
        e.writer.constant(f"{tensor.name}/scale", scale.astype(np.float32)),
        e.writer.constant(f"{tensor.name}/zero_point", zero),
    ]
    return names, {} if quantization.axis is None else {"axis": quantization.axis}


def _quantize(e: Emission) -> None:
    if e.view.input(0).dtype is not DType.FLOAT32 or e.writer.float16:
        raise e.refuse("only float32 can be quantized here")
    names, attrs = _quantization(e, e.view.outputs[0])
    e.finish("QuantizeLinear", [e.input(0), *names], **attrs)


def _dequantize(e: Emission) -> None:
    if e.writer.float16:
        raise e.refuse("a graph with quantized tensors cannot become float16")
    names, attrs = _quantization(e, e.view.input(0))
    e.finish("DequantizeLinear", [e.input(0), *names], **attrs)


EMITTERS: dict[str, Emitter] = {
    **{
        name: _plain(op)
        for name, op in (
            ("abs", "Abs"),
            ("add", "Add"),
            ("div", "Div"),
            ("equal", "Equal"),
            ("erf", "Erf"),
            ("exp", "Exp"),
            ("floor", "Floor"),
            ("greater", "Greater"),
            ("greater_equal", "GreaterOrEqual"),
            ("hard_swish", "HardSwish"),
            ("identity", "Identity"),
            ("less", "Less"),
            ("less_equal", "LessOrEqual"),
            ("log", "Log"),
            ("logical_and", "And"),
            ("logical_not", "Not"),
            ("logical_or", "Or"),
            ("maximum", "Max"),
            ("minimum", "Min"),
            ("mul", "Mul"),
            ("neg", "Neg"),
            ("pow", "Pow"),
            ("prelu", "PRelu"),
            ("relu", "Relu"),
            ("sigmoid", "Sigmoid"),
            ("softplus", "Softplus"),
            ("sqrt", "Sqrt"),
            ("sub", "Sub"),
            ("tanh", "Tanh"),
            ("where", "Where"),
        )
    },
    "arg_max": _arg("ArgMax"),
    "arg_min": _arg("ArgMin"),
    "average_pool2d": _average_pool,
    "batch_norm": _batch_norm,
    "cast": _cast,
    "clip": _clip,
    "concat": _concat,
    "conv2d": _conv2d,
    "depth_to_space": _rearrange("DepthToSpace"),
    "dequantize": _dequantize,
    "elu": _plain("Elu", "alpha"),
    "expand": _expand,
    "fully_connected": _fully_connected,
    "gather": _gather,
    "gelu": _gelu,
    "hard_sigmoid": _plain("HardSigmoid", "alpha", "beta"),
    "layer_norm": _layer_norm,
    "leaky_relu": _plain("LeakyRelu", "alpha"),
    "matmul": _matmul,
    "max_pool2d": _max_pool,
    "pack": _pack,
    "pad": _pad,
    "paste": _paste,
    "quantize": _quantize,
    "reduce_l2": _reduce("ReduceL2"),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_mean": _reduce("ReduceMean"),
    "reduce_min": _reduce("ReduceMin"),
    "reduce_sum": _reduce("ReduceSum"),
    "relu6": _clamp(0.0, 6.0),
    "relu_n1_1": _clamp(-1.0, 1.0),
    "reshape": _reshape,
    "resize": _resize,
    "rsqrt": _rsqrt,
    "slice": _slice,
    "softmax": _softmax,
    "space_to_depth": _rearrange("SpaceToDepth"),
    "split": _split,
    "square": _square,
    "squared_difference": _squared_difference,
    "take_prefix": _take_prefix,
    "tile": _tile,
    "transpose": _transpose,
    "transpose_conv2d": _transpose_conv2d,
    "unpack": _unpack,
}
