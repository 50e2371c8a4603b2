"""Kernels of values of four and two bits: those of int8 with the bits of each tensor."""

from __future__ import annotations

from edgekit.ops.spec import OpView
from edgekit.runtime.lowering.call import Field, KernelCall

WEIGHTED = frozenset({"conv2d", "depthwise_conv2d", "fully_connected"})
"""Operators whose weights have bits of their own."""


def stored_bits(view: OpView) -> int:
    """Return the bits that a weight of a layer takes in packed kernels: two as many as four."""
    return max(view.input(1).dtype.bits, 4)


def with_bits(view: OpView, made: KernelCall) -> KernelCall:
    """Return the call of the kernel that packs, from that of int8 on the same layer."""
    fields: dict[str, Field] = {f"base.{name}": field for name, field in made.fields.items()}
    fields["input_bits"] = view.input(0).dtype.bits
    fields["output_bits"] = view.outputs[0].dtype.bits
    if view.node.op in WEIGHTED:
        fields["weight_bits"] = stored_bits(view)
    function, params_type = (
        name.replace("_s8", "_packed") for name in (made.function, made.params_type)
    )
    return KernelCall(function, params_type, fields, made.arguments)
