"""Cost models: the roofline's two limits, precision, the microcontroller model, the timeline."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.cost.roofline import (
    bandwidth,
    crossing_cost,
    link_cost,
    node_cost,
    refusal,
    weights_memory,
)
from edgekit.cost.timeline import Task, run_tasks, to_ns
from edgekit.cost.work import OpClass, Precision, Work, as_executed, node_work
from edgekit.dtypes import DType
from edgekit.errors import PlacementError
from edgekit.estimate import estimate_graph
from edgekit.graph import Graph, Node, Tensor
from edgekit.plan import Placement
from edgekit.profiles import list_profiles, load_profile
from edgekit.shapes import infer_shapes
from tests.small_devices import device, processor
from tests.small_graphs import Builder, chain, residual, wide_then_narrow

PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8", "int8_dynamic")


def work(op_class: OpClass = "matmul", dtype: str = "float32", macs: int = 10**6) -> Work:
    return Work("fully_connected", op_class, dtype, macs, 100, 400, 4000)


def convolution(kernel: int, stride: int, channels: int, groups: int = 1) -> Graph:
    b = Builder()
    x = b.input("x", 1, channels, 8, 8)
    shape = (16 * groups if groups == 1 else channels, channels // groups, kernel, kernel)
    weights = b.constant("w", np.zeros(shape, np.float32))
    pad = kernel // 2
    made = b.node(
        "conv2d",
        x,
        weights,
        strides=(stride, stride),
        dilations=(1, 1),
        padding=((pad, pad), (pad, pad)),
        groups=groups,
        layout="NCHW",
        activation="none",
    )
    return b.graph(made)


def test_compute_bound_and_memory_bound() -> None:
    profile = device(processor("cpu", macs_per_s=1e9, overhead_s=0.0))
    cpu = profile.processor("cpu")
    compute = node_cost(work(macs=10**6), profile, cpu)
    assert compute.bound == "compute"
    assert compute.seconds == pytest.approx(1e6 / (1e9 * 0.5))
    moved = node_cost(work(macs=10), profile, cpu)
    assert moved.bound == "memory"
    assert moved.seconds == pytest.approx(4400 / 1e9)
    empty = node_cost(Work("reshape", "view", None, 0, 8, 0, 0), profile, cpu)
    assert empty.seconds == 0.0


@given(st.integers(0, 10**9), st.integers(0, 10**7), st.integers(0, 10**7))
def test_more_work_never_takes_less_time(macs: int, activations: int, weights: int) -> None:
    profile = device(processor("cpu"))
    cpu = profile.processor("cpu")
    base = Work("fully_connected", "matmul", "float32", macs, 1, activations, weights)
    cost = node_cost(base, profile, cpu)
    assert cost.seconds >= cpu.launch_overhead_s.value
    assert cost.energy_j >= 2.0 * cost.seconds
    for field in ("macs", "activation_bytes", "weight_bytes"):
        more = dataclasses.replace(base, **{field: getattr(base, field) * 2 + 1})
        assert node_cost(more, profile, cpu).seconds >= cost.seconds


def test_own_bandwidth_of_a_processor_limits_it() -> None:
    profile = load_profile("oneplus12")
    assert bandwidth(profile, profile.processor("cpu")) == 43.9e9
    assert bandwidth(profile, profile.processor("npu")) == 56e9
    assert profile.ram.bandwidth_bytes_per_s.value == 59.6e9


def test_firmware_reads_weights_from_flash() -> None:
    board, phone = load_profile("stm32h743"), load_profile("pixel8")
    assert weights_memory(board, board.processor("cpu")).name == "flash"
    assert weights_memory(phone, phone.processor("cpu")).name == "dram"


@pytest.mark.parametrize(
    ("graph", "op_class"),
    [
        (convolution(3, 1, 32), "conv3x3"),
        (convolution(3, 2, 32), "conv"),
        (convolution(3, 1, 3), "conv"),
        (convolution(1, 1, 32), "conv"),
        (convolution(3, 1, 8, groups=8), "depthwise"),
    ],
)
def test_class_of_a_convolution(graph: Graph, op_class: str) -> None:
    assert node_work(graph, graph.nodes[0]).op_class == op_class


def test_work_follows_precision() -> None:
    graph = chain()
    dense = graph.nodes[0]
    sizes = {p: node_work(graph, dense, p) for p in PRECISIONS}
    assert sizes["float32"].weight_bytes == 4 * sizes["int8"].weight_bytes
    assert sizes["float32"].activation_bytes == 2 * sizes["float16"].activation_bytes
    assert sizes["int8_dynamic"].weight_bytes == sizes["int8"].weight_bytes
    assert sizes["int8_dynamic"].activation_bytes > sizes["float32"].activation_bytes
    assert sizes["int8_dynamic"].calls > sizes["float32"].calls == 1
    assert sizes["int8_dynamic"].dtype == "int8"
    assert node_work(graph, graph.nodes[1], "int8_dynamic").dtype == "float32"
    assert len({w.macs for w in sizes.values()}) == 1
    assert node_work(graph, dense) == sizes["float32"]


def test_float16_is_slower_than_float32_where_the_executor_has_no_kernels_for_it() -> None:
    profile = load_profile("raspberrypi5")
    cpu, graph = profile.processor("cpu"), chain(width=256)

    def seconds(precision: Precision, executor: str) -> float:
        job = as_executed(node_work(graph, graph.nodes[0], precision), executor)
        return node_cost(job, profile, cpu).seconds

    assert seconds("float16", "native") < seconds("float32", "native")
    assert seconds("float16", "onnxruntime") > seconds("float32", "onnxruntime")
    assert seconds("float32", "onnxruntime") == seconds("float32", "native")
    assert seconds("int8", "onnxruntime") == seconds("int8", "native")


def test_a_table_costs_only_the_rows_that_are_read() -> None:
    b = Builder()
    x = b.constant("table", np.zeros((1000, 8), np.float32))
    b.tensors["ids"] = Tensor.constant("ids", np.arange(4))
    graph = infer_shapes(
        Graph(
            "rows",
            {**b.tensors, "y": Tensor("y", (), DType.FLOAT32)},
            (Node("g", "gather", (x, "ids"), ("y",), {"axis": 0}),),
            (),
            ("y",),
        )
    )
    found = node_work(graph, graph.nodes[0])
    assert found.weight_bytes < 1000
    assert found.activation_bytes == 4 * 8 * 4


def test_microcontroller_model_is_instructions_times_cycles() -> None:
    profile = load_profile("stm32l4r5")
    cpu = profile.processor("cpu")
    assert cpu.cycles_per_instruction is not None
    job = Work("conv2d", "conv", "int8", 10**6, 1, 0, 0)
    cycles = 10**6 * cpu.instructions_per_mac["conv"].value * cpu.cycles_per_instruction.value
    expected = cycles / 120e6 + cpu.launch_overhead_s.value
    assert node_cost(job, profile, cpu).seconds == pytest.approx(expected)
    in_float = node_cost(dataclasses.replace(job, dtype="float32"), profile, cpu)
    assert in_float.seconds > expected
    assert (
        refusal(dataclasses.replace(job, dtype="float16"), cpu) == "cpu refuses conv2d in float16"
    )


def test_conv3x3_falls_back_to_conv() -> None:
    profile = device(processor("cpu"))
    cpu = profile.processor("cpu")
    cost = node_cost(work("conv3x3"), profile, cpu)
    assert cost == node_cost(work("conv"), profile, cpu)


def test_refusals_say_what_is_missing() -> None:
    npu = processor("npu", dtypes=("int8",), operators=("conv2d",))
    assert refusal(work(dtype="int8"), npu) == "npu refuses fully_connected"
    unknown = load_profile("pixel8").processor("npu")
    assert refusal(work(), unknown) == "npu is left out: its speed is not known"
    only_matmul = load_profile("oneplus12").processor("npu")
    conv = Work("conv2d", "conv", "int8", 1, 1, 1, 1)
    assert "its speed there is not known" in (refusal(conv, only_matmul) or "")


def test_crossings() -> None:
    profile = device(
        processor("a"), processor("b", handover_s=5e-6), processor("c", "vram"), link_latency_s=1e-5
    )
    a, b, c = profile.processors
    near, far = crossing_cost(1000, profile, a, b), crossing_cost(1000, profile, a, c)
    assert near is not None
    assert far is not None
    assert near.seconds == 5e-6
    assert far.seconds == pytest.approx(1e-5 + 1000 / 1e9 + 2e-6)
    assert far.bound == "link"
    assert far.energy_j == pytest.approx(1000 * 1e-10)
    assert link_cost(0, profile.links[0]).seconds == 1e-5
    island = device(processor("a"), processor("d", "island"))
    assert crossing_cost(1, island, *island.processors) is None


def everything_on(graph: Graph, name: str) -> tuple[Placement, ...]:
    return tuple(Placement(node.name, name, "") for node in graph.nodes)


def test_estimate_adds_up_on_one_processor() -> None:
    profile, graph = device(processor("cpu")), residual()
    estimates = estimate_graph(graph, profile, everything_on(graph, "cpu"))
    assert estimates.kind == "modelled"
    assert [cost.node for cost in estimates.breakdown] == [node.name for node in graph.nodes]
    seconds = sum(cost.seconds for cost in estimates.breakdown)
    assert estimates.latency_s == pytest.approx(seconds, abs=1e-9 * len(graph.nodes))
    busy_j = sum(cost.energy_j for cost in estimates.breakdown)
    assert estimates.energy_j == pytest.approx(busy_j + 1.0 * estimates.latency_s)


def test_processors_work_at_the_same_time_unless_they_share_cores() -> None:
    graph = wide_then_narrow(branches=2)
    split = [
        Placement(node.name, "b" if index in (1, 3) else "a", "")
        for index, node in enumerate(graph.nodes)
    ]
    apart = device(processor("a", handover_s=0.0), processor("b", handover_s=0.0))
    shared = device(processor("a", handover_s=0.0), processor("b", handover_s=0.0, made_of=("a",)))
    alone = estimate_graph(graph, apart, everything_on(graph, "a")).latency_s
    assert estimate_graph(graph, apart, split).latency_s < alone
    assert estimate_graph(graph, shared, split).latency_s == pytest.approx(alone)


def test_estimate_counts_what_crosses_a_link_both_ways() -> None:
    profile, graph = device(processor("cpu"), processor("gpu", "vram")), chain()
    estimates = estimate_graph(graph, profile, everything_on(graph, "gpu"))
    ways = [(cost.node, cost.processor) for cost in estimates.breakdown if cost.bound == "link"]
    assert ways == [("x", "ram-vram"), (graph.outputs[0], "ram-vram")]


def test_estimate_refuses_a_placement_that_cannot_be() -> None:
    profile, graph = device(processor("cpu")), chain()
    with pytest.raises(PlacementError, match="is not placed; test-device has cpu"):
        estimate_graph(graph, profile, ())
    with pytest.raises(PlacementError, match="is placed on tpu"):
        estimate_graph(graph, profile, everything_on(graph, "tpu"))
    with pytest.raises(PlacementError, match="cpu refuses fully_connected in float16"):
        estimate_graph(graph, profile, everything_on(graph, "cpu"), "float16")


tasks = st.lists(
    st.tuples(
        st.sets(st.sampled_from("abc"), max_size=2),
        st.integers(0, 1000),
        st.sets(st.integers(0, 30), max_size=3),
    ),
    max_size=12,
)


@settings(max_examples=50)
@given(tasks)
def test_timeline_respects_order_and_resources(
    drawn: list[tuple[set[str], int, set[int]]],
) -> None:
    made = [
        Task(f"t{i}", tuple(sorted(held)), length, tuple(sorted(b for b in before if b < i)))
        for i, (held, length, before) in enumerate(drawn)
    ]
    line = run_tasks(made)
    ends = [start + task.duration_ns for start, task in zip(line.start_ns, made, strict=True)]
    assert line.end_ns == max(ends, default=0)
    for i, task in enumerate(made):
        assert all(ends[before] <= line.start_ns[i] for before in task.after)
        for j in range(i):
            if set(task.resources) & set(made[j].resources):
                assert line.start_ns[i] >= ends[j]


def test_timeline_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="cannot be placed in time"):
        run_tasks([Task("a", (), 1, (0,))])
    with pytest.raises(ValueError, match="cannot be placed in time"):
        run_tasks([Task("a", (), -1)])
    assert to_ns(1.5e-9) == 2


@pytest.mark.parametrize("name", [s.name for s in list_profiles()])
def test_every_reached_processor_has_a_speed_for_every_class(name: str) -> None:
    profile = load_profile(name)
    classes: tuple[OpClass, ...] = ("conv", "conv3x3", "depthwise", "matmul", "elementwise")
    general = [p for p in profile.processors if "reference" in p.reached_by]
    assert profile.capabilities.estimate or not general
    for chip in general:
        for op_class in classes:
            assert refusal(work(op_class), chip) is None, (chip.name, op_class)
            assert node_cost(work(op_class), profile, chip).seconds > 0


def test_what_moves_a_part_costs_the_part() -> None:
    b = Builder()
    image = b.input("x", 1, 96, 96, 3)
    begin, end, strides = (0, 8, 0, 0), (1, 16, 96, 3), (1, 1, 1, 1)
    part = b.node("slice", image, begin=begin, end=end, strides=strides)
    graph = b.graph(b.node("paste", part, image, size=(96, 96), at=(8, 0)))
    cut, pasted = (node_work(graph, node) for node in graph.nodes)
    part_bytes = 8 * 96 * 3 * 4
    assert cut.activation_bytes == 2 * part_bytes
    assert pasted.activation_bytes == 3 * part_bytes
    assert cut.macs == pasted.macs < part_bytes / 4
