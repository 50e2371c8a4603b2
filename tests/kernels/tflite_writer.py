"""Writes an operator's test case as a TensorFlow Lite file of one layer.

With it every case can be run by TensorFlow Lite Micro, and read back by the importer. To add an
operator, add it to ``_SAME_FORM`` or give it a function in ``_WRITERS``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekit.dtypes import Array, DType
from edgekit.graph import Tensor, TensorKind
from edgekit.ops.spec import OpCase

_ACTIVATIONS = {"none": 0, "relu": 1, "relu_n1_1": 2, "relu6": 3, "tanh": 4}
_SAME, _VALID = 0, 1


class NoFormError(Exception):
    """TensorFlow Lite cannot express the case."""


def write_case(op: str, case: OpCase) -> bytes:
    """Return a file whose graph inputs are the case's inputs that are not constant.

    Raises
    ------
    NoFormError
        If the format has no such operator or option, or no kernel for values of four or two bits.
    """
    tensors = (*(tensor for tensor, _ in filter(None, case.inputs)), *case.outputs)
    if any(tensor.dtype.is_packed for tensor in tensors):
        raise NoFormError(op)
    writer = _Writer(case)
    if op in _WRITERS:
        _WRITERS[op](writer, case)
    elif op in _SAME_FORM:
        writer.add(_SAME_FORM[op], writer.inputs, writer.outputs)
    else:
        raise NoFormError(op)
    return writer.finished()


def given_inputs(case: OpCase) -> list[Array]:
    """Return the arrays of the inputs that are neither constant nor state."""
    kinds = (TensorKind.CONSTANT, TensorKind.STATE)
    return [data for tensor, data in filter(None, case.inputs) if tensor.kind not in kinds]


class _Writer:
    def __init__(self, case: OpCase) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.inputs = [
            -1 if given is None else self.tensor(given[0], given[1]) for given in case.inputs
        ]
        if len(self.inputs) == 3 and self.inputs[2] == -1:
            # An absent bias is left out, as converters write it.
            del self.inputs[2]
        self.outputs = [self.tensor(tensor, None) for tensor in case.outputs]
        self.graph.inputs = [
            index
            for index, given in zip(self.inputs, case.inputs, strict=False)
            if given is not None and given[0].kind is TensorKind.INPUT
        ]
        self.graph.outputs = list(self.outputs)
        if not self.graph.inputs:
            raise NoFormError("a model without inputs")

    def tensor(self, tensor: Tensor, data: Array | None) -> int:
        record = schema.TensorT()
        record.name = tensor.name.encode()
        record.shape = list(tensor.static_shape)
        record.type = vars(schema.TensorType)[tensor.dtype.name]
        record.isVariable = tensor.kind is TensorKind.STATE
        if tensor.quantization is not None:
            record.quantization = schema.QuantizationParametersT()
            record.quantization.scale = tensor.quantization.scale.tolist()
            record.quantization.zeroPoint = tensor.quantization.zero_point.tolist()
            record.quantization.quantizedDimension = tensor.quantization.axis or 0
        if tensor.is_constant and data is not None:
            record.buffer = len(self.model.buffers)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(record)
        return len(self.graph.tensors) - 1

    def ints(self, *values: int) -> int:
        data = np.array(values, np.int32)
        return self.tensor(Tensor.constant(f"ints{len(self.graph.tensors)}", data), data)

    def add(self, builtin: str, inputs: list[int], outputs: list[int], options: Any = None) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = vars(schema.BuiltinOperator)[builtin]
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes)
        operator.inputs, operator.outputs = inputs, outputs
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = vars(schema.BuiltinOptions)[name]
            operator.builtinOptions = options
        self.model.operatorCodes.append(code)
        self.graph.operators.append(operator)

    def finished(self) -> bytes:
        self.model.subgraphs = [self.graph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _filled(options: Any, case: OpCase) -> Any:
    """Set the fused activation of options."""
    options.fusedActivationFunction = _ACTIVATIONS[str(case.attrs.get("activation", "none"))]
    return options


def _pairs(case: OpCase, name: str) -> tuple[tuple[int, int], ...]:
    return tuple(case.attrs[name])  # type: ignore[arg-type]


def _numbers(case: OpCase, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    return tuple(case.attrs.get(name, default))  # type: ignore[arg-type]


def _need_nhwc(case: OpCase) -> None:
    if case.attrs.get("layout", "NHWC") != "NHWC":
        raise NoFormError("NCHW")


def _padded(writer: _Writer, case: OpCase) -> int:
    """Return x behind a layer PAD, which stands for padding given as numbers."""
    padding = _pairs(case, "padding")
    if not any(sum(pair) for pair in padding):
        return writer.inputs[0]
    first = case.inputs[0]
    assert first is not None
    tensor = first[0]
    n, h, w, c = tensor.static_shape
    shape = (n, h + sum(padding[0]), w + sum(padding[1]), c)
    padded = Tensor("padded", shape, tensor.dtype, TensorKind.ACTIVATION, tensor.quantization)
    index = writer.tensor(padded, None)
    flat = [number for pair in ((0, 0), *padding, (0, 0)) for number in pair]
    data = np.array(flat, np.int32).reshape(4, 2)
    amounts = writer.tensor(Tensor.constant("amounts", data), data)
    writer.add("PAD", [writer.inputs[0], amounts], [index], schema.PadOptionsT())
    return index


def _conv(writer: _Writer, case: OpCase) -> None:
    _need_nhwc(case)
    options = _filled(schema.Conv2DOptionsT(), case)
    _write_window(options, case)
    writer.add("CONV_2D", [_padded(writer, case), *writer.inputs[1:]], writer.outputs, options)


def _write_window(options: Any, case: OpCase) -> None:
    options.padding = _VALID
    options.strideH, options.strideW = _numbers(case, "strides", (1, 1))
    options.dilationHFactor, options.dilationWFactor = _numbers(case, "dilations", (1, 1))


def _depthwise(writer: _Writer, case: OpCase) -> None:
    options = _filled(schema.DepthwiseConv2DOptionsT(), case)
    _write_window(options, case)
    options.depthMultiplier = case.attrs.get("depth_multiplier", 1)
    inputs = [_padded(writer, case), *writer.inputs[1:]]
    writer.add("DEPTHWISE_CONV_2D", inputs, writer.outputs, options)


def _transpose_conv(writer: _Writer, case: OpCase) -> None:
    _need_nhwc(case)
    options = _filled(schema.TransposeConvOptionsT(), case)
    options.padding = _SAME if any(map(sum, _pairs(case, "padding"))) else _VALID
    options.strideH, options.strideW = _numbers(case, "strides", (1, 1))
    shape = writer.ints(*case.outputs[0].static_shape)
    x, weights, *bias = writer.inputs
    writer.add("TRANSPOSE_CONV", [shape, weights, x, *bias], writer.outputs, options)


def _fully_connected(writer: _Writer, case: OpCase) -> None:
    options = _filled(schema.FullyConnectedOptionsT(), case)
    options.keepNumDims = bool(case.attrs.get("keep_dims", False))
    writer.add("FULLY_CONNECTED", writer.inputs, writer.outputs, options)


def _pool(builtin: str) -> Callable[[_Writer, OpCase], None]:
    def write(writer: _Writer, case: OpCase) -> None:
        _need_nhwc(case)
        if case.attrs.get("count_include_pad"):
            raise NoFormError("padding counts")
        options = _filled(schema.Pool2DOptionsT(), case)
        options.filterHeight, options.filterWidth = _numbers(case, "kernel")
        options.strideH, options.strideW = _numbers(case, "strides")
        # The padding of these cases is that of SAME, or none.
        options.padding = _SAME if any(map(sum, _pairs(case, "padding"))) else _VALID
        writer.add(builtin, writer.inputs, writer.outputs, options)

    return write


def _arithmetic(builtin: str, options: type) -> Callable[[_Writer, OpCase], None]:
    def write(writer: _Writer, case: OpCase) -> None:
        writer.add(builtin, writer.inputs, writer.outputs, _filled(options(), case))

    return write


def _softmax(writer: _Writer, case: OpCase) -> None:
    if case.attrs.get("axis", -1) != -1:
        raise NoFormError("softmax along another axis than the last")
    options = schema.SoftmaxOptionsT()
    options.beta = float(case.attrs.get("beta", 1.0))  # type: ignore[arg-type]
    writer.add("SOFTMAX", writer.inputs, writer.outputs, options)


def _leaky_relu(writer: _Writer, case: OpCase) -> None:
    options = schema.LeakyReluOptionsT()
    options.alpha = case.attrs["alpha"]
    writer.add("LEAKY_RELU", writer.inputs, writer.outputs, options)


def _reduce(builtin: str) -> Callable[[_Writer, OpCase], None]:
    def write(writer: _Writer, case: OpCase) -> None:
        options = schema.ReducerOptionsT()
        options.keepDims = bool(case.attrs["keep_dims"])
        axes = writer.ints(*_numbers(case, "axes"))
        writer.add(builtin, [writer.inputs[0], axes], writer.outputs, options)

    return write


def _arg(builtin: str, options: type) -> Callable[[_Writer, OpCase], None]:
    def write(writer: _Writer, case: OpCase) -> None:
        if case.attrs["keep_dims"]:
            raise NoFormError("keeps the axis")
        given = options()
        given.outputType = vars(schema.TensorType)[case.outputs[0].dtype.name]
        axis = writer.ints(int(case.attrs["axis"]))  # type: ignore[arg-type]
        writer.add(builtin, [writer.inputs[0], axis], writer.outputs, given)

    return write


def _with_axis(builtin: str, options: type) -> Callable[[_Writer, OpCase], None]:
    def write(writer: _Writer, case: OpCase) -> None:
        given = options()
        given.axis = case.attrs["axis"]
        if builtin == "PACK":
            given.valuesCount = len(writer.inputs)
        if builtin == "UNPACK":
            given.num = len(writer.outputs)
        writer.add(builtin, writer.inputs, writer.outputs, given)

    return write


def _split(writer: _Writer, case: OpCase) -> None:
    options = schema.SplitVOptionsT()
    sizes = _numbers(case, "sizes")
    options.numSplits = len(sizes)
    axis = writer.ints(int(case.attrs["axis"]))  # type: ignore[arg-type]
    writer.graph.tensors[axis].shape = []
    inputs = [writer.inputs[0], writer.ints(*sizes), axis]
    writer.add("SPLIT_V", inputs, writer.outputs, options)


def _slice(writer: _Writer, case: OpCase) -> None:
    operands = [writer.ints(*_numbers(case, name)) for name in ("begin", "end", "strides")]
    options = schema.StridedSliceOptionsT()
    inputs = [writer.inputs[0], *operands]
    writer.add("STRIDED_SLICE", inputs, writer.outputs, options)


def _pad(writer: _Writer, case: OpCase) -> None:
    pairs = np.array(_pairs(case, "padding"), np.int32)
    amounts = writer.tensor(Tensor.constant("amounts", pairs), pairs)
    mode = case.attrs.get("mode", "constant")
    if mode in ("reflect", "symmetric"):
        options = schema.MirrorPadOptionsT()
        options.mode = 0 if mode == "reflect" else 1
        writer.add("MIRROR_PAD", [writer.inputs[0], amounts], writer.outputs, options)
        return
    if mode != "constant":
        raise NoFormError(str(mode))
    if not case.attrs.get("value"):
        inputs = [writer.inputs[0], amounts]
        writer.add("PAD", inputs, writer.outputs, schema.PadOptionsT())
        return
    value = _constant_like(case, float(case.attrs["value"]))  # type: ignore[arg-type]
    inputs = [writer.inputs[0], amounts, writer.tensor(*value)]
    writer.add("PADV2", inputs, writer.outputs, schema.PadV2OptionsT())


def _constant_like(case: OpCase, real: float) -> tuple[Tensor, Array]:
    first = case.inputs[0]
    assert first is not None
    tensor = first[0]
    stored = real
    if tensor.quantization is not None:
        stored = round(real / float(tensor.quantization.scale[0]))
        stored += int(tensor.quantization.zero_point[0])
    data = np.array([stored]).astype(tensor.dtype.numpy)
    return Tensor.constant("value", data, tensor.quantization), data


def _with_ints(builtin: str, name: str, options: type | None) -> Callable[[_Writer, OpCase], None]:
    def write(writer: _Writer, case: OpCase) -> None:
        values = case.outputs[0].static_shape if name == "shape" else _numbers(case, name)
        inputs = [writer.inputs[0], writer.ints(*values)]
        writer.add(builtin, inputs, writer.outputs, options() if options else None)

    return write


def _resize(writer: _Writer, case: OpCase) -> None:
    _need_nhwc(case)
    is_nearest = case.attrs["mode"] == "nearest"
    kind = schema.ResizeNearestNeighborOptionsT if is_nearest else schema.ResizeBilinearOptionsT
    options = kind()
    options.alignCorners = bool(case.attrs["align_corners"])
    options.halfPixelCenters = bool(case.attrs["half_pixel_centers"])
    builtin = "RESIZE_NEAREST_NEIGHBOR" if is_nearest else "RESIZE_BILINEAR"
    inputs = [writer.inputs[0], writer.ints(*_numbers(case, "size"))]
    writer.add(builtin, inputs, writer.outputs, options)


def _block(builtin: str, options: type) -> Callable[[_Writer, OpCase], None]:
    def write(writer: _Writer, case: OpCase) -> None:
        _need_nhwc(case)
        given = options()
        given.blockSize = case.attrs["block"]
        writer.add(builtin, writer.inputs, writer.outputs, given)

    return write


def _svdf(writer: _Writer, case: OpCase) -> None:
    options = _filled(schema.SVDFOptionsT(), case)
    options.rank = case.attrs["rank"]
    if case.outputs[0].dtype is DType.INT8:
        _give_bias_scale(writer)
    writer.add("SVDF", writer.inputs, writer.outputs, options)


def _give_bias_scale(writer: _Writer) -> None:
    """Declare the bias's scale, which TensorFlow Lite Micro checks."""
    tensors = [writer.graph.tensors[index] for index in writer.inputs]
    product = np.float32(tensors[4].quantization.scale[0]) * np.float32(
        tensors[2].quantization.scale[0]
    )
    tensors[3].quantization = schema.QuantizationParametersT()
    tensors[3].quantization.scale = [float(product)]
    tensors[3].quantization.zeroPoint = [0]


def _lstm(writer: _Writer, case: OpCase) -> None:
    options = _filled(schema.UnidirectionalSequenceLSTMOptionsT(), case)
    options.cellClip = case.attrs["cell_clip"]
    options.timeMajor = bool(case.attrs["time_major"])
    writer.add("UNIDIRECTIONAL_SEQUENCE_LSTM", writer.inputs, writer.outputs, options)


_SAME_FORM = {
    "dequantize": "DEQUANTIZE",
    "elu": "ELU",
    "hard_swish": "HARD_SWISH",
    "maximum": "MAXIMUM",
    "minimum": "MINIMUM",
    "quantize": "QUANTIZE",
    "relu": "RELU",
    "relu6": "RELU6",
    "sigmoid": "LOGISTIC",
    "squared_difference": "SQUARED_DIFFERENCE",
    "tanh": "TANH",
}
"""Operators without options that matter."""

_WRITERS: dict[str, Callable[[_Writer, OpCase], None]] = {
    "add": _arithmetic("ADD", schema.AddOptionsT),
    "arg_max": _arg("ARG_MAX", schema.ArgMaxOptionsT),
    "arg_min": _arg("ARG_MIN", schema.ArgMinOptionsT),
    "average_pool2d": _pool("AVERAGE_POOL_2D"),
    "concat": _with_axis("CONCATENATION", schema.ConcatenationOptionsT),
    "conv2d": _conv,
    "depth_to_space": _block("DEPTH_TO_SPACE", schema.DepthToSpaceOptionsT),
    "depthwise_conv2d": _depthwise,
    "div": _arithmetic("DIV", schema.DivOptionsT),
    "expand": _with_ints("BROADCAST_TO", "shape", schema.BroadcastToOptionsT),
    "fully_connected": _fully_connected,
    "gather": _with_axis("GATHER", schema.GatherOptionsT),
    "leaky_relu": _leaky_relu,
    "max_pool2d": _pool("MAX_POOL_2D"),
    "mul": _arithmetic("MUL", schema.MulOptionsT),
    "pack": _with_axis("PACK", schema.PackOptionsT),
    "pad": _pad,
    "reduce_max": _reduce("REDUCE_MAX"),
    "reduce_mean": _reduce("MEAN"),
    "reduce_min": _reduce("REDUCE_MIN"),
    "reduce_sum": _reduce("SUM"),
    "reshape": _with_ints("RESHAPE", "shape", schema.ReshapeOptionsT),
    "resize": _resize,
    "slice": _slice,
    "softmax": _softmax,
    "space_to_depth": _block("SPACE_TO_DEPTH", schema.SpaceToDepthOptionsT),
    "split": _split,
    "sub": _arithmetic("SUB", schema.SubOptionsT),
    "svdf": _svdf,
    "tile": _with_ints("TILE", "repeats", schema.TileOptionsT),
    "transpose": _with_ints("TRANSPOSE", "perm", schema.TransposeOptionsT),
    "transpose_conv2d": _transpose_conv,
    "unidirectional_lstm": _lstm,
    "unpack": _with_axis("UNPACK", schema.UnpackOptionsT),
}
