"""Recipes: everything that ``convert`` can be told, as one record with a YAML form.

The keys are the command line's options, with underscores or dashes. A recipe file, the
environment (``EDGEKIT_DEVICE=pixel8`` is ``--device pixel8``) and the command line are layers of
the same record; :func:`layered` puts them together. The recipe that was used is stored in the
package.
"""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from edgekit.converters.calibration.files import Preprocessing
from edgekit.converters.calibration.observers import ObserverName
from edgekit.errors import UsageError

Precision = Literal["auto", "float32", "float16", "int8"]
GgufWeights = Literal["keep", "f32", "f16", "q8_0", "q4_0"]

_MOST_BYTES = 1 << 20
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to convert, for which device, and how.

    Parameters
    ----------
    model : str
        Path of the model; empty for the model that ships.
    device : str
        Name of a device profile.
    out : str
        Folder of the package; empty for ``<model>.<device>.edgekit``.
    precision : {'auto', 'float32', 'float16', 'int8'}
    calibration : str
        Path of the calibration data.
    calibration_limit : int
        Most samples to use.
    labelled : str
        ``.npz`` with inputs and ``labels``, on which accuracy is measured; the first
        ``calibration_limit`` samples of it.
    observer : {'min-max', 'percentile', 'entropy', 'mse'}
    channel_order : {'rgb', 'bgr'}
        Order of the channels that the model takes, for images in the calibration data.
    pixel_mean, pixel_std : tuple of float
        Images are fed as ``(pixel - mean) / std``, pixels from 0 to 255.
    max_accuracy_drop : float or None
        Gate: largest loss of accuracy against float, as a share (0.01 is one point).
    min_sqnr_db : float or None
        Gate: least signal-to-noise ratio of the outputs against float, in dB.
    keep_float : tuple of str
        Layers that are not quantized.
    dim : mapping of str to int
        Values of named dimensions.
    patch : str
        Firmware: ``auto``, ``off`` or rows and columns such as ``2x2``: whether the first layers
        run patch by patch. ``auto`` does what fits.
    stream_input : bool
        Firmware: the input is handed over patch by patch and lies in no memory.
    mixed : {'off', 'auto', 'widths', 'static', 'runtime'}
        Firmware: activations of 4 and 2 bits, chosen by entropy and bit operations; with
        ``static`` and ``runtime`` patches with outliers keep 8 bits. ``auto`` takes int8 or fewer
        bits, whatever is predicted to be faster and fits.
    mixed_lambda : float
        0 to 1: how much entropy counts against bit operations.
    mixed_phi : float
        Above 0, at most 1: share of the values between the outliers.
    mixed_weights : {8, 4}
        Bits of the weights of convolutions.
    dry_run : bool
        Plan only, write nothing.
    memory : str
        Language models: hard limit of memory, such as ``2GiB``; empty for what the device gives.
    context : int
        Language models: positions of a session; 0 for the model's, but not more than 4096.
    sessions, threads : int
        Language models: conversations at the same time; computing threads.
    kv : {'f16', 'q8', 'f32'}
        Language models: type of the KV cache.
    executor : {'auto', 'native', 'llama'}
        Language models: what runs it.
    weights : {'keep', 'f32', 'f16', 'q8_0', 'q4_0'}
        Language models from a folder of safetensors: type of the matrices.
    store : {'auto', 'link', 'copy', 'reference'}
        Language models: how the GGUF file gets into the package.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    model: str = ""
    device: str = ""
    out: str = ""
    precision: Precision = "auto"
    calibration: str = ""
    calibration_limit: int = 100
    labelled: str = ""
    observer: ObserverName = "mse"
    channel_order: Literal["rgb", "bgr"] = "rgb"
    pixel_mean: tuple[float, ...] = (0.0,)
    pixel_std: tuple[float, ...] = (1.0,)
    max_accuracy_drop: float | None = None
    min_sqnr_db: float | None = None
    keep_float: tuple[str, ...] = ()
    dim: dict[str, int] = {}
    patch: str = "auto"
    stream_input: bool = False
    mixed: Literal["off", "auto", "widths", "static", "runtime"] = "off"
    mixed_lambda: float = 0.9
    mixed_phi: float = 0.98
    mixed_weights: Literal[8, 4] = 8
    dry_run: bool = False
    memory: str = ""
    context: int = 0
    sessions: int = 1
    threads: int = 1
    kv: Literal["f16", "q8", "f32"] = "f16"
    executor: Literal["auto", "native", "llama"] = "auto"
    weights: GgufWeights = "keep"
    store: Literal["auto", "link", "copy", "reference"] = "auto"

    def __post_init__(self) -> None:
        if self.calibration_limit < 1:
            raise ValueError("calibration_limit must be at least 1")
        if self.max_accuracy_drop is not None and not 0.0 <= self.max_accuracy_drop <= 1.0:
            raise ValueError("max_accuracy_drop must be between 0 and 1 (0.01 is one point)")
        if self.min_sqnr_db is not None and not -100.0 <= self.min_sqnr_db <= 200.0:
            raise ValueError("min_sqnr_db must be between -100 and 200")
        if not 0.0 <= self.mixed_lambda <= 1.0:
            raise ValueError("mixed_lambda must be between 0 and 1")
        if self.mixed == "off" and self.mixed_weights != 8:
            raise ValueError("mixed_weights needs mixed: auto, widths, static or runtime")
        if not 0.0 < self.mixed_phi <= 1.0:
            raise ValueError("mixed_phi must be above 0 and at most 1")
        for name, size in self.dim.items():
            if size < 1:
                raise ValueError(f"dim {name} must be at least 1, not {size}")
        if self.context < 0 or self.sessions < 1 or self.threads < 1:
            raise ValueError("context is 0 or more, sessions and threads are 1 or more")

    @property
    def preprocessing(self) -> Preprocessing:
        """How images of the calibration data are fed to the model."""
        return Preprocessing(self.channel_order, self.pixel_mean, self.pixel_std)


LANGUAGE_KEYS = (
    *("memory", "context", "sessions", "threads", "kv", "executor", "weights", "store"),
)
"""Keys that only language models know; with ``model``, ``device``, ``out`` and ``dry_run``."""

KEYS: tuple[str, ...] = Recipe.__struct_fields__
"""Every key of a recipe, in order."""


def load_recipe(path: Path) -> dict[str, object]:
    """Return the keys that a recipe file sets.

    Raises
    ------
    UsageError
        If the file cannot be read, is not YAML, or a key or value is wrong (key named).
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path}: longer than {_MOST_BYTES:,} bytes, not a recipe")
        document = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"{path}: not YAML: {_first_line(error)}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise UsageError(f"{path}: a recipe is a mapping such as 'device: pixel8'")
    values = {str(key).replace("-", "_"): value for key, value in document.items()}
    recipe_from(values, where=str(path))
    return values


def recipe_from(values: Mapping[str, object], *, where: str = "recipe") -> Recipe:
    """Return the recipe with these keys; the others have their defaults.

    Raises
    ------
    UsageError
        If a key is unknown (with the nearest one) or a value is wrong.
    """
    for key in values:
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"keys: {', '.join(KEYS)}"
            raise UsageError(f"{where}: unknown key '{key}'; {hint}")
    try:
        return msgspec.convert(dict(values), Recipe)
    except msgspec.ValidationError as error:
        message = str(error).replace(" - at `$.", " (key `").replace(" - at `$`", "")
        raise UsageError(f"{where}: {message}{')' if '(key `' in message else ''}") from error


def recipe_from_environment(environment: Mapping[str, str] = os.environ) -> dict[str, object]:
    """Return the keys that ``EDGEKIT_*`` variables set; other variables are passed over.

    Lists are separated by commas, ``EDGEKIT_DIM`` holds ``name=value`` pairs.

    Raises
    ------
    UsageError
        If a value is not what its key takes.
    """
    values: dict[str, object] = {}
    for key in KEYS:
        text = environment.get(f"EDGEKIT_{key.upper()}")
        if text is not None:
            values[key] = _parsed(key, text)
    recipe_from(values, where="environment")
    return values


def layered(*layers: Mapping[str, object]) -> Recipe:
    """Return one recipe of several layers, the most important last; None does not set a key.

    Raises
    ------
    UsageError
        If a key or value is wrong.
    """
    merged: dict[str, object] = {}
    for layer in layers:
        merged.update({key: value for key, value in layer.items() if value is not None})
    return recipe_from(merged)


def dump_recipe(recipe: Recipe) -> str:
    """Return the YAML form, without the keys that have their default."""
    changed = _changed(recipe)
    return yaml.safe_dump(changed, sort_keys=False, allow_unicode=True) if changed else "{}\n"


def command_of(recipe: Recipe) -> str:
    """Return the command line that says the same as the recipe."""
    words = ["edgekit", "convert"]
    for key, value in _changed(recipe).items():
        option = f"--{key.replace('_', '-')}"
        match value:
            case True:
                words.append(option)
            case list() | tuple():
                for item in value:
                    words += [option, str(item)]
            case dict():
                for name, item in value.items():
                    words += [option, f"{name}={item}"]
            case _ if key == "model":
                words.insert(2, str(value))
            case _:
                words += [option, str(value)]
    return shlex.join(words)


def _changed(recipe: Recipe) -> dict[str, object]:
    values, defaults = msgspec.to_builtins(recipe), msgspec.to_builtins(Recipe())
    return {key: value for key, value in values.items() if value != defaults[key]}


def _parsed(key: str, text: str) -> object:
    default = msgspec.to_builtins(Recipe())[key]
    try:
        match default:
            case bool():
                return _truth(text)
            case int():
                return int(text)
            case None:
                return float(text)
            case dict():
                pairs = (part.split("=", 1) for part in text.split(",") if part)
                return {name.strip(): int(value) for name, value in pairs}
            case list() | tuple():
                parts = [part.strip() for part in text.split(",") if part.strip()]
                return [float(part) for part in parts] if default else parts
            case _:
                return text
    except ValueError as error:
        raise UsageError(f"EDGEKIT_{key.upper()}: cannot be '{text}'") from error


def _truth(text: str) -> bool:
    lower = text.strip().lower()
    if lower not in _TRUE | _FALSE:
        raise ValueError(text)
    return lower in _TRUE


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
