"""Narrower activations and weights: ranges, groups, the rewrite, and rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.converters.quantization.bit_widths import (
    NARROW_WEIGHTS,
    WIDTHS,
    Width,
    width_groups,
    with_bit_widths,
)
from edgekit.converters.quantization.histograms import (
    Histogram,
    clip_range,
    entropy_bits,
    narrowed,
    observe_histograms,
)
from edgekit.converters.quantization.narrow_weights import round_second_order
from edgekit.converters.quantization.report import sqnr_db
from edgekit.dtypes import Array, DType
from edgekit.errors import CalibrationError, QuantizationError, UsageError
from edgekit.graph import Attr, Graph, Quantization, Tensor
from edgekit.ops import int8
from edgekit.ops.evaluate import evaluate
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView
from edgekit.runtime.lowering import lower
from tests.narrow_networks import BlockNetwork, int8_network, quantized, samples_of

BITS = st.sampled_from([2, 4])


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    counts = np.zeros(256, np.int64)
    seen = draw(st.dictionaries(st.integers(0, 255), st.integers(1, 1000), min_size=1, max_size=30))
    counts[list(seen)] = list(seen.values())
    return Histogram(counts)


def tensor_of(zero_point: int, scale: float = 0.1) -> Tensor:
    quantization = Quantization.per_tensor(scale, zero_point)
    return Tensor("t", (1, 4), DType.INT8, quantization=quantization)


def squared_error(histogram: Histogram, tensor: Tensor, kept: Quantization, bits: int) -> float:
    real = int8.real_from_stored(np.arange(-128, 128).astype(np.int8), tensor).astype(np.float64)
    scale, zero_point = float(kept.scale[0]), int(kept.zero_point[0])
    low, high = int8.integer_range(WIDTHS[bits])
    stored = np.clip(np.rint(real / scale) + zero_point, low, high)
    return float(((real - (stored - zero_point) * scale) ** 2) @ histogram.counts)


@given(histograms(), st.integers(-128, 127), BITS)
def test_the_range_chosen_is_no_worse_than_one_that_clips_nothing(
    histogram: Histogram, zero_point: int, bits: int
) -> None:
    tensor = tensor_of(zero_point)
    least, full = (clip_range(histogram, tensor, bits, mass) for mass in (None, 1.0))
    error, full_error = (squared_error(histogram, tensor, kept, bits) for kept in (least, full))
    assert error <= full_error * (1 + 1e-5) + 1e-9


@given(histograms(), st.integers(-128, 127), BITS, st.floats(0.5, 1.0))
def test_the_central_mass_lies_within_half_a_step_of_the_range(
    histogram: Histogram, zero_point: int, bits: int, mass: float
) -> None:
    tensor = tensor_of(zero_point)
    kept = clip_range(histogram, tensor, bits, mass)
    low, high = int8.integer_range(WIDTHS[bits])
    step, zero = float(kept.scale[0]), int(kept.zero_point[0])
    real = (np.arange(-128, 128) - zero_point) * 0.1
    margin = 0.5001 * step
    inside = (real >= (low - zero) * step - margin) & (real <= (high - zero) * step + margin)
    assert histogram.counts[inside].sum() >= (mass - 1e-9) * histogram.total


@given(histograms(), st.integers(-128, 127), BITS, st.sampled_from([None, 0.9, 1.0]))
def test_real_zero_stays_exact(
    histogram: Histogram, zero_point: int, bits: int, mass: float | None
) -> None:
    kept = clip_range(histogram, tensor_of(zero_point), bits, mass)
    low, high = int8.integer_range(WIDTHS[bits])
    assert low <= kept.zero_point[0] <= high
    assert kept.scale[0] > 0


@given(histograms(), st.integers(-128, 127), BITS)
def test_narrowing_keeps_every_value_and_never_adds_entropy(
    histogram: Histogram, zero_point: int, bits: int
) -> None:
    tensor = tensor_of(zero_point)
    kept = clip_range(histogram, tensor, bits)
    counts = narrowed(histogram, int8.quantization_of(tensor), kept, bits)
    assert counts.sum() == histogram.total
    assert entropy_bits(counts) <= min(histogram.entropy_bits, bits) + 1e-9


def test_a_histogram_of_nothing_is_refused() -> None:
    with pytest.raises(CalibrationError, match="saw no value"):
        clip_range(Histogram(np.zeros(256, np.int64)), tensor_of(0), 4)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return int8_network()


@pytest.fixture(scope="module")
def seen(graph: Graph) -> Mapping[str, Histogram]:
    return observe_histograms(graph, samples_of(graph))


def all_narrow(graph: Graph, seen: Mapping[str, Histogram], bits: int) -> dict[str, Width]:
    firsts = [group.tensors[0] for group in width_groups(graph) if group.can_narrow]
    return {
        name: (WIDTHS[bits], clip_range(seen[name], graph.tensors[name], bits)) for name in firsts
    }


def outputs(graph: Graph, batches: list[dict[str, Array]]) -> npt.NDArray[np.float64]:
    rows = [evaluate(graph, batch)[graph.outputs[0]] for batch in batches]
    return np.stack(rows).astype(np.float64)


def test_histograms_count_every_element(graph: Graph, seen: Mapping[str, Histogram]) -> None:
    for name, histogram in seen.items():
        assert histogram.total == 8 * graph.tensors[name].elements


def test_histograms_need_a_sample(graph: Graph) -> None:
    with pytest.raises(CalibrationError, match="no sample"):
        observe_histograms(graph, [])


def test_groups_partition_the_int8_activations(graph: Graph) -> None:
    names = [name for group in width_groups(graph) for name in group.tensors]
    stored = [n for n, t in graph.tensors.items() if t.dtype is DType.INT8 and not t.is_constant]
    assert sorted(names) == sorted(stored)
    for group in width_groups(graph):
        first = int8.quantization_of(graph.tensors[group.tensors[0]])
        assert all(first.same_as(graph.tensors[name].quantization) for name in group.tensors)


def test_what_is_converted_from_or_to_float_stays_wide(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op in ("quantize", "dequantize", "fully_connected"):
            touched = {*node.inputs, *node.outputs}
            for group in width_groups(graph):
                assert not (group.can_narrow and touched & set(group.tensors))


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_the_same_widths_give_the_same_bits(seed: int) -> None:
    graph = int8_network(seed)
    same: dict[str, Width] = {
        group.tensors[0]: (DType.INT8, int8.quantization_of(graph.tensors[group.tensors[0]]))
        for group in width_groups(graph)
        if group.can_narrow
    }
    batches = samples_of(graph, 2, seed)
    again = with_bit_widths(graph, same)
    assert np.array_equal(outputs(graph, batches), outputs(again, batches))


@pytest.mark.parametrize("bits", [4, 2])
def test_narrow_values_stay_in_their_type(
    graph: Graph, seen: Mapping[str, Histogram], bits: int
) -> None:
    narrow = with_bit_widths(graph, all_narrow(graph, seen, bits))
    low, high = int8.integer_range(WIDTHS[bits])
    checked = []

    def check(name: str, array: Array) -> None:
        if narrow.tensors[name].dtype is WIDTHS[bits]:
            checked.append(name)
            assert array.min() >= low
            assert array.max() <= high

    evaluate(narrow, samples_of(graph, 1)[0], observe=check)
    assert len(checked) > 5
    assert [node.name for node in narrow.nodes] == [node.name for node in graph.nodes]
    assert narrow.tensors.keys() == graph.tensors.keys()


def test_every_member_of_a_group_follows(graph: Graph, seen: Mapping[str, Histogram]) -> None:
    shared = [g for g in width_groups(graph) if g.can_narrow and len(g.tensors) > 1]
    assert shared
    for group in shared:
        first, last = group.tensors[0], group.tensors[-1]
        kept = clip_range(seen[first], graph.tensors[first], 4)
        narrow = with_bit_widths(graph, {last: (DType.INT4, kept)})
        for name in group.tensors:
            assert narrow.tensors[name].dtype is DType.INT4
            assert kept.same_as(narrow.tensors[name].quantization)
        other = Quantization.per_tensor(1.0, 0)
        with pytest.raises(QuantizationError, match="shares its scale"):
            with_bit_widths(graph, {first: (DType.INT4, kept), last: (DType.INT4, other)})


def test_biases_keep_their_real_values(graph: Graph, seen: Mapping[str, Histogram]) -> None:
    narrow = with_bit_widths(graph, all_narrow(graph, seen, 4))
    for node in narrow.nodes:
        if node.op in ("conv2d", "depthwise_conv2d"):
            before, after = graph.tensors[node.inputs[2]], narrow.tensors[node.inputs[2]]
            step = int8.quantization_of(after).scale
            difference = int8.real_from_stored(after.data, after) - int8.real_from_stored(
                before.data, before
            )
            assert np.all(np.abs(difference) <= 0.51 * step)
            x, weights = (narrow.tensors[name] for name in node.inputs[:2])
            product = int8.scale_of(x) * int8.quantization_of(weights).scale
            np.testing.assert_allclose(step, product, rtol=1e-6)


def test_wider_types_and_calibration_come_nearer(
    graph: Graph, seen: Mapping[str, Histogram]
) -> None:
    batches = samples_of(graph, 24, seed=9)
    exact = outputs(graph, batches)
    four, two = (with_bit_widths(graph, all_narrow(graph, seen, bits)) for bits in (4, 2))
    assert sqnr_db(exact, outputs(four, batches)) > sqnr_db(exact, outputs(two, batches)) + 3
    weights = {node.name: 4 for node in graph.nodes if node.op.endswith("conv2d")}
    plain = with_bit_widths(graph, {}, weights)
    refined = with_bit_widths(graph, {}, weights, samples=samples_of(graph, 16))
    nearer = sqnr_db(exact, outputs(refined, batches)) - sqnr_db(exact, outputs(plain, batches))
    assert nearer > 0.5


@pytest.mark.parametrize("bits", [4, 2])
def test_narrow_weights_are_symmetric_and_in_their_type(graph: Graph, bits: int) -> None:
    weights = {node.name: bits for node in graph.nodes if node.op in NARROW_WEIGHTS}
    narrow = with_bit_widths(graph, {}, weights, samples=samples_of(graph, 2))
    highest = int8.integer_range(WIDTHS[bits])[1]
    for node in narrow.nodes:
        if node.name in weights:
            tensor = narrow.tensors[node.inputs[1]]
            assert tensor.dtype is WIDTHS[bits]
            assert np.abs(tensor.data.astype(np.int64)).max() <= highest
            assert not int8.quantization_of(tensor).zero_point.any()
    assert narrow.weights_bytes < graph.weights_bytes


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.sampled_from([1, 7]))
def test_independent_inputs_round_to_nearest(seed: int, depth: int, highest: int) -> None:
    random = np.random.default_rng(seed)
    matrices = random.uniform(-1.2, 1.2, (2, 3, depth)) * highest
    hessians = np.stack([np.eye(depth) * random.uniform(0.5, 9)] * 2)
    nearest = np.clip(np.rint(matrices), -highest, highest)
    assert np.array_equal(round_second_order(matrices, hessians, highest), nearest)


def test_second_order_rounding_keeps_products_nearer() -> None:
    random = np.random.default_rng(3)
    mixing = random.standard_normal((16, 16)) * random.uniform(0.1, 3, 16)
    inputs = random.standard_normal((400, 16)) @ mixing
    matrices = random.uniform(-7, 7, (1, 32, 16))
    chosen = round_second_order(matrices, (inputs.T @ inputs)[None], 7)
    errors = [
        float(((inputs @ (matrices - rounded)[0].T) ** 2).sum())
        for rounded in (chosen, np.clip(np.rint(matrices), -7, 7))
    ]
    assert errors[0] < 0.8 * errors[1]


def test_what_cannot_be_narrower_is_refused(graph: Graph) -> None:
    kept = Quantization.per_tensor(0.1, 0)
    wide = next(g.tensors[0] for g in width_groups(graph) if not g.can_narrow)
    with pytest.raises(QuantizationError, match="int4"):
        with_bit_widths(graph, {wide: (DType.INT4, kept)})
    with pytest.raises(UsageError, match="no int8 activation"):
        with_bit_widths(graph, {"nowhere": (DType.INT4, kept)})
    pool = next(node.name for node in graph.nodes if node.op == "average_pool2d")
    with pytest.raises(UsageError, match="no weights"):
        with_bit_widths(graph, {}, {pool: 4})
    conv = next(node.name for node in graph.nodes if node.op == "conv2d")
    with pytest.raises(UsageError, match="3 bits"):
        with_bit_widths(graph, {}, {conv: 3})
    with pytest.raises(CalibrationError, match="no sample"):
        with_bit_widths(graph, {}, {conv: 4}, samples=())


def pool_attrs(**others: Attr) -> dict[str, Attr]:
    return {
        "kernel": (2, 2), "strides": (2, 2), "padding": ((0, 0), (0, 0)), "layout": "NHWC",
        "activation": "none", **others,
    }  # fmt: skip


def channels_sliced(net: BlockNetwork, x: str) -> str:
    return net.node("slice", x, begin=(0, 0, 0, 3), end=(1, 8, 8, 11), strides=(1, 1, 1, 1))


REFUSED: Mapping[str, Callable[[BlockNetwork, str], str]] = {
    "broadcast sum": lambda net, x: net.add(
        x, net.node("average_pool2d", x, **pool_attrs(kernel=(8, 8)))
    ),
    "mean of channels": lambda net, x: net.node("reduce_mean", x, axes=(3,), keep_dims=True),
    "mean of rows": lambda net, x: net.node("reduce_mean", x, axes=(1,), keep_dims=True),
    "channels within bytes": channels_sliced,
    "joined within bytes": lambda net, x: net.node(
        "concat", net.conv(x, 12, 3), x, axis=3, activation="none"
    ),
    "mirrored channels": lambda net, x: net.node(
        "pad", x, padding=((0, 0), (0, 0), (0, 0), (0, 4)), mode="reflect"
    ),
    "rows of pixels": lambda net, x: net.node("reshape", x, shape=(1, 8, 16, 6)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_packed_kernel_stays_wide(what: str) -> None:
    net = BlockNetwork()
    x = net.conv(net.input("x", 1, 8, 8, 3), 3, 12)
    y = REFUSED[what](net, x)
    graph = quantized(net.graph(net.node("relu", y)))
    wide = {name for g in width_groups(graph) if not g.can_narrow for name in g.tensors}
    assert x in wide


def test_two_channels_to_a_byte_may_be_cut_where_four_may_not() -> None:
    net = BlockNetwork()
    x = net.conv(net.input("x", 1, 8, 8, 3), 3, 12)
    y = net.node("slice", x, begin=(0, 0, 0, 2), end=(1, 8, 8, 10), strides=(1, 1, 1, 1))
    graph = quantized(net.graph(net.conv(y, 8, 4)))
    group = next(group for group in width_groups(graph) if x in group.tensors)
    assert group.narrow_bits == (4,)
    seen = observe_histograms(graph, samples_of(graph))
    four, two = ((WIDTHS[b], clip_range(seen[x], graph.tensors[x], b)) for b in (4, 2))
    assert with_bit_widths(graph, {x: four}).tensors[y].dtype is DType.INT4
    with pytest.raises(QuantizationError, match="no int2 form"):
        with_bit_widths(graph, {x: two})


def test_all_that_can_narrow_has_kernels(graph: Graph, seen: Mapping[str, Histogram]) -> None:
    for bits in (4, 2):
        narrow = with_bit_widths(graph, all_narrow(graph, seen, bits))
        calls = [
            call.function
            for node in narrow.nodes
            for call in lower(OpView.of(narrow, node), KernelSet.PORTABLE)
        ]
        assert any("packed" in function for function in calls)


def test_a_group_whose_members_are_rescaled_stays_wide(graph: Graph) -> None:
    group = next(g for g in width_groups(graph) if g.can_narrow and len(g.tensors) > 1)
    last = graph.tensors[group.tensors[-1]]
    other = replace(last, quantization=Quantization.per_tensor(0.3, 5))
    changed = graph.replace(tensors=[other])
    found = next(g for g in width_groups(changed) if last.name in g.tensors)
    assert found.tensors == group.tensors
    assert not found.can_narrow
