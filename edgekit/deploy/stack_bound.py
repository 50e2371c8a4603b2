"""How deep the stack can get: the heaviest path through the call graph.

gcc writes stack use and calls of every function beside the object file (``-fcallgraph-info=su``).
Kernels and generated code call nothing by pointer and do not recurse, which is checked, so the
bound is exact but for functions of libgcc, which carry no such record: for each a fixed allowance
counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.errors import EdgekitError

LIBGCC_ALLOWANCE_BYTES = 48
"""For a routine of libgcc, such as a 64-bit division."""

EXCEPTION_FRAME_BYTES = 36
"""Eight registers that the core stacks, and the word that may align them (Armv7-M, B1.5.6)."""

FLOAT_FRAME_BYTES = 72
"""Registers of the floating-point unit on top of them: S0 to S15, FPSCR and a reserved word."""

_BY_POINTER = "__indirect_call"

_NODE = re.compile(r'node: \{ title: "([^"]*)" label: "([^"]*)"')
_EDGE = re.compile(r'edge: \{ sourcename: "([^"]*)" targetname: "([^"]*)"')
_USE = re.compile(r"(\d+) bytes \(([^)]*)\)")


@dataclass(slots=True)
class CallGraph:
    """Stack use of functions and who calls whom."""

    use_bytes: dict[str, int] = field(default_factory=dict)
    calls: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, paths: Iterable[Path]) -> CallGraph:
        """Read the records that gcc wrote, one for each object file.

        Raises
        ------
        EdgekitError
            If a function's stack use depends on run-time values.
        """
        graph = cls()
        for path in paths:
            text = path.read_text()
            for title, label in _NODE.findall(text):
                use = _USE.search(label)
                if use is None:
                    continue
                if use.group(2) == "dynamic":
                    raise EdgekitError(f"{title}: its stack use has no bound")
                graph.use_bytes[title] = int(use.group(1))
            for caller, callee in _EDGE.findall(text):
                graph.calls.setdefault(caller, set()).add(callee)
        return graph

    def bound_bytes(self, function: str) -> int:
        """Return the most stack that a call of ``function`` takes.

        Raises
        ------
        EdgekitError
            If functions call each other in a circle, or by pointer.
        """
        return self._deepest(function, (), {})

    def _deepest(self, function: str, path: tuple[str, ...], known: dict[str, int]) -> int:
        if function == _BY_POINTER:
            raise EdgekitError(f"{path[-1]} calls by pointer: its stack use has no bound")
        if function in path:
            raise EdgekitError(f"recursion: {' -> '.join((*path, function))}")
        if function not in known:
            own = self.use_bytes.get(function, LIBGCC_ALLOWANCE_BYTES)
            below = (
                self._deepest(callee, (*path, function), known)
                for callee in self.calls.get(function, ())
            )
            known[function] = own + max(below, default=0)
        return known[function]
