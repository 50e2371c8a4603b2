"""Every error that edgekit raises on purpose.

::

    EdgekitError
    ├── UsageError                    wrong argument or option           exit 2
    ├── ModelError                    the source model                   exit 5
    │   ├── ModelFormatError          corrupt or unknown file
    │   └── UnsupportedOpError        an operator that cannot be converted
    ├── ProfileError                  a device profile                   exit 2
    ├── CalibrationError              calibration data                   exit 2
    ├── QuantizationError             a tensor that cannot be quantized  exit 5
    ├── AccuracyError                 the accuracy gate                  exit 4
    ├── PlanError                     memory and placement               exit 3
    │   ├── MemoryBudgetError         does not fit the device
    │   └── PlacementError            no processor can run a node
    ├── PackageError                  a package on disk                  exit 5
    │   ├── PackageVersionError
    │   └── PackageDigestError
    ├── ExecutionError                a step failed while running        exit 1
    ├── DeviceError                   device, port or peer               exit 6
    │   ├── DeviceNotFoundError
    │   ├── LinkTimeoutError
    │   └── FlashError
    ├── EmulatorError                 an emulator                        exit 1
    ├── MissingDependencyError        an extra is not installed          exit 1
    └── InternalError                 a broken invariant: please report  exit 70

A message says what happened, where, the limit, and what to do, in one to four lines. The facts are
also fields, so that a program need not parse the text. ``exit_code`` is what the command line
returns (docs/cli.md).
"""

from __future__ import annotations

from typing import ClassVar


class EdgekitError(Exception):
    """Base of all errors that edgekit raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(EdgekitError):
    """An argument that cannot be meant, with what is accepted."""

    exit_code = 2


class ModelError(EdgekitError):
    """The source model cannot be used."""

    exit_code = 5


class ModelFormatError(ModelError):
    """A model file is corrupt, truncated or of an unknown format.

    Parameters
    ----------
    message : str
        What is wrong.
    path : str
        The file.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


class UnsupportedOpError(ModelError):
    """An operator that edgekit cannot convert.

    Parameters
    ----------
    op : str
        Operator name in the source format.
    node : str
        The layer's name or index in the source model.
    where : str
        The file, or the stage that refused.
    hint : str
        What to do instead.
    """

    def __init__(self, op: str, *, node: str, where: str = "", hint: str = "") -> None:
        parts = [f"operator {op} is not supported (layer {node}"]
        parts.append(f", {where})" if where else ")")
        super().__init__("".join(parts) + (f"\n{hint}" if hint else ""))
        self.op = op
        self.node = node
        self.where = where


class ProfileError(EdgekitError):
    """A device profile is invalid or unknown.

    Parameters
    ----------
    message : str
        What is wrong.
    path : str
        The profile's file.
    key : str
        Dotted key of the offending field.
    """

    exit_code = 2

    def __init__(self, message: str, *, path: str = "", key: str = "") -> None:
        where = ": ".join(part for part in (path, key) if part)
        super().__init__(f"{where}: {message}" if where else message)
        self.path = path
        self.key = key


class CalibrationError(EdgekitError):
    """Calibration data does not match the model, or cannot be read."""

    exit_code = 2


class QuantizationError(EdgekitError):
    """A tensor cannot be quantized.

    Parameters
    ----------
    message : str
        Why.
    tensor : str
        Name of the tensor.
    """

    exit_code = 5

    def __init__(self, message: str, *, tensor: str = "") -> None:
        super().__init__(f"tensor {tensor}: {message}" if tensor else message)
        self.tensor = tensor


class AccuracyError(EdgekitError):
    """The accuracy gate was not met.

    Parameters
    ----------
    message : str
        What was measured, and where most of the loss arises.
    measured, limit : float
        In the unit of the gate that failed.
    """

    exit_code = 4

    def __init__(self, message: str, *, measured: float, limit: float) -> None:
        super().__init__(message)
        self.measured = measured
        self.limit = limit


class PlanError(EdgekitError):
    """No valid plan exists for the device."""

    exit_code = 3


class MemoryBudgetError(PlanError):
    """The model does not fit a memory of the device.

    Parameters
    ----------
    required_bytes, available_bytes : int
        What the plan needs and what the device gives.
    memory : str
        Name of the memory in the profile.
    step : str
        The step (layer) at which the memory peaks, empty where size is not a matter of time.
    hint : str
        What would fit.
    """

    def __init__(
        self,
        *,
        required_bytes: int,
        available_bytes: int,
        memory: str,
        step: str = "",
        hint: str = "",
    ) -> None:
        at = f" at {step}" if step else ""
        message = (
            f"does not fit: {memory} needs {required_bytes:,} bytes{at}, "
            f"{available_bytes:,} available, {required_bytes - available_bytes:,} too many"
        )
        super().__init__(message + (f"\n{hint}" if hint else ""))
        self.required_bytes = required_bytes
        self.available_bytes = available_bytes
        self.memory = memory
        self.step = step


class PlacementError(PlanError):
    """No processor of the device can run a node."""


class PackageError(EdgekitError):
    """A package on disk is incomplete, corrupt or not a package."""

    exit_code = 5


class PackageVersionError(PackageError):
    """A package was written in a format that this version does not read.

    Parameters
    ----------
    found, supported : int
        Format versions.
    """

    def __init__(self, *, found: int, supported: int) -> None:
        super().__init__(
            f"package format {found} is not supported (this edgekit reads format {supported}); "
            "convert the model again"
        )
        self.found = found
        self.supported = supported


class PackageDigestError(PackageError):
    """A part of a package does not have the recorded SHA-256.

    Parameters
    ----------
    part : str
        Path inside the package.
    """

    def __init__(self, part: str) -> None:
        super().__init__(
            f"{part} was changed or damaged (SHA-256 differs); convert the model again"
        )
        self.part = part


class ExecutionError(EdgekitError):
    """A step failed while running.

    Parameters
    ----------
    message : str
        What failed.
    status : int
        ``ek_status`` of the native core, 0 where it was not involved.
    step : str
        The step or layer.
    """

    def __init__(self, message: str, *, status: int = 0, step: str = "") -> None:
        super().__init__(f"{step}: {message}" if step else message)
        self.status = status
        self.step = step


class DeviceError(EdgekitError):
    """A device, port or peer is missing or misbehaves."""

    exit_code = 6


class DeviceNotFoundError(DeviceError):
    """No such port or peer."""


class LinkTimeoutError(DeviceError):
    """A peer did not answer in time.

    Parameters
    ----------
    command : str
        What was sent.
    seconds : float
        How long was waited.
    """

    def __init__(self, command: str, seconds: float) -> None:
        super().__init__(f"no answer to {command} within {seconds:g} s")
        self.command = command
        self.seconds = seconds


class FlashError(DeviceError):
    """Writing to flash failed.

    Parameters
    ----------
    message : str
        What failed.
    address : int
        Device address; 0 where it is not about one.
    code : int
        The device's own result code.
    """

    def __init__(self, message: str, *, address: int = 0, code: int = 0) -> None:
        super().__init__(f"{message} at 0x{address:08x}" if address else message)
        self.address = address
        self.code = code


class EmulatorError(EdgekitError):
    """An emulator cannot reproduce what was asked."""


class MissingDependencyError(EdgekitError):
    """A library that belongs to an extra is not installed.

    Parameters
    ----------
    extra : str
        The extra that brings it.
    library : str
        Name of the missing library.
    """

    def __init__(self, extra: str, *, library: str = "") -> None:
        what = f"{library} is not installed" if library else f"the extra '{extra}' is not installed"
        super().__init__(f'{what}: pip install "edgekit[{extra}]"')
        self.extra = extra
        self.library = library


class InternalError(EdgekitError):
    """A broken invariant inside edgekit: please report it."""

    exit_code = 70
