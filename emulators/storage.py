"""Reads from phone storage by block size, range, issuing core and number in flight.

Made from the measured rates of a profile (``[[storage.reads]]`` with ``anchor = true``). Between
two measured block sizes the *time* of a read is interpolated linearly: a fixed part a request and
a part a byte, which is how a flash device behind a command queue behaves. Between spans and lanes
the rate is interpolated over their logarithm. A slower core adds a time a request that grows with
its clock period. Outside the measured ranges the nearest measurement holds; larger blocks go on at
the slope of the last two.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgekit.errors import EmulatorError
from edgekit.profiles import DeviceProfile, StorageRead
from edgekit.units import parse_bytes

Pattern = Literal["sequential", "random"]


@dataclass(frozen=True, slots=True)
class _Point:
    block_bytes: int
    span_bytes: int
    lanes: int
    issuer: str
    seconds: float


class StorageModel:
    """Read times of the storage of a device.

    Parameters
    ----------
    profile : DeviceProfile
    all_rows : bool
        Use every published row, not only the anchors.

    Raises
    ------
    EmulatorError
        If the profile has no read rates.
    """

    def __init__(self, profile: DeviceProfile, *, all_rows: bool = False) -> None:
        if profile.storage is None or not profile.storage.reads:
            raise EmulatorError(f"{profile.name}: the profile has no read rates of its storage")
        self._profile = profile
        reads = [read for read in profile.storage.reads if all_rows or read.anchor]
        self._points: dict[str, list[_Point]] = {"sequential": [], "random": []}
        for read in reads:
            self._points[read.pattern].append(_point(read))
        loss = profile.storage.contention_loss
        self._contention_loss = loss.value if loss else 0.0

    def read_seconds(
        self,
        block_bytes: int,
        *,
        pattern: Pattern = "sequential",
        span_bytes: int = 0,
        issuer: str = "",
        lanes: int = 0,
        issuing_cores: int = 1,
    ) -> float:
        """Return the time that one read of a long series takes.

        Parameters
        ----------
        block_bytes : int
        pattern : str
        span_bytes : int
            Range that random reads fall in; 0 for the largest that was measured.
        issuer : str
            Processor that issues the reads; empty for the fastest.
        lanes : int
            Reads in flight; 0 for the best.
        issuing_cores : int
            Cores that issue into the one command queue.

        Raises
        ------
        EmulatorError
            If nothing was measured for the pattern.
        """
        points = self._points[pattern]
        if not points:
            raise EmulatorError(f"{self._profile.name}: no {pattern} read rate of its storage")
        base = self._fastest(points)
        seconds = _over_lanes(base, block_bytes, span_bytes, lanes)
        seconds += self._issuer_seconds(points, issuer)
        loss = self._contention_loss * (1 - 1 / issuing_cores)
        return seconds / (1 - loss)

    def rate(
        self,
        block_bytes: int,
        *,
        pattern: Pattern = "sequential",
        span_bytes: int = 0,
        issuer: str = "",
        lanes: int = 0,
        issuing_cores: int = 1,
    ) -> float:
        """Return bytes a second; parameters as :meth:`read_seconds`."""
        seconds = self.read_seconds(
            block_bytes,
            pattern=pattern,
            span_bytes=span_bytes,
            issuer=issuer,
            lanes=lanes,
            issuing_cores=issuing_cores,
        )
        return block_bytes / seconds

    def _fastest(self, points: list[_Point]) -> list[_Point]:
        """Return the points of the fastest issuer: those of any core, or of the highest clock."""
        issuers = {point.issuer for point in points}
        best = max(issuers, key=lambda name: self._clock(name) if name else math.inf)
        return [point for point in points if point.issuer in ("", best)]

    def _issuer_seconds(self, points: list[_Point], issuer: str) -> float:
        """Return what an issuing core adds to each request, over its clock period."""
        measured: dict[float, float] = {}
        fastest = {(p.block_bytes, p.span_bytes, p.lanes): p.seconds for p in self._fastest(points)}
        for point in points:
            key = (point.block_bytes, point.span_bytes, point.lanes)
            if point.issuer and key in fastest:
                measured[1 / self._clock(point.issuer)] = point.seconds - fastest[key]
        if not issuer or len(measured) < 2:
            return 0.0
        return max(0.0, _interpolate(measured, 1 / self._clock(issuer), extrapolate=True))

    def _clock(self, issuer: str) -> float:
        try:
            return self._profile.processor(issuer).clock_hz.value
        except KeyError:
            raise EmulatorError(f"{self._profile.name} has no processor {issuer!r}") from None


def _point(read: StorageRead) -> _Point:
    block_bytes = parse_bytes(read.block)
    return _Point(
        block_bytes,
        parse_bytes(read.span) if read.span else 0,
        int(read.lanes) if read.lanes else 0,
        read.issuer,
        block_bytes / read.rate_bytes_per_s.value,
    )


def _over_lanes(points: list[_Point], block_bytes: int, span_bytes: int, lanes: int) -> float:
    by_lanes: dict[int, list[_Point]] = {}
    for point in points:
        by_lanes.setdefault(point.lanes, []).append(point)
    times = {
        count: _over_blocks(group, block_bytes, span_bytes) for count, group in by_lanes.items()
    }
    if lanes == 0 or set(times) == {0}:
        return min(times.values())
    rates = {math.log2(count): 1 / time for count, time in times.items() if count > 0}
    return 1 / _interpolate(rates, math.log2(lanes), extrapolate=False)


def _over_blocks(points: list[_Point], block_bytes: int, span_bytes: int) -> float:
    by_block: dict[int, list[_Point]] = {}
    for point in points:
        by_block.setdefault(point.block_bytes, []).append(point)
    times = {float(block): _over_spans(group, span_bytes) for block, group in by_block.items()}
    if block_bytes < min(times):
        return times[min(times)]
    if len(times) == 1:
        return next(iter(times.values())) * block_bytes / next(iter(times))
    return _interpolate(times, float(block_bytes), extrapolate=True)


def _over_spans(points: list[_Point], span_bytes: int) -> float:
    rates = {math.log2(point.span_bytes or 1): 1 / point.seconds for point in points}
    position = math.log2(span_bytes) if span_bytes else max(rates)
    return 1 / _interpolate(rates, position, extrapolate=False)


def _interpolate(values: Mapping[float, float], position: float, *, extrapolate: bool) -> float:
    """Return a value between the two nearest positions; beyond the ends as asked."""
    keys = sorted(values)
    if len(keys) == 1 or (not extrapolate and not keys[0] <= position <= keys[-1]):
        return values[min(keys, key=lambda key: abs(key - position))]
    upper = min(max(bisect_left(keys, position), 1), len(keys) - 1)
    low, high = keys[upper - 1], keys[upper]
    share = (position - low) / (high - low)
    return values[low] + share * (values[high] - values[low])
