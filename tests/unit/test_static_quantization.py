"""Static int8: what the quantized graph looks like, how close it is, and what falls back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.converters.calibration.observers import Range
from edgekit.converters.calibration.ranges import calibrate
from edgekit.converters.quantization.bias_correction import correct_biases
from edgekit.converters.quantization.equalization import equalizable_pairs, equalize
from edgekit.converters.quantization.fallback import Gate, Quality, quantize_with_gate
from edgekit.converters.quantization.parameters import (
    activation_quantization,
    quantized_bias,
    quantized_constant,
    weight_quantization,
)
from edgekit.converters.quantization.precision import PrecisionOption, choose_precision
from edgekit.converters.quantization.report import (
    NO_ERROR_DB,
    Runner,
    culprits,
    layer_report,
    sqnr_db,
)
from edgekit.converters.quantization.static import quantize_static
from edgekit.dtypes import Array, DType
from edgekit.errors import AccuracyError, CalibrationError, QuantizationError, UsageError
from edgekit.graph import Attr, Graph, Tensor
from edgekit.ops import int8
from edgekit.ops.evaluate import evaluate
from tests.small_graphs import Builder

PADDING = ((1, 1), (1, 1))


class Network(Builder):
    """Layers with random weights, channels last."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.random = np.random.default_rng(seed)

    def normal(self, *shape: int) -> npt.NDArray[np.float32]:
        return self.random.standard_normal(shape).astype(np.float32)

    def conv(self, x: str, c_in: int, c_out: int, size: int = 3, activation: str = "relu") -> str:
        number = len(self.nodes)
        scale = np.float32(1 / np.sqrt(size * size * c_in))
        weights = self.constant(f"w{number}", self.normal(c_out, size, size, c_in) * scale)
        bias = self.constant(f"b{number}", self.normal(c_out) * np.float32(0.1))
        pad = ((size // 2, size // 2),) * 2
        common: dict[str, Attr] = {
            "strides": (1, 1),
            "dilations": (1, 1),
            "layout": "NHWC",
            "groups": 1,
        }
        return self.node("conv2d", x, weights, bias, padding=pad, activation=activation, **common)

    def depthwise(self, x: str, channels: int) -> str:
        weights = self.constant(f"w{len(self.nodes)}", self.normal(1, 3, 3, channels) / 3)
        common: dict[str, Attr] = {"strides": (1, 1), "dilations": (1, 1), "layout": "NHWC"}
        return self.node(
            "depthwise_conv2d", x, weights, padding=PADDING, activation="relu",
            depth_multiplier=1, **common,
        )  # fmt: skip


def residual_network() -> Graph:
    """Every kind of quantization rule: weighted, requantized, same scale, joined, fixed."""
    net = Network()
    x = net.input("x", 1, 8, 8, 3)
    a = net.conv(x, 3, 8)
    b = net.add(net.depthwise(a, 8), a)
    pool: dict[str, Attr] = {
        "kernel": (2, 2),
        "strides": (2, 2),
        "padding": ((0, 0), (0, 0)),
        "layout": "NHWC",
    }
    c = net.node("max_pool2d", b, activation="none", **pool)
    d = net.node("concat", net.conv(c, 8, 4, activation="none"), c, axis=3, activation="none")
    rows = net.reshape(d, 1, 4 * 4 * 12)
    scores = net.dense(rows, 4 * 4 * 12, 5)
    scaled = net.node("mul", scores, net.constant("k", np.full(1, 0.2, np.float32)),
                      activation="none")  # fmt: skip
    return net.graph(net.node("softmax", scaled, axis=-1, beta=1.0))


def inputs_of(graph: Graph, count: int = 16, seed: int = 1) -> list[dict[str, Array]]:
    random = np.random.default_rng(seed)
    return [
        {
            name: random.standard_normal(graph.tensors[name].static_shape).astype(np.float32)
            for name in graph.inputs
        }
        for _ in range(count)
    ]


def outputs(graph: Graph, batches: list[dict[str, Array]]) -> npt.NDArray[np.float64]:
    rows = [evaluate(graph, batch)[graph.outputs[0]] for batch in batches]
    return np.stack(rows).astype(np.float64)


@pytest.fixture(scope="module")
def network() -> Graph:
    return residual_network()


@pytest.fixture(scope="module")
def quantized(network: Graph) -> Graph:
    return quantize_static(network, calibrate(network, inputs_of(network)))


def test_outputs_stay_close_to_float(network: Graph, quantized: Graph) -> None:
    fresh = inputs_of(network, seed=2)
    assert sqnr_db(outputs(network, fresh), outputs(quantized, fresh)) > 25.0


def test_inputs_and_outputs_keep_their_names_and_types(network: Graph, quantized: Graph) -> None:
    assert quantized.inputs == network.inputs
    assert quantized.outputs == network.outputs
    for name in (*quantized.inputs, *quantized.outputs):
        assert quantized.tensors[name].dtype is DType.FLOAT32


def test_every_layer_with_a_rule_is_int8_and_keeps_its_name(
    network: Graph, quantized: Graph
) -> None:
    twins = {node.name: node for node in quantized.nodes}
    for node in network.nodes:
        assert quantized.tensors[twins[node.name].outputs[0]].dtype is DType.INT8
    added = [
        node.op for node in quantized.nodes if node.name not in {n.name for n in network.nodes}
    ]
    assert added == ["quantize", "dequantize"]


def test_scales_follow_the_rules_of_the_operators(quantized: Graph) -> None:
    for node in quantized.nodes:
        output = quantized.tensors[node.outputs[0]].quantization
        first = quantized.tensors[node.inputs[0]].quantization
        if node.op in ("max_pool2d", "reshape", "concat"):
            assert output is not None
            read = [quantized.tensors[name].quantization for name in node.inputs]
            assert all(output.same_as(other) for other in read)
        if node.op == "softmax":
            assert output is not None
            assert (output.scale[0], output.zero_point[0]) == (np.float32(1 / 256), -128)
        if node.op in ("conv2d", "depthwise_conv2d", "fully_connected"):
            weights, bias = (quantized.tensors[name] for name in node.inputs[1:3])
            assert first is not None
            assert weights.quantization is not None
            assert bias.quantization is not None
            assert weights.dtype is DType.INT8
            assert not weights.quantization.zero_point.any()
            assert weights.data.min() >= -127
            assert bias.dtype is DType.INT32
            np.testing.assert_allclose(
                bias.quantization.scale, first.scale[0] * weights.quantization.scale, rtol=1e-6
            )


def test_int8_inputs_and_outputs_compute_the_same(network: Graph, quantized: Graph) -> None:
    bare = quantize_static(network, calibrate(network, inputs_of(network)), float_io=False)
    source, target = bare.tensors[bare.inputs[0]], bare.tensors[bare.outputs[0]]
    assert (source.dtype, target.dtype) == (DType.INT8, DType.INT8)
    (batch,) = inputs_of(network, 1, seed=3)
    stored = int8.stored_from_real(batch["x"], source)
    got = evaluate(bare, {bare.inputs[0]: stored})[bare.outputs[0]]
    expected = evaluate(quantized, batch)[quantized.outputs[0]]
    assert np.array_equal(int8.real_from_stored(got, target), expected)


def test_layers_kept_in_float_have_conversions_around_them(network: Graph) -> None:
    ranges = calibrate(network, inputs_of(network))
    middle = network.nodes[2].name
    mixed = quantize_static(network, ranges, keep_float=[middle])
    (node,) = (node for node in mixed.nodes if node.name == middle)
    assert all(mixed.tensors[name].dtype is DType.FLOAT32 for name in (*node.inputs, *node.outputs))
    fresh = inputs_of(network, seed=2)
    assert sqnr_db(outputs(network, fresh), outputs(mixed, fresh)) > 25.0


def test_everything_in_float_is_the_float_graph(network: Graph) -> None:
    names = [node.name for node in network.nodes]
    kept = quantize_static(network, calibrate(network, inputs_of(network)), keep_float=names)
    fresh = inputs_of(network, 3, seed=4)
    assert np.array_equal(outputs(network, fresh), outputs(kept, fresh))


def test_concat_requantizes_what_has_a_prescribed_scale() -> None:
    net = Network()
    x = net.input("x", 1, 4)
    graph = net.graph(net.node("concat", net.node("softmax", x, axis=-1, beta=1.0), x, axis=1,
                               activation="none"))  # fmt: skip
    mixed = quantize_static(graph, calibrate(graph, inputs_of(graph)))
    (joined,) = (node for node in mixed.nodes if node.op == "concat")
    scales = [mixed.tensors[name].quantization for name in (*joined.inputs, *joined.outputs)]
    assert all(scales[0] is not None and scales[0].same_as(scale) for scale in scales)
    fresh = inputs_of(graph, seed=5)
    assert sqnr_db(outputs(graph, fresh), outputs(mixed, fresh)) > 25.0


def test_unknown_layer_and_missing_range_are_named(network: Graph) -> None:
    ranges = calibrate(network, inputs_of(network))
    with pytest.raises(UsageError, match="did you mean 'softmax_9'"):
        quantize_static(network, ranges, keep_float=["softmax_g"])
    del ranges["x"]
    with pytest.raises(QuantizationError, match="tensor x: calibration gave it no range"):
        quantize_static(network, ranges)


def test_weights_that_are_not_finite_are_named(network: Graph) -> None:
    ranges = calibrate(network, inputs_of(network))
    bad = network.tensors["w0"].data.copy()
    bad[0] = np.nan
    broken = replace(network, tensors={**network.tensors, "w0": Tensor.constant("w0", bad)})
    with pytest.raises(QuantizationError, match="tensor w0"):
        quantize_static(broken, ranges)


def test_calibration_names_a_tensor_that_is_not_finite(network: Graph) -> None:
    with pytest.raises(CalibrationError, match="tensor x"):
        calibrate(network, [{"x": np.full((1, 8, 8, 3), np.inf, np.float32)}])
    with pytest.raises(CalibrationError, match="no sample"):
        calibrate(network, [])


finite = st.floats(-1e4, 1e4, allow_subnormal=False)


@given(low=finite, high=finite, value=st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_activations_in_range_are_off_by_half_a_step(low: float, high: float, value: float) -> None:
    limits = Range(min(low, high), max(low, high)).including_zero()
    quantization = activation_quantization(limits)
    real = limits.minimum + value * (limits.maximum - limits.minimum)
    tensor = Tensor("t", (1,), DType.INT8, quantization=quantization)
    back = int8.real_from_stored(
        int8.stored_from_real(np.array([real, 0.0], np.float32), tensor), tensor
    )
    step = float(quantization.scale[0])
    # The zero point is rounded too, which shifts the ends by up to half a step.
    assert abs(float(back[0]) - real) <= 1.01 * step
    assert back[1] == 0.0


@given(seed=st.integers(0, 999), axis=st.integers(0, 1), exponent=st.integers(-20, 10))
@settings(max_examples=60, deadline=None)
def test_weights_are_off_by_half_a_step_and_biases_fit(seed: int, axis: int, exponent: int) -> None:
    random = np.random.default_rng(seed)
    data = (random.standard_normal((4, 5)) * 2.0**exponent).astype(np.float32)
    data[0, 0] = 0.0
    bias = random.standard_normal((data.shape[axis],)).astype(np.float32)
    weights = Tensor.constant("w", data)
    scales = weight_quantization(weights, axis, input_scale=0.01, bias=bias)
    stored = quantized_constant(weights, "w", scales)
    back = int8.real_from_stored(stored.data, stored)
    steps = np.moveaxis(
        np.broadcast_to(scales.scale, (data.shape[1 - axis], data.shape[axis])), 1, axis
    )
    assert (np.abs(back - data) <= 0.5001 * steps).all()
    packed = quantized_bias("b", bias.astype(np.float64), input_scale=0.01, weights=scales)
    assert packed.quantization is not None
    assert (np.abs(packed.data.astype(np.int64)) <= 1.001 * 2**30).all()
    assert (
        np.abs(int8.real_from_stored(packed.data, packed) - bias) <= packed.quantization.scale
    ).all()


def test_bias_correction_takes_the_mean_error_out() -> None:
    net = Network(3)
    graph = net.graph(net.conv(net.conv(net.input("x", 1, 6, 6, 3), 3, 8), 8, 4, activation="none"))
    batches = inputs_of(graph, 24)
    # Ranges that clip shift the mean, which correction must undo.
    tight = {
        name: Range(0.5 * limits.minimum, 0.5 * limits.maximum)
        for name, limits in calibrate(graph, batches).items()
    }
    tight[graph.outputs[0]] = calibrate(graph, batches)[graph.outputs[0]]
    plain = quantize_static(graph, tight)
    corrected = correct_biases(graph, plain, batches)
    exact = outputs(graph, batches)

    def mean_error(made: Graph) -> float:
        return float(np.abs((outputs(made, batches) - exact).mean(axis=(0, 1, 2, 3))).max())

    assert mean_error(corrected) < 0.2 * mean_error(plain)
    with pytest.raises(CalibrationError, match="no sample"):
        correct_biases(graph, plain, [])


def with_outlier_channel(slope: bool = True) -> Graph:
    """One channel of the first layer is 2,000 times as large as the others, and hardly used."""
    net = Network(7)
    x = net.input("x", 1, 6, 6, 3)
    a = net.conv(x, 3, 8, activation="none")
    if slope:
        a = net.node("prelu", a, net.constant("slope", np.full(8, 0.25, np.float32)))
    graph = net.graph(net.conv(a, 8, 4, activation="none"))
    first, bias, second = (
        graph.tensors[name].data.astype(np.float32)
        for name in ("w0", "b0", "w2" if slope else "w1")
    )
    first[0] *= 2000
    bias[0] *= 2000
    second[..., 0] /= 2000
    changed = {"w0": first, "b0": bias, "w2" if slope else "w1": second}
    tensors = {name: Tensor.constant(name, array) for name, array in changed.items()}
    return replace(graph, tensors={**graph.tensors, **tensors})


@pytest.mark.parametrize("slope", [True, False], ids=["prelu", "direct"])
def test_equalization_is_exact_in_float_and_rescues_small_channels(slope: bool) -> None:
    graph = with_outlier_channel(slope)
    batches = inputs_of(graph)
    assert [(p.first.op, p.second.op) for p in equalizable_pairs(graph)] == [("conv2d", "conv2d")]
    equal = equalize(graph, batches)
    exact = outputs(graph, batches)
    assert sqnr_db(exact, outputs(equal, batches)) > 100.0

    def quantized_db(made: Graph) -> float:
        return sqnr_db(exact, outputs(quantize_static(made, calibrate(made, batches)), batches))

    assert quantized_db(equal) > quantized_db(graph) + 15.0


def test_layers_that_clamp_or_branch_are_not_equalized() -> None:
    net = Network()
    x = net.input("x", 1, 6, 6, 3)
    clamped = net.conv(net.conv(x, 3, 4, activation="relu6"), 4, 4)
    branched = net.add(net.conv(clamped, 4, 4), clamped)
    assert equalizable_pairs(net.graph(branched)) == []


def engineered_culprit() -> Graph:
    """``mul_1`` blows one channel up 20,000 times, ``mul_2`` takes it back: no layer absorbs it."""
    net = Network(5)
    x = net.input("x", 1, 6, 6, 3)
    a = net.conv(x, 3, 8)
    factors = np.ones(8, np.float32)
    factors[3] = 20_000
    up = net.node("mul", a, net.constant("up", factors), activation="none")
    down = net.node("mul", up, net.constant("down", 1 / factors), activation="none")
    b = net.conv(down, 8, 8)
    return net.graph(net.conv(b, 8, 4, activation="none"))


def test_report_names_the_engineered_culprit_and_the_gate_sends_it_back_to_float() -> None:
    graph = engineered_culprit()
    batches = inputs_of(graph, 8)
    plain = quantize_with_gate(graph, batches)
    assert plain.fallback_layers == ()
    assert plain.sqnr_db < 15.0
    assert {error.layer for error in culprits(plain.report)[:2]} == {"mul_1", "mul_2"}

    result = quantize_with_gate(graph, batches, gate=Gate(min_sqnr_db=25.0))
    assert set(result.fallback_layers) == {"mul_1", "mul_2"}
    assert result.sqnr_db >= 25.0
    assert any("mul_1 (mul) goes back to float" in reason for reason in result.reasons)
    dtypes = {n.name: result.graph.tensors[n.outputs[0]].dtype for n in result.graph.nodes}
    assert dtypes["mul_1"] is DType.FLOAT32
    assert dtypes["conv2d_0"] is dtypes["conv2d_4"] is DType.INT8
    fresh = inputs_of(graph, seed=8)
    assert sqnr_db(outputs(graph, fresh), outputs(result.graph, fresh)) > 20.0


def test_gate_without_fallback_refuses_and_names_the_culprit() -> None:
    graph = engineered_culprit()
    gate = Gate(min_sqnr_db=25.0)
    with pytest.raises(AccuracyError, match=r"mul_[12]") as caught:
        quantize_with_gate(graph, inputs_of(graph, 8), gate=gate, allow_fallback=False)
    assert caught.value.limit == 25.0
    assert caught.value.measured < 25.0


def test_gate_on_accuracy_uses_the_users_own_measure(network: Graph) -> None:
    batches = inputs_of(network, 8)
    labels = [int(evaluate(network, b)[network.outputs[0]].argmax()) for b in batches]

    def accuracy(run: Runner) -> float:
        guesses = [int(run(batch)[network.outputs[0]].argmax()) for batch in batches]
        return float(np.mean(np.equal(guesses, labels)))

    result = quantize_with_gate(
        network, batches, gate=Gate(max_accuracy_drop=0.2), accuracy=accuracy
    )
    assert result.accuracy_drop is not None
    assert result.accuracy_drop <= 0.2


def test_report_is_consistent(network: Graph, quantized: Graph) -> None:
    report = layer_report(network, quantized, inputs_of(network, 4))
    assert [error.layer for error in report] == [node.name for node in network.nodes]
    assert all(error.own_sqnr_db > 15.0 for error in report)
    last = report[-1]
    assert last.own_sqnr_db == last.output_sqnr_db
    # Quantizing one layer alone hurts the outputs less than quantizing all of them.
    assert all(error.output_sqnr_db >= last.sqnr_db - 1.0 for error in report)
    with pytest.raises(CalibrationError, match="no sample"):
        layer_report(network, quantized, [])


@given(seed=st.integers(0, 99), factor=st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_ratio_does_not_depend_on_the_unit(seed: int, factor: float) -> None:
    random = np.random.default_rng(seed)
    exact, noise = random.standard_normal(50), random.standard_normal(50) * 0.01
    expected = sqnr_db(exact, exact + noise)
    assert sqnr_db(factor * exact, factor * (exact + noise)) == pytest.approx(expected)
    assert sqnr_db(exact, exact) == NO_ERROR_DB
    assert sqnr_db(exact, exact + 10 * noise) == pytest.approx(expected - 20.0)


FAST = PrecisionOption(0.001, 1000, Quality(28.0, 0.004))
HALF = PrecisionOption(0.002, 2000, Quality(60.0, 0.0))
FULL = PrecisionOption(0.004, 4000)


@pytest.mark.parametrize(
    ("gate", "chosen"),
    [
        (None, "int8"),
        (Gate(min_sqnr_db=30.0), "float16"),
        (Gate(min_sqnr_db=90.0), "float32"),
        (Gate(max_accuracy_drop=0.001), "float16"),
    ],
)
def test_fastest_precision_that_passes_is_chosen_and_explained(
    gate: Gate | None, chosen: str
) -> None:
    choice = choose_precision({"float32": FULL, "float16": HALF, "int8": FAST}, gate=gate)
    assert choice.precision == chosen
    assert len(choice.reasons) == 3
    assert choice.reasons[0].startswith(f"{chosen} is chosen")
    assert all("ms predicted" in reason for reason in choice.reasons)


def test_more_accurate_precision_wins_at_equal_speed() -> None:
    options = {"float32": replace(FULL, latency_s=0.00102), "int8": FAST}
    assert choose_precision(options).precision == "float32"


def test_no_passing_precision_is_refused() -> None:
    with pytest.raises(AccuracyError, match="the best is int8"):
        choose_precision({"int8": FAST}, gate=Gate(min_sqnr_db=99.0))
    with pytest.raises(UsageError, match="none of"):
        choose_precision({})
