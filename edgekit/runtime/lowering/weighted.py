"""Convolutions and dense layers: packed weights, folded biases, factors of channels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array
from edgekit.ops import int8
from edgekit.ops.fully_connected import single_multiplier
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView
from edgekit.ops.windows import is_nchw, window_of
from edgekit.runtime.lowering.call import SCRATCH, Field, KernelCall, call, no_kernel, require_types

_PLACES = (0, 2, 1, 3)
"""Order of four places of the depth in packed weights: the order in which SXTB16 takes bytes."""
_SIMPLE_SUM = 2**30
"""Sums below this can be doubled in 32 bits."""
_SIMPLE_SHIFTS = (-20, -1)


def packed_weights(matrix: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Return a matrix (channels, depth) in the order that ``kernels.h`` calls packed."""
    channels, depth = matrix.shape
    rest = channels % 4
    columns = channels - rest + (0, 2, 2, 4)[rest]
    padded = np.zeros((columns, -(-depth // 4) * 4), np.int8)
    padded[:channels, :depth] = matrix
    blocks = [padded[start : start + 4] for start in range(0, columns, 4)]
    return np.concatenate([_packed_block(block) for block in blocks])


def _packed_block(block: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Pack four or two channels: (channels, depth) to a row of bytes."""
    pairs = block.shape[0] // 2
    # Axes: pair of channels, channel of the pair, four of places, half (0 2 or 1 3), place of it.
    places = block.reshape(pairs, 2, -1, 4)[..., _PLACES].reshape(pairs, 2, -1, 2, 2)
    return np.ascontiguousarray(places.transpose(2, 3, 0, 4, 1)).reshape(-1)


def weights_in_order(matrix: npt.NDArray[np.int8], kernels: KernelSet) -> npt.NDArray[np.int8]:
    """Return a matrix (channels, depth) in the order that a set of kernels reads."""
    return packed_weights(matrix)


def channel_rows(
    view: OpView, matrix: npt.NDArray[np.int8], bias: Array | None, factors: int8.Multipliers
) -> tuple[npt.NDArray[np.int32], int]:
    """Return (channels, 3) rows of bias, multiplier and shift, and whether rescaling is simple.

    Parameters
    ----------
    matrix : array of int8, shape (channels, depth)
    bias : array of int32, shape (channels,), or None
    """
    channels = matrix.shape[0]
    zero_point = int8.zero_point_of(view.input(0))
    wide = matrix.astype(np.int64)
    folded = -zero_point * wide.sum(axis=1)
    if bias is not None:
        folded = folded + bias.astype(np.int64)
    rows = np.zeros((channels, 3), np.int32)
    rows[:, 0] = folded.astype(np.int32)
    rows[:, 1] = factors.multiplier
    # A factor of zero is zero with any shift.
    rows[:, 2] = np.where(factors.multiplier == 0, -1, factors.shift)
    largest = int((np.abs(wide).sum(axis=1) * 128 + np.abs(folded)).max())
    low, high = _SIMPLE_SHIFTS
    simple = largest < _SIMPLE_SUM and bool(((rows[:, 2] >= low) & (rows[:, 2] <= high)).all())
    return rows, int(simple)


def conv2d(view: OpView, kernels: KernelSet) -> tuple[KernelCall, ...]:
    """Lower a convolution."""
    require_types(view, 2)
    weights = _constant(view, 1)
    matrix = weights.reshape(weights.shape[0], -1)
    groups = view.int_attr("groups", 1)
    packed = np.concatenate([weights_in_order(part, kernels) for part in np.split(matrix, groups)])
    fields = _window(view, (weights.shape[1], weights.shape[2]), groups)
    return (_windowed(view, "ek_conv2d_s8", fields, matrix, packed),)


def depthwise_conv2d(view: OpView, kernels: KernelSet) -> tuple[KernelCall, ...]:
    """Lower a depthwise convolution; of one input channel, it is a plain convolution."""
    require_types(view, 2)
    weights = _constant(view, 1)
    channels = view.input(0).static_shape[3]
    kernel = weights.shape[1], weights.shape[2]
    matrix = np.ascontiguousarray(weights.reshape(-1, weights.shape[3]).T)
    if channels == 1:
        fields = _window(view, kernel, 1)
        return (_windowed(view, "ek_conv2d_s8", fields, matrix, weights_in_order(matrix, kernels)),)
    fields = _window(view, kernel, channels)
    return (_windowed(view, "ek_depthwise_conv2d_s8", fields, matrix, weights),)


def _windowed(
    view: OpView,
    function: str,
    window: dict[str, Field],
    matrix: npt.NDArray[np.int8],
    weights: npt.NDArray[np.int8],
) -> KernelCall:
    factors = int8.channel_multipliers(view.input(0), view.input(1), view.outputs[0])
    rows, simple = channel_rows(view, matrix, _bias(view), factors)
    fields: dict[str, Field] = {
        **window,
        "input_zero_point": int8.zero_point_of(view.input(0)),
        **output_stage(view),
        "simple_rescale": simple,
        "weights": weights,
        "channels": rows,
    }
    names = view.input(0).name, SCRATCH, view.outputs[0].name
    return KernelCall(function, "ek_conv2d_s8_params", fields, names)


def output_stage(view: OpView) -> dict[str, Field]:
    """Return the output's zero point and the bounds of its activation."""
    low, high = int8.activation_range(view.str_attr("activation", "none"), view.outputs[0])
    return {
        "output_zero_point": int8.zero_point_of(view.outputs[0]),
        "activation_min": low,
        "activation_max": high,
    }


def _window(view: OpView, kernel: tuple[int, int], groups: int) -> dict[str, Field]:
    if is_nchw(view):
        raise no_kernel(view, "images must have their channels last")
    window = window_of(view, kernel)
    batches, height, width, channels = view.input(0).static_shape
    _, out_height, out_width, out_channels = view.outputs[0].static_shape
    return {
        "batches": batches,
        "input_height": height,
        "input_width": width,
        "input_channels": channels,
        "output_height": out_height,
        "output_width": out_width,
        "output_channels": out_channels,
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "stride_height": window.strides[0],
        "stride_width": window.strides[1],
        "dilation_height": window.dilations[0],
        "dilation_width": window.dilations[1],
        "pad_top": window.padding[0][0],
        "pad_left": window.padding[1][0],
        "groups": groups,
    }


def fully_connected(view: OpView, kernels: KernelSet) -> tuple[KernelCall, ...]:
    """Lower a dense layer."""
    require_types(view, 2)
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
    rows, simple = channel_rows(view, matrix, bias, factors)
    fields: dict[str, Field] = {
        "rows": view.outputs[0].elements // matrix.shape[0],
        "depth": matrix.shape[1],
        "output_channels": matrix.shape[0],
        "weights_zero_point": weights_zero_point,
        **output_stage(view),
        # Sums of rows that a weights' zero point is taken from are not part of the bound.
        "simple_rescale": simple if weights_zero_point == 0 else 0,
        "weights": weights_in_order(matrix, kernels),
        "channels": rows,
    }
    return (call("ek_fully_connected_s8", fields, view.input(0).name, view.outputs[0].name),)


def _constant(view: OpView, index: int) -> npt.NDArray[np.int8]:
    tensor = view.input(index)
    if not tensor.is_constant:
        raise no_kernel(view, "weights must be constants")
    return tensor.data.astype(np.int8, copy=False)


def _bias(view: OpView) -> Array | None:
    bias = view.optional_input(2)
    return None if bias is None else bias.data
