"""What is computed in one of two cases: the test that tells them apart, and the canvas of both."""

from __future__ import annotations

from edgekit.graph import Tensor
from edgekit.ops import int8
from edgekit.ops.checks import SMALL
from edgekit.ops.spec import OpView
from edgekit.runtime.lowering.call import Field, KernelCall, call, no_kernel


def outlier_test(view: OpView) -> tuple[KernelCall, ...]:
    """Lower the count of elements outside an interval."""
    x = view.input(0)
    columns = x.static_shape[-1]
    fields: dict[str, Field] = {
        "rows": x.elements // columns,
        "columns": columns,
        "bits": x.dtype.bits,
        **{name: view.int_attr(name) for name in ("low", "high", "most")},
    }
    return (call("ek_outlier_test", fields, x.name, view.outputs[0].name),)


def blank(view: OpView) -> tuple[KernelCall, ...]:
    """Lower an image of zeros."""
    return (zeros(view, view.outputs[0]),)


def zeros(view: OpView, y: Tensor) -> KernelCall:
    """Return the call that fills a tensor with its stored zero."""
    if y.dtype not in SMALL and y.quantization is not None:
        raise no_kernel(view)
    zero = int8.zero_point_of(y) if y.dtype in SMALL else 0
    return call("ek_fill", {"bytes": y.size_bytes, "value": zero}, y.name)


def when(copied: KernelCall, flag: Tensor, value: int) -> KernelCall:
    """Return a copy that is made where a flag has a value."""
    fields: dict[str, Field] = {f"copy.{name}": field for name, field in copied.fields.items()}
    return call("ek_copy_when", {**fields, "when": value}, flag.name, *copied.arguments)
