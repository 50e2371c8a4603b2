"""Emulators: real outputs from an executor, time and energy from a model of the device.

An emulator is one module of this folder that defines ``EMULATES`` (the kinds of device, as in a
profile) and ``emulate_package(package, plan, profile, inputs)``, which returns a ``RunResult``. It
models what is below our own code, never our own API, and is never chosen silently. If it defines
``validation_rows()``, ``edgekit validate`` recomputes what it claims
(:mod:`edgekit.emulators.validation`); if it defines ``stated_error(profile)``, whatever it models
for a device is printed with that sentence. A module that models kinds of device but runs no
packages defines ``MODELS`` in place of ``EMULATES``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

from edgekit.profiles import DeviceProfile


def emulator_names() -> tuple[str, ...]:
    """Return the emulators by name."""
    return tuple(name for name, module in emulator_modules() if hasattr(module, "EMULATES"))


def emulator_modules() -> Iterator[tuple[str, ModuleType]]:
    """Import and yield every module of this folder with its name."""
    found = [info for info in pkgutil.iter_modules(__path__) if info.name != "__main__"]
    for info in sorted(found, key=lambda item: item.name):
        yield info.name, importlib.import_module(f"edgekit.emulators.{info.name}")


def stated_error(profile: DeviceProfile) -> str:
    """Return what is known of the error of modelled time and energy on a device; empty: nothing."""
    for _, module in emulator_modules():
        if profile.kind in modelled_kinds(module) and hasattr(module, "stated_error"):
            return str(module.stated_error(profile))
    return ""


def modelled_kinds(module: ModuleType) -> tuple[str, ...]:
    """Return the kinds of device that a module emulates or models."""
    kinds: tuple[str, ...] = getattr(module, "EMULATES", ()) + getattr(module, "MODELS", ())
    return kinds
