"""Published measurements beside what an emulator computes for them.

A module of :mod:`edgekit.emulators` that defines ``validation_rows()`` is asked for every row that
it claims. A row that a constant of a profile was fitted to is marked and does not count in the
summary.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from edgekit.emulators import emulator_modules, modelled_kinds
from edgekit.errors import UsageError
from edgekit.profiles import list_profiles, load_profile


@dataclass(frozen=True, slots=True)
class ValidationRow:
    """One published number.

    Parameters
    ----------
    emulator : str
    quantity : str
        What it is of, with its unit.
    source : str
        Where it was published.
    published, computed : float
    error_percent : float
        ``(computed - published) / published``, in per cent.
    fitted : bool
        Whether a constant was fitted to it.
    """

    emulator: str
    quantity: str
    source: str
    published: float
    computed: float
    error_percent: float
    fitted: bool


def compare(
    emulator: str,
    quantity: str,
    source: str,
    published: float,
    computed: float,
    *,
    fitted: bool = False,
) -> ValidationRow:
    """Return a row with its error."""
    error_percent = (computed - published) / published * 100
    return ValidationRow(emulator, quantity, source, published, computed, error_percent, fitted)


def rows(emulator: str | None = None) -> list[ValidationRow]:
    """Return the rows of one emulator, or of all.

    Raises
    ------
    UsageError
        If no emulator of that name has any.
    """
    found: dict[str, list[ValidationRow]] = {}
    for name, module in emulator_modules():
        if hasattr(module, "validation_rows"):
            found[name] = list(module.validation_rows())
    if emulator is None:
        return [row for group in found.values() for row in group]
    if emulator not in found:
        near = difflib.get_close_matches(emulator, found, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(found)}"
        raise UsageError(f"no emulator {emulator!r} has published rows; {hint}")
    return found[emulator]


def summary(found: Iterable[ValidationRow]) -> dict[str, dict[str, float]]:
    """Return, for each emulator, mean and largest absolute error of the rows not fitted to."""
    errors: dict[str, list[float]] = {}
    for row in found:
        if not row.fitted:
            errors.setdefault(row.emulator, []).append(abs(row.error_percent))
    return {
        name: {
            "rows": len(values),
            "mean_abs_error_percent": sum(values) / len(values),
            "max_abs_error_percent": max(values),
        }
        for name, values in errors.items()
    }


def device_errors(emulator: str | None = None) -> dict[str, str]:
    """Return what one emulator, or all, state of their error on each device, by device."""
    found: dict[str, str] = {}
    for name, module in emulator_modules():
        if emulator not in (None, name) or not hasattr(module, "stated_error"):
            continue
        for device in list_profiles():
            if device.kind in modelled_kinds(module):
                found[device.name] = module.stated_error(load_profile(device.name))
    return found
