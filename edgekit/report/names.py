"""Names of layers and tensors as people read them."""

from __future__ import annotations

SCRATCH = ":scratch"
"""What the name of a buffer that a kernel works in ends with."""


def short_name(name: str) -> str:
    """Return what tells a layer or tensor from others.

    TensorFlow's converter joins the names of all that it fused by semicolons; the first is enough.
    """
    first, fused, _ = name.partition(";")
    return first + (SCRATCH if fused and name.endswith(SCRATCH) else "")
