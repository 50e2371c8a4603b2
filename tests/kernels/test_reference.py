"""Every operator's test cases on the reference, against what must hold whatever the operator.

To add an operator, add its file with ``cases``; nothing here names it. Cases that a native kernel
runs too are the same ones.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgekit.dtypes import Array, DType
from edgekit.graph import Quantization, Tensor, TensorKind
from edgekit.ops import int8, registry
from edgekit.ops.checks import SMALL
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpCall, OpCase, OpView, QuantRule
from tests.kernels.run_case import fresh_arrays, run_reference, view_of

ALL_CASES = [(op, case) for op, spec in registry().items() for case in spec.cases()]
INT8_CASES = [
    (op, case)
    for op, case in ALL_CASES
    if case.inputs
    and case.inputs[0] is not None
    and case.inputs[0][0].dtype in SMALL
    and case.outputs[0].dtype in SMALL
]
COARSE = {"hard_swish": 2.0, "unidirectional_lstm": 4.0}
"""Largest error in steps of the output where arithmetic has more than one rounding to int16."""
WITH_BIAS = {"svdf", "unidirectional_lstm"} | {
    op for op, spec in registry().items() if spec.quantization is QuantRule.WEIGHTED
}
"""Operators whose int32 operands are biases."""


def names(pairs: list[tuple[str, OpCase]]) -> list[str]:
    return [f"{op}-{case.id}" for op, case in pairs]


@pytest.mark.parametrize("op", sorted(registry()))
def test_operator_has_cases_with_different_names(op: str) -> None:
    ids = [case.id for case in registry()[op].cases()]
    assert ids
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(("op", "case"), ALL_CASES, ids=names(ALL_CASES))
def test_reference_keeps_the_promise_of_shape_inference(op: str, case: OpCase) -> None:
    view = view_of(op, case)
    types = registry()[op].infer(OpView(view.node, view.inputs, case.outputs))
    outputs = run_reference(op, case)
    assert [kind.dtype for kind in types] == [output.dtype for output in case.outputs]
    assert [(kind.shape, kind.dtype.numpy) for kind in types] == [
        (output.shape, output.dtype) for output in outputs
    ]


@pytest.mark.parametrize(("op", "case"), ALL_CASES, ids=names(ALL_CASES))
def test_reference_is_a_function_of_its_inputs(op: str, case: OpCase) -> None:
    arrays = fresh_arrays(case)
    before = [None if array is None else array.copy() for array in arrays]
    view = view_of(op, case)
    first = list(registry()[op].reference(OpCall(view, arrays)))
    for tensor, array, kept in zip(view.inputs, arrays, before, strict=True):
        if tensor is not None and tensor.kind is not TensorKind.STATE:
            assert array is not None
            assert kept is not None
            np.testing.assert_array_equal(array, kept)
            assert not any(np.shares_memory(array, output) for output in first)
    for again, output in zip(run_reference(op, case), first, strict=True):
        np.testing.assert_array_equal(again, output)


@pytest.mark.parametrize(("op", "case"), ALL_CASES, ids=names(ALL_CASES))
def test_costs_are_counted(op: str, case: OpCase) -> None:
    spec = registry()[op]
    view = view_of(op, case)
    assert spec.macs(view) >= 0
    assert all(spec.scratch_bytes(view, kernels) >= 0 for kernels in KernelSet)
    if spec.quantization is QuantRule.WEIGHTED:
        assert spec.macs(view) > 0


@pytest.mark.parametrize(("op", "case"), INT8_CASES, ids=names(INT8_CASES))
def test_int8_arithmetic_approximates_float(op: str, case: OpCase) -> None:
    output = case.outputs[0]
    scale = float(int8.scale_of(output))
    stored = run_reference(op, case, zero_states=True)[0]
    twin = "identity" if op == "quantize" else op
    expected = run_reference(twin, float_twin(op, case), zero_states=True)[0]
    steps = expected.astype(np.float64) / scale + int8.zero_point_of(output)
    low, high = int8.integer_range(output.dtype)
    error = np.abs(np.clip(steps, low, high) - stored.astype(np.float64))
    assert error.max() <= COARSE.get(op, 1.01)


def float_twin(op: str, case: OpCase) -> OpCase:
    """Return the case in real numbers: operands dequantized, no quantization anywhere."""
    inputs = []
    for index, given in enumerate(case.inputs):
        is_bias = given is not None and given[0].dtype is DType.INT32 and op in WITH_BIAS
        if given is None or (given[0].quantization is None and not is_bias):
            inputs.append(given)
            continue
        tensor, data = given
        if tensor.quantization is None:
            tensor = replace(tensor, quantization=bias_scale(case, index))
        real = int8.real_from_stored(data, tensor)
        inputs.append((real_tensor(tensor, real), real))
    outputs = tuple(
        replace(tensor, dtype=DType.FLOAT32, quantization=None) for tensor in case.outputs
    )
    return replace(case, inputs=tuple(inputs), outputs=outputs)


def real_tensor(tensor: Tensor, data: Array) -> Tensor:
    load = (lambda: data) if tensor.is_constant else None
    return replace(tensor, dtype=DType.FLOAT32, quantization=None, load=load)


def bias_scale(case: OpCase, index: int) -> Quantization:
    """Return the scale that an int32 operand has by convention: that of the products it joins."""
    tensors = [None if given is None else given[0] for given in case.inputs]
    # The layers with states have their weights elsewhere.
    x, weights = {3: (4, 2), 12: (0, 1), 13: (0, 2), 14: (0, 3), 15: (0, 4)}.get(index, (0, 1))
    first, second = tensors[x], tensors[weights]
    assert first is not None
    assert second is not None
    scales = int8.quantization_of(second).scale
    scale = (int8.scale_of(first) * scales).astype(np.float32)
    return Quantization(scale, np.zeros(scale.size, np.int32), 0 if scale.size > 1 else None)


@pytest.mark.parametrize("op", ["conv2d", "max_pool2d", "average_pool2d"])
def test_layouts_give_the_same_image(op: str) -> None:
    cases = {case.id: case for case in registry()[op].cases()}
    turned = [name for name in cases if name.startswith("float_nchw_")]
    assert turned
    for name in turned:
        original = cases[name.replace("nchw_", "")]
        last = run_reference(op, turned_input(cases[name], original))[0]
        first = run_reference(op, original)[0]
        np.testing.assert_allclose(last.transpose(0, 2, 3, 1), first, rtol=1e-5, atol=1e-5)


def turned_input(nchw: OpCase, nhwc: OpCase) -> OpCase:
    """Give the NCHW case the data of the NHWC one."""
    inputs = []
    for target, source in zip(nchw.inputs, nhwc.inputs, strict=True):
        assert (target is None) == (source is None)
        if target is None or source is None:
            inputs.append(None)
            continue
        data = source[1].transpose(0, 3, 1, 2) if source[1].ndim == 4 else source[1]
        inputs.append((target[0], np.ascontiguousarray(data)))
    return replace(nchw, inputs=tuple(inputs))


def test_convolution_is_the_sum_it_is_defined_as() -> None:
    for case in registry()["conv2d"].cases():
        if not case.id.startswith("float_") or "nchw" in case.id:
            continue
        np.testing.assert_allclose(
            run_reference("conv2d", case)[0], looped_convolution(case), rtol=1e-4, atol=1e-4
        )


def looped_convolution(case: OpCase) -> Array:
    """Compute a convolution pixel by pixel from its definition."""
    (_, x), (_, weights) = (given for given in case.inputs[:2] if given is not None)
    view = view_of("conv2d", case)
    (sh, sw), (dh, dw) = view.ints_attr("strides", (1, 1)), view.ints_attr("dilations", (1, 1))
    (top, _), (left, _) = view.pairs_attr("padding")
    groups = view.int_attr("groups", 1)
    out = np.zeros(case.outputs[0].static_shape, np.float64)
    c_out, kh, kw, depth = weights.shape
    for n, oy, ox, co in np.ndindex(out.shape):
        group = co // (c_out // groups)
        for ky, kx in np.ndindex(kh, kw):
            iy, ix = oy * sh + ky * dh - top, ox * sw + kx * dw - left
            if 0 <= iy < x.shape[1] and 0 <= ix < x.shape[2]:
                pixel = x[n, iy, ix, group * depth : (group + 1) * depth].astype(np.float64)
                out[n, oy, ox, co] += pixel @ weights[co, ky, kx].astype(np.float64)
    if case.inputs[2] is not None:
        out += case.inputs[2][1].astype(np.float64)
    limits = {"relu": (0.0, np.inf), "relu6": (0.0, 6.0)}
    return np.clip(out, *limits.get(view.str_attr("activation", "none"), (-np.inf, np.inf)))


def test_transposed_convolution_is_the_adjoint_of_convolution() -> None:
    """``<conv(x), y> = <x, transposed(y)>`` for the same weights, strides and padding."""
    generator = np.random.default_rng(3)
    weights = generator.standard_normal((4, 3, 3, 2)).astype(np.float32)
    x = generator.standard_normal((1, 7, 7, 2)).astype(np.float32)
    y = generator.standard_normal((1, 4, 4, 4)).astype(np.float32)
    attrs = {"strides": (2, 2), "padding": ((1, 1), (1, 1)), "layout": "NHWC"}
    forward = one_layer("conv2d", x, weights, attrs, (1, 4, 4, 4))
    turned = np.ascontiguousarray(weights.transpose(3, 1, 2, 0))
    backward = one_layer("transpose_conv2d", y, turned, attrs, (1, 7, 7, 2))
    assert np.vdot(forward, y) == pytest.approx(np.vdot(x, backward), rel=1e-4)


def one_layer(
    op: str, x: Array, weights: Array, attrs: dict[str, object], shape: tuple[int, ...]
) -> Array:
    inputs = (
        (Tensor("x", x.shape, DType.FLOAT32, TensorKind.INPUT), x),
        (Tensor.constant("weights", weights), weights),
    )
    case = OpCase("layer", inputs, (Tensor("y", shape, DType.FLOAT32),), attrs)  # type: ignore[arg-type]
    return run_reference(op, case)[0]
