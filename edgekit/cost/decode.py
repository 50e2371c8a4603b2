"""Time of one token of a language model whose weights are partly read from storage.

``seconds = max(max(weights / bandwidth, MACs / rate) + calls x overhead, read / storage rate)``: a
token touches every weight once, each product wakes the threads, and reading ahead overlaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.cost.roofline import bandwidth, lookup
from edgekit.profiles import DeviceProfile, Processor

TokenBound = Literal["compute", "memory", "storage"]


@dataclass(frozen=True, slots=True)
class TokenWork:
    """What one evaluation needs.

    Parameters
    ----------
    touched_bytes : int
        Weights that the computation reads, from memory.
    read_bytes : int
        Of them, from storage.
    macs : float
        Multiply-accumulates of one token.
    calls : int
        Products, one after the other.
    tokens : int
        Evaluated together; each weight is read once for all of them.
    """

    touched_bytes: int
    read_bytes: int
    macs: float
    calls: int
    tokens: int = 1


@dataclass(frozen=True, slots=True)
class TokenCost:
    """Modelled time of one evaluation, in seconds; computing and reading overlap."""

    compute_s: float
    read_s: float
    bound: TokenBound

    @property
    def seconds(self) -> float:
        """The longer of both."""
        return max(self.compute_s, self.read_s)


def token_cost(
    work: TokenWork, profile: DeviceProfile, processor: Processor, storage_bytes_per_s: float
) -> TokenCost:
    """Return the time of an evaluation on a processor.

    Parameters
    ----------
    work : TokenWork
    profile : DeviceProfile
    processor : Processor
    storage_bytes_per_s : float
        Rate of the blocks that are streamed; infinite where nothing is read.
    """
    memory_s = work.touched_bytes / bandwidth(profile, processor)
    rate = product_rate(processor)
    compute_s = work.tokens * work.macs / rate if rate else 0.0
    read_s = work.read_bytes / storage_bytes_per_s
    busy_s = max(memory_s, compute_s) + work.calls * processor.launch_overhead_s.value
    if read_s > busy_s:
        return TokenCost(busy_s, read_s, "storage")
    return TokenCost(busy_s, read_s, "memory" if memory_s >= compute_s else "compute")


def product_rate(processor: Processor) -> float:
    """Return the multiply-accumulates a second of 8-bit products, or of the best known dtype."""
    for dtype in ("int8", "float16", "float32"):
        fraction = lookup(processor.efficiency, "matmul", dtype)
        if dtype in processor.ops_per_s and fraction:
            return processor.ops_per_s[dtype].value * fraction
    return 0.0


def decoding_processor(profile: DeviceProfile, executor: str) -> Processor | None:
    """Return the CPU that an executor reaches and that reads memory fastest; None: there is none.

    Parameters
    ----------
    profile : DeviceProfile
    executor : str
        As in ``reached_by`` of a profile, for instance ``native``.
    """
    reached = [p for p in profile.processors if p.kind == "cpu" and executor in p.reached_by]
    return max(reached, key=lambda p: bandwidth(profile, p), default=None)
