"""Reductions along axes in generated C."""

from __future__ import annotations

import math

from edgekit.converters.emitters.c_call import CallSite, CCall
from edgekit.converters.emitters.c_elementwise import c_numbers, dense_strides, filled_axes
from edgekit.converters.emitters.c_windows import require_int8
from edgekit.ops import int8
from edgekit.ops.broadcast import normalized_axis
from edgekit.ops.spec import OpView


def reduce_mean(site: CallSite) -> tuple[CCall, ...]:
    """Return the call of a mean."""
    return _sum(site, divide=True)


def reduce_sum(site: CallSite) -> tuple[CCall, ...]:
    """Return the call of a sum."""
    return _sum(site, divide=False)


def _sum(site: CallSite, *, divide: bool) -> tuple[CCall, ...]:
    view = site.view
    require_int8(view)
    source, target = view.input(0), view.outputs[0]
    shape, axes = source.static_shape, _axes(view)
    count = math.prod(shape[axis] for axis in axes)
    scale = float(int8.scale_of(source)) / float(int8.scale_of(target))
    multiplier, shift = int8.quantize_multiplier(scale)
    if divide:
        # The division is part of the factor, with as many bits shifted in before as fit.
        extra = min(count.bit_length() - 1, 32, 31 + shift)
        multiplier, shift = (multiplier << extra) // count, shift - extra
    strides = dense_strides(shape)
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    groups = {"kept": kept, "reduced": axes}
    fields: dict[str, str] = {}
    for name, chosen in groups.items():
        dims = filled_axes(tuple(shape[axis] for axis in chosen), 1, view=view)
        steps = filled_axes(tuple(strides[axis] for axis in chosen), 0, view=view)
        fields |= {f"{name}_dims": c_numbers(dims), f"{name}_strides": c_numbers(steps)}
    fields |= {
        "bias": str(-int8.zero_point_of(source) * count),
        "multiplier": str(multiplier),
        "shift": str(shift),
        "output_zero_point": str(int8.zero_point_of(target)),
    }
    arguments = (site.input(0), site.output())
    return (CCall("ek_reduce_sum_s8", "ek_reduce_s8_params", fields, arguments),)


def _axes(view: OpView) -> list[int]:
    rank = len(view.input(0).shape)
    where = view.node.where
    return sorted({normalized_axis(axis, rank, where=where) for axis in view.ints_attr("axes")})
