"""Native kernels equal the reference, case by case and model by model, and stay in their buffers.

Nothing here names an operator: the cases are those of the operators' own files. What no kernel
computes is refused by name. To add a kernel, lower its operator in ``edgekit.runtime.lowering``.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.converters.importers import load_model
from edgekit.deploy.host_program import build_kernel_library, host_compiler
from edgekit.dtypes import Array, DType, from_device_bytes, to_device_bytes
from edgekit.errors import UnsupportedOpError
from edgekit.graph import Tensor
from edgekit.native import has_library, load_library
from edgekit.ops import int8, registry
from edgekit.ops.checks import SMALL
from edgekit.ops.evaluate import evaluate, initial_states
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpCase, OpView
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.lowering import SCRATCH, KernelCall, lower
from edgekit.runtime.lowering.weighted import blocked_weights, packed_weights
from edgekit.runtime.native import NativeRunner
from edgekit.runtime.native_kernels import bind, scratch_bytes
from edgekit.schedule import schedule
from edgekit.shapes import bind_dims
from tests.kernels.run_case import fresh_arrays, run_reference, view_of
from tests.kernels.test_arena_execution import random_inputs

pytestmark = pytest.mark.skipif(not has_library(), reason="the native core is not built")

SANITIZERS = os.environ.get("EDGEKIT_SANITIZERS", "").split()
"""Compiler options with which kernels are built; arrays then have no margins of their own."""
GUARD, MARGIN = 0x5A, 0 if SANITIZERS else 32

Kernels = tuple[KernelSet, ctypes.CDLL]


def cases_of(*dtypes: DType) -> Iterator[tuple[str, OpCase]]:
    for op, spec in registry().items():
        for case in spec.cases():
            first = case.inputs[0] if case.inputs else (case.outputs[0], None)
            if first is not None and first[0].dtype in dtypes:
                yield op, case


CASES = list(cases_of(*SMALL))
OTHER_CASES = list(cases_of(*(set(DType) - set(SMALL))))
"""With kernels that are the same in every set."""
KERNEL_MODELS = (
    *("mlperf_tiny/ad/ad01_int8", "mlperf_tiny/ic/pretrainedResnet_quant"),
    *("mlperf_tiny/kws/kws_ref_model", "mlperf_tiny/vww/vww_96_int8", "tinyengine/vww"),
    *("tflm/hello_world/hello_world_int8", "tflm/keyword/keyword_scrambled"),
    *("tflm/keyword/keyword_scrambled_8bit", "tflm/micro_speech/micro_speech_quantized"),
    *("tflm/mnist_lstm/trained_lstm_int8", "tflm/person_detection/person_detect"),
    "tflm/dtln/dtln_noise_suppression",
)
LARGE_MODELS = (
    "tflm/xtensa_examples/mobilenet_v2_quantized_1x3x224x224",
    "tinyengine/mcunetv2_large",
)
RUNS = 4


class Guarded:
    """Arrays of exactly their size, each between guard bytes."""

    def __init__(self) -> None:
        self.blocks: dict[str, npt.NDArray[np.uint8]] = {}

    def put(self, name: str, data: Array, dtype: DType = DType.UINT8) -> None:
        stored = to_device_bytes(data, dtype)
        if dtype.is_packed:
            # Bits that are left over may be anything.
            stored |= ~to_device_bytes(np.full_like(data, -1), dtype)
        block = np.full(stored.size + 2 * MARGIN, GUARD, np.uint8)
        block[MARGIN : MARGIN + stored.size] = stored
        self.blocks[name] = block

    def get(self, name: str) -> npt.NDArray[np.uint8]:
        return self.blocks[name][MARGIN : len(self.blocks[name]) - MARGIN]

    def address(self, name: str) -> int:
        return int(self.blocks[name].ctypes.data) + MARGIN

    @contextmanager
    def whole(self) -> Iterator[None]:
        yield
        for name, block in self.blocks.items():
            edges = np.concatenate([block[:MARGIN], block[len(block) - MARGIN :]])
            assert (edges == GUARD).all(), f"wrote around {name}"


def compiled(chosen: KernelSet, folder: Path) -> Kernels:
    """Return a set of kernels, with instructions that this computer lacks written out in C."""
    if chosen is KernelSet.PORTABLE and not SANITIZERS:
        return chosen, load_library()
    if host_compiler() is None:
        pytest.skip("no C compiler for this computer")
    flags = ("-g", "-O1", *SANITIZERS) if SANITIZERS else ("-O2",)
    return chosen, ctypes.CDLL(str(build_kernel_library(chosen, folder, flags=flags)))


@pytest.fixture(scope="session", params=KernelSet, ids=lambda kernels: kernels.value)
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """Every set of kernels."""
    return compiled(request.param, tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="session")
def portable(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """The kernels that are the same in every set."""
    return compiled(KernelSet.PORTABLE, tmp_path_factory.mktemp("portable"))


def lowered(view: OpView, kernels: KernelSet) -> tuple[KernelCall, ...]:
    try:
        return lower(view, kernels)
    except UnsupportedOpError:
        pytest.skip(f"no kernel: {view.node.op}")


def planned_scratch_bytes(view: OpView, kernels: KernelSet, in_place: bool) -> int:
    spec = registry()[view.node.op]
    return spec.scratch_bytes(view, kernels) + (spec.in_place_bytes(view) if in_place else 0)


def run_native(
    op: str, case: OpCase, kernels: Kernels, *, in_place: bool = False
) -> list[npt.NDArray[np.uint8]]:
    """Run the kernels of a case on memory of exactly the declared sizes."""
    view, memory = view_of(op, case), Guarded()
    arrays = fresh_arrays(case)
    for tensor, array in zip(view.inputs, arrays, strict=True):
        if tensor is not None and array is not None:
            memory.put(tensor.name, array, tensor.dtype)
    for output in view.outputs:
        memory.put(output.name, np.full(output.size_bytes, 0x77, np.uint8))
    if in_place:
        memory.blocks[view.outputs[0].name] = memory.blocks[view.input(0).name]
    chosen, library = kernels
    memory.put(SCRATCH, np.full(planned_scratch_bytes(view, chosen, in_place), 0x33, np.uint8))
    with memory.whole():
        for call in lowered(view, chosen):
            bind(call, memory.address, library)()
    for tensor, array in zip(view.inputs, arrays, strict=True):
        if tensor is not None and array is not None and not in_place:
            is_state = tensor.kind.value == "state"
            kept = stored_elements(memory.get(tensor.name), tensor)
            assert is_state or kept.tobytes() == array.tobytes()
    return [stored_elements(memory.get(output.name), output) for output in view.outputs]


def stored_elements(data: npt.NDArray[np.uint8], tensor: Tensor) -> npt.NDArray[np.uint8]:
    """Return the bytes of the array that a tensor's memory holds."""
    array = from_device_bytes(data, tensor.dtype, tensor.static_shape)
    return np.frombuffer(array.tobytes(), np.uint8)


@pytest.mark.parametrize(("op", "case"), CASES, ids=[f"{op}-{case.id}" for op, case in CASES])
def test_kernels_equal_the_reference_and_keep_to_their_memory(
    op: str, case: OpCase, kernels: Kernels
) -> None:
    found = run_native(op, case, kernels)
    for array, expected in zip(found, run_reference(op, case), strict=True):
        assert array.tobytes() == expected.tobytes()


def with_lowest(case: OpCase) -> OpCase:
    """Return a case with the lowest values and weights, whose products sum up to the most."""
    first, second = (
        (t, np.full(x.shape, int8.integer_range(t.dtype)[0], np.int8))
        for t, x in filter(None, case.inputs[:2])
    )
    weights = replace(second[0], load=lambda: second[1])
    return replace(case, inputs=(first, (weights, second[1]), *case.inputs[2:]))


WINDOWED = [(op, case) for op, case in CASES if op in ("conv2d", "depthwise_conv2d")]


@pytest.mark.parametrize(("op", "case"), WINDOWED, ids=[f"{op}-{c.id}" for op, c in WINDOWED])
def test_the_lowest_values_and_weights_do_not_overflow(
    op: str, case: OpCase, kernels: Kernels
) -> None:
    lowest = with_lowest(case)
    found = run_native(op, lowest, kernels)
    assert found[0].tobytes() == run_reference(op, lowest)[0].tobytes()


@pytest.mark.parametrize(("op", "case"), CASES, ids=[f"{op}-{case.id}" for op, case in CASES])
def test_scratch_memory_is_what_the_kernel_says(op: str, case: OpCase, kernels: Kernels) -> None:
    view, (chosen, library) = view_of(op, case), kernels
    for in_place in (False, True):
        calls = lowered(view, chosen)
        says = max(scratch_bytes(call, library, in_place=in_place) for call in calls)
        assert planned_scratch_bytes(view, chosen, in_place) == says


@pytest.mark.parametrize(("op", "case"), OTHER_CASES, ids=lambda item: getattr(item, "id", item))
def test_other_kernels_are_as_near_the_reference_as_the_case_demands(
    op: str, case: OpCase, portable: Kernels
) -> None:
    runs = [run_native(op, case, portable)]
    if in_place_is_possible(op, case):
        runs.append(run_native(op, case, portable, in_place=True))
    for found in runs:
        for data, expected in zip(found, run_reference(op, case), strict=True):
            array = data.view(expected.dtype).reshape(expected.shape)
            np.testing.assert_allclose(array, expected, rtol=2e-6, atol=case.tolerance)


def in_place_is_possible(op: str, case: OpCase) -> bool:
    view = view_of(op, case)
    return bool(case.inputs) and (
        (0, 0) in registry()[op].in_place
        and registry()[op].in_place_when(view)
        and view.input(0).size_bytes == case.outputs[0].size_bytes
    )


IN_PLACE = [(op, case) for op, case in CASES if in_place_is_possible(op, case)]


@pytest.mark.parametrize(("op", "case"), IN_PLACE, ids=[f"{op}-{c.id}" for op, c in IN_PLACE])
def test_kernels_compute_in_place_where_the_operator_says_so(
    op: str, case: OpCase, kernels: Kernels
) -> None:
    found = run_native(op, case, kernels, in_place=True)
    assert found[0].tobytes() == run_reference(op, case)[0].tobytes()


def test_an_operator_without_a_kernel_is_refused_by_name() -> None:
    case = next(case for case in registry()["conv2d"].cases() if "nchw" in case.id)
    with pytest.raises(UnsupportedOpError, match="conv2d"):
        lower(view_of("conv2d", case), KernelSet.PORTABLE)


@given(st.integers(1, 9), st.integers(1, 9))
def test_packing_keeps_every_weight_once(channels: int, depth: int) -> None:
    matrix = np.arange(1, channels * depth + 1).astype(np.int8).reshape(channels, depth)
    packed = packed_weights(matrix)
    np.testing.assert_array_equal(np.sort(packed[packed != 0]), np.sort(matrix.ravel()))
    assert packed.size % 8 == 0


@given(st.integers(1, 9), st.integers(1, 40))
def test_blocks_keep_every_weight_once(channels: int, depth: int) -> None:
    matrix = np.arange(1, channels * depth + 1).astype(np.int8).reshape(channels, depth)
    blocks = blocked_weights(matrix)
    np.testing.assert_array_equal(np.sort(blocks[blocks != 0]), np.sort(matrix[matrix != 0]))
    assert blocks.size == -(-channels // 4) * 4 * depth


def check_model(path: Path, runs: int) -> None:
    graph = schedule(bind_dims(load_model(path))).graph
    plan = build_plan(graph, load_profile("stm32h743"), executor="reference")
    runner, states = NativeRunner(graph, plan), initial_states(graph)
    for run in range(runs):
        inputs = random_inputs(graph, seed=run)
        expected = evaluate(graph, inputs, states)
        for name, array in runner.run(inputs).outputs.items():
            np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize("model", KERNEL_MODELS)
def test_models_in_one_arena_equal_the_reference(model: str, assets: Path) -> None:
    check_model(assets / "mcu" / f"{model}.tflite", RUNS)


@pytest.mark.full
@pytest.mark.parametrize("model", LARGE_MODELS)
def test_large_models_in_one_arena_equal_the_reference(model: str, assets: Path) -> None:
    check_model(assets / "mcu" / f"{model}.tflite", 1)
