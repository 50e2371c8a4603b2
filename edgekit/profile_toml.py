"""Writing a device profile as TOML, in the layout of the files in ``device_profiles/``.

Packages carry the profile that they were made for, with everything that it inherits written out.
Quantities become inline tables; equal profiles give equal text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from edgekit.profile_schema import DeviceProfile


def to_toml(profile: DeviceProfile) -> str:
    """Return the text of a profile that :func:`edgekit.profiles.load_profile` reads back equal."""
    table: dict[str, Any] = msgspec.to_builtins(profile)
    table.pop("inherits", None)
    return table_to_toml(table)


def table_to_toml(table: Mapping[str, Any]) -> str:
    """Return a nested mapping as TOML, with quantities and leaf values first in every table."""
    return "\n".join(_lines(table, "")).strip() + "\n"


def _lines(table: Mapping[str, Any], prefix: str) -> list[str]:
    lines: list[str] = []
    nested: list[str] = []
    for key, value in table.items():
        path = f"{prefix}{_key(key)}"
        if isinstance(value, Mapping) and "value" not in value:
            nested += ["", f"[{path}]", *_lines(value, f"{path}.")]
        elif _is_array_of_tables(value):
            for item in value:
                nested += ["", f"[[{path}]]", *_lines(item, f"{path}.")]
        else:
            text = _address(value) if key == "address" else _value(value)
            lines.append(f"{_key(key)} = {text}")
    return lines + nested


def _is_array_of_tables(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)


def _key(key: str) -> str:
    plain = key.replace("_", "").replace("-", "")
    return key if plain.isascii() and plain.isalnum() else json.dumps(key)


def _address(quantity: Mapping[str, Any]) -> str:
    rest = {key: item for key, item in quantity.items() if key != "value"}
    return f"{{ value = {int(quantity['value']):#010x}, {_value(rest)[2:]}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and value.is_integer() and value < 2**53:
        return str(int(value))
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}"
    return f"[{', '.join(_value(item) for item in value)}]"
