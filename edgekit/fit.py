"""Whether a plan fits its device, memory by memory, and which other device it would fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edgekit.errors import MemoryBudgetError, PlanError
from edgekit.plan import MemoryUse, Plan
from edgekit.profiles import DeviceProfile
from edgekit.units import short_name


def check_fit(plan: Plan, *, hint: str = "") -> None:
    """Refuse a plan that needs more of a memory than the device gives.

    Parameters
    ----------
    plan : Plan
    hint : str
        Appended to the message, for instance which device it would fit.

    Raises
    ------
    MemoryBudgetError
        Of the memory that is exceeded by the largest factor; its step is the one where the arena
        peaks. Further memories that do not suffice are named in the message.
    """
    exceeded = sorted(exceeded_memories(plan), key=_factor, reverse=True)
    if not exceeded:
        return
    worst = exceeded[0]
    others = [
        f"{use.name} needs {use.peak_bytes:,} bytes of {use.available_bytes:,} as well"
        for use in exceeded[1:]
    ]
    raise MemoryBudgetError(
        required_bytes=worst.peak_bytes,
        available_bytes=worst.available_bytes,
        memory=worst.name,
        step=short_name(worst.peak_step),
        hint="\n".join([*others, *([hint] if hint else [])]),
    )


def exceeded_memories(plan: Plan) -> list[MemoryUse]:
    """Return the memories of which the plan needs more than there is."""
    return [use for use in plan.memories if use.peak_bytes > use.available_bytes]


def which_devices_fit(
    profiles: Iterable[DeviceProfile], plan_for: Callable[[DeviceProfile], Plan], *, limit: int = 3
) -> tuple[str, ...]:
    """Return the first devices, in the order given, on which a plan fits.

    Parameters
    ----------
    profiles : iterable of DeviceProfile
        The nearest alternatives first (see :func:`by_memory`).
    plan_for : callable
        Makes the plan for one device; a ``PlanError`` means that it cannot run there.
    limit : int
        How many names are enough.
    """
    found: list[str] = []
    for profile in profiles:
        try:
            plan = plan_for(profile)
        except PlanError:
            continue
        if not exceeded_memories(plan):
            found.append(profile.name)
        if len(found) == limit:
            break
    return tuple(found)


def fit_hint(devices: Iterable[str]) -> str:
    """Return the sentence that names devices a model would fit."""
    names = list(devices)
    if not names:
        return "It fits no device of the list (edgekit devices)."
    return f"It would fit {', '.join(names)}."


def by_memory(profiles: Iterable[DeviceProfile], like: DeviceProfile) -> list[DeviceProfile]:
    """Return the profiles in the order in which to try them: same kind first, then by memory."""
    return sorted(
        (profile for profile in profiles if profile.name != like.name),
        key=lambda p: (p.kind != like.kind, p.ram.available_bytes.value, p.name),
    )


def _factor(use: MemoryUse) -> float:
    return use.peak_bytes / max(use.available_bytes, 1)
