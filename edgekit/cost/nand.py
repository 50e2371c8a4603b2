"""Geometry of NAND flash that computes, and how long its two kinds of request take.

A channel carries two kinds: a *read-compute* request sends a slice of the input vector to all cores
of the channel, each multiplies one page while it lies in the page register, and results come back;
an *ordinary read* brings a page of weights to the processor beside the flash.

Source: Cambricon-LLM (arXiv 2409.15654), sections IV and V.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgekit.errors import ProfileError
from edgekit.profiles import DeviceProfile, NandArray

LEAST_PAGE_BYTES = 512
"""Of the smallest pages that flash ever had."""


@dataclass(frozen=True, slots=True)
class NandGeometry:
    """Plain numbers of a ``[nand]`` table.

    Parameters
    ----------
    channels, chips_per_channel, dies_per_chip, planes_per_die, cores_per_die : int
        Each at least 1.
    page_bytes, spare_bytes_per_page : int
        Data and spare area of a page.
    page_read_s : float
        tR: from the array to the data register, in seconds.
    channel_bytes_per_s : float
        Of one channel.
    array_read_j_per_bit, channel_j_per_bit : float
        Energy of a bit read from the array, and of a bit moved over a channel, in joules.
    """

    channels: int
    chips_per_channel: int
    dies_per_chip: int
    planes_per_die: int
    cores_per_die: int
    page_bytes: int
    spare_bytes_per_page: int
    page_read_s: float
    channel_bytes_per_s: float
    array_read_j_per_bit: float
    channel_j_per_bit: float

    @property
    def dies_per_channel(self) -> int:
        """Dies that share one channel."""
        return self.chips_per_channel * self.dies_per_chip

    @property
    def cores_per_channel(self) -> int:
        """Compute cores that share one channel."""
        return self.dies_per_channel * self.cores_per_die

    @property
    def streaming_planes_per_channel(self) -> int:
        """Planes of one channel that no core reads from: ordinary pages come from them."""
        return self.dies_per_channel * max(0, self.planes_per_die - self.cores_per_die)

    @property
    def cores(self) -> int:
        """Compute cores of the whole chiplet."""
        return self.channels * self.cores_per_channel

    @property
    def planes(self) -> int:
        """Planes of the whole chiplet."""
        return self.channels * self.dies_per_channel * self.planes_per_die

    @property
    def bytes_per_s(self) -> float:
        """Rate of all channels together."""
        return self.channels * self.channel_bytes_per_s

    def page_weights(self, weight_bits: int) -> int:
        """Return the number of weights of a width that one page holds."""
        return self.page_bytes * 8 // weight_bits


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """Times and shares of the two kinds of request on one channel.

    Parameters
    ----------
    read_compute_s : float
        t_rc: a read-compute request, its input slice and the page read.
    read_compute_share : float
        rate_rc: share of the channel that read-compute requests use for input and results.
    page_s : float
        t_r: an ordinary page in what they leave of the channel, or as often as planes give one.
    compute_request_share : float
        alpha: share of the *requests* (not of the bytes) that are computed in flash.
    waits_for_planes : bool
        Whether the planes, and not the channel, limit ordinary pages.
    """

    read_compute_s: float
    read_compute_share: float
    page_s: float
    compute_request_share: float
    waits_for_planes: bool

    def streamed_bytes_per_s(self, geometry: NandGeometry) -> float:
        """Return the rate of ordinary pages on all channels beside the computation."""
        return geometry.channels * geometry.page_bytes / self.page_s


def nand_geometry(profile: DeviceProfile) -> NandGeometry:
    """Return the geometry of a profile's flash.

    Raises
    ------
    ProfileError
        If the profile has no ``[nand]`` table, or a count or rate in it is zero.
    """
    if profile.nand is None:
        raise ProfileError(
            f"{profile.name} has no flash that computes ([nand]).\nSee: edgekit devices",
            key="nand",
        )
    nand = profile.nand
    geometry = NandGeometry(
        channels=nand.channels.integer,
        chips_per_channel=nand.chips_per_channel.integer,
        dies_per_chip=nand.dies_per_chip.integer,
        planes_per_die=nand.planes_per_die.integer,
        cores_per_die=nand.cores_per_die.integer,
        page_bytes=nand.page_bytes.integer,
        spare_bytes_per_page=nand.spare_bytes_per_page.integer,
        page_read_s=nand.page_read_s.value,
        channel_bytes_per_s=nand.channel_bytes_per_s.value,
        array_read_j_per_bit=nand.array_read_j_per_bit.value,
        channel_j_per_bit=nand.channel_j_per_bit.value,
    )
    _check(profile.name, nand, geometry)
    return geometry


def request_times(geometry: NandGeometry, tile: tuple[float, float] | None = None) -> RequestTimes:
    """Return the times of requests with a tile; without one, with that of least traffic.

    ``t_rc = tR + W / (channels x rate)``, ``rate_rc = (H + W / channels) / (tR x rate)``,
    ``t_r = page / ((1 - rate_rc) x rate)``, ``alpha = t_r / (t_r + t_rc)``, one byte an element;
    H and W are the height and width of ``tile`` or of :func:`optimal_tile`.

    Two limits are beside the published formulas, which hold where both are far: a round takes no
    less than its own bytes on the channel, and ordinary pages come from planes that no core reads
    from, each a page in tR. Where no such plane is left, or requests alone fill the channel,
    ``page_s`` is infinite and ``compute_request_share`` 1.

    Source: Cambricon-LLM, section V.
    """
    height, width = tile or optimal_tile(geometry)
    rate = geometry.channel_bytes_per_s
    slice_bytes = width / geometry.channels
    requests_s = (height + slice_bytes) / rate
    read_compute_s = max(geometry.page_read_s + slice_bytes / rate, requests_s)
    share = min(1.0, requests_s / geometry.page_read_s)
    planes = geometry.streaming_planes_per_channel
    by_channel_s = geometry.page_bytes / ((1 - share) * rate) if share < 1.0 else math.inf
    by_planes_s = geometry.page_read_s / planes if planes else math.inf
    page_s = max(by_channel_s, by_planes_s)
    alpha = 1.0 if math.isinf(page_s) else page_s / (page_s + read_compute_s)
    return RequestTimes(read_compute_s, share, page_s, alpha, by_planes_s > by_channel_s)


def optimal_tile(geometry: NandGeometry) -> tuple[float, float]:
    """Return height and width of the tile of one round that moves the fewest bytes.

    A round has one page for each core: ``H x W = cores x page``. With the input slice broadcast on
    a channel it moves ``W + channels x H`` bytes, least at ``H = sqrt(cores a channel x page)``
    and ``W = channels x H`` (arithmetic and geometric mean).

    Source: Cambricon-LLM, section V.
    """
    height = math.sqrt(geometry.cores_per_channel * geometry.page_bytes)
    return height, geometry.channels * height


def _check(name: str, nand: NandArray, geometry: NandGeometry) -> None:
    zeros = {
        "channels": geometry.channels,
        "chips_per_channel": geometry.chips_per_channel,
        "dies_per_chip": geometry.dies_per_chip,
        "planes_per_die": geometry.planes_per_die,
        "cores_per_die": geometry.cores_per_die,
        "page_read_s": geometry.page_read_s,
        "channel_bytes_per_s": geometry.channel_bytes_per_s,
    }
    for key, value in zeros.items():
        if not 0 < value < math.inf:
            raise ProfileError("must be more than 0, and finite", path=name, key=f"nand.{key}")
    if geometry.page_bytes < LEAST_PAGE_BYTES:
        raise ProfileError(f"must be {LEAST_PAGE_BYTES} at least", path=name, key="nand.page_bytes")
    counts = {"channels": nand.channels, "chips_per_channel": nand.chips_per_channel}
    counts |= {"dies_per_chip": nand.dies_per_chip, "planes_per_die": nand.planes_per_die}
    counts |= {"cores_per_die": nand.cores_per_die, "page_bytes": nand.page_bytes}
    for key, quantity in counts.items():
        if quantity.value != quantity.integer:
            raise ProfileError(
                f"{quantity.value} is not a whole number", path=name, key=f"nand.{key}"
            )
    if geometry.cores_per_die > geometry.planes_per_die:
        raise ProfileError(
            f"{geometry.cores_per_die} cores have only {geometry.planes_per_die} planes to read",
            path=name,
            key="nand.cores_per_die",
        )
