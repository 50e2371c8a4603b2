"""Where the pages of weight matrices lie in flash: channel, chip, die, plane, block, page.

Column slices of a tile are spread over the channels, row slices over the cores of a channel, so
that each page of a round meets a core of its own. Pages that stream to the processor are spread
evenly between those that are computed, and lie in the other planes of the die: a plane can be read
while another one computes.

A read disturbs the other pages of its block, and weights are read once for every token. Pages
therefore go to the block of their plane that is read least (and has room): with room to spare, the
weights spread over more blocks, and matrices that are read rarely, as experts are, share blocks
with those that are read always.

Source of the order over channels and cores: Cambricon-LLM (arXiv 2409.15654), section V.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgekit.converters.partitioning.flash_tiles import (
    MatrixSplit,
    TileShape,
    page_shape,
    split_matrix,
)
from edgekit.cost.nand import NandGeometry
from edgekit.errors import MemoryBudgetError, UsageError

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FlashMatrix:
    """A weight matrix that lies in flash.

    Parameters
    ----------
    name : str
    rows, columns : int
        Outputs and inputs.
    weight_bits : int
        4, 8 or 16; widths may be mixed in one chiplet.
    reads_per_token : float
        1 for a matrix that every token needs; less for an expert.
    """

    name: str
    rows: int
    columns: int
    weight_bits: int = 8
    reads_per_token: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class MatrixPages:
    """The pages of one matrix, in the order of their rounds.

    All arrays are int64 (``streamed``: bool) of shape (pages,).

    Parameters
    ----------
    matrix : FlashMatrix
    split : MatrixSplit
    first_row, first_column, rows, columns
        The part of the matrix that a page holds, row by row; smaller at the edges of the matrix.
    channel, chip, die, plane, block, page
        Its address: die within the chip, plane within the die, page within the block.
    streamed
        Sent to the processor rather than computed in flash.
    """

    matrix: FlashMatrix
    split: MatrixSplit
    first_row: Integers
    first_column: Integers
    rows: Integers
    columns: Integers
    channel: Integers
    chip: Integers
    die: Integers
    plane: Integers
    block: Integers
    page: Integers
    streamed: npt.NDArray[np.bool_]

    @property
    def count(self) -> int:
        """Number of pages."""
        return len(self.channel)


@dataclass(frozen=True, slots=True, eq=False)
class FlashPlacement:
    """All matrices in flash.

    Parameters
    ----------
    geometry : NandGeometry
    pages_per_block, blocks_per_plane : int
    matrices : tuple of MatrixPages
    reads_per_token : float64 array, shape (planes, blocks_per_plane)
        Page reads of each block for one token; planes in order of channel, chip, die, plane.
    """

    geometry: NandGeometry
    pages_per_block: int
    blocks_per_plane: int
    matrices: tuple[MatrixPages, ...]
    reads_per_token: Reals

    @property
    def most_reads_per_token(self) -> float:
        """Page reads of the block that is read most."""
        return float(self.reads_per_token.max(initial=0.0))

    def tokens_until(self, block_reads: float) -> float:
        """Return how many tokens bring the first block to a number of reads (read disturb)."""
        most = self.most_reads_per_token
        return block_reads / most if most else float("inf")

    def page_numbers(self, pages: MatrixPages) -> Integers:
        """Return where pages lie in the chiplet as one number, plane by plane, block by block."""
        plane = plane_numbers(self.geometry, pages)
        return (plane * self.blocks_per_plane + pages.block) * self.pages_per_block + pages.page


def plane_numbers(geometry: NandGeometry, pages: MatrixPages) -> Integers:
    """Return the plane of each page as one number, in order of channel, chip, die, plane."""
    chip = pages.channel * geometry.chips_per_channel + pages.chip
    die = chip * geometry.dies_per_chip + pages.die
    return die * geometry.planes_per_die + pages.plane


def place_tiles(
    matrices: Sequence[FlashMatrix],
    geometry: NandGeometry,
    *,
    pages_per_block: int,
    blocks_per_plane: int,
    block_reads: Reals | None = None,
) -> FlashPlacement:
    """Place matrices, each page in the least read block of its plane.

    Parameters
    ----------
    matrices : sequence of FlashMatrix
    geometry : NandGeometry
    pages_per_block, blocks_per_plane : int
    block_reads : float64 array, shape (planes, blocks_per_plane), optional
        Reads a token that blocks already have, for instance from what lies there; none without it.

    Raises
    ------
    MemoryBudgetError
        If a plane has not enough pages.
    UsageError
        If a matrix is empty, its width is not known, or ``block_reads`` has another shape.
    """
    shape = (geometry.planes, blocks_per_plane)
    if pages_per_block < 1 or blocks_per_plane < 1:
        raise UsageError("a plane has at least one block, and a block at least one page")
    reads = np.zeros(shape) if block_reads is None else np.array(block_reads, dtype=np.float64)
    if reads.shape != shape:
        raise UsageError(f"block_reads has shape {reads.shape}, the chiplet has {shape}")
    used = np.zeros(shape, dtype=np.int64)
    added = np.zeros(shape)
    placed: dict[str, MatrixPages] = {}
    for matrix in sorted(matrices, key=lambda item: -item.reads_per_token):
        laid = _lay_out(matrix, geometry)
        block, page = _fill(laid, geometry, reads, added, used, pages_per_block)
        placed[matrix.name] = replace(laid, block=block, page=page)
    if len(placed) != len(matrices):
        raise UsageError("two matrices have the same name")
    ordered = tuple(placed[matrix.name] for matrix in matrices)
    return FlashPlacement(geometry, pages_per_block, blocks_per_plane, ordered, added)


def _lay_out(matrix: FlashMatrix, geometry: NandGeometry) -> MatrixPages:
    """Cut a matrix into pages and give each a core and a plane; blocks come later."""
    split = split_matrix(matrix.rows, matrix.columns, geometry, matrix.weight_bits)
    row, column, core, channel, tile = _corners(matrix, split.tile, geometry)
    size = page_shape(split.tile, geometry)
    die_of_channel = core // geometry.cores_per_die
    streamed, computed_before = _streamed(split, tile, core * geometry.channels + channel)
    # Computed pages take the planes in turn; what streams comes from another than the next of them.
    plane = computed_before * geometry.cores_per_die + core % geometry.cores_per_die + streamed
    none = np.zeros(0, dtype=np.int64)
    return MatrixPages(
        matrix=matrix,
        split=split,
        first_row=row,
        first_column=column,
        rows=np.minimum(size.rows, matrix.rows - row),
        columns=np.minimum(size.columns, matrix.columns - column),
        channel=channel,
        chip=die_of_channel // geometry.dies_per_chip,
        die=die_of_channel % geometry.dies_per_chip,
        plane=plane % geometry.planes_per_die,
        block=none,
        page=none,
        streamed=streamed,
    )


def _corners(
    matrix: FlashMatrix, tile: TileShape, geometry: NandGeometry
) -> tuple[Integers, Integers, Integers, Integers, Integers]:
    """Return row, column, core of the channel, channel and tile of every page with weights."""
    size = page_shape(tile, geometry)
    down = -(-matrix.rows // tile.rows)
    across = -(-matrix.columns // tile.columns)
    axes = (down, across, geometry.cores_per_channel, geometry.channels)
    tile_row, tile_column, core, channel = (axis.ravel() for axis in np.indices(axes))
    row = tile_row * tile.rows + core * size.rows
    column = tile_column * tile.columns + channel * size.columns
    kept = (row < matrix.rows) & (column < matrix.columns)
    number = tile_row * across + tile_column
    return row[kept], column[kept], core[kept], channel[kept], number[kept]


def _streamed(
    split: MatrixSplit, tile: Integers, core: Integers
) -> tuple[npt.NDArray[np.bool_], Integers]:
    """Choose the pages that stream: evenly over rounds, and over cores by another start of each.

    Also returns how many pages each core computes before the one at hand.
    """
    share = split.streamed_bytes / split.weight_bytes
    start = core * ((5**0.5 - 1) / 2) % 1.0  # the golden ratio: starts of any few cores lie apart
    before = np.floor(tile * share + start).astype(np.int64)
    chosen: npt.NDArray[np.bool_] = np.floor((tile + 1) * share + start) > before
    return chosen, tile - before


def _fill(
    laid: MatrixPages,
    geometry: NandGeometry,
    reads: Reals,
    added: Reals,
    used: Integers,
    pages_per_block: int,
) -> tuple[Integers, Integers]:
    """Give every page a block and a page in it; ``reads``, ``added`` and ``used`` are updated."""
    plane = plane_numbers(geometry, laid)
    order = np.argsort(plane, kind="stable")
    counts = np.bincount(plane, minlength=geometry.planes)
    free = pages_per_block * used.shape[1] - used.sum(axis=1)
    short = int(np.argmax(counts - free))
    if counts[short] > free[short]:
        raise MemoryBudgetError(
            required_bytes=int(counts[short]) * geometry.page_bytes,
            available_bytes=int(free[short]) * geometry.page_bytes,
            memory=f"plane {short} of the flash",
            step=laid.matrix.name,
            hint="more chips, or fewer bits a weight, make room",
        )
    block, page = np.empty_like(plane), np.empty_like(plane)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    weight = laid.matrix.reads_per_token
    for step in range(int(counts.max())):
        active = np.flatnonzero(counts > step)
        room = used[active] < pages_per_block
        chosen = np.where(room, reads[active], np.inf).argmin(axis=1)
        target = order[starts[active] + step]
        block[target], page[target] = chosen, used[active, chosen]
        used[active, chosen] += 1
        reads[active, chosen] += weight
        added[active, chosen] += weight
    return block, page
