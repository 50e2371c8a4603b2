"""Int8 ``hard_swish``, ``x * clip(x + 3, 0, 6) / 6``, in 16-bit fixed point.

As TensorFlow Lite Micro's ``reference/hard_swish.h``: the argument is held with 7 bits more; one
factor brings it to the output's scale, another to the scale on which 3 is 32768, and their product
is shifted to the output. Intermediate values are int16.
"""

from __future__ import annotations

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.ops import int8
from edgekit.ops.spec import OpView

_INPUT_SHIFT = 7
_REAL_THREE = np.float32(3.0) / np.float32(32768.0)
"""Scale on which the real 3 is stored as 32768."""


def hard_swish_int8(view: OpView, x: Array) -> Array:
    """Return the stored output for stored int8 values of any shape."""
    fine_scale = np.float32(1.0 / 128.0) * int8.scale_of(view.input(0))
    output_factor = float(fine_scale / int8.scale_of(view.outputs[0]))
    output_multiplier, output_shift = int8.quantize_multiplier(output_factor)
    value = int8.centred(x, view.input(0)).astype(np.int64) << _INPUT_SHIFT
    on_output_scale = _rounding_high_mul(value, _upper_half(output_multiplier))
    gate = _gate(value, float(fine_scale / _REAL_THREE))
    product = _truncating_high_mul(gate, on_output_scale)
    shifted = int8.rounding_shift_right(product, max(-output_shift, 0))
    return int8.saturate(shifted + int8.zero_point_of(view.outputs[0]), DType.INT8)


def _gate(value: int8.IntArray, factor: float) -> int8.IntArray:
    """Return ``clip(x + 3, 0, 6) / 6`` as Q0.15."""
    multiplier, shift = int8.quantize_multiplier(factor)
    if shift > 0:
        value = _clipped(value << (shift - 1))
    value = _rounding_high_mul(value, _upper_half(multiplier))
    if shift > 0:
        value = _clipped(value << 1)
    elif shift < 0:
        value = int8.rounding_shift_right(value, -shift)
    shifted: int8.IntArray = (value + (1 << 15)) >> 1
    return shifted


def _upper_half(multiplier: int) -> int:
    """Return an int32 multiplier as int16, rounded."""
    return 32767 if multiplier >= 32767 << 16 else (multiplier + (1 << 15)) >> 16


def _rounding_high_mul(a: int8.IntArray, b: int) -> int8.IntArray:
    """Return ``a * b / 2**15`` rounded as gemmlowp rounds it, saturated to int16."""
    return np.asarray(np.minimum((a * b + (1 << 14)) >> 15, 32767), np.int64)


def _truncating_high_mul(a: int8.IntArray, b: int8.IntArray) -> int8.IntArray:
    """Return ``a * b / 2**15`` rounded towards zero."""
    product = a * b
    return np.asarray(np.sign(product) * (np.abs(product) >> 15), np.int64)


def _clipped(value: int8.IntArray) -> int8.IntArray:
    return np.clip(value, -32768, 32767)
