"""Convolutions and dense layers: packed weights, folded biases, factors of channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array, DType, to_device_bytes
from edgekit.ops import int8
from edgekit.ops.checks import SMALL
from edgekit.ops.conv2d import is_packed
from edgekit.ops.fully_connected import single_multiplier
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView
from edgekit.runtime.lowering.call import SCRATCH, Field, KernelCall, no_kernel, require_types
from edgekit.runtime.lowering.constant_channels import settled_channels
from edgekit.runtime.lowering.packed import stored_bits, with_bits
from edgekit.runtime.lowering.windows import window_fields

_STORED = {8: DType.INT8, 4: DType.INT4}
_PLACES = (0, 2, 1, 3)
"""Order of four places of the depth in packed weights: the order in which SXTB16 takes bytes."""
_SIMPLE_SUM = 2**30
"""Sums below this can be doubled in 32 bits."""
_SIMPLE_SHIFTS = (-20, -1)
_VECTOR = 16
"""Bytes of a vector of MVE."""
_LANES = [0, 4, 8, 12, 2, 6, 10, 14, 1, 5, 9, 13, 3, 7, 11, 15]
"""Channels in the order in which MVE has their sums when even and odd lanes are widened twice."""


def packed_weights(matrix: npt.NDArray[np.int8], bits: int = 8) -> npt.NDArray[np.int8]:
    """Return a matrix (channels, depth) in the order that ``kernels.h`` calls packed.

    Parameters
    ----------
    matrix : array of int8, shape (channels, depth)
    bits : {8, 4}
        Of a weight as it is stored: with four, two share a byte as in ``kernels_packed.h``.
    """
    channels, depth = matrix.shape
    rest = channels % 4
    columns = channels - rest + (0, 2, 2, 4)[rest]
    padded = np.zeros((columns, -(-depth // 4) * 4), np.int8)
    padded[:channels, :depth] = matrix
    blocks = [padded[start : start + 4] for start in range(0, columns, 4)]
    return np.concatenate([_packed_block(block, bits) for block in blocks])


def _packed_block(block: npt.NDArray[np.int8], bits: int) -> npt.NDArray[np.int8]:
    """Pack four or two channels: (channels, depth) to a row of bytes."""
    pairs = block.shape[0] // 2
    # Axes: pair of channels, channel of the pair, four of places, half (0 2 or 1 3), place of it.
    places = block.reshape(pairs, 2, -1, 4)[..., _PLACES].reshape(pairs, 2, -1, 2, 2)
    halves = places.transpose(2, 3, 0, 4, 1)
    if bits == 8:
        return np.ascontiguousarray(halves).reshape(-1)
    return (halves[:, 0] & 15 | halves[:, 1] << 4).reshape(-1)


def blocked_weights(matrix: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Return a matrix (channels, depth) in the order that ``kernels.h`` calls blocks."""
    channels, depth = matrix.shape
    blocks = np.zeros((-(-channels // 4), 4, depth), np.int8)
    blocks.reshape(-1, depth)[:channels] = matrix
    first = (depth - 1) % _VECTOR + 1
    heads = blocks[:, :, :first].reshape(len(blocks), -1)
    vectors = blocks[:, :, first:].reshape(len(blocks), 4, -1, _VECTOR).transpose(0, 2, 1, 3)
    return np.concatenate([heads, vectors.reshape(len(blocks), -1)], axis=1).reshape(-1)


def weights_in_order(
    matrix: npt.NDArray[np.int8], kernels: KernelSet, groups: int = 1, bits: int = 8
) -> npt.NDArray[np.int8]:
    """Return a matrix (channels, depth) in the order that a set of kernels reads."""
    parts = np.split(matrix, groups)
    if kernels is not KernelSet.CORTEX_M_MVE:
        return np.concatenate([packed_weights(part, bits) for part in parts])
    return np.concatenate([blocked_weights(part) for part in parts])


def channels_in_order(
    rows: npt.NDArray[np.int32], kernels: KernelSet, groups: int
) -> npt.NDArray[np.int32]:
    """Return rows of bias, multiplier and shift in the order that a set of kernels reads."""
    if kernels is not KernelSet.CORTEX_M_MVE:
        return rows
    count = len(rows) // groups
    blocks = np.zeros((groups, -(-count // 4) * 4, 3), np.int32)
    blocks[:, :count] = rows.reshape(groups, count, 3)
    return np.ascontiguousarray(blocks.reshape(-1, 4, 3).transpose(0, 2, 1)).reshape(-1, 3)


def lifted_channels(
    rows: npt.NDArray[np.int32], matrix: npt.NDArray[np.int8], bits: int, kernels: KernelSet
) -> npt.NDArray[np.int32]:
    """Return rows of channels with the biases of a convolution's packed input.

    DSP kernels multiply packed values as numbers that are not negative: ``2**(bits - 1)`` more.

    Parameters
    ----------
    rows : array of int32, shape (channels, 3)
    matrix : array of int8, shape (channels, depth)
    bits : int
        Of a value of the input.
    kernels : KernelSet
    """
    if bits == 8 or kernels is not KernelSet.CORTEX_M_DSP:
        return rows
    lifted = rows.copy()
    lifted[:, 0] -= matrix.sum(axis=1, dtype=np.int32) << (bits - 1)
    return lifted


def depthwise_in_order(
    weights: npt.NDArray[np.int8], rows: npt.NDArray[np.int32], kernels: KernelSet
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int32]]:
    """Return depthwise weights (1, KH, KW, C) and rows of channels in the order that is read."""
    if kernels is not KernelSet.CORTEX_M_MVE:
        return weights, rows
    channels = weights.shape[3]
    count = -(-channels // _VECTOR)
    planes = np.zeros((count * _VECTOR, weights.shape[1] * weights.shape[2]), np.int8)
    planes[:channels] = weights.reshape(-1, channels).T
    table = np.zeros((count * _VECTOR, 3), np.int32)
    table[:channels] = rows
    blocks = table.reshape(count, _VECTOR, 3)[:, _LANES].transpose(0, 2, 1)
    ordered = planes.reshape(count, _VECTOR, -1).transpose(0, 2, 1)
    return np.ascontiguousarray(ordered), np.ascontiguousarray(blocks).reshape(-1, 3)


def channel_rows(
    view: OpView,
    matrix: npt.NDArray[np.int8],
    bias: Array | None,
    factors: int8.Multipliers,
    weights_zero_point: int = 0,
) -> tuple[npt.NDArray[np.int32], int]:
    """Return (channels, 3) rows of bias, multiplier and shift, and whether rescaling is simple.

    Parameters
    ----------
    matrix : array of int8, shape (channels, depth)
    bias : array of int32, shape (channels,), or None
    """
    channels, depth = matrix.shape
    zero_point = int8.zero_point_of(view.input(0))
    wide = matrix.astype(np.int64)
    folded = -zero_point * wide.sum(axis=1)
    if bias is not None:
        folded = folded + bias.astype(np.int64)
    rows = np.zeros((channels, 3), np.int32)
    products = np.abs(wide).sum(axis=1) + abs(weights_zero_point) * depth
    largest = products * 128 + np.abs(folded)
    rows[:, 0] = folded.astype(np.int32)
    rows[:, 1] = factors.multiplier
    # A factor of zero is zero with any shift.
    rows[:, 2] = np.where(factors.multiplier == 0, -1, factors.shift)
    low, high = _SIMPLE_SHIFTS
    all_short = bool(((rows[:, 2] >= low) & (rows[:, 2] <= high)).all())
    simple = int(largest.max()) < _SIMPLE_SUM and all_short
    return rows, int(simple)


def conv2d(view: OpView, kernels: KernelSet) -> tuple[KernelCall, ...]:
    """Lower a convolution."""
    require_types(view, 2, SMALL)
    weights = _constant(view, 1)
    matrix = weights.reshape(weights.shape[0], -1)
    window = window_fields(view, (weights.shape[1], weights.shape[2]), view.int_attr("groups", 1))
    return (_plain(view, kernels, window, matrix),)


def depthwise_conv2d(view: OpView, kernels: KernelSet) -> tuple[KernelCall, ...]:
    """Lower a depthwise convolution; of one input channel, it is a plain convolution."""
    require_types(view, 2, SMALL)
    weights = _constant(view, 1)
    channels = view.input(0).static_shape[3]
    kernel = weights.shape[1], weights.shape[2]
    matrix = np.ascontiguousarray(weights.reshape(-1, weights.shape[3]).T)
    if channels == 1:
        return (_plain(view, kernels, window_fields(view, kernel, 1), matrix),)
    settled, rows, simple = _settled(view, matrix)
    placed = settled.T.reshape(weights.shape)
    if is_packed(view, kernels):
        ordered, table = (
            to_device_bytes(placed, _STORED[stored_bits(view, kernels)]).view(np.int8),
            rows,
        )
    else:
        ordered, table = depthwise_in_order(placed, rows, kernels)
    fields = _fields(view, window_fields(view, kernel, channels), simple, ordered, table)
    return (_call(view, kernels, "ek_depthwise_conv2d_s8", fields),)


def _plain(
    view: OpView, kernels: KernelSet, window: dict[str, int], matrix: npt.NDArray[np.int8]
) -> KernelCall:
    groups = view.int_attr("groups", 1)
    settled, rows, simple = _settled(view, matrix)
    ordered = weights_in_order(settled, kernels, groups, stored_bits(view, kernels))
    rows = lifted_channels(rows, settled, view.input(0).dtype.bits, kernels)
    table = channels_in_order(rows, kernels, groups)
    fields = _fields(view, _flat(window), simple, ordered, table)
    return _call(view, kernels, "ek_conv2d_s8", fields)


def _flat(window: dict[str, int]) -> dict[str, int]:
    """Return one row of pixels instead of images where every pixel is computed on its own."""
    pixels = window["batches"] * window["input_height"] * window["input_width"]
    if pixels != window["batches"] * window["output_height"] * window["output_width"]:
        return window
    ones = ("kernel_height", "kernel_width", "stride_height", "stride_width")
    if any(window[name] != 1 for name in ones) or window["pad_top"] or window["pad_left"]:
        return window
    sizes = dict.fromkeys(("batches", "input_height", "output_height"), 1)
    return {**window, **sizes, "input_width": pixels, "output_width": pixels}


def _settled(
    view: OpView, matrix: npt.NDArray[np.int8]
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int32], int]:
    """Return the matrix without constant channels, and what :func:`channel_rows` makes of it."""
    factors = int8.channel_multipliers(view.input(0), view.input(1), view.outputs[0])
    channels = settled_channels(view, matrix, _bias(view), factors)
    rows, simple = channel_rows(view, channels.matrix, channels.bias, channels.factors)
    return channels.matrix, rows, simple


def _fields(
    view: OpView,
    window: dict[str, int],
    simple: int,
    weights: npt.NDArray[np.int8],
    channels: npt.NDArray[np.int32],
) -> dict[str, Field]:
    """Return the structure of a convolution."""
    return {
        **window,
        "input_zero_point": int8.zero_point_of(view.input(0)),
        **output_stage(view),
        "simple_rescale": simple,
        "weights": weights,
        "channels": channels,
    }


def _call(view: OpView, kernels: KernelSet, function: str, fields: dict[str, Field]) -> KernelCall:
    names = view.input(0).name, SCRATCH, view.outputs[0].name
    made = KernelCall(function, "ek_conv2d_s8_params", fields, names)
    if not is_packed(view, kernels):
        return made
    packed = with_bits(view, made)
    return replace(packed, fields={**packed.fields, "weight_bits": stored_bits(view, kernels)})


def output_stage(view: OpView) -> dict[str, Field]:
    """Return the output's zero point and the bounds of its activation."""
    low, high = int8.activation_range(view.str_attr("activation", "none"), view.outputs[0])
    return {
        "output_zero_point": int8.zero_point_of(view.outputs[0]),
        "activation_min": low,
        "activation_max": high,
    }


def fully_connected(view: OpView, kernels: KernelSet) -> tuple[KernelCall, ...]:
    """Lower a dense layer."""
    require_types(view, 1)
    matrix, weights = _constant(view, 1), view.input(1)
    per_channel = int8.quantization_of(weights).axis is not None
    factors = (
        int8.channel_multipliers(view.input(0), weights, view.outputs[0])
        if per_channel
        else single_multiplier(view)
    )
    weights_zero_point = 0 if per_channel else int8.zero_point_of(weights)
    bias = _bias(view)
    if weights_zero_point:
        depth = matrix.shape[1]
        constant = depth * weights_zero_point * int8.zero_point_of(view.input(0))
        bias = (np.zeros(matrix.shape[0], np.int64) if bias is None else bias) + constant
    rows, simple = channel_rows(view, matrix, bias, factors, weights_zero_point)
    bits = stored_bits(view, kernels)
    fields: dict[str, Field] = {
        "rows": view.outputs[0].elements // matrix.shape[0],
        "depth": matrix.shape[1],
        "output_channels": matrix.shape[0],
        "weights_zero_point": weights_zero_point,
        **output_stage(view),
        "simple_rescale": simple,
        "factor_step": 2 if per_channel else 0,
        "weights": weights_in_order(matrix, kernels, bits=bits),
        "bias": rows[:, 0],
        "factors": rows[:, 1:] if per_channel else rows[:1, 1:],
    }
    name = "ek_fully_connected_s8" if bits == 8 else "ek_fully_connected_packed"
    names = view.input(0).name, view.outputs[0].name
    return (KernelCall(name, "ek_fully_connected_s8_params", fields, names),)


def _constant(view: OpView, index: int) -> npt.NDArray[np.int8]:
    tensor = view.input(index)
    if not tensor.is_constant:
        raise no_kernel(view, "weights must be constants")
    return tensor.data.astype(np.int8, copy=False)


def _bias(view: OpView) -> Array | None:
    bias = view.optional_input(2)
    return None if bias is None else bias.data
