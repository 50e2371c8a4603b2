"""Device profiles: find, read, inherit, check.

Profiles are the TOML files below ``device_profiles/``; adding a device is adding a file. Files
whose name begins with ``_`` are bases that others inherit from and are not devices themselves.

``inherits = "name"`` merges: tables key by key, arrays of processors, memories and links by
``name``, everything else (a quantity too) is replaced as a whole.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeGuard

import msgspec

from edgekit.errors import ProfileError
from edgekit.profile_schema import (
    OP_CLASSES,
    Capabilities,
    DeviceProfile,
    Link,
    Memory,
    NandArray,
    Power,
    Processor,
    Quantity,
    Serial,
    Storage,
    StorageRead,
    Thermal,
)

__all__ = [
    "OP_CLASSES",
    "Capabilities",
    "DeviceProfile",
    "Link",
    "Memory",
    "NandArray",
    "Power",
    "Processor",
    "ProfileSummary",
    "Quantity",
    "Serial",
    "Storage",
    "StorageRead",
    "Thermal",
    "list_profiles",
    "load_profile",
    "quantities",
    "to_json",
    "with_quantity",
]

_REMEDY = "git config core.symlinks true && git checkout -- edgekit"


@dataclass(frozen=True, slots=True)
class ProfileSummary:
    """One line of ``edgekit devices``."""

    name: str
    kind: str
    title: str


def list_profiles() -> tuple[ProfileSummary, ...]:
    """Return the devices that edgekit knows, sorted by kind and name.

    Raises
    ------
    ProfileError
        If the folder of profiles is missing or one of them is invalid.
    """
    profiles = [load_profile(name) for name in _files() if not name.startswith("_")]
    summaries = [ProfileSummary(p.name, p.kind, p.title) for p in profiles]
    return tuple(sorted(summaries, key=lambda s: (s.kind, s.name)))


def load_profile(name_or_path: str) -> DeviceProfile:
    """Return the profile of a device, with what it inherits applied.

    Parameters
    ----------
    name_or_path : str
        A name that :func:`list_profiles` returns, or the path of a TOML file.

    Raises
    ------
    ProfileError
        If there is no such device (with the nearest names), or the file is invalid (with the key).
    """
    if name_or_path.endswith(".toml"):
        return _from_file(Path(name_or_path))
    files = _files()
    if name_or_path not in files or name_or_path.startswith("_"):
        raise _unknown(name_or_path, [name for name in files if not name.startswith("_")])
    return _known(name_or_path)


def to_json(profile: DeviceProfile) -> dict[str, Any]:
    """Return the profile as plain JSON values: each quantity an object with its source."""
    encoded: dict[str, Any] = json.loads(msgspec.json.encode(profile))
    return encoded


def quantities(profile: DeviceProfile) -> Iterator[tuple[str, Quantity]]:
    """Yield every number of a profile with its dotted key, for instance ``ram.capacity_bytes``."""
    yield from _walk("", profile)


def with_quantity(profile: DeviceProfile, key: str, value: float) -> DeviceProfile:
    """Return a profile with one number changed.

    Parameters
    ----------
    profile : DeviceProfile
    key : str
        Dotted key, as :func:`quantities` yields it.
    value : float

    Raises
    ------
    ProfileError
        If the profile has no such number, or the value is not finite and >= 0.
    """
    known = dict(quantities(profile))
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ProfileError(f"{profile.name} has no such number{hint}", key=key)
    try:
        number = Quantity(value, f"assumed: {value:g} in place of {known[key].value:g}", "low")
    except ValueError as error:
        raise ProfileError(str(error), key=key) from error
    changed = _changed("", profile, key, number)
    if not isinstance(changed, DeviceProfile):
        raise ProfileError("is the profile itself", key=key)
    return changed


def _changed(path: str, value: object, key: str, number: Quantity) -> object:
    """Rebuild what lies on the way to a number; everything else stays as it is."""
    if path and not key.startswith(path):
        return value
    if isinstance(value, Quantity):
        return number if path == key else value
    if isinstance(value, msgspec.Struct):
        fields = {
            name: _changed(
                f"{path}.{name}" if path else name, value.__getattribute__(name), key, number
            )
            for name in value.__struct_fields__
        }
        return type(value)(**fields)
    if isinstance(value, dict):
        return {k: _changed(f"{path}.{k}", item, key, number) for k, item in value.items()}
    if isinstance(value, tuple):
        return tuple(
            _changed(f"{path}[{_label(index, item)}]", item, key, number)
            for index, item in enumerate(value)
        )
    return value


def _label(index: int, item: object) -> str:
    return item.name if isinstance(item, Processor | Memory | Link) else str(index)


def _walk(path: str, value: object) -> Iterator[tuple[str, Quantity]]:
    if isinstance(value, Quantity):
        yield path, value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _walk(f"{path}.{name}" if path else name, value.__getattribute__(name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(f"{path}.{key}", item)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _walk(f"{path}[{_label(index, item)}]", item)


def _files() -> dict[str, Traversable]:
    """Return every TOML file of the installed profiles by its name without suffix."""
    root = resources.files("edgekit") / "device_profiles"
    if not root.is_dir():
        raise ProfileError(
            "the folder of device profiles is missing: edgekit/device_profiles is a link that was "
            f"checked out as a text file.\nRun: {_REMEDY}",
            path=str(root),
        )
    found: dict[str, Traversable] = {}
    for folder in sorted(root.iterdir(), key=lambda entry: entry.name):
        entries = [folder] if folder.is_file() else list(folder.iterdir())
        for entry in sorted(entries, key=lambda item: item.name):
            if entry.name.endswith(".toml"):
                found[entry.name.removesuffix(".toml")] = entry
    return found


@cache
def _known(name: str) -> DeviceProfile:
    entry = _files()[name]
    profile = _build(_parse(entry), str(entry), (name,))
    if profile.name != name:
        raise ProfileError(f"is {profile.name!r}, the file is {name}.toml", key="name")
    return profile


def _from_file(path: Path) -> DeviceProfile:
    if not path.is_file():
        raise ProfileError("no such file", path=str(path))
    return _build(_parse(path), str(path), ())


def _parse(entry: Traversable) -> dict[str, Any]:
    try:
        return tomllib.loads(entry.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"is not TOML: {error}", path=str(entry)) from error
    except (OSError, RecursionError) as error:
        raise ProfileError(f"cannot be read: {error}", path=str(entry)) from error


def _build(table: dict[str, Any], path: str, seen: tuple[str, ...]) -> DeviceProfile:
    merged = _inherit(table, path, seen)
    try:
        profile = msgspec.convert(merged, DeviceProfile)
    except msgspec.ValidationError as error:
        message, key = _key_of(str(error))
        raise ProfileError(message, path=path, key=key) from error
    _check_names(profile, path)
    _check_references(profile, path)
    return profile


def _inherit(table: dict[str, Any], path: str, seen: tuple[str, ...]) -> dict[str, Any]:
    parent = table.get("inherits")
    if not parent:
        return table
    files = _files()
    if not isinstance(parent, str) or parent not in files:
        raise ProfileError(f"there is no profile {parent!r}", path=path, key="inherits")
    if parent in seen:
        chain = " -> ".join((*seen, parent))
        raise ProfileError(f"profiles inherit in a circle: {chain}", path=path, key="inherits")
    entry = files[parent]
    base = _inherit(_parse(entry), str(entry), (*seen, parent))
    return _merge(base, table)


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and "value" not in value:
            merged[key] = _merge(old, value)
        elif _is_named_array(value) and _is_named_array(old):
            merged[key] = _merge_named(old, value)
        else:
            merged[key] = value
    return merged


def _is_named_array(value: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(v, dict) and "name" in v for v in value)


def _merge_named(base: list[dict[str, Any]], change: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_name = {item["name"]: item for item in base}
    for item in change:
        by_name[item["name"]] = _merge(by_name.get(item["name"], {}), item)
    return list(by_name.values())


def _key_of(message: str) -> tuple[str, str]:
    """Split msgspec's ``text - at `$.key``` into text and dotted key."""
    match = re.fullmatch(r"(.*) - at `\$\.?(.*)`", message, re.DOTALL)
    return (match.group(1), match.group(2)) if match else (message, "")


def _check_names(profile: DeviceProfile, path: str) -> None:
    if not profile.processors or not profile.memories:
        raise ProfileError("a device has processors and memories", path=path, key="processors")
    groups = {
        "processors": [processor.name for processor in profile.processors],
        "memories": [memory.name for memory in profile.memories],
    }
    for key, names in groups.items():
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ProfileError(f"two are called {twice!r}", path=path, key=key)


def _check_references(profile: DeviceProfile, path: str) -> None:
    memories = {memory.name for memory in profile.memories}
    named = [("working_memory", profile.working_memory)]
    named += [("constants_memory", profile.constants_memory)] if profile.constants_memory else []
    named += [(f"processors[{p.name}].memory", p.memory) for p in profile.processors]
    processors = {processor.name for processor in profile.processors}
    for processor in profile.processors:
        for part in processor.made_of:
            if part not in processors:
                key = f"processors[{processor.name}].made_of"
                raise ProfileError(f"there is no processor {part!r}", path=path, key=key)
    named += [(f"links[{link.name}].source", link.source) for link in profile.links]
    named += [(f"links[{link.name}].target", link.target) for link in profile.links]
    if profile.storage:
        named.append(("storage.memory", profile.storage.memory))
    for key, name in named:
        if name not in memories:
            known = ", ".join(sorted(memories))
            raise ProfileError(
                f"there is no memory {name!r}; there are {known}", path=path, key=key
            )
    for memory in profile.memories:
        if memory.available_bytes.value > memory.capacity_bytes.value:
            raise ProfileError(
                "is more than capacity_bytes",
                path=path,
                key=f"memories[{memory.name}].available_bytes",
            )


def _unknown(name: str, known: list[str]) -> ProfileError:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known devices: {', '.join(known)}"
    return ProfileError(f"there is no device {name!r}; {hint}\nSee: edgekit devices")
