"""Sigmoid and tanh of int16 values by table, as TensorFlow Lite Micro's LSTM computes them.

One table serves both: ``tanh(x) = 2 * sigmoid(2 * x) - 1``. It holds the sigmoid of ``i / 24`` as
Q0.16; values between are interpolated, values beyond 10.6 saturate.

Source of the table: TensorFlow Lite, ``kernels/internal/common.h``, ``sigmoid_table_uint16``. Its
entries are not all the nearest to the function, so it is given rather than computed.
"""

from __future__ import annotations

import numpy as np

from edgekit.ops.int8 import IntArray

# fmt: off
SIGMOID = np.array([
    32768, 33451, 34133, 34813, 35493, 36169, 36843, 37513, 38180, 38841, 39498, 40149, 40794,
    41432, 42064, 42688, 43304, 43912, 44511, 45102, 45683, 46255, 46817, 47369, 47911, 48443,
    48964, 49475, 49975, 50464, 50942, 51409, 51865, 52311, 52745, 53169, 53581, 53983, 54374,
    54755, 55125, 55485, 55834, 56174, 56503, 56823, 57133, 57433, 57724, 58007, 58280, 58544,
    58800, 59048, 59288, 59519, 59743, 59959, 60168, 60370, 60565, 60753, 60935, 61110, 61279,
    61441, 61599, 61750, 61896, 62036, 62172, 62302, 62428, 62549, 62666, 62778, 62886, 62990,
    63090, 63186, 63279, 63368, 63454, 63536, 63615, 63691, 63765, 63835, 63903, 63968, 64030,
    64090, 64148, 64204, 64257, 64308, 64357, 64405, 64450, 64494, 64536, 64576, 64614, 64652,
    64687, 64721, 64754, 64786, 64816, 64845, 64873, 64900, 64926, 64950, 64974, 64997, 65019,
    65039, 65060, 65079, 65097, 65115, 65132, 65149, 65164, 65179, 65194, 65208, 65221, 65234,
    65246, 65258, 65269, 65280, 65291, 65301, 65310, 65319, 65328, 65337, 65345, 65352, 65360,
    65367, 65374, 65381, 65387, 65393, 65399, 65404, 65410, 65415, 65420, 65425, 65429, 65433,
    65438, 65442, 65445, 65449, 65453, 65456, 65459, 65462, 65465, 65468, 65471, 65474, 65476,
    65479, 65481, 65483, 65485, 65488, 65489, 65491, 65493, 65495, 65497, 65498, 65500, 65501,
    65503, 65504, 65505, 65507, 65508, 65509, 65510, 65511, 65512, 65513, 65514, 65515, 65516,
    65517, 65517, 65518, 65519, 65520, 65520, 65521, 65522, 65522, 65523, 65523, 65524, 65524,
    65525, 65525, 65526, 65526, 65526, 65527, 65527, 65528, 65528, 65528, 65529, 65529, 65529,
    65529, 65530, 65530, 65530, 65530, 65531, 65531, 65531, 65531, 65531, 65532, 65532, 65532,
    65532, 65532, 65532, 65533, 65533, 65533, 65533, 65533, 65533, 65533, 65533, 65534, 65534,
    65534, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65535,
], np.int64)
# fmt: on
"""Sigmoid of ``i / 24`` as Q0.16."""


def sigmoid_int16(x: IntArray) -> IntArray:
    """Return the sigmoid as Q0.15 of int16 values that stand for Q3.12."""
    argument = 3 * x
    interpolated = _interpolated(np.abs(argument), 9, 0x7FFF << 10)
    rounding = 1 << 9
    signed = np.where(
        argument >= 0, interpolated + rounding, (1 << 25) - interpolated + rounding - 1
    )
    return np.asarray(signed >> 10, np.int64)


def tanh_int16(x: IntArray, scale_power: int) -> IntArray:
    """Return tanh as Q0.15 of int16 values of scale ``2**scale_power``."""
    shift = scale_power + 12
    argument = (3 * x) << shift if shift >= 0 else (3 * x + (1 << (-shift - 1))) >> -shift
    interpolated = _interpolated(np.abs(argument), 8, 0xFFFF << 8)
    half, rounding = 1 << 23, 1 << 7
    signed = np.where(
        argument >= 0, interpolated - half + rounding, half - interpolated + rounding - 1
    )
    return np.asarray(signed >> 8, np.int64)


def _interpolated(magnitude: IntArray, fraction_bits: int, end: int) -> IntArray:
    """Look magnitudes up, with ``fraction_bits`` bits between entries; ``end`` past the table."""
    index = magnitude >> fraction_bits
    fraction = magnitude & ((1 << fraction_bits) - 1)
    place = np.minimum(index, 254)
    low, high = SIGMOID[place], SIGMOID[place + 1]
    return np.where(index >= 255, end, (low << fraction_bits) + fraction * (high - low))
