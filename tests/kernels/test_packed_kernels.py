"""Kernels of 4 and 2 bits equal those of int8 on the same values, in memory of the sizes they say.

Every set of kernels but MVE's has them. What is compared is stored values: the kernels of int8 get
the same values in bytes, and the activation range of the output's type.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgekit.native import has_library
from edgekit.ops import int8
from edgekit.ops.kernel_set import KernelSet
from edgekit.runtime.lowering import SCRATCH, KernelCall
from edgekit.runtime.lowering.call import Field
from edgekit.runtime.lowering.weighted import lifted_channels, weights_in_order
from edgekit.runtime.native_kernels import bind, scratch_bytes
from tests.kernels.test_native import Guarded, Kernels, kernels

pytestmark = pytest.mark.skipif(not has_library(), reason="the native core is not built")
__all__ = ["kernels"]

Values = npt.NDArray[np.int8]
Bytes = npt.NDArray[np.uint8]

BITS = st.sampled_from([8, 4, 2])
WEIGHT_BITS = st.sampled_from([8, 4])
CHANNELS = st.one_of(st.integers(1, 9), st.sampled_from([16, 17, 40]))


def bounds(bits: int) -> tuple[int, int]:
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def pack(values: Values, bits: int) -> Bytes:
    per_byte = 8 // bits
    left = -values.shape[-1] % per_byte
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, left)])
    fields = (padded.astype(np.int64) & ((1 << bits) - 1)).reshape(*values.shape[:-1], -1, per_byte)
    packed: Bytes = (fields << (np.arange(per_byte) * bits)).sum(-1).astype(np.uint8)
    return packed


def drawn(data: np.random.Generator, shape: tuple[int, ...], bits: int) -> Values:
    low, high = bounds(bits)
    return data.integers(low, high + 1, shape).astype(np.int8)


def library_of(kernels: Kernels) -> ctypes.CDLL:
    if kernels[0] is KernelSet.CORTEX_M_MVE:
        pytest.skip("no kernels of packed values")
    return kernels[1]


def run(
    library: ctypes.CDLL,
    function: str,
    fields: dict[str, Field],
    inputs: dict[str, Bytes],
    output_bytes: int,
    *,
    in_place: bool = False,
) -> Bytes:
    """Run a kernel on memory of exactly the sizes; inputs keep their order."""
    has_scratch = hasattr(library, f"{function}_scratch_bytes")
    names = (*inputs, *([SCRATCH] if has_scratch else []), "output")
    call = KernelCall(function, function.replace("_s8", "") + "_params", fields, names)
    memory = Guarded()
    for name, array in inputs.items():
        memory.put(name, array)
    memory.put("output", np.full(output_bytes, 0x77, np.uint8))
    if in_place:
        memory.blocks["output"] = memory.blocks[next(iter(inputs))]
    needed = scratch_bytes(call, library, in_place=in_place)
    memory.put(SCRATCH, np.full(needed, 0x33, np.uint8))
    bound = bind(call, memory.address, library)
    with memory.whole():
        bound()
    return memory.get("output").copy()


def activation_range(draw: st.DrawFn, bits: int) -> tuple[int, int]:
    low, high = bounds(bits)
    if draw(st.booleans()):
        return low, high
    middle = draw(st.integers(low, high))
    return draw(st.integers(low, middle)), draw(st.integers(middle, high))


def factors(
    draw: st.DrawFn, data: np.random.Generator, channels: int, *, usual: bool
) -> tuple[npt.NDArray[np.int32], int]:
    """Return rows of bias, multiplier and shift, and whether rescaling is simple."""
    simple = usual or draw(st.booleans())
    rows = np.zeros((channels, 3), np.int32)
    rows[:, 0] = data.integers(-(2**12), 2**12, channels)
    rows[:, 1] = data.integers(2**30, 2**31 - 1, channels)
    rows[:, 2] = data.integers(*((-14, -7) if simple else (-24, 2)), channels)
    if not simple:
        rows[data.random(channels) < 0.1, 1] = 0
    return rows, int(simple)


@st.composite
def windows(
    draw: st.DrawFn, *, depthwise: bool, same: bool, usual: bool = False
) -> dict[str, Field]:
    """Return a convolution's sizes; with ``same``, one whose output has the input's shape.

    With ``usual``, kernels of 3 by 3 without gaps and strides up to two.
    """
    kernel, dilations = (3, 3), (1, 1)
    if not usual:
        kernel = draw(st.sampled_from([(1, 1), (3, 3), (2, 3), (4, 1), (5, 5)]))
        dilations = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    reaches = [(kernel[axis] - 1) * dilations[axis] for axis in range(2)]
    stride = st.integers(1, 2 if usual else 3)
    strides = (1, 1) if same else draw(st.tuples(stride, stride))
    pads = [draw(st.integers(0, reach)) for reach in reaches]
    sizes = [draw(st.integers(1 if same else reach + 1, reach + 12)) for reach in reaches]
    after = [
        reach - pad if same else draw(st.integers(0, reach))
        for reach, pad in zip(reaches, pads, strict=True)
    ]
    outputs = [(sizes[i] + pads[i] + after[i] - 1 - reaches[i]) // strides[i] + 1 for i in range(2)]
    channels = draw(CHANNELS)
    groups = channels if depthwise else 1
    if not depthwise and not same:
        groups = draw(st.sampled_from([g for g in (1, 2, 3) if channels % g == 0]))
    factor = 1 if same or usual else draw(st.integers(1, 3))
    out_channels = channels * factor if depthwise or same else groups * draw(st.integers(1, 9))
    return {
        "batches": draw(st.integers(1, 2)),
        **dict(zip(("input_height", "input_width"), sizes, strict=True)),
        "input_channels": channels,
        **dict(zip(("output_height", "output_width"), outputs, strict=True)),
        "output_channels": out_channels,
        **dict(zip(("kernel_height", "kernel_width"), kernel, strict=True)),
        **dict(zip(("stride_height", "stride_width"), strides, strict=True)),
        **dict(zip(("dilation_height", "dilation_width"), dilations, strict=True)),
        **dict(zip(("pad_top", "pad_left"), pads, strict=True)),
        "groups": groups,
    }


def number(fields: dict[str, Field], name: str) -> int:
    value = fields[name]
    assert isinstance(value, int)
    return value


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """Fields of the kernel of int8, its input, bits, and the weights in as many as they have."""

    fields: dict[str, Field]
    values: Values
    input_bits: int
    output_bits: int
    weight_bits: int
    weights: Bytes
    matrix: Values
    """Of shape (output channels, depth), as int8."""

    def channels(self, kernels: KernelSet) -> npt.NDArray[np.int32]:
        """Return rows of channels as kernels read them that convolve all channels."""
        rows = np.asarray(self.fields["channels"], np.int32)
        return lifted_channels(rows, self.matrix, self.input_bits, kernels)


@st.composite
def convolutions(
    draw: st.DrawFn, *, depthwise: bool, same: bool, usual: bool = False
) -> Convolution:
    fields = draw(windows(depthwise=depthwise, same=same, usual=usual))
    input_bits, output_bits, weight_bits = draw(BITS), draw(BITS), draw(WEIGHT_BITS)
    data = np.random.default_rng(draw(st.integers(0, 2**32)))
    channels, outputs = number(fields, "input_channels"), number(fields, "output_channels")
    taps = number(fields, "kernel_height") * number(fields, "kernel_width")
    if depthwise:
        weights = drawn(data, (taps, outputs), weight_bits)
        matrix = weights.T
        stored = pack(weights, weight_bits)
    else:
        groups = number(fields, "groups")
        matrix = drawn(data, (outputs, taps * (channels // groups)), weight_bits)
        weights = weights_in_order(matrix, KernelSet.PORTABLE, groups)
        narrow = weights_in_order(matrix, KernelSet.PORTABLE, groups, weight_bits)
        stored = narrow.view(np.uint8)
    rows, simple = factors(draw, data, outputs, usual=usual and draw(st.booleans()))
    low, high = activation_range(draw, output_bits)
    fields = {
        **fields,
        "input_zero_point": draw(st.integers(*bounds(input_bits))),
        "output_zero_point": draw(st.integers(*bounds(output_bits))),
        "activation_min": low,
        "activation_max": high,
        "simple_rescale": simple,
        "weights": weights,
        "channels": rows,
    }
    shape = tuple(number(fields, name) for name in ("batches", "input_height", "input_width"))
    values = drawn(data, (*shape, channels), input_bits)
    return Convolution(fields, values, input_bits, output_bits, weight_bits, stored, matrix)


def convolved(
    kernels: Kernels, case: Convolution, name: str, *, in_place: bool = False
) -> tuple[Bytes, Bytes]:
    """Return what the kernels of packed values and of int8 give, both packed."""
    library = library_of(kernels)
    fields, output_bits = case.fields, case.output_bits
    sizes = ("batches", "output_height", "output_width", "output_channels")
    shape = tuple(number(fields, size) for size in sizes)
    plain = run(
        library, f"ek_{name}_s8", fields, {"input": case.values.view(np.uint8)}, int(np.prod(shape))
    )
    expected = pack(plain.view(np.int8).reshape(shape), output_bits).reshape(-1)
    given = pack(case.values, case.input_bits)
    if in_place:
        assume(given.size == expected.size)
    packed: dict[str, Field] = {**fields, "weights": case.weights}
    packed |= {"input_bits": case.input_bits, "output_bits": output_bits}
    packed["weight_bits"] = case.weight_bits
    if name == "conv2d":
        packed["channels"] = case.channels(kernels[0])
    found = run(
        library, f"ek_{name}_packed", packed, {"input": given}, expected.size, in_place=in_place
    )
    return found, expected


@settings(deadline=None)
@given(case=convolutions(depthwise=False, same=False))
def test_convolutions_equal_those_of_int8(kernels: Kernels, case: Convolution) -> None:
    found, expected = convolved(kernels, case, "conv2d")
    np.testing.assert_array_equal(found, expected)


@settings(deadline=None)
@given(case=convolutions(depthwise=True, same=False))
def test_depthwise_convolutions_equal_those_of_int8(kernels: Kernels, case: Convolution) -> None:
    found, expected = convolved(kernels, case, "depthwise_conv2d")
    np.testing.assert_array_equal(found, expected)


@settings(deadline=None)
@given(case=convolutions(depthwise=True, same=False, usual=True))
def test_depthwise_convolutions_by_kernels_of_3_by_3_equal_those_of_int8(
    kernels: Kernels, case: Convolution
) -> None:
    found, expected = convolved(kernels, case, "depthwise_conv2d")
    np.testing.assert_array_equal(found, expected)


@st.composite
def overwriting(draw: st.DrawFn) -> tuple[str, Convolution]:
    depthwise = draw(st.booleans())
    case = draw(convolutions(depthwise=depthwise, same=True, usual=draw(st.booleans())))
    fields, bits = case.fields, case.input_bits
    low, high = bounds(bits)
    narrow = {
        "output_zero_point": min(max(number(fields, "output_zero_point"), low), high),
        "activation_min": max(number(fields, "activation_min"), low),
        "activation_max": min(number(fields, "activation_max"), high),
    }
    assume(narrow["activation_min"] <= narrow["activation_max"])
    name = "depthwise_conv2d" if depthwise else "conv2d"
    return name, replace(case, fields={**fields, **narrow}, output_bits=bits)


@settings(deadline=None)
@given(case=overwriting())
def test_convolutions_may_overwrite_their_input(
    kernels: Kernels, case: tuple[str, Convolution]
) -> None:
    name, convolution = case
    found, expected = convolved(kernels, convolution, name, in_place=True)
    np.testing.assert_array_equal(found, expected)


@st.composite
def poolings(draw: st.DrawFn) -> tuple[dict[str, Field], Values, int]:
    fields = draw(windows(depthwise=True, same=False))
    names = ("output_channels", "groups", "input_channels")
    sizes = {name: value for name, value in fields.items() if name not in names}
    heads = ("batches", "input_height", "input_width")
    channels, bits = number(fields, "input_channels"), draw(st.sampled_from([4, 2]))
    low, high = activation_range(draw, bits)
    ordered: dict[str, Field] = {
        **{name: sizes.pop(name) for name in heads},
        "channels": channels,
        **sizes,
        "activation_min": low,
        "activation_max": high,
    }
    data = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = tuple(number(ordered, name) for name in heads)
    return ordered, drawn(data, (*shape, channels), bits), bits


@pytest.mark.parametrize("name", ["average_pool2d", "max_pool2d"])
@settings(deadline=None)
@given(case=poolings())
def test_pooling_equals_that_of_int8(
    kernels: Kernels, name: str, case: tuple[dict[str, Field], Values, int]
) -> None:
    library = library_of(kernels)
    fields, values, bits = case
    sizes = ("batches", "output_height", "output_width", "channels")
    shape = tuple(number(fields, size) for size in sizes)
    plain = run(
        library, f"ek_{name}_s8", fields, {"input": values.view(np.uint8)}, int(np.prod(shape))
    )
    expected = pack(plain.view(np.int8).reshape(shape), bits).reshape(-1)
    packed: dict[str, Field] = {**fields, "value_bits": bits}
    found = run(library, f"ek_{name}_packed", packed, {"input": pack(values, bits)}, expected.size)
    np.testing.assert_array_equal(found, expected)


@st.composite
def dense_layers(draw: st.DrawFn) -> tuple[dict[str, Field], Values, Values]:
    """Return fields of the kernel of int8, its input, and the weights in four bits."""
    rows, depth, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 40)), draw(CHANNELS)
    data = np.random.default_rng(draw(st.integers(0, 2**32)))
    matrix = drawn(data, (outputs, depth), 4)
    channels, simple = factors(draw, data, outputs, usual=draw(st.booleans()))
    low, high = activation_range(draw, 8)
    per_channel = draw(st.booleans())
    fields: dict[str, Field] = {
        "rows": rows,
        "depth": depth,
        "output_channels": outputs,
        "weights_zero_point": draw(st.integers(-8, 7)),
        "output_zero_point": draw(st.integers(-128, 127)),
        "activation_min": low,
        "activation_max": high,
        "simple_rescale": simple,
        "factor_step": 2 if per_channel else 0,
        "weights": weights_in_order(matrix, KernelSet.PORTABLE),
        "bias": channels[:, 0],
        "factors": channels[: outputs if per_channel else 1, 1:],
    }
    narrow = weights_in_order(matrix, KernelSet.PORTABLE, bits=4)
    return fields, drawn(data, (rows, depth), 8), narrow


@settings(deadline=None)
@given(case=dense_layers())
def test_dense_layers_equal_those_of_int8(
    kernels: Kernels, case: tuple[dict[str, Field], Values, Values]
) -> None:
    library = library_of(kernels)
    fields, values, narrow = case
    count = number(fields, "rows") * number(fields, "output_channels")
    inputs = {"input": values.view(np.uint8)}
    expected = run(library, "ek_fully_connected_s8", fields, inputs, count)
    packed: dict[str, Field] = {**fields, "weights": narrow}
    found = run(library, "ek_fully_connected_packed", packed, inputs, count)
    np.testing.assert_array_equal(found, expected)


@settings(deadline=None)
@given(data=st.data())
def test_sums_equal_those_of_int8(kernels: Kernels, data: st.DataObject) -> None:
    library = library_of(kernels)
    pixels = st.one_of(st.integers(1, 40), st.integers(300, 330))
    shape = data.draw(pixels), data.draw(CHANNELS)
    first_bits, second_bits, bits = (data.draw(BITS) for _ in range(3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    first, second = drawn(rng, shape, first_bits), drawn(rng, shape, second_bits)
    low, high = bounds(bits)
    count = shape[0] * shape[1]
    fields: dict[str, Field] = {
        "dims": (1, 1, 1, 1, 1, count),
        "first_strides": (1, 1, 1, 1, 1, 1),
        "second_strides": (1, 1, 1, 1, 1, 1),
        "left_shift": 20,
        "first_zero_point": data.draw(st.integers(*bounds(first_bits))),
        "first_multiplier": int(rng.integers(2**30, 2**31 - 1)),
        "first_shift": -1,
        "second_zero_point": data.draw(st.integers(*bounds(second_bits))),
        "second_multiplier": int(rng.integers(2**30, 2**31 - 1)),
        "second_shift": -2,
        "output_zero_point": data.draw(st.integers(low, high)),
        "output_multiplier": int(rng.integers(2**30, 2**31 - 1)),
        "output_shift": data.draw(st.sampled_from([-21, -20, -19, -18])),
        "activation_min": low,
        "activation_max": high,
    }
    plain = {"first": first.view(np.uint8), "second": second.view(np.uint8)}
    sums = run(library, "ek_add_s8", fields, plain, count).view(np.int8).reshape(shape)
    expected = pack(sums, bits).reshape(-1)
    packed = {
        **fields,
        "pixels": shape[0],
        "channels": shape[1],
        "first_bits": first_bits,
        "second_bits": second_bits,
        "output_bits": bits,
    }
    given = {"first": pack(first, first_bits), "second": pack(second, second_bits)}
    found = run(library, "ek_add_packed", packed, given, expected.size)
    np.testing.assert_array_equal(found, expected)
    if given["first"].size == expected.size:
        over = run(library, "ek_add_packed", packed, given, expected.size, in_place=True)
        np.testing.assert_array_equal(over, expected)


@settings(deadline=None)
@given(data=st.data())
def test_any_function_of_one_value_is_a_table(kernels: Kernels, data: st.DataObject) -> None:
    library = library_of(kernels)
    shape = data.draw(st.integers(1, 40)), data.draw(CHANNELS)
    input_bits, bits = data.draw(BITS), data.draw(BITS)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    values, table = drawn(rng, shape, input_bits), drawn(rng, (1 << input_bits,), bits)
    expected = pack(table[values.astype(np.int64) - bounds(input_bits)[0]], bits).reshape(-1)
    fields: dict[str, Field] = {
        "pixels": shape[0],
        "channels": shape[1],
        "input_bits": input_bits,
        "output_bits": bits,
        "table": table,
    }
    given = pack(values, input_bits)
    found = run(library, "ek_lookup_packed", fields, {"input": given}, expected.size)
    np.testing.assert_array_equal(found, expected)
    if given.size == expected.size:
        inputs = {"input": given}
        over = run(library, "ek_lookup_packed", fields, inputs, expected.size, in_place=True)
        np.testing.assert_array_equal(over, expected)


@pytest.mark.parametrize("bits", [4, 2])
@pytest.mark.parametrize("channels", [1, 5, 16, 21])
def test_means_of_large_images_are_exact(kernels: Kernels, bits: int, channels: int) -> None:
    library = library_of(kernels)
    pixels, (low, high) = 22_000, bounds(bits)
    values = drawn(np.random.default_rng(bits), (2, pixels, channels), bits)
    values[0, :, 0], values[1, :, 0] = high, low
    factor = int8.quantize_multipliers(2.0**-13)
    fields: dict[str, Field] = {
        "batches": 2,
        "pixels": pixels,
        "channels": channels,
        "input_bits": bits,
        "bias": 0,
        "multiplier": int(factor.multiplier),
        "shift": int(factor.shift),
        "output_zero_point": 0,
    }
    packed = {"input": pack(values, bits)}
    found = run(library, "ek_reduce_sum_packed", fields, packed, 2 * channels)
    sums = values.sum(axis=1, dtype=np.int64)
    expected = int8.multiply(sums, factor)
    np.testing.assert_array_equal(found.view(np.int8).reshape(2, channels), expected)
