"""Text forms of quantities and names for people, and their parsing. KiB = 1,024 bytes."""

from __future__ import annotations

import re

from edgekit.errors import UsageError

SCRATCH = ":scratch"
"""What the name of a buffer that a kernel works in ends with."""

_BYTE_SUFFIX = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def format_bytes(size_bytes: float) -> str:
    """Return a size as text with three significant digits, for instance ``21.7 KiB``."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            digits = f"{value:.0f}" if unit == "B" or abs(value) >= 999.5 else f"{value:.3g}"
            return f"{digits} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def format_seconds(duration_s: float) -> str:
    """Return a duration as text with three significant digits, for instance ``3.21 ms``."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if abs(duration_s) >= scale:
            return f"{duration_s / scale:.3g} {unit}"
    return f"{duration_s / 1e-9:.3g} ns"


def format_joules(energy_j: float) -> str:
    """Return an energy as text with three significant digits, for instance ``1.4 mJ``."""
    for scale, unit in ((1.0, "J"), (1e-3, "mJ"), (1e-6, "uJ")):
        if abs(energy_j) >= scale:
            return f"{energy_j / scale:.3g} {unit}"
    return f"{energy_j / 1e-9:.3g} nJ"


def parse_bytes(text: str) -> int:
    """Return the number of bytes in ``text`` such as ``1048576``, ``512k`` or ``1.5GiB``.

    Raises
    ------
    UsageError
        If the text is not a positive size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", text.lower())
    if not match:
        raise UsageError(f"{text!r} is not a size; write for instance 1048576, 512K or 1.5GiB")
    return int(float(match.group(1)) * _BYTE_SUFFIX[match.group(2)])


def short_name(name: str) -> str:
    """Return what tells a layer or tensor from others.

    TensorFlow's converter joins the names of all that it fused by semicolons; the first is enough.
    """
    first, fused, _ = name.partition(";")
    return first + (SCRATCH if fused and name.endswith(SCRATCH) else "")
