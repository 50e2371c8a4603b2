"""What the memories of a device cost, where its profile has prices."""

from __future__ import annotations

from edgekit.profiles import DeviceProfile

GIB = 1 << 30


def price_usd(profile: DeviceProfile) -> float | None:
    """Return the price of all memories that have one, in dollars; None: no prices are known."""
    prices = [
        memory.usd_per_gib.value * memory.capacity_bytes.value / GIB
        for memory in profile.memories
        if memory.usd_per_gib is not None
    ]
    return sum(prices) if prices else None
