"""The smartphone emulator: real outputs, a modelled trace, heat, storage, published rows."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edgekit.converters.partitioning.placement import place
from edgekit.cost.work import Precision
from edgekit.dtypes import Array
from edgekit.emulators import emulator_names
from edgekit.emulators.published_networks import NETWORKS
from edgekit.emulators.smartphone import emulate, model_run, sustained
from edgekit.emulators.smartphone_rows import decode_seconds
from edgekit.emulators.storage import StorageModel
from edgekit.emulators.thermal import ThermalState
from edgekit.emulators.validation import compare, rows, summary
from edgekit.errors import EmulatorError, MemoryBudgetError, UsageError
from edgekit.estimate import estimate_graph
from edgekit.graph import Graph
from edgekit.ops.evaluate import evaluate
from edgekit.plan import Compute, MemoryUse, Placement, Plan
from edgekit.profiles import DeviceProfile, load_profile
from edgekit.runtime.trace import RunResult, Trace
from tests.small_devices import q
from tests.small_graphs import chain, random_inputs, residual

pytestmark = pytest.mark.emulated

KIB, MIB = 1024, 1024**2


def plan_of(
    graph: Graph, profile: DeviceProfile, peak_bytes: int = 1000, on: str | None = None
) -> Plan:
    placements = place(graph, profile).placements
    if on:
        placements = tuple(Placement(item.node, on, "") for item in placements)
    return Plan(
        device=profile.name,
        executor="reference",
        steps=tuple(Compute(item.node, item.processor) for item in placements),
        buffers=(),
        memories=(
            MemoryUse(profile.working_memory, peak_bytes, profile.ram.available_bytes.integer),
        ),
        placement=placements,
    )


def runner(graph: Graph, inputs: dict[str, Array]) -> Callable[[], RunResult]:
    def run() -> RunResult:
        return RunResult(evaluate(graph, inputs), Trace("measured", "reference", 1.0))

    return run


@pytest.mark.parametrize("device", ["pixel8", "oneplus12", "iphone15pro", "raspberrypi5"])
def test_outputs_are_real_and_the_trace_is_modelled(device: str) -> None:
    graph, profile = residual(), load_profile(device)
    inputs = random_inputs(graph)
    result = emulate(profile, graph, plan_of(graph, profile), runner(graph, inputs))
    expected = evaluate(graph, inputs)
    for name, array in expected.items():
        np.testing.assert_array_equal(result.outputs[name], array)
    trace = result.trace
    assert trace.kind == "modelled"
    assert trace.executor == "smartphone"
    assert trace.peak_bytes == {"dram": 1000}
    order = [node.name for node in graph.nodes]
    assert [event.name for event in trace.events if event.name in order] == order
    assert {type(event.start_ns) for event in trace.events} == {int}
    end_ns = max(event.start_ns + event.duration_ns for event in trace.events)
    assert trace.latency_s == pytest.approx(end_ns * 1e-9)
    assert trace.energy_j is not None
    assert trace.energy_j > 0


def test_a_cold_run_is_the_estimate() -> None:
    graph, profile = chain(), load_profile("pixel8")
    plan = plan_of(graph, profile)
    trace = model_run(profile, graph, plan)
    estimates = estimate_graph(graph, profile, plan.placement)
    assert trace.latency_s == pytest.approx(estimates.latency_s)
    assert trace.energy_j == pytest.approx(estimates.energy_j)


def test_an_app_that_uses_too_much_memory_is_refused() -> None:
    graph, profile = chain(), load_profile("pixel8")
    too_much = profile.ram.available_bytes.integer + 1
    with pytest.raises(MemoryBudgetError, match="dram needs"):
        model_run(profile, graph, plan_of(graph, profile, too_much))


def test_other_devices_are_refused_with_the_reason() -> None:
    graph = chain()
    for name in ("nano33ble", "oneplus15r", "laptop-gtx1050"):
        profile = load_profile(name)
        plan = Plan(name, "reference", (), (), ())
        with pytest.raises(EmulatorError, match=f"{name} is not a device"):
            model_run(profile, graph, plan)


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_smaller_precision_moves_fewer_bytes(precision: Precision) -> None:
    graph, profile = chain(width=256), load_profile("pixel8")
    plan = plan_of(graph, profile, on="cpu-big")
    small = model_run(profile, graph, plan, precision=precision)
    assert small.latency_s < model_run(profile, graph, plan, precision="float32").latency_s


def hot(profile: DeviceProfile, celsius: float) -> ThermalState:
    return ThermalState(profile.thermal, celsius)


def test_heat_slows_a_run_and_keeps_its_work() -> None:
    graph, profile = chain(), load_profile("oneplus12")
    plan = plan_of(graph, profile)
    cold = model_run(profile, graph, plan, thermal=hot(profile, 30.0))
    warm = model_run(profile, graph, plan, thermal=hot(profile, 55.0))
    burning = model_run(profile, graph, plan, thermal=hot(profile, 90.0))
    assert cold.latency_s < warm.latency_s < burning.latency_s
    assert burning.latency_s == pytest.approx(cold.latency_s / 0.6, rel=1e-3)
    assert (burning.energy_j or 0) - burning.latency_s == pytest.approx(
        (cold.energy_j or 0) - cold.latency_s
    )


@settings(deadline=None)
@given(st.floats(0, 20), st.floats(0, 1e5), st.floats(20, 90))
def test_temperature_goes_to_its_limit_and_never_past_it(
    power_w: float, seconds: float, start_c: float
) -> None:
    profile = load_profile("pixel8")
    assert profile.thermal is not None
    final = profile.thermal.ambient_c.value + profile.thermal.resistance_k_per_w.value * power_w
    state = hot(profile, start_c)
    once = state.after(power_w, seconds)
    low, high = sorted((start_c, final))
    assert low - 1e-9 <= once.celsius <= high + 1e-9
    halves = state.after(power_w, seconds / 2).after(power_w, seconds / 2)
    assert halves.celsius == pytest.approx(once.celsius)
    slowest = profile.thermal.slowest_fraction.value
    assert slowest <= once.clock_fraction <= 1.0


def test_a_long_series_of_runs_gets_slower_until_it_settles() -> None:
    graph, profile = chain(width=512), load_profile("oneplus12")
    assert profile.thermal is not None
    small_body = replace(profile.thermal, capacity_j_per_k=q(5e-4))
    profile = replace(profile, thermal=small_body)
    result = sustained(profile, graph, plan_of(graph, profile, on="cpu"), 60)
    assert list(result.celsius) == sorted(result.celsius)
    assert result.latency_s[-1] > 1.05 * result.latency_s[0]
    assert result.latency_s[-1] == pytest.approx(result.latency_s[-2], rel=1e-2)
    assert result.energy_j > 0


def test_a_device_without_thermal_data_never_throttles() -> None:
    state = ThermalState(None, 25.0)
    assert state.after(100.0, 1e6).celsius == 25.0
    assert state.clock_fraction == 1.0


@pytest.fixture(scope="module")
def ufs() -> StorageModel:
    return StorageModel(load_profile("oneplus12"))


def test_storage_returns_what_it_was_made_from(ufs: StorageModel) -> None:
    storage = load_profile("oneplus12").storage
    assert storage is not None
    assert ufs.rate(4 * KIB) == pytest.approx(450e6)
    assert ufs.rate(512 * KIB) == pytest.approx(4e9)
    rate = ufs.rate(4 * KIB, pattern="random", span_bytes=128 * MIB, issuer="cpu-little")
    assert rate == pytest.approx(761.87e6)


@given(st.integers(1, 2**24), st.integers(1, 2**24))
def test_a_larger_read_takes_longer_and_streams_faster(first: int, second: int) -> None:
    ufs = StorageModel(load_profile("oneplus12"))
    small, large = sorted((first, second))
    for pattern in ("sequential", "random"):
        assert ufs.read_seconds(small, pattern=pattern) <= ufs.read_seconds(large, pattern=pattern)
        if small >= 4 * KIB:
            assert ufs.rate(small, pattern=pattern) <= ufs.rate(large, pattern=pattern) * (1 + 1e-9)


def test_storage_orders(ufs: StorageModel) -> None:
    def rate(span_bytes: int = 128 * MIB, issuer: str = "", cores: int = 1) -> float:
        return ufs.rate(
            4 * KIB, pattern="random", span_bytes=span_bytes, issuer=issuer, issuing_cores=cores
        )

    assert rate(64 * MIB) == rate(128 * MIB) > rate(256 * MIB) > rate(512 * MIB) == rate(2**40)
    assert rate(issuer="cpu-big") > rate(issuer="cpu-mid") > rate(issuer="cpu-little")
    assert rate() > rate(cores=2) > rate(cores=8) >= 0.6 * rate()


def test_more_reads_in_flight_are_faster_up_to_the_ceiling() -> None:
    model = StorageModel(load_profile("oneplus15r"))
    rates = [model.rate(128 * KIB, pattern="random", lanes=n) for n in (1, 2, 3, 4, 8, 64)]
    assert rates == sorted(rates)
    assert model.rate(128 * KIB, pattern="random") == pytest.approx(max(rates))


def test_storage_without_figures_is_an_error() -> None:
    with pytest.raises(EmulatorError, match="no read rates"):
        StorageModel(load_profile("iphone15pro"))
    with pytest.raises(EmulatorError, match="no sequential read rate"):
        StorageModel(load_profile("oneplus15r")).rate(4 * KIB)
    with pytest.raises(EmulatorError, match="has no processor 'dsp'"):
        StorageModel(load_profile("oneplus12")).rate(4 * KIB, pattern="random", issuer="dsp")


def test_decode_is_weights_over_bandwidth() -> None:
    profile = load_profile("oneplus12")
    seconds = decode_seconds(profile, "cpu", 4.39e9)
    assert seconds == pytest.approx(0.1, rel=0.01)


def test_published_networks_have_the_published_sizes() -> None:
    million_macs = {
        name: sum(layer.macs for layer in layers()) / 1e6 for name, layers in NETWORKS.items()
    }
    million_weights = {
        name: sum(layer.weight_elements for layer in layers()) / 1e6
        for name, layers in NETWORKS.items()
    }
    assert million_macs["mobilenet"] == pytest.approx(569, rel=0.01)
    assert million_macs["mobilenet_v2"] == pytest.approx(300, rel=0.02)
    assert million_macs["resnet50"] == pytest.approx(3860, rel=0.01)
    assert million_macs["vgg16"] == pytest.approx(15470, rel=0.01)
    assert million_weights["resnet18"] == pytest.approx(11.7, rel=0.01)
    assert million_weights["alexnet"] == pytest.approx(61, rel=0.01)
    assert million_weights["squeezenet"] == pytest.approx(1.235, rel=0.01)


def test_rows_are_recomputed_and_state_their_error() -> None:
    found = rows("smartphone")
    assert len({row.quantity for row in found}) == len(found)
    for row in found:
        assert math.isfinite(row.computed)
        assert row.source
        expected = (row.computed - row.published) / row.published * 100
        assert row.error_percent == pytest.approx(expected)
    held_out = [row for row in found if not row.fitted]
    assert len(held_out) > len(found) / 2


@pytest.mark.parametrize(
    ("part", "mean_limit"),
    [
        ("random", 10),
        ("sequential", 5),
        ("ExecuTorch", 10),
        ("oneplus7t", 30),
        ("raspberrypi5", 25),
    ],
)
def test_held_out_errors_stay_within_what_is_claimed(part: str, mean_limit: float) -> None:
    errors = [
        abs(row.error_percent)
        for row in rows("smartphone")
        if not row.fitted and part in row.quantity
    ]
    assert errors
    assert sum(errors) / len(errors) <= mean_limit


def test_fitted_rows_do_not_count_in_the_summary() -> None:
    made = [
        compare("phone", "a", "paper", 100.0, 110.0),
        compare("phone", "b", "paper", 100.0, 70.0),
        compare("phone", "c", "paper", 100.0, 900.0, fitted=True),
    ]
    total = summary(made)["phone"]
    assert total["mean_abs_error_percent"] == pytest.approx(20.0)
    assert total["max_abs_error_percent"] == pytest.approx(30.0)
    assert total["rows"] == 2


def test_emulators_are_found_by_listing() -> None:
    assert "smartphone" in emulator_names()
    assert {row.emulator for row in rows()} >= {"smartphone"}
    with pytest.raises(UsageError, match=r"did you mean smartphone\?"):
        rows("smartfone")
