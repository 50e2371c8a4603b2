"""NAND flash that computes, event by event: the native simulation (``csrc/nand``).

Every page of a token is simulated: its read into the data register, its move to the cache register,
the channel that carries it. It shows what the closed form leaves out: slices that delay a request,
pages that arrive too late, how much the processor has to hold ahead of its work, and what a channel
does at a moment. What happens is told in ``csrc/include/edgekit/nand.h``.

Symmetry is not used: all channels are simulated, one after another within a product, since they
meet only where a product ends.

Source: Cambricon-LLM (arXiv 2409.15654), sections IV and V.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal, get_args

from edgekit.converters.partitioning.flash_tiles import TileShape, page_shape, rounds_of, tile_for
from edgekit.cost.nand import NandGeometry
from edgekit.cost.timeline import to_ns
from edgekit.emulators.nand_native import (
    CEvent,
    COptions,
    CProduct,
    CResult,
    declare,
    to_c,
    workspace_for,
)
from edgekit.errors import EmulatorError, UsageError
from edgekit.model_shapes import ModelShape
from edgekit.native import load_library

MOST_ROWS = 1 << 31
MOST_PAGES = 1 << 24

Streaming = Literal["sliced", "unsliced", "flash-only"]

WHOLE_SHARE = 1 << 32
"""``EK_NAND_WHOLE_SHARE``."""

DEFAULT_SLICE_BYTES = 256
"""The paper gives no size; 256 bytes hold a channel of 1 GB/s for 0.26 us, 0.8 % of a request."""

MAX_SLICE_BYTES = 1 << 20
"""``EK_NAND_MAX_PAGE_BYTES``."""


class EventKind(IntEnum):
    """``ek_nand_kind``: what holds a channel, a plane or a core."""

    INPUT = 0
    COMPUTE_READ = 1
    MULTIPLY = 2
    RESULT = 3
    PAGE_READ = 4
    PAGE_MOVE = 5


CHANNEL_KINDS = (EventKind.INPUT, EventKind.RESULT, EventKind.PAGE_MOVE)
"""What occupies the channel itself."""


@dataclass(frozen=True, slots=True)
class FlashProduct:
    """One weight matrix times a vector.

    Parameters
    ----------
    rows, columns : int
        Outputs and inputs.
    weight_bits : int
        4, 8 or 16.
    delay_s : float
        Time before it in which no product is under way, for instance attention, in seconds.
    tile : TileShape, optional
        Of one round; None for that of
        :func:`edgekit.converters.partitioning.flash_tiles.tile_for`.
    """

    rows: int
    columns: int
    weight_bits: int = 8
    delay_s: float = 0.0
    tile: TileShape | None = None


@dataclass(frozen=True, slots=True)
class EventPolicy:
    """How a channel is shared, and what the paper leaves open.

    Parameters
    ----------
    streaming : "sliced", "unsliced" or "flash-only"
        Ordinary reads in slices that fill gaps; in whole pages, where a read-compute request holds
        its channel from input to results; or none.
    slice_bytes : int
        Of a streamed page, at a time, where they are sliced.
    buffer_bytes : int or None
        Streamed weights that may lie at the processor before their product begins; None for one
        page of each core, with which flash and channels are both busy all the time.
    input_bytes, result_bytes : int
        Of one element on the channel; the paper counts 1.
    compute_s : float
        Of a core for a page, in seconds. 0 as in the closed form: it is hidden by the next page
        read as long as it is shorter, except for the last page of a product.
    stream_while_idle : bool
        Whether pages stream before a product too (``FlashProduct.delay_s``); the closed form
        assumes that they do not.

    Raises
    ------
    UsageError
        If a value is not legal.
    """

    streaming: Streaming = "sliced"
    slice_bytes: int = DEFAULT_SLICE_BYTES
    buffer_bytes: int | None = None
    input_bytes: int = 1
    result_bytes: int = 1
    compute_s: float = 0.0
    stream_while_idle: bool = False

    def __post_init__(self) -> None:
        if self.streaming not in get_args(Streaming):
            known = ", ".join(get_args(Streaming))
            raise UsageError(f"streaming {self.streaming!r} is not known; known are {known}")
        ranges = (
            ("slice_bytes", self.slice_bytes, 1, MAX_SLICE_BYTES),
            ("input_bytes", self.input_bytes, 1, 8),
            ("result_bytes", self.result_bytes, 1, 8),
            ("compute_s", self.compute_s, 0, 1),
        )
        for name, value, least, most in ranges:
            if not least <= value <= most:
                raise UsageError(f"{name} is {value}; it has to be from {least} to {most}")
        if self.buffer_bytes is not None and self.buffer_bytes < 0:
            raise UsageError(f"buffer_bytes is {self.buffer_bytes}; at least 0 is needed")


@dataclass(frozen=True, slots=True)
class ChannelUse:
    """Share of the time that the channels carry something, 0 to 1 each."""

    input: float
    result: float
    page: float

    @property
    def total(self) -> float:
        """All three together."""
        return self.input + self.result + self.page


@dataclass(frozen=True, slots=True)
class NandEvent:
    """Something that took time.

    Parameters
    ----------
    kind : EventKind
    channel : int
    unit : int
        Core or streaming plane of the channel; -1 for an input.
    sequence : int
        Round of the product; for streamed pages, page of the channel.
    product : int
        Index of the product that was under way.
    start_ns, end_ns : int
        From the begin of the token.
    """

    kind: EventKind
    channel: int
    unit: int
    sequence: int
    product: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class EventResult:
    """One token, simulated.

    Parameters
    ----------
    seconds : float
    channel_use : ChannelUse
        Mean of all channels over the token.
    flash_bytes, streamed_bytes : int
        Weights computed in flash, and those sent to the processor.
    rounds, tiles : int
        Tiles computed in flash, and all of them.
    flash_pages, streamed_pages : int
        Read for cores, and read to be streamed.
    starved_s : float
        Time in which products wait for streamed pages only.
    buffer_peak_bytes : int
        Most streamed weights that lay at the processor before their product began.
    events : int
        Simulated.
    timeline : tuple of NandEvent
        Those of the window asked for, by begin.
    """

    seconds: float
    channel_use: ChannelUse
    flash_bytes: int
    streamed_bytes: int
    rounds: int
    tiles: int
    flash_pages: int
    streamed_pages: int
    starved_s: float
    buffer_peak_bytes: int
    events: int
    timeline: tuple[NandEvent, ...]


def token_products(
    shape: ModelShape, *, weight_bits: int = 8, attention_s: float = 0.0
) -> tuple[FlashProduct, ...]:
    """Return the products of one token, all layers, without the head.

    Parameters
    ----------
    shape : ModelShape
    weight_bits : int
        4, 8 or 16.
    attention_s : float
        Of one layer, between its first product and its second, in seconds.
    """
    layer = []
    for matrix in shape.layer_matrices:
        delay_s = attention_s if matrix.name == "o" else 0.0
        product = FlashProduct(matrix.rows, matrix.columns, weight_bits, delay_s)
        layer += [product] * matrix.used
    return tuple(layer) * shape.layers


def simulate_token(
    products: Sequence[FlashProduct],
    geometry: NandGeometry,
    policy: EventPolicy | None = None,
    *,
    window_ns: tuple[int, int] = (0, 0),
) -> EventResult:
    """Simulate the products of one token, one after another.

    Each matrix is divided so that flash and channels finish together, in whole tiles: what should
    stream is added up over the token, and a tile streams once there is enough for it. Between
    products, pages of later ones stream ahead. Where cores use all planes, nothing streams.

    Parameters
    ----------
    products : sequence of FlashProduct
        At least one.
    geometry : NandGeometry
    policy : EventPolicy, optional
        Sliced reads without it.
    window_ns : tuple of int
        Begin and end (exclusive) of the time whose events are returned.

    Raises
    ------
    EmulatorError
        If pages are to stream and a die has no plane beside those of its cores, or the token is
        beyond what is simulated.
    UsageError
        If there is no product, or a matrix is empty or of an unknown width.
    MissingDependencyError
        If the native core is not there.
    """
    chosen = policy or EventPolicy()
    if not products:
        raise UsageError("a token without products takes no time to simulate")
    for product in products:
        if max(product.rows, product.columns) >= MOST_ROWS or not 0 <= product.delay_s <= 1e6:
            raise UsageError(f"{product} is beyond what is simulated")
    if not geometry.streaming_planes_per_channel:
        chosen = replace(chosen, streaming="flash-only")
    simulation = _Simulation(products, geometry, chosen)
    result, log = simulation.run((0, 0) if window_ns[0] >= window_ns[1] else window_ns)
    if (result.result_pages, result.moved_pages) != (result.read_pages, result.streamed_pages):
        raise EmulatorError("pages were lost in the simulation: please report")
    return _to_result(result, log, geometry)


def read_pages(
    geometry: NandGeometry, pages: int, *, queue_depth: int = 1, registers: int = 2
) -> tuple[int, ...]:
    """Read pages of one channel in order, as a host does, its planes in turn.

    Parameters
    ----------
    geometry : NandGeometry
    pages : int
        At least 1.
    queue_depth : int
        Pages that are asked for at a time, at least 1.
    registers : int
        Of a plane: 2 (data and cache register) or 1, where a page leaves before the next is read.

    Returns
    -------
    tuple of int
        When each page has crossed the channel, in nanoseconds.

    Raises
    ------
    EmulatorError
        If the arguments are beyond what is simulated.
    MissingDependencyError
        If the native core is not there.
    """
    if not (0 < pages <= MOST_PAGES and 0 < queue_depth <= MOST_PAGES and 1 <= registers <= 2):
        raise EmulatorError(
            f"{pages} pages at queue depth {queue_depth} with {registers} registers cannot be "
            "simulated"
        )
    library = declare(load_library())
    c_geometry = to_c(geometry)
    workspace, place, size_bytes = workspace_for(library, c_geometry, 1)
    ends = (ctypes.c_int64 * max(pages, 1))()
    status = library.ek_nand_read_pages(
        ctypes.byref(c_geometry), pages, queue_depth, registers, place, size_bytes, ends
    )
    del workspace
    if status != 0:
        raise EmulatorError(
            f"{pages} pages at queue depth {queue_depth} with {registers} registers cannot be "
            f"simulated (status {status})"
        )
    return tuple(ends)


class _Simulation:
    """Arguments of the native core, kept alive while it runs."""

    def __init__(
        self, products: Sequence[FlashProduct], geometry: NandGeometry, policy: EventPolicy
    ) -> None:
        self._library = declare(load_library())
        self._geometry = to_c(geometry)
        self._count = len(products)
        self._products = (CProduct * self._count)(
            *(_product(product, geometry, policy) for product in products)
        )
        self._options = _options(geometry, policy)
        self._memory, self._place, self._size_bytes = workspace_for(
            self._library, self._geometry, self._count
        )

    def run(self, window_ns: tuple[int, int]) -> tuple[CResult, Sequence[CEvent]]:
        """Run once; where events are asked for, once more with room for them."""
        self._options.log_from_ns, self._options.log_until_ns = window_ns
        result = self._run((CEvent * 0)())
        log = (CEvent * result.logged)()
        return (self._run(log) if result.logged else result), log

    def _run(self, log: ctypes.Array[CEvent]) -> CResult:
        result = CResult()
        status = self._library.ek_nand_simulate(
            ctypes.byref(self._geometry),
            self._products,
            self._count,
            ctypes.byref(self._options),
            log,
            len(log),
            self._place,
            self._size_bytes,
            ctypes.byref(result),
        )
        if status != 0:
            raise EmulatorError(
                f"{self._count} products on {self._geometry.channels} channels are beyond what is "
                f"simulated (status {status}); fewer or smaller matrices may be"
            )
        return result


def _product(product: FlashProduct, geometry: NandGeometry, policy: EventPolicy) -> CProduct:
    tile = product.tile or tile_for(product.rows, product.columns, geometry, product.weight_bits)
    share = (
        0.0
        if policy.streaming == "flash-only"
        else _streamed_share(product, tile, geometry, policy)
    )
    return CProduct(
        product.rows,
        product.columns,
        tile.rows,
        tile.columns,
        product.weight_bits,
        to_ns(product.delay_s),
        round(share * WHOLE_SHARE),
    )


def _streamed_share(
    product: FlashProduct, tile: TileShape, geometry: NandGeometry, policy: EventPolicy
) -> float:
    """Return the share of a matrix with which flash and channels finish together.

    As :func:`edgekit.converters.partitioning.flash_tiles.split_matrix`, with the bytes that tiles
    of this shape send for input and results in place of those of the tile of least traffic.
    """
    rate = geometry.channel_bytes_per_s
    page = page_shape(tile, geometry)
    input_bytes = product.columns * -(-product.rows // tile.rows) * policy.input_bytes
    result_bytes = product.rows * -(-product.columns // page.columns) * policy.result_bytes
    round_s = geometry.page_read_s + page.columns * policy.input_bytes / rate
    rounds_s = rounds_of(product.rows, product.columns, tile) * round_s
    free_bytes = max(0.0, geometry.bytes_per_s * rounds_s - input_bytes - result_bytes)
    if geometry.page_read_s:
        planes = geometry.channels * geometry.streaming_planes_per_channel
        by_planes = planes * geometry.page_bytes * rounds_s / geometry.page_read_s
        free_bytes = min(free_bytes, by_planes)
    weight_bytes = product.rows * product.columns * product.weight_bits / 8
    return free_bytes / (weight_bytes + free_bytes)


def _options(geometry: NandGeometry, policy: EventPolicy) -> COptions:
    sliced = policy.streaming == "sliced"
    room, channel_page_bytes = policy.buffer_bytes, geometry.page_bytes * geometry.channels
    return COptions(
        min(policy.slice_bytes, geometry.page_bytes) if sliced else geometry.page_bytes,
        policy.input_bytes,
        policy.result_bytes,
        to_ns(policy.compute_s),
        geometry.cores_per_channel if room is None else room // channel_page_bytes,
        int(policy.streaming == "unsliced"),
        int(policy.stream_while_idle),
        0,
        0,
    )


def _to_result(result: CResult, log: Sequence[CEvent], geometry: NandGeometry) -> EventResult:
    channel_ns = result.end_ns * geometry.channels
    use = ChannelUse(
        *(busy / channel_ns for busy in (result.input_ns, result.result_ns, result.page_ns))
    )
    events = [
        NandEvent(
            EventKind(event.kind),
            event.channel,
            event.unit,
            event.sequence,
            event.product,
            event.start_ns,
            event.end_ns,
        )
        for event in log
    ]
    return EventResult(
        seconds=result.end_ns * 1e-9,
        channel_use=use,
        flash_bytes=result.flash_bytes,
        streamed_bytes=result.stream_bytes,
        rounds=result.rounds,
        tiles=result.tiles,
        flash_pages=result.read_pages,
        streamed_pages=result.streamed_pages,
        starved_s=result.starved_ns * 1e-9,
        buffer_peak_bytes=result.buffer_peak_pages * geometry.page_bytes,
        events=result.events,
        timeline=tuple(sorted(events, key=lambda event: (event.start_ns, event.channel))),
    )
