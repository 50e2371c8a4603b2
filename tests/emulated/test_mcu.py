"""The microcontroller emulator: booted firmware, counted, modelled, refused where it must be."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.deploy.cores import CORES
from edgekit.deploy.memory_layout import board_layout, machine_layout
from edgekit.deploy.toolchain import find_toolchain
from edgekit.dtypes import Array
from edgekit.emulators import mcu
from edgekit.emulators.mcu_rows import L4R5_ROWS, cycles_per_instruction
from edgekit.emulators.qemu_board import has_qemu, machine_of
from edgekit.emulators.validation import rows, summary
from edgekit.errors import EmulatorError, UsageError
from edgekit.graph import Graph
from edgekit.ops import registry
from edgekit.ops.evaluate import evaluate
from edgekit.plan import Plan
from edgekit.planner import build_plan
from edgekit.profiles import DeviceProfile, list_profiles, load_profile
from tests.single_node_graphs import graph_of

pytestmark = pytest.mark.emulated

Sample = tuple[Graph, dict[str, Array]]

BOARDS = [
    summary.name
    for summary in list_profiles()
    if summary.kind == "mcu" and load_profile(summary.name).capabilities.emulate
]


@pytest.fixture(scope="module")
def sample() -> Sample:
    """A quantized dense layer and an input for it."""
    case = next(c for c in registry()["fully_connected"].cases() if c.id == "int8_channel_row")
    return graph_of("fully_connected", case)


@pytest.fixture
def booted() -> None:
    if find_toolchain() is None or not has_qemu():
        pytest.skip("no cross compiler for Cortex-M, or qemu-system-arm is not installed")


def plan_of(graph: Graph, profile: DeviceProfile) -> Plan:
    return build_plan(graph, profile, executor="reference")


@pytest.mark.toolchain
@pytest.mark.usefixtures("booted")
@pytest.mark.parametrize("device", ["stm32l4r5", "stm32h743", "nrf5340", "corstone300"])
def test_outputs_are_the_references_and_the_trace_adds_up(device: str, sample: Sample) -> None:
    graph, inputs = sample
    profile = load_profile(device)
    result = mcu.emulate_firmware(graph, plan_of(graph, profile), profile, inputs)
    expected = evaluate(graph, inputs)
    assert all(np.array_equal(result.outputs[name], expected[name]) for name in graph.outputs)
    trace = result.trace
    assert trace.kind == "modelled"
    assert trace.instructions is not None
    assert trace.latency_s == pytest.approx(mcu.latency_of(profile, trace.instructions), rel=0.01)
    assert trace.energy_j == pytest.approx(mcu.energy_of(profile, trace.latency_s))
    assert set(trace.peak_bytes) == {use.name for use in plan_of(graph, profile).memories}


@pytest.mark.toolchain
@pytest.mark.usefixtures("booted")
def test_two_boots_count_the_same(sample: Sample) -> None:
    graph, inputs = sample
    profile = load_profile("stm32l4r5")
    plan = plan_of(graph, profile)
    counts = {
        mcu.emulate_firmware(graph, plan, profile, inputs).trace.instructions for _ in range(2)
    }
    assert len(counts) == 1


def test_without_qemu_the_host_runs_the_same_sources_and_says_so(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, inputs = sample
    monkeypatch.setattr(mcu, "has_qemu", lambda: False)
    profile = load_profile("stm32l4r5")
    result = mcu.emulate_firmware(graph, plan_of(graph, profile), profile, inputs)
    expected = evaluate(graph, inputs)
    assert all(np.array_equal(result.outputs[name], expected[name]) for name in graph.outputs)
    assert "on this computer" in result.trace.executor
    assert result.trace.instructions is None


def test_a_device_that_is_not_emulated_is_refused_with_the_reason(sample: Sample) -> None:
    graph, inputs = sample
    profile = load_profile("esp32s3")
    with pytest.raises(EmulatorError, match="Xtensa"):
        mcu.emulate_firmware(graph, plan_of(graph, profile), profile, inputs)


def test_an_input_of_another_shape_is_refused(sample: Sample) -> None:
    graph, inputs = sample
    wrong = {name: array[..., :-1] for name, array in inputs.items()}
    with pytest.raises(UsageError, match="the model takes"):
        mcu.input_bytes(graph, wrong)


@pytest.mark.parametrize("device", BOARDS)
def test_every_emulated_board_has_a_machine_with_the_lengths_of_its_memories(device: str) -> None:
    profile = load_profile(device)
    layout = machine_layout(profile, machine_of(CORES[profile.toolchain]))
    board = board_layout(profile)
    assert layout.ram.size_bytes == board.ram.size_bytes
    assert (layout.arena is None) == (board.arena is None)
    assert "MEMORY" in layout.linker_script(1024)


def test_published_rows_are_within_their_limits() -> None:
    found = rows("mcu")
    held_out = [row for row in found if not row.fitted]
    assert len(held_out) == len(L4R5_ROWS)
    assert summary(found)["mcu"]["mean_abs_error_percent"] <= 15


def test_the_fitted_constant_reproduces_rows_that_agree() -> None:
    row = L4R5_ROWS[0]
    clock_hz = 120e6
    expected = clock_hz / row.inferences_per_s / row.instructions
    assert cycles_per_instruction([row, row], clock_hz) == pytest.approx(expected)
