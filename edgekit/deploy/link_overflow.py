"""What the linker says of a memory that overflows, as the memory of the device and its bytes."""

from __future__ import annotations

import re

from edgekit.deploy.memory_layout import MemoryLayout
from edgekit.deploy.toolchain import BuildError
from edgekit.errors import MemoryBudgetError
from edgekit.profiles import DeviceProfile

_OVERFLOW = re.compile(r"region [`'](\w+)'[: ]*overflowed by (\d+) byte")
"""As GNU ld says it, and as lld does for one section after the other."""


def budget_error(
    error: BuildError, layout: MemoryLayout, profile: DeviceProfile
) -> MemoryBudgetError | None:
    """Return the memory that a link overflowed, None where it failed for another reason.

    Parameters
    ----------
    error : BuildError
    layout : MemoryLayout
        That was linked to: of the board itself.
    profile : DeviceProfile
    """
    spans = {"FLASH": layout.flash, "RAM": layout.ram, "ARENA": layout.arena}
    found = [(name, int(count)) for name, count in _OVERFLOW.findall(error.output) if name in spans]
    if not found:
        return None
    region, excess_bytes = max(found, key=lambda item: item[1])
    span = spans[region] or layout.ram
    for memory in profile.memories:
        if memory.address is not None and memory.address.integer == span.address:
            return MemoryBudgetError(
                required_bytes=span.size_bytes + excess_bytes,
                available_bytes=span.size_bytes,
                memory=memory.name,
                hint="This is what the linked image takes, code and stack included.",
            )
    return None
