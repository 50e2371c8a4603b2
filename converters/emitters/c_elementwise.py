"""Element-wise operators and softmax in generated C."""

from __future__ import annotations

import math

from edgekit.converters.emitters.c_call import CallSite, CCall, no_kernel
from edgekit.converters.emitters.c_windows import activation_fields, require_int8
from edgekit.ops import int8

SUM_LEFT_SHIFT = 20
"""Bits by which operands of a sum are shifted left, as in the reference."""

SOFTMAX_INTEGER_BITS = 5
"""Integer bits of differences to the maximum, as in the reference."""


def add(site: CallSite) -> CCall:
    """Return the call of a sum of two tensors of one shape."""
    view = site.view
    require_int8(view, 2)
    if view.input(0).static_shape != view.input(1).static_shape:
        raise no_kernel(view)
    first, second, output = (
        float(int8.scale_of(tensor)) for tensor in (view.input(0), view.input(1), view.outputs[0])
    )
    twice = 2.0 * max(first, second)
    factors = {
        "first": first / twice,
        "second": second / twice,
        "output": twice / ((1 << SUM_LEFT_SHIFT) * output),
    }
    fields = {
        "elements": str(view.outputs[0].elements),
        "first_offset": str(-int8.zero_point_of(view.input(0))),
        "second_offset": str(-int8.zero_point_of(view.input(1))),
        "output_offset": str(int8.zero_point_of(view.outputs[0])),
        **activation_fields(view),
    }
    for name, factor in factors.items():
        multiplier, shift = int8.quantize_multiplier(factor)
        fields[f"{name}_multiplier"] = str(multiplier)
        fields[f"{name}_shift"] = str(shift)
    arguments = tuple(site.place(t.name) for t in (view.input(0), view.input(1), view.outputs[0]))
    return CCall("ek_add_s8", "ek_add_s8_params", fields, arguments)


def softmax(site: CallSite) -> CCall:
    """Return the call of a softmax along the last axis."""
    view = site.view
    require_int8(view)
    shape = view.input(0).static_shape
    if view.int_attr("axis", -1) not in (-1, len(shape) - 1):
        raise no_kernel(view)
    beta = view.float_attr("beta", 1.0)
    fraction_bits = 31 - SOFTMAX_INTEGER_BITS
    scaled = beta * float(int8.scale_of(view.input(0))) * 2.0**fraction_bits
    multiplier, shift = int8.quantize_multiplier(min(scaled, 2.0**31 - 1.0))
    radius = math.floor((2**SOFTMAX_INTEGER_BITS - 1) * 2.0**fraction_bits / 2.0**shift)
    fields = {
        "rows": str(view.outputs[0].elements // shape[-1]),
        "columns": str(shape[-1]),
        "multiplier": str(multiplier),
        "shift": str(shift),
        "least_difference": str(-radius),
    }
    arguments = (site.place(view.input(0).name), site.place(view.outputs[0].name))
    return CCall("ek_softmax_s8", "ek_softmax_s8_params", fields, arguments)
