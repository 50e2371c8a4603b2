"""The microcontroller emulator: booted firmware, counted, modelled, refused where it must be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.converters.partitioning.placement import place
from edgekit.deploy.cores import CORES
from edgekit.deploy.memory_layout import board_layout, machine_layout
from edgekit.deploy.toolchain import find_toolchain
from edgekit.dtypes import Array
from edgekit.emulators import mcu, mcu_model
from edgekit.emulators.mcu_model import processor_of
from edgekit.emulators.mcu_rows import (
    ENERGIES,
    INSTRUCTIONS,
    LATENCIES,
    PublishedRun,
    fitted_current_a_per_hz,
    fitted_cycles_per_instruction,
)
from edgekit.emulators.qemu_board import has_qemu, machine_of
from edgekit.emulators.validation import device_errors, rows, summary
from edgekit.errors import EmulatorError, UsageError
from edgekit.estimate import estimate_graph
from edgekit.graph import Graph
from edgekit.ops import registry
from edgekit.ops.evaluate import evaluate
from edgekit.plan import Plan
from edgekit.planner import build_plan
from edgekit.profiles import DeviceProfile, list_profiles, load_profile
from tests.mcu_models import KWS, TINY, board_of, planned, random_inputs
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
    assert trace.latency_s == pytest.approx(
        mcu_model.latency_of(profile, trace.instructions), rel=0.01
    )
    assert trace.energy_j == pytest.approx(mcu_model.energy_of(profile, trace.latency_s))
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


def test_every_published_row_is_within_its_limit_when_held_out() -> None:
    held_out = [row for row in rows("mcu") if not row.fitted]
    latencies = [abs(row.error_percent) for row in held_out if "latency" in row.quantity]
    energies = [abs(row.error_percent) for row in held_out if "energy" in row.quantity]
    assert len(latencies) == len(LATENCIES)
    assert len(energies) == len(ENERGIES)
    assert max(latencies) <= 15
    assert max(energies) <= 20


def test_the_summary_is_of_rows_that_nothing_was_fitted_to() -> None:
    found = rows("mcu")
    assert summary(found)["mcu"]["rows"] == len(LATENCIES) + len(ENERGIES)
    assert len(found) == 2 * (len(LATENCIES) + len(ENERGIES))


@pytest.mark.parametrize("runs", [LATENCIES, ENERGIES])
def test_a_constant_is_fitted_to_at_least_four_networks(runs: tuple[PublishedRun, ...]) -> None:
    for device in {run.device for run in runs}:
        assert len({run.model for run in runs if run.device == device}) >= 4


def test_profiles_have_the_constants_that_fit_all_rows() -> None:
    for device in {run.device for run in LATENCIES}:
        runs = [run for run in LATENCIES if run.device == device]
        constant = processor_of(load_profile(device)).cycles_per_instruction
        assert constant is not None
        assert constant.value == pytest.approx(fitted_cycles_per_instruction(runs), rel=0.005)
    profile = load_profile("stm32l4r5")
    watts = 1.8 * fitted_current_a_per_hz(ENERGIES) * 120e6
    assert mcu_model.energy_of(profile, 1.0) == pytest.approx(watts, rel=0.005)


def test_the_fitted_constant_reproduces_rows_that_agree() -> None:
    run = LATENCIES[0]
    expected = 120e6 / run.inferences_per_s / INSTRUCTIONS[run.model]
    assert fitted_cycles_per_instruction([run, run]) == pytest.approx(expected)


def test_boards_without_a_published_row_are_called_unvalidated() -> None:
    published = {run.device for run in LATENCIES}
    statements = device_errors("mcu")
    assert published < statements.keys()
    for device, statement in statements.items():
        assert statement.startswith("unvalidated") == (device not in published), device


@pytest.mark.toolchain
@pytest.mark.usefixtures("booted")
def test_cortex_m33_takes_the_instructions_of_cortex_m4(assets: Path, tmp_path: Path) -> None:
    """Rows of a Cortex-M33 board are computed with instructions that were counted on Cortex-M4."""
    counts = []
    for core in ("cortex-m4", "cortex-m33"):
        board = board_of(assets / "mcu" / KWS, core, tmp_path / core)
        counts.append(board.run([random_inputs(board.graph, 0)]).instructions)
    assert counts[1] == pytest.approx(counts[0], rel=0.02)


@pytest.mark.toolchain
@pytest.mark.usefixtures("booted")
@pytest.mark.parametrize("device", ["stm32l4r5", "corstone300"])
@pytest.mark.parametrize("model", TINY)
def test_estimates_agree_with_counted_instructions(
    assets: Path, tmp_path: Path, device: str, model: str
) -> None:
    """What ``convert`` says before anything is compiled against what ``emulate`` counts."""
    core = CORES[load_profile(device).toolchain]
    profile = load_profile(device)
    graph, _ = planned(assets / "mcu" / model, kernels=core.kernels)
    placed = place(graph, profile, None, executor="").placements
    estimated_s = estimate_graph(graph, profile, placed).latency_s
    board = board_of(assets / "mcu" / model, core.name, tmp_path)
    counted = board.run([random_inputs(graph, 0)]).instructions
    assert estimated_s == pytest.approx(mcu_model.latency_of(profile, counted), rel=0.25)
