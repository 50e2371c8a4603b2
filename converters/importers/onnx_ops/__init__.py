"""How each ONNX operator is expressed in edgekit's operators: tables of mapping functions.

One file for each family. To add an operator, write a function from :class:`.layer.Layer` to the
names of the outputs and enter it in the family's ``MAPPERS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from edgekit.converters.importers.onnx_ops import (
    arithmetic,
    movement,
    normalization,
    quantized,
    reduction,
    shapes,
    spatial,
)
from edgekit.converters.importers.onnx_ops.layer import Mapper


@cache
def mappers() -> Mapping[str, Mapper]:
    """Return the mapping function of each ONNX operator."""
    families = (arithmetic, movement, normalization, quantized, reduction, shapes, spatial)
    return {op: mapper for family in families for op, mapper in family.MAPPERS.items()}
