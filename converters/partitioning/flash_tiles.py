"""Tiles of weight matrices on flash that computes, and what of a matrix goes to the processor.

In one round each core multiplies one page, so that the pages of all cores together are a tile of
the matrix: its columns are split over the channels, its rows over the cores of a channel. Beside
that, pages stream to the processor through what the rounds leave of the channels. Both work on the
same matrix at the same time, and the split lets them finish together.

Source: Cambricon-LLM (arXiv 2409.15654), section V. Where pages lie is decided by
:mod:`edgekit.converters.partitioning.flash_placement`.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.cost.nand import NandGeometry, RequestTimes, optimal_tile, request_times
from edgekit.errors import UsageError

__all__ = [
    "MatrixSplit",
    "RequestTimes",
    "TileShape",
    "optimal_tile",
    "page_shape",
    "request_times",
    "rounds_of",
    "split_matrix",
    "tile_for",
]

WEIGHT_BITS = (4, 8, 16)
"""Widths that pages are divided into without rest."""


@dataclass(frozen=True, slots=True)
class TileShape:
    """Rows (outputs) and columns (inputs) of a part of a weight matrix."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class MatrixSplit:
    """One product of a weight matrix with a vector.

    Parameters
    ----------
    tile : TileShape
        Of one round.
    rounds : int
        Rounds that the whole matrix would take; a partly filled tile costs a whole one.
    weight_bytes : int
    flash_bytes, streamed_bytes : float
        Weights computed in flash, and those sent to the processor; together ``weight_bytes``.
    seconds : float
        Until both are done.
    """

    tile: TileShape
    rounds: int
    weight_bytes: int
    flash_bytes: float
    streamed_bytes: float
    seconds: float


def tile_for(
    matrix_rows: int, matrix_columns: int, geometry: NandGeometry, weight_bits: int = 8
) -> TileShape:
    """Return the tile of one round for a matrix.

    Its width is the largest power of two that is neither wider than the tile of least traffic nor
    than the matrix; its height what fills one page of each core. Where the channels do not divide
    the width, each takes the next whole number of columns.

    Parameters
    ----------
    matrix_rows, matrix_columns : int
        Outputs and inputs.
    geometry : NandGeometry
    weight_bits : int
        4, 8 or 16.

    Raises
    ------
    UsageError
        If the matrix is empty or the width is not known.
    """
    if matrix_rows < 1 or matrix_columns < 1:
        raise UsageError(f"a matrix of {matrix_rows} x {matrix_columns} has no tiles")
    if weight_bits not in WEIGHT_BITS:
        known = ", ".join(map(str, WEIGHT_BITS))
        raise UsageError(f"weights of {weight_bits} bits do not fill pages; known are {known}")
    _, best = optimal_tile(geometry)
    width = 1 << (int(min(best, matrix_columns)).bit_length() - 1) if best >= 1 else 1
    weights = geometry.page_weights(weight_bits)
    columns = min(max(1, -(-width // geometry.channels)), weights)
    rows = max(1, weights // columns)
    return TileShape(rows * geometry.cores_per_channel, columns * geometry.channels)


def page_shape(tile: TileShape, geometry: NandGeometry) -> TileShape:
    """Return the part of a tile that lies in one page."""
    return TileShape(tile.rows // geometry.cores_per_channel, tile.columns // geometry.channels)


def rounds_of(matrix_rows: int, matrix_columns: int, tile: TileShape) -> int:
    """Return how many rounds cover a matrix."""
    return -(-matrix_rows // tile.rows) * -(-matrix_columns // tile.columns)


def split_matrix(
    matrix_rows: int,
    matrix_columns: int,
    geometry: NandGeometry,
    weight_bits: int = 8,
    *,
    tile: TileShape | None = None,
) -> MatrixSplit:
    """Divide a matrix between the flash and the processor so that both finish together.

    Parameters
    ----------
    matrix_rows, matrix_columns, geometry, weight_bits
        As :func:`tile_for`.
    tile : TileShape, optional
        Another tile than that of :func:`tile_for`, for instance to see what it would cost.

    Raises
    ------
    UsageError
        As :func:`tile_for`.
    """
    shape = tile or tile_for(matrix_rows, matrix_columns, geometry, weight_bits)
    rounds = rounds_of(matrix_rows, matrix_columns, shape)
    size = (float(tile.rows), float(tile.columns)) if tile else None
    times = request_times(geometry, size)
    weight_bytes = -(-matrix_rows * matrix_columns * weight_bits // 8)
    flash_rate = weight_bytes / (rounds * times.read_compute_s)
    stream_rate = times.streamed_bytes_per_s(geometry)
    seconds = weight_bytes / (flash_rate + stream_rate)
    return MatrixSplit(
        shape, rounds, weight_bytes, flash_rate * seconds, stream_rate * seconds, seconds
    )
