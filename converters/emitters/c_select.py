"""C source of choices at run time: the calls of a case run only where its flag says so."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from edgekit.selects import Case

_INDENT = "    "


def guarded(
    calls: Sequence[str], cases: Sequence[Case], offset_of: Callable[[str], int]
) -> list[str]:
    """Return the statements of steps, those of a case behind a test of its flag.

    Parameters
    ----------
    calls : sequence of str
        The statements of each step, at the indentation of a function's body.
    cases : sequence of Case
        Apart from each other.
    offset_of : callable
        From a flag to where it lies in the arena, bytes.
    """
    found = list(calls)
    for case in cases:
        for index in range(case.first, case.last + 1):
            found[index] = textwrap.indent(found[index], _INDENT)
        test = f"*(const uint8_t *)AT({offset_of(case.flag)}) == {case.when}u"
        found[case.first] = f"{_INDENT}if ({test}) {{\n{found[case.first]}"
        found[case.last] += f"{_INDENT}}}\n"
    return found
