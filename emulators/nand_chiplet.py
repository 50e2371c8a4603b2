"""Language models on a chiplet of NAND flash that computes: the closed form.

Weights lie in flash. Each product of a matrix with a vector is shared: the cores in flash compute
one page each in a round, and what the rounds leave of the channels streams further pages to the
NPU. Keys and values lie in DRAM. One query takes microseconds to a millisecond.

- In flash: ``rounds x t_rc``, where a partly filled tile costs a whole round.
- Streamed: ``channels x rate x (1 - rate_rc)``.
- A matrix: ``bytes / (bytes / (rounds x t_rc) + streamed rate)``; both finish together.
- Flash only: ``rounds x t_rc`` of full pages; without tiles, weights lie in order and fill them.
- Whole pages instead of slices: each round waits for the pages that would stream beside it.
- Keys and values: all positions once a token at the bandwidth of the DRAM, after the products.

Left out: the head (unless asked for), latency between the dies, command cycles, arithmetic of the
NPU while decoding. Nothing is fitted; the choice of tile is that of
:func:`edgekit.converters.partitioning.flash_tiles.tile_for`. How far this is from published speeds:
``edgekit validate nand_chiplet``.

Source: Cambricon-LLM (arXiv 2409.15654), sections IV, V and VIII.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from edgekit.converters.partitioning.flash_tiles import TileShape, split_matrix
from edgekit.cost.decode import product_rate
from edgekit.cost.nand import NandGeometry, RequestTimes, nand_geometry, request_times
from edgekit.emulators.validation import ValidationRow, summary
from edgekit.errors import MemoryBudgetError, ProfileError, UsageError
from edgekit.model_shapes import ModelShape, WeightMatrix
from edgekit.profiles import DeviceProfile, Processor

MODELS = ("nand_chiplet",)
"""Kinds of device whose time and energy are modelled; packages cannot be run on them."""

FlashPolicy = Literal["sliced", "unsliced", "flash-only"]
PUBLISHED_DESIGNS = ("cambricon-llm-s", "cambricon-llm-l")
"""Whose speeds are compared with what was published of them."""

POLICIES: tuple[FlashPolicy, ...] = ("sliced", "unsliced", "flash-only")
"""Pages stream in slices between requests, as whole pages, or not at all."""


@dataclass(frozen=True, slots=True)
class MatrixCost:
    """All products of one kind of matrix in one token.

    Parameters
    ----------
    name : str
    rows, columns : int
        Of one matrix.
    calls : int
        Products in one token.
    tile : TileShape
    rounds : int
        Of one product, if all of it were computed in flash.
    filled : float
        Share of the rounds' cores that have weights to compute.
    seconds : float
        Of all products.
    flash_bytes, streamed_bytes : float
        Of all products: weights computed in flash, and sent to the NPU.
    """

    name: str
    rows: int
    columns: int
    calls: int
    tile: TileShape
    rounds: int
    filled: float
    seconds: float
    flash_bytes: float
    streamed_bytes: float


@dataclass(frozen=True, slots=True)
class ChipletEstimate:
    """One token of a language model on a chiplet.

    Parameters
    ----------
    shape : ModelShape
    weight_bits, activation_bytes, context : int
    policy : str
    matrices : tuple of MatrixCost
    weights_s, kv_s : float
        Products of weights; reading keys and values.
    prefill_s : float
        Reading a prompt of ``context`` tokens at once.
    channel_use : float
        Share of the channels that is in use while weights are multiplied.
    moved_bytes : float
        Over the channels for one token: pages, input slices and results.
    array_j, channel_j : float
        Energy of reading all weights from the array, and of moving ``moved_bytes``.
    dram_j, npu_j : float
        Keys and values; products of streamed weights.
    stored_bytes : int
        All weights that flash has to hold.
    kv_bytes : int
        Keys and values that DRAM has to hold.
    limit : str
        What takes most of the time, in words.
    """

    shape: ModelShape
    weight_bits: int
    activation_bytes: int
    context: int
    policy: FlashPolicy
    matrices: tuple[MatrixCost, ...]
    weights_s: float
    kv_s: float
    prefill_s: float
    channel_use: float
    moved_bytes: float
    array_j: float
    channel_j: float
    dram_j: float
    npu_j: float
    stored_bytes: int
    kv_bytes: int
    limit: str

    @property
    def seconds(self) -> float:
        """Time of one token."""
        return self.weights_s + self.kv_s

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second, decoding."""
        return 1 / self.seconds

    @property
    def energy_j(self) -> float:
        """Energy of flash and channels, the boundary of published figures."""
        return self.array_j + self.channel_j

    @property
    def flash_bytes(self) -> float:
        """Weights computed in flash for one token."""
        return sum(item.flash_bytes for item in self.matrices)

    @property
    def streamed_bytes(self) -> float:
        """Weights sent to the NPU for one token."""
        return sum(item.streamed_bytes for item in self.matrices)


def estimate_token(
    shape: ModelShape,
    profile: DeviceProfile,
    *,
    weight_bits: int = 8,
    activation_bytes: int = 1,
    context: int = 1000,
    policy: FlashPolicy = "sliced",
    head: bool = False,
    tile: TileShape | None = None,
) -> ChipletEstimate:
    """Return time, bytes and energy of one token.

    Parameters
    ----------
    shape : ModelShape
    profile : DeviceProfile
        With a ``[nand]`` table.
    weight_bits : int
        4, 8 or 16.
    activation_bytes : int
        Of one key, value or element of the input.
    context : int
        Positions in the cache, and tokens of the prompt.
    policy : str
        One of :data:`POLICIES`.
    head : bool
        Whether the scores of the vocabulary are computed; published speeds are without.
    tile : TileShape, optional
        One tile for all matrices, whatever their size.

    Raises
    ------
    ProfileError
        If the profile has no flash that computes, or no NPU.
    MemoryBudgetError
        If flash does not hold the weights.
    UsageError
        If the width of the weights is not known, or the context is negative.
    """
    if context < 0:
        raise UsageError(f"a context of {context} tokens is not possible")
    geometry = nand_geometry(profile)
    npu = _npu(profile)
    costs = [
        _matrix_cost(matrix, calls, geometry, weight_bits, policy, tile)
        for matrix, calls in _matrices(shape, head)
    ]
    weights_s = sum(cost.seconds for cost in costs)
    weight_bytes = sum(cost.flash_bytes + cost.streamed_bytes for cost in costs)
    streamed_bytes = sum(cost.streamed_bytes for cost in costs)
    use = _channel_use(geometry, request_times(geometry, _size(tile)), policy)
    moved_bytes = use * geometry.bytes_per_s * weights_s
    kv_bytes = shape.kv_bytes(context, activation_bytes)
    ram = profile.ram
    if not ram.bandwidth_bytes_per_s.value:
        raise ProfileError("keys and values cannot be read at 0 bytes a second", key=ram.name)
    kv_s = kv_bytes / ram.bandwidth_bytes_per_s.value
    dram_j = kv_bytes * (ram.energy_per_byte_j.value if ram.energy_per_byte_j else 0.0)
    npu_s = streamed_bytes * 8 / weight_bits / product_rate(npu)
    return ChipletEstimate(
        shape=shape,
        weight_bits=weight_bits,
        activation_bytes=activation_bytes,
        context=context,
        policy=policy,
        matrices=tuple(costs),
        weights_s=weights_s,
        kv_s=kv_s,
        prefill_s=prefill_seconds(shape, profile, weight_bits=weight_bits, tokens=context),
        channel_use=use,
        moved_bytes=moved_bytes,
        array_j=weight_bytes * 8 * geometry.array_read_j_per_bit,
        channel_j=moved_bytes * 8 * geometry.channel_j_per_bit,
        dram_j=dram_j,
        npu_j=npu_s * (npu.active_power_w.value if npu.active_power_w else 0.0),
        stored_bytes=_stored_bytes(shape, profile, weight_bits, head),
        kv_bytes=kv_bytes,
        limit=_limit(costs, weights_s, kv_s, request_times(geometry, _size(tile))),
    )


def prefill_seconds(
    shape: ModelShape, profile: DeviceProfile, *, weight_bits: int = 8, tokens: int = 1000
) -> float:
    """Return the time to read a prompt at once, in seconds.

    The NPU computes; each matrix streams past it once for all tokens. Each takes the longer of its
    pages on the channels and its products. Attention is the product of each position with all
    before it. With experts, a prompt is taken to need all of them.
    """
    geometry, rate = nand_geometry(profile), product_rate(_npu(profile))
    seconds = 0.0
    for matrix in shape.layer_matrices:
        read_s = matrix.stored * matrix.weights * weight_bits / 8 / geometry.bytes_per_s
        compute_s = matrix.used * matrix.weights * tokens / rate
        seconds += max(read_s, compute_s) if tokens else 0.0
    attention = tokens * (tokens + 1) * shape.attention_width
    return shape.layers * (seconds + attention / rate)


def validation_rows() -> list[ValidationRow]:
    """Return every published row that this emulator claims."""
    from edgekit.emulators.nand_rows import published_rows

    return published_rows()


def stated_error(profile: DeviceProfile) -> str:
    """Return what is known of the error of modelled speeds of a chiplet."""
    known = _decode_error()
    if profile.name in PUBLISHED_DESIGNS:
        return known
    return f"{profile.name} is not among the designs that were compared: {known}"


@cache
def _decode_error() -> str:
    from edgekit.emulators.nand_rows import decode_rows

    total = summary(decode_rows())["nand_chiplet"]
    return (
        f"decode within {total['mean_abs_error_percent']:.1f} % on average and "
        f"{total['max_abs_error_percent']:.1f} % at most of {total['rows']:.0f} published speeds "
        "of Cambricon-LLM-S and -L with 8-bit weights, which are simulated themselves"
    )


def _matrices(shape: ModelShape, head: bool) -> list[tuple[WeightMatrix, int]]:
    found = [(matrix, shape.layers * matrix.used) for matrix in shape.layer_matrices]
    return [*found, (shape.head, 1)] if head else found


def _matrix_cost(
    matrix: WeightMatrix,
    calls: int,
    geometry: NandGeometry,
    weight_bits: int,
    policy: FlashPolicy,
    tile: TileShape | None,
) -> MatrixCost:
    split = split_matrix(matrix.rows, matrix.columns, geometry, weight_bits, tile=tile)
    times = request_times(geometry, _size(tile))
    seconds, flash, streamed = split.seconds, split.flash_bytes, split.streamed_bytes
    if policy == "flash-only":
        rounds = -(-split.weight_bytes // (geometry.cores * geometry.page_bytes))
        split = replace(split, rounds=rounds)
        seconds, flash, streamed = rounds * times.read_compute_s, split.weight_bytes, 0.0
    elif policy == "unsliced":
        seconds *= _unsliced_cycle_s(geometry, times) / times.read_compute_s
    weights_of_rounds = split.rounds * split.tile.rows * split.tile.columns
    return MatrixCost(
        name=matrix.name,
        rows=matrix.rows,
        columns=matrix.columns,
        calls=calls,
        tile=split.tile,
        rounds=split.rounds,
        filled=matrix.weights / weights_of_rounds,
        seconds=calls * seconds,
        flash_bytes=calls * flash,
        streamed_bytes=calls * streamed,
    )


def _streamed_s(geometry: NandGeometry, times: RequestTimes) -> float:
    """Return the time on a channel of the pages that stream during one read-compute request."""
    pages = times.read_compute_s / times.page_s
    return pages * geometry.page_bytes / geometry.channel_bytes_per_s


def _unsliced_cycle_s(geometry: NandGeometry, times: RequestTimes) -> float:
    """Return the time of a round and of its pages one after the other: whole pages block it."""
    return times.read_compute_s + _streamed_s(geometry, times)


def _channel_use(geometry: NandGeometry, times: RequestTimes, policy: FlashPolicy) -> float:
    requests_s = times.read_compute_share * geometry.page_read_s
    if policy == "flash-only":
        return requests_s / times.read_compute_s
    busy_s = _streamed_s(geometry, times) + requests_s
    if policy == "sliced":
        return busy_s / times.read_compute_s
    return busy_s / _unsliced_cycle_s(geometry, times)


def _size(tile: TileShape | None) -> tuple[float, float] | None:
    return (float(tile.rows), float(tile.columns)) if tile else None


def _npu(profile: DeviceProfile) -> Processor:
    found = next((item for item in profile.processors if item.kind == "npu"), None)
    if found is None or not product_rate(found):
        raise ProfileError(f"{profile.name} has no NPU with a rate", key="processors")
    return found


def _stored_bytes(shape: ModelShape, profile: DeviceProfile, weight_bits: int, head: bool) -> int:
    """Return the size of all weights; refuse what flash does not hold."""
    weights = shape.stored_weights + (shape.head.weights if head else 0)
    stored = -(-weights * weight_bits // 8)
    flash = profile.flash
    if flash is not None and stored > flash.available_bytes.integer:
        raise MemoryBudgetError(
            required_bytes=stored,
            available_bytes=flash.available_bytes.integer,
            memory=f"{flash.name} of {profile.name}",
            hint=f"{shape.name} with fewer bits a weight, or more flash",
        )
    return stored


def _limit(costs: list[MatrixCost], weights_s: float, kv_s: float, times: RequestTimes) -> str:
    if kv_s > weights_s:
        return "reading keys and values from DRAM"
    flash = sum(cost.flash_bytes for cost in costs)
    streamed = sum(cost.streamed_bytes for cost in costs)
    rounds = sum(cost.calls * cost.rounds for cost in costs)
    filled = sum(cost.calls * cost.rounds * cost.filled for cost in costs) / rounds
    if streamed > flash and times.waits_for_planes:
        return "page reads of the planes that stream: most weights go to the NPU"
    if streamed > flash:
        return "the channels: most weights stream to the NPU"
    if filled < 0.8:
        return f"partly filled tiles: {1 - filled:.0%} of the cores' rounds compute nothing"
    return "page reads of the array: most weights are computed in flash"
