"""Placement: the cheapest way to run a graph on several processors, with readable reasons."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.converters.partitioning import placement as placement_module
from edgekit.converters.partitioning.placement import place, reachable
from edgekit.cost.roofline import crossing_cost, node_cost
from edgekit.cost.work import node_work, tensor_bytes
from edgekit.errors import PlacementError
from edgekit.estimate import estimate_graph
from edgekit.graph import Graph
from edgekit.profiles import DeviceProfile, Processor, load_profile
from tests.small_devices import device, processor
from tests.small_graphs import Builder, chain, random_graphs, residual


def total_seconds(graph: Graph, profile: DeviceProfile, chosen: tuple[Processor, ...]) -> float:
    """Return the time of a placement, from its definition: nodes and crossings one by one."""
    host = next(p for p in profile.processors if p.memory == profile.working_memory)
    where = dict.fromkeys(graph.inputs, host)
    has: dict[str, set[str]] = {
        name: {p.name for p in profile.processors if p.memory == host.memory}
        for name in graph.inputs
    }
    seconds = 0.0

    def fetch(name: str, target: Processor) -> float:
        source = where[name]
        if target.name in has[name]:
            return 0.0
        cost = crossing_cost(tensor_bytes(graph.tensors[name]), profile, source, target)
        assert cost is not None
        beside = {p.name for p in profile.processors if p.memory == target.memory}
        has[name] |= {target.name} if source.memory == target.memory else beside
        return cost.seconds

    for node, target in zip(graph.nodes, chosen, strict=True):
        seconds += sum(fetch(name, target) for name in dict.fromkeys(node.inputs) if name in where)
        seconds += node_cost(node_work(graph, node), profile, target).seconds
        for name in node.outputs:
            where[name], has[name] = target, {target.name}
    for name in graph.outputs:
        if not any(profile.processor(holder).memory == host.memory for holder in has[name]):
            seconds += fetch(name, host)
    return seconds


speeds = st.sampled_from((1e6, 1e7, 1e8, 1e9))
times = st.sampled_from((1e-7, 1e-6, 1e-5))


@st.composite
def devices(draw: st.DrawFn) -> DeviceProfile:
    processors = [
        processor(
            name,
            memory,
            macs_per_s=draw(speeds),
            overhead_s=draw(times),
            handover_s=draw(times),
            operators=draw(st.sampled_from(((), ("fully_connected", "add")))) if index else (),
        )
        for index, (name, memory) in enumerate((("a", "ram"), ("b", "ram"), ("c", "vram")))
    ]
    return device(*processors, link_bytes_per_s=draw(speeds), link_latency_s=draw(times))


@settings(max_examples=40, deadline=None)
@given(random_graphs(largest=5), devices())
def test_no_placement_is_cheaper(graph: Graph, profile: DeviceProfile) -> None:
    result = place(graph, profile)
    able = [[p for p in profile.processors if p.supports_operator(node.op)] for node in graph.nodes]
    best = min(total_seconds(graph, profile, way) for way in itertools.product(*able))
    chosen = tuple(profile.processor(item.processor) for item in result.placements)
    assert result.exact
    assert result.seconds == pytest.approx(total_seconds(graph, profile, chosen))
    assert result.seconds == pytest.approx(best)


@settings(max_examples=20, deadline=None)
@given(random_graphs(largest=7), devices())
def test_a_narrow_search_is_valid_and_never_claims_to_be_exact(
    graph: Graph, profile: DeviceProfile
) -> None:
    full = place(graph, profile)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placement_module, "WIDTH", 2)
        narrow = place(graph, profile)
    assert [item.node for item in narrow.placements] == [node.name for node in graph.nodes]
    assert narrow.seconds >= full.seconds - 1e-15
    if narrow.exact:
        assert narrow.seconds == pytest.approx(full.seconds)


@settings(max_examples=20, deadline=None)
@given(random_graphs(largest=6), devices())
def test_the_estimate_of_a_placement_is_no_longer_than_all_of_it_in_a_row(
    graph: Graph, profile: DeviceProfile
) -> None:
    result = place(graph, profile)
    estimates = estimate_graph(graph, profile, result.placements)
    assert sum(cost.seconds for cost in estimates.breakdown) == pytest.approx(result.seconds)
    assert estimates.latency_s <= result.seconds + 1e-9 * len(estimates.breakdown)


def test_reason_names_both_times_and_the_crossings() -> None:
    fast_but_far = processor("gpu", "vram", macs_per_s=1e12)
    profile = device(processor("cpu"), fast_but_far, link_bytes_per_s=1e6, link_latency_s=1e-3)
    result = place(residual(), profile)
    assert {item.processor for item in result.placements} == {"cpu"}
    assert result.moves == ()
    first = result.placements[0].reason
    assert first.startswith("runs in ")
    assert " on cpu against " in first
    assert " on gpu incl. " in first
    assert " crossings of 64 B" in first


def test_work_moves_where_it_pays_and_the_crossing_is_listed() -> None:
    b = Builder()
    x = b.input("x", 1, 256)
    big = b.dense(b.dense(x, 256, 512), 512, 512, seed=1)
    graph = b.graph(b.node("abs", big))
    slow = processor("cpu", macs_per_s=1e7)
    quick = processor("npu", macs_per_s=1e12, operators=("fully_connected",))
    result = place(graph, device(slow, quick))
    assert [item.processor for item in result.placements] == ["npu", "npu", "cpu"]
    assert [(m.source, m.target, m.size_bytes) for m in result.moves] == [("npu", "cpu", 2048)]
    assert "npu refuses abs" in result.placements[2].reason


def test_a_processor_without_the_dtype_refuses_with_a_reason() -> None:
    npu = processor("npu", macs_per_s=1e15, dtypes=("int8",), overhead_s=0.0, handover_s=0.0)
    profile = device(processor("cpu"), npu)
    as_float = place(chain(), profile, "float32")
    assert {item.processor for item in as_float.placements} == {"cpu"}
    assert "npu refuses fully_connected in float32" in as_float.placements[0].reason
    as_int8 = place(chain(), profile, "int8")
    assert as_int8.placements[0].processor == "npu"


def test_views_stay_and_say_so() -> None:
    result = place(chain(), device(processor("cpu")))
    assert result.placements[2].reason == "stays on cpu: another view of the same bytes"


def test_nothing_can_run_it() -> None:
    profile = device(processor("cpu", dtypes=("int8",)), processor("npu", operators=("abs",)))
    with pytest.raises(PlacementError) as caught:
        place(chain(), profile, "float16")
    assert "cpu refuses fully_connected in float16" in str(caught.value)
    assert "npu refuses fully_connected" in str(caught.value)


def test_no_link_to_where_it_could_run() -> None:
    profile = device(processor("cpu", operators=("abs",)), processor("far", "island"))
    with pytest.raises(PlacementError, match="no link of test-device"):
        place(chain(), profile)


def test_one_pool_runs_everything_on_the_processor_that_is_best_in_all() -> None:
    good_at_dense = processor("a", macs_per_s=1e12, overhead_s=1e-3)
    good_at_small = processor("b", macs_per_s=1e9, overhead_s=1e-7)
    profile = device(good_at_dense, good_at_small)
    result = place(chain(), profile, executor="onnxruntime")
    assert {item.processor for item in result.placements} == {"b"}
    assert "one thread pool runs all layers" in result.placements[0].reason
    assert " on a" in result.placements[0].reason
    limited = device(processor("a", operators=("abs",)), processor("b", operators=("reshape",)))
    with pytest.raises(PlacementError, match="can run it"):
        place(chain(), limited, executor="onnxruntime")


def test_only_what_an_app_reaches_takes_part() -> None:
    hidden = processor("gpu", macs_per_s=1e15, reached_by=())
    profile = device(processor("cpu"), hidden, processor("vpu", reached_by=("llama.cpp",)))
    result = place(chain(), profile, executor="native")
    assert {item.processor for item in result.placements} == {"cpu"}
    assert len(result.left_out) == 2
    assert "vpu: reached by llama.cpp, not by native" in result.left_out
    with pytest.raises(PlacementError, match="reaches no processor through litert"):
        place(chain(), profile, executor="litert")


def test_phone_accelerators_are_left_out_with_the_reason() -> None:
    usable, left_out = reachable(load_profile("pixel8"), "onnxruntime")
    assert {p.name for p in usable} == {"cpu", "cpu-big", "cpu-mid", "cpu-little"}
    assert any(text.startswith("npu: not reached") for text in left_out)
    assert any(text.startswith("gpu: not reached") for text in left_out)


@pytest.mark.parametrize("name", ["pixel8", "nano33ble", "raspberrypi5", "stm32h743"])
def test_profiles_place_a_small_graph(name: str) -> None:
    profile = load_profile(name)
    result = place(chain(), profile)
    assert len(result.placements) == len(chain().nodes)
    assert result.seconds > 0
    assert result.exact
