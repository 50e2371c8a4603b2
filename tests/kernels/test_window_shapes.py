"""Convolutions of random shapes: every set of kernels equals the reference, apart and in place.

In place means twice: each kernel on memory of exactly the planned size, and a graph whose plan lets
a convolution overwrite its input, run in its arena.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.dtypes import DType
from edgekit.graph import Attr
from edgekit.native import has_library
from edgekit.ops import cases, int8, registry
from edgekit.ops.checks import PACKED, SMALL
from edgekit.ops.evaluate import evaluate
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpCase
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.native import NativeRunner
from edgekit.runtime.reference import ReferenceRunner
from tests.kernels.run_case import run_reference, view_of
from tests.kernels.test_native import Kernels, kernels, run_native
from tests.small_graphs import overwritable

pytestmark = pytest.mark.skipif(not has_library(), reason="the native core is not built")
__all__ = ["kernels"]

CHANNELS = st.one_of(st.integers(1, 9), st.sampled_from([16, 17, 40]))
"""Some less, as many as, and more than the kernels take at a time."""


INT8 = (DType.INT8, DType.INT8)
WIDTHS = st.tuples(st.sampled_from(SMALL), st.sampled_from(SMALL)).filter(lambda two: two != INT8)
"""Types of which one at least is packed."""


@st.composite
def windows(
    draw: st.DrawFn, *, depthwise: bool, same: bool, widths: tuple[DType, DType] = INT8
) -> OpCase:
    """Return a convolution; with ``same``, one whose output has the input's shape.

    ``widths`` are the types of the input and the output.
    """
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilations = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    reaches = [(kernel[axis] - 1) * dilations[axis] for axis in range(2)]
    strides = (1, 1) if same else draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    before = [draw(st.integers(0, reach)) for reach in reaches]
    after = [
        reach - pad if same else draw(st.integers(0, reach))
        for reach, pad in zip(reaches, before, strict=True)
    ]
    sizes = [draw(st.integers(1 if same else reach + 1, reach + 9)) for reach in reaches]
    batches, channels = draw(st.integers(1, 2)), draw(CHANNELS)
    factor = 1 if same else draw(st.integers(1, 5))
    attrs: dict[str, Attr] = {
        "padding": tuple(zip(before, after, strict=True)),
        "strides": strides,
        "dilations": dilations,
        "activation": draw(st.sampled_from(["none", "relu", "relu6"])),
        "layout": "NHWC",
    }
    outputs = channels * factor if depthwise or same else draw(st.integers(1, 9))
    shape = (1, *kernel, outputs) if depthwise else (outputs, *kernel, channels)
    if depthwise:
        attrs["depth_multiplier"] = factor
    op = "depthwise_conv2d" if depthwise else "conv2d"
    return cases.case(
        op,
        registry()[op].infer,
        (
            cases.stored_input(
                "x",
                (batches, *sizes, channels),
                widths[0],
                0.05,
                draw(st.integers(*int8.integer_range(widths[0]))),
            ),
            cases.int8_weights("weights", shape, 3 if depthwise else 0, draw(st.floats(1e-3, 0.4))),
            cases.int32_bias("bias", outputs),
        ),
        attrs,
        scale=0.4,
        zero_point=draw(st.integers(*int8.integer_range(widths[1]))),
        dtype=widths[1],
    )


@settings(deadline=None)
@given(case=st.booleans().flatmap(lambda depthwise: windows(depthwise=depthwise, same=False)))
def test_kernels_equal_the_reference(kernels: Kernels, case: OpCase) -> None:
    found = run_native(case.id, case, kernels)
    assert found[0].tobytes() == run_reference(case.id, case)[0].tobytes()


@settings(deadline=None)
@given(case=st.booleans().flatmap(lambda depthwise: windows(depthwise=depthwise, same=True)))
def test_kernels_in_place_equal_the_reference(kernels: Kernels, case: OpCase) -> None:
    if registry()[case.id].in_place_when(view_of(case.id, case)):
        found = run_native(case.id, case, kernels, in_place=True)
        assert found[0].tobytes() == run_reference(case.id, case)[0].tobytes()


@st.composite
def packed_windows(draw: st.DrawFn, *, same: bool) -> OpCase:
    """Return a convolution of packed tensors; with ``same`` its output has the input's bytes."""
    widths = draw(WIDTHS)
    if same:
        widths = draw(st.sampled_from(PACKED).map(lambda dtype: (dtype, dtype)))
    return draw(windows(depthwise=draw(st.booleans()), same=same, widths=widths))


@settings(deadline=None)
@given(case=packed_windows(same=False))
def test_packed_kernels_equal_the_reference(kernels: Kernels, case: OpCase) -> None:
    found = run_native(case.id, case, kernels)
    assert found[0].tobytes() == run_reference(case.id, case)[0].tobytes()


@settings(deadline=None)
@given(case=packed_windows(same=True))
def test_packed_kernels_in_place_equal_the_reference(kernels: Kernels, case: OpCase) -> None:
    if registry()[case.id].in_place_when(view_of(case.id, case)):
        found = run_native(case.id, case, kernels, in_place=True)
        assert found[0].tobytes() == run_reference(case.id, case)[0].tobytes()


@settings(deadline=None)
@given(case=windows(depthwise=False, same=True))
def test_plans_let_a_convolution_overwrite_its_input(case: OpCase) -> None:
    graph, profile = overwritable(case), load_profile("stm32h743")
    inputs = {"x": np.array(case.inputs[0][1] if case.inputs[0] else 0)}
    expected = evaluate(graph, inputs)["end"]
    plan = build_plan(graph, profile, executor="reference", kernels=KernelSet.PORTABLE)
    aliases = {buffer.tensor: buffer.alias_of for buffer in plan.buffers}
    assert aliases[case.outputs[0].name] == "middle"
    for runner in (NativeRunner(graph, plan), ReferenceRunner(graph, plan)):
        result = runner.run(inputs)
        np.testing.assert_array_equal(result.outputs["end"], expected)
        ram = plan.memory(profile.working_memory)
        assert result.trace.peak_bytes[ram.name] == ram.peak_bytes
