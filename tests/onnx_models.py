"""Small ONNX models made on the fly, one or more for each operator that is read.

To add one, yield a :class:`Case` from a family below: the importer's and the emitter's tests run
them all against onnxruntime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """A model of one operator (or a few), and the arrays it is run on."""

    id: str
    model: onnx.ModelProto
    inputs: dict[str, Array] = field(default_factory=dict)


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, Array],
    constants: dict[str, Array] | None = None,
    outputs: tuple[str, ...] = ("y",),
    opset: int = 17,
) -> onnx.ModelProto:
    """Return a checked model; the types of its outputs are inferred."""
    graph = helper.make_graph(
        nodes,
        "case",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in inputs.items()
        ],
        [helper.make_value_info(name, onnx.TypeProto()) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)],
        ir_version=8,
    )
    inferred = onnx.shape_inference.infer_shapes(model)
    known = {info.name: info for info in inferred.graph.output}
    for output in model.graph.output:
        found = known[output.name]
        if found.type.HasField("tensor_type"):
            output.CopyFrom(found)
        else:
            output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, None))
    return model


def numbers(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> Array:
    """Return reproducible float32 numbers."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def one(
    op: str,
    inputs: dict[str, Array],
    constants: dict[str, Array] | None = None,
    *,
    id: str = "",
    opset: int = 17,
    domain: str = "",
    order: tuple[str, ...] = (),
    outputs: tuple[str, ...] = ("y",),
    **attrs: Any,
) -> Case:
    """Return a case of one node; ``order`` gives its inputs where it is not inputs + constants."""
    names = order or (*inputs, *(constants or {}))
    node = helper.make_node(op, list(names), list(outputs), domain=domain, **attrs)
    return Case(
        f"{op}{'_' + id if id else ''}",
        model_of([node], inputs, constants, outputs, opset),
        inputs,
    )


def run_onnx(data: bytes, inputs: Mapping[str, Array], *, optimize: bool = True) -> list[Array]:
    """Return the outputs of a serialized model in onnxruntime, copied out of its memory."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return [np.array(output) for output in session.run(None, dict(inputs))]


@cache
def expected_of(id: str) -> list[Array]:
    """Return what onnxruntime computes for a case."""
    case = next(case for case in all_cases() if case.id == id)
    return run_onnx(case.model.SerializeToString(), case.inputs)


@cache
def all_cases() -> list[Case]:
    """Return every case."""
    families = (_unary, _binary, _products, _convolutions, _pools, _norms, _reductions, _moves)
    return [
        case
        for family in (*families, _resizes, _shapes, _quantized, _integers)
        for case in family()
    ]


def _unary() -> Iterator[Case]:
    x = {"x": numbers(2, 3, 4, 5)}
    for op in (
        *("Abs", "Ceil", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish", "Identity"),
        *("LeakyRelu", "Neg", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Tanh"),
        *("Reciprocal", "LogSoftmax", "Softmax"),
    ):
        yield one(op, x)
    positive = {"x": numbers(2, 3, 4, low=0.1, high=4)}
    for op in ("Log", "Sqrt"):
        yield one(op, positive)
    yield one("LeakyRelu", x, id="alpha", alpha=0.3)
    yield one("Elu", x, id="alpha", alpha=0.5)
    yield one("HardSigmoid", x, id="alpha", alpha=0.4, beta=0.3)
    yield one("Mish", x, opset=18)
    yield one("Gelu", x, opset=20)
    yield one("Gelu", x, id="tanh", opset=20, approximate="tanh")
    yield one("Gelu", x, id="microsoft", domain="com.microsoft")
    bounds = {"low": np.float32(-0.5), "high": np.float32(0.75)}
    yield one("Clip", x, bounds)
    yield one("Clip", x, {"low": np.float32(0), "high": np.float32(6)}, id="relu6")
    yield one("Clip", x, {"high": np.float32(1)}, id="upper", order=("x", "", "high"))
    yield one("Clip", x, id="attributes", opset=6 + 1, min=-1.0, max=1.0)
    for shape in ((3, 1, 1), (1,), (1, 3, 4, 5)):
        slope = {"slope": numbers(*shape, seed=1)}
        yield one("PRelu", x, slope, id="x".join(map(str, shape)))
    yield one("Dropout", x)
    yield one("Not", {"x": numbers(2, 3) > 0})
    for target in (TensorProto.INT32, TensorProto.BOOL, TensorProto.INT64, TensorProto.FLOAT):
        yield one("Cast", x, id=TensorProto.DataType.Name(target).lower(), to=target)


def _binary() -> Iterator[Case]:
    a, b = numbers(2, 3, 4, seed=1), numbers(3, 1, seed=2)
    for op in ("Add", "Sub", "Mul", "Div", "Min", "Max"):
        yield one(op, {"a": a, "b": b})
        yield one(op, {"a": a}, {"b": b}, id="constant")
    for op in ("Sum", "Mean", "Max"):
        yield one(op, {"a": a, "b": b, "c": numbers(4)}, id="three")
    for op in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"):
        yield one(op, {"a": np.round(a), "b": np.round(b)})
    for op in ("And", "Or"):
        yield one(op, {"a": a > 0, "b": b > 0})
    yield one("Where", {"c": a > 0, "a": a, "b": b})
    yield one("Where", {"c": a > 0, "a": a}, {"b": np.float32(-1e9)}, id="masked")
    for exponent in (2.0, 0.5, 3.0):
        yield one("Pow", {"a": np.abs(a)}, {"p": np.float32(exponent)}, id=str(exponent))
    yield one("Pow", {"a": a}, {"p": np.array(2, np.int64)}, id="integer")


def _products() -> Iterator[Case]:
    a = numbers(2, 3, 4)
    for name, shape in (("matrix", (4, 5)), ("batch", (2, 4, 5)), ("vector", (4,))):
        b = numbers(*shape, seed=1)
        yield one("MatMul", {"a": a, "b": b}, id=name)
        yield one("MatMul", {"a": a}, {"b": b}, id=f"constant_{name}")
    yield one("MatMul", {"a": numbers(4)}, {"b": numbers(4, 5)}, id="vector_matrix")
    yield one("MatMul", {"a": numbers(4)}, {"b": numbers(4, seed=1)}, id="vector_vector")
    x, w = numbers(3, 4), numbers(4, 5, seed=1)
    yield one("Gemm", {"a": x}, {"b": w, "c": numbers(5, seed=2)})
    yield one("Gemm", {"a": x}, {"b": w}, id="no_bias")
    yield one("Gemm", {"a": x, "b": w, "c": numbers(3, 5)}, id="computed", alpha=0.5, beta=2.0)
    yield one(
        "Gemm", {"a": x.T.copy()}, {"b": w.T.copy(), "c": numbers(1)}, id="turned", transA=1,
        transB=1, beta=0.3,
    )  # fmt: skip


def _convolutions() -> Iterator[Case]:
    x = numbers(1, 4, 9, 8)
    bias = {"b": numbers(6, seed=2)}
    for name, shape, attrs in (
        ("plain", (6, 4, 3, 3), {}),
        ("pads", (6, 4, 3, 3), {"pads": [1, 0, 2, 1]}),
        ("strides", (6, 4, 3, 2), {"strides": [2, 3], "pads": [1, 1, 1, 1]}),
        ("dilations", (6, 4, 3, 3), {"dilations": [2, 1]}),
        ("groups", (6, 2, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
        ("same_upper", (6, 4, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ("same_lower", (6, 4, 2, 2), {"auto_pad": "SAME_LOWER"}),
        ("valid", (6, 4, 2, 2), {"auto_pad": "VALID"}),
    ):
        yield one("Conv", {"x": x}, {"w": numbers(*shape, seed=1), **bias}, id=name, **attrs)
    yield one("Conv", {"x": x}, {"w": numbers(8, 1, 3, 3)}, id="depthwise", group=4)
    yield one("Conv", {"x": numbers(2, 3, 11)}, {"w": numbers(4, 3, 5)}, id="signal", strides=[2],
              pads=[1, 2])  # fmt: skip
    yield one("Conv", {"x": x, "w": numbers(2, 4, 3, 3)}, id="computed_weights")
    for name, shape, attrs in (
        ("plain", (4, 6, 3, 3), {}),
        ("strides", (4, 6, 3, 2), {"strides": [2, 3]}),
        ("pads", (4, 6, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("output_padding", (4, 6, 3, 3), {"strides": [2, 2], "output_padding": [1, 1]}),
        ("dilations", (4, 6, 2, 3), {"dilations": [2, 2]}),
        ("groups", (4, 3, 3, 3), {"group": 2, "strides": [2, 2]}),
        ("output_shape", (4, 6, 3, 3), {"strides": [2, 2], "output_shape": [18, 16]}),
        ("same_upper", (4, 6, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ):
        weights = {"w": numbers(*shape, seed=1), **bias}
        yield one("ConvTranspose", {"x": x}, weights, id=name, **attrs)
    yield one("ConvTranspose", {"x": numbers(1, 3, 7)}, {"w": numbers(3, 2, 4)}, id="signal",
              strides=[2])  # fmt: skip


def _pools() -> Iterator[Case]:
    x = {"x": numbers(2, 3, 9, 8)}
    for op in ("MaxPool", "AveragePool"):
        for name, attrs in (
            ("plain", {"kernel_shape": [2, 2]}),
            ("strides", {"kernel_shape": [3, 2], "strides": [2, 2]}),
            ("pads", {"kernel_shape": [3, 3], "pads": [1, 0, 1, 2], "strides": [2, 1]}),
            ("ceil", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
            ("same", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ):
            yield one(op, x, id=name, **attrs)
        signal = {"x": numbers(1, 2, 9)}
        yield one(op, signal, id="signal", kernel_shape=[3], strides=[2])
    yield one("MaxPool", x, id="dilated", kernel_shape=[2, 2], dilations=[2, 3])
    yield one("AveragePool", x, id="counts_padding", kernel_shape=[3, 3], pads=[1, 1, 1, 1],
              count_include_pad=1)  # fmt: skip
    for op in ("GlobalAveragePool", "GlobalMaxPool"):
        yield one(op, x)


def _norms() -> Iterator[Case]:
    x = {"x": numbers(2, 4, 3, 5)}
    channels = {"g": numbers(4, seed=1), "b": numbers(4, seed=2)}
    statistics = {"m": numbers(4, seed=3), "v": numbers(4, seed=4, low=0.1)}
    yield one("BatchNormalization", x, {**channels, **statistics}, epsilon=1e-3)
    yield one("BatchNormalization", {"x": numbers(3, 4)}, {**channels, **statistics}, id="matrix")
    yield one("InstanceNormalization", x, channels)
    last = {"g": numbers(5, seed=1), "b": numbers(5, seed=2)}
    yield one("LayerNormalization", x, last)
    yield one("LayerNormalization", x, {"g": last["g"]}, id="no_bias", epsilon=1e-6)
    two = {"g": numbers(3, 5, seed=1), "b": numbers(3, 5, seed=2)}
    yield one("LayerNormalization", x, two, id="two_axes", axis=2)
    yield one("LpNormalization", x, axis=1)
    yield one("LpNormalization", x, id="absolute", axis=-1, p=1)
    yield one("Softmax", x, id="channels", axis=1)
    yield one("Softmax", x, id="flattened", opset=11, axis=2)
    yield one("LogSoftmax", x, id="channels", axis=1)
    yield one("GroupNormalization", x, channels, opset=21, num_groups=2)


def _reductions() -> Iterator[Case]:
    x = {"x": numbers(2, 3, 4, 5)}
    for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare"):
        yield one(op, x, axes=[2, 3], keepdims=1)
        yield one(op, x, id="dropped", axes=[-1], keepdims=0)
        yield one(op, x, {"axes": np.array([1, -1])}, id="axes_input", opset=18)
    yield one("ReduceSum", x, {"axes": np.array([1])}, keepdims=0)
    yield one("ReduceSum", x, id="all")
    yield one("ReduceSum", x, id="nothing", noop_with_empty_axes=1)
    yield one("ReduceMean", x, id="all", keepdims=0)
    for op in ("ArgMax", "ArgMin"):
        yield one(op, x, axis=1, keepdims=0)
        yield one(op, x, id="kept", axis=-1)


def _moves() -> Iterator[Case]:
    x = {"x": numbers(2, 3, 4, 5)}
    yield one("Reshape", x, {"s": np.array([0, -1, 5])})
    yield one("Flatten", x)
    yield one("Flatten", x, id="axis", axis=-1)
    yield one("Squeeze", {"x": numbers(1, 3, 1, 5)}, {"a": np.array([2])})
    yield one("Squeeze", {"x": numbers(1, 3, 1, 5)}, id="all")
    yield one("Squeeze", {"x": numbers(1, 3, 1, 5)}, id="attribute", opset=11, axes=[0])
    yield one("Unsqueeze", x, {"a": np.array([0, -1])})
    yield one("Transpose", x, perm=[0, 2, 3, 1])
    yield one("Transpose", x, id="reversed")
    yield one("Concat", {"a": numbers(2, 3), "b": numbers(2, 1)}, {"c": numbers(2, 2)}, axis=1)
    yield one("Split", x, {"s": np.array([1, 3])}, outputs=("y", "z"), axis=2)
    yield one("Split", x, id="equal", outputs=("y", "z"), axis=2)
    yield one("Split", x, id="attribute", opset=11, outputs=("y", "z"), axis=3, split=[2, 3])
    yield one("Slice", x, {"s": np.array([1, 0]), "e": np.array([99, -1]), "a": np.array([1, 3])})
    steps = {"s": np.array([-1]), "e": np.array([-99]), "a": np.array([2]), "t": np.array([-2])}
    yield one("Slice", x, steps, id="backwards")
    yield one("Slice", x, id="attributes", opset=9, starts=[1], ends=[3], axes=[2])
    yield one("Pad", x, {"p": np.array([0, 0, 1, 2, 0, 0, 3, 0]), "v": np.float32(1.5)})
    yield one("Pad", x, {"p": np.array([0, 0, 1, -1, 0, 0, 0, -1])}, id="cropping")
    for mode in ("reflect", "edge"):
        yield one("Pad", x, {"p": np.array([0, 0, 1, 2, 0, 0, 2, 1])}, id=mode, mode=mode)
    yield one("Gather", x, {"i": np.array([[0, 2], [-1, 1]])}, axis=1)
    yield one("Gather", x, {"i": np.array(1)}, id="one", axis=2)
    yield one("Gather", {"i": np.array([[1, 0, 3]])}, {"t": numbers(6, 4)}, order=("t", "i"),
              id="embedding")  # fmt: skip
    yield one("Expand", {"x": numbers(3, 1)}, {"s": np.array([2, 1, 4])})
    yield one("Tile", x, {"r": np.array([1, 2, 1, 3])})
    for mode in ("DCR", "CRD"):
        yield one("DepthToSpace", {"x": numbers(1, 12, 2, 3)}, id=mode, blocksize=2, mode=mode)
    yield one("SpaceToDepth", {"x": numbers(1, 3, 4, 6)}, blocksize=2)


def _resizes() -> Iterator[Case]:
    x = {"x": numbers(1, 2, 5, 6)}
    double = {"s": np.array([1, 1, 2, 2], np.float32)}
    sizes = {"z": np.array([1, 2, 8, 3])}
    for coordinates, rounding in (
        ("asymmetric", "floor"),
        ("half_pixel", "round_prefer_floor"),
        ("half_pixel", "round_prefer_ceil"),
        ("align_corners", "round_prefer_ceil"),
    ):
        attrs = {"coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
        yield one("Resize", x, double, id=f"{coordinates}_{rounding}", order=("x", "", "s"),
                  **attrs)  # fmt: skip
    for coordinates in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"):
        attrs = {"coordinate_transformation_mode": coordinates, "mode": "linear"}
        yield one("Resize", x, sizes, id=f"linear_{coordinates}", order=("x", "", "", "z"), **attrs)
    yield one("Upsample", x, double, opset=9)
    yield one("Upsample", x, id="attribute", opset=7, scales=[1.0, 1.0, 2.0, 3.0])


def _shapes() -> Iterator[Case]:
    x = {"x": numbers(2, 3, 4)}
    make = helper.make_node
    yield Case(
        "Shape_Reshape",
        model_of(
            [
                make("Shape", ["x"], ["shape"]),
                make("Gather", ["shape", "first"], ["batch"]),
                make("Unsqueeze", ["batch", "zero"], ["batches"]),
                make("Concat", ["batches", "rest"], ["target"], axis=0),
                make("Reshape", ["x", "target"], ["y"]),
            ],
            x,
            {"first": np.array(0), "zero": np.array([0]), "rest": np.array([-1])},
        ),
        x,
    )
    yield Case(
        "Range_ConstantOfShape",
        model_of(
            [
                make("Size", ["x"], ["size"]),
                make("Constant", [], ["start"], value_int=0),
                make("Constant", [], ["step"], value_int=1),
                make("Range", ["start", "size", "step"], ["range"]),
                make("Cast", ["range"], ["real"], to=TensorProto.FLOAT),
                make("Shape", ["x"], ["shape"]),
                make("Reshape", ["real", "shape"], ["positions"]),
                make("ConstantOfShape", ["shape"], ["ones"], value=numpy_helper.from_array(
                    np.ones(1, np.float32))),
                make("Add", ["positions", "ones"], ["shifted"]),
                make("Add", ["x", "shifted"], ["y"]),
            ],
            x,
        ),
        x,
    )  # fmt: skip


def _quantized() -> Iterator[Case]:
    x = {"x": numbers(1, 3, 6, 6)}
    scale, zero = np.float32(0.02), np.int8(3)
    make = helper.make_node
    constants: dict[str, Array] = {
        "s": np.array(scale),
        "z": np.array(zero),
        "w": _int8_weights(),
        "ws": np.array([0.01, 0.02, 0.03, 0.04], np.float32),
        "wz": np.zeros(4, np.int8),
        "os": np.array(0.05, np.float32),
        "oz": np.array(-7, np.int8),
    }
    yield Case(
        "QDQ_Conv",
        model_of(
            [
                make("QuantizeLinear", ["x", "s", "z"], ["q"]),
                make("DequantizeLinear", ["q", "s", "z"], ["d"]),
                make("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
                make("Conv", ["d", "wd"], ["c"]),
                make("QuantizeLinear", ["c", "os", "oz"], ["cq"]),
                make("MaxPool", ["cq"], ["p"], kernel_shape=[2, 2]),
                make("DequantizeLinear", ["p", "os", "oz"], ["y"]),
            ],
            x,
            constants,
        ),
        x,
    )
    yield Case(
        "QLinearConv",
        model_of(
            [
                make("QuantizeLinear", ["x", "s", "z"], ["q"]),
                make("QLinearConv", ["q", "s", "z", "w", "ws", "wz", "os", "oz", "b"], ["c"]),
                make("DequantizeLinear", ["c", "os", "oz"], ["y"]),
            ],
            x,
            {**constants, "b": np.array([100, -100, 5, 0], np.int32)},
        ),
        x,
    )
    unsigned = {"s": np.array(scale), "z": np.array(128, np.uint8)}
    yield Case(
        "QDQ_unsigned",
        model_of(
            [
                make("QuantizeLinear", ["x", "s", "z"], ["q"]),
                make("DequantizeLinear", ["q", "s", "z"], ["y"]),
            ],
            x,
            unsigned,
        ),
        x,
    )


def _integers() -> Iterator[Case]:
    make = helper.make_node
    row = {"x": numbers(3, 8)}
    yield Case(
        "QDynamic_MatMul",
        model_of(
            [
                make("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"]),
                make("MatMulInteger", ["q", "w", "qz", "wz"], ["i"]),
                make("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
                make("Mul", ["qs", "ws"], ["scale"]),
                make("Mul", ["f", "scale"], ["y"]),
            ],
            row,
            {
                "w": np.random.default_rng(1).integers(-90, 90, (8, 5)).astype(np.int8),
                "wz": np.array(2, np.int8),
                "ws": np.array(0.01, np.float32),
            },
        ),
        row,
    )
    stored = {"x": np.random.default_rng(2).integers(0, 200, (1, 3, 6, 6)).astype(np.uint8)}
    yield Case(
        "ConvInteger_Cast",
        model_of(
            [
                make("ConvInteger", ["x", "w", "xz"], ["i"], pads=[1, 1, 1, 1]),
                make("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
            ],
            stored,
            {"w": _int8_weights(), "xz": np.array(7, np.uint8)},
        ),
        stored,
    )


def _int8_weights() -> Array:
    return np.random.default_rng(0).integers(-90, 90, (4, 3, 3, 3)).astype(np.int8)
