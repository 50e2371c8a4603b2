"""The operators: one file each, found by listing this folder.

A file defines ``SPECS``, a tuple of :class:`~edgekit.ops.spec.OpSpec` (most files define one
operator; families that share their arithmetic, such as the element-wise ones, share a file).
To add an operator, add a file; nothing else needs to know.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from edgekit.errors import InternalError, UnsupportedOpError
from edgekit.graph import Node
from edgekit.ops.spec import OpSpec

_NOT_OPERATORS = frozenset(
    {
        "spec",
        "evaluate",
        "cases",
        "checks",
        "fixed_point",
        "hard_swish_int8",
        "int16_tables",
        "int8",
        "kernel_set",
        "windows",
        "broadcast",
        "shapes",
    }
)
"""Modules of this folder that hold shared arithmetic instead of operators."""


@cache
def registry() -> dict[str, OpSpec]:
    """Return every operator by name."""
    specs: dict[str, OpSpec] = {}
    for module_info in pkgutil.iter_modules(__path__):
        if module_info.name in _NOT_OPERATORS:
            continue
        module = importlib.import_module(f"edgekit.ops.{module_info.name}")
        for spec in module.SPECS:
            if spec.name in specs:
                raise InternalError(f"operator {spec.name} is defined twice")
            specs[spec.name] = spec
    return specs


def spec_of(node: Node) -> OpSpec:
    """Return the operator of a node.

    Raises
    ------
    UnsupportedOpError
        If edgekit has no such operator.
    """
    spec = registry().get(node.op)
    if spec is None:
        raise UnsupportedOpError(node.op, node=node.where)
    return spec
