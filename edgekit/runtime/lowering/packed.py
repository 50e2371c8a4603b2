"""Kernels of values of four and two bits: those of int8 with the bits of each tensor."""

from __future__ import annotations

from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView
from edgekit.runtime.lowering.call import Field, KernelCall

_MOST_PLACES = 2**17
"""Of a row of products with narrow weights: 16 times their sum has less than 32 bits."""


def stored_bits(view: OpView, kernels: KernelSet) -> int:
    """Return the bits in which kernels read a weight of a layer: two share a byte at most.

    MVE kernels read them by the byte, and so do all in a row that is too long.
    """
    weights = view.input(1)
    channels = view.outputs[0].static_shape[-1]
    if kernels is KernelSet.CORTEX_M_MVE or weights.elements // channels >= _MOST_PLACES:
        return 8
    return max(weights.dtype.bits, 4)


def with_bits(view: OpView, made: KernelCall) -> KernelCall:
    """Return the call of the kernel that packs, from that of int8 on the same layer."""
    fields: dict[str, Field] = {f"base.{name}": field for name, field in made.fields.items()}
    fields["input_bits"] = view.input(0).dtype.bits
    fields["output_bits"] = view.outputs[0].dtype.bits
    function, params_type = (
        name.replace("_s8", "_packed") for name in (made.function, made.params_type)
    )
    return KernelCall(function, params_type, fields, made.arguments)
