"""onnxruntime as an executor: phone-class CNNs and encoders.

Options are chosen for small and predictable memory, which :mod:`edgekit.runtime.memory_model`
predicts:

- no arena: it keeps what one run needed and grows in powers of two;
- no NCHWc layout: it exists on x86 only, and keeps further copies of convolution weights;
- where the C library is glibc, its threshold for giving large blocks back to the system is held at
  its default, 128 KiB, instead of growing with every block that is freed. This holds for the whole
  process.
"""

from __future__ import annotations

import ctypes
import json
import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.dtypes import Array
from edgekit.errors import ExecutionError, MissingDependencyError, PackageError
from edgekit.package import Package
from edgekit.runtime.trace import Event, RunResult, Trace

if TYPE_CHECKING:
    import onnxruntime

_QUIET = 3
"""Only errors are logged."""

_M_MMAP_THRESHOLD = -3
"""Parameter number in glibc's ``malloc.h``."""

_MMAP_THRESHOLD_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class OnnxruntimeExecutor:
    """Runs packages that carry ``model.onnx``."""

    name: str = "onnxruntime"

    def load(self, package: Package, *, threads: int = 1) -> OnnxruntimeRunner:
        """Load the model.

        Raises
        ------
        PackageError
            If the package has no ONNX model, or onnxruntime refuses it.
        MissingDependencyError
            If onnxruntime is not installed.
        """
        if package.manifest.executor != self.name:
            raise PackageError(
                f"{package.root} was made for {package.manifest.executor}, not for onnxruntime; "
                "convert the model again, for a device that runs it"
            )
        outputs = [facts.name for facts in package.manifest.model.outputs]
        return OnnxruntimeRunner(package.model_path, outputs, threads)


class OnnxruntimeRunner:
    """An onnxruntime session."""

    def __init__(self, model: Path, outputs: list[str], threads: int) -> None:
        self._model = model
        self._outputs = outputs
        self._threads = threads
        self._session: Any = open_session(model, threads=threads)

    def run(self, inputs: Mapping[str, Array]) -> RunResult:
        """Run once; only the time of the whole run is observed."""
        began = time.perf_counter()
        arrays = _run(self._session, self._outputs, inputs)
        latency_s = time.perf_counter() - began
        return RunResult(arrays, Trace("measured", "onnxruntime", latency_s))

    def profile(self, inputs: Mapping[str, Array]) -> tuple[Event, ...]:
        """Run once in a session with onnxruntime's profiler and return an event for each kernel."""
        with tempfile.TemporaryDirectory() as folder:
            session = open_session(
                self._model, threads=self._threads, profile_prefix=f"{folder}/profile"
            )
            _run(session, self._outputs, inputs)
            return _events(Path(session.end_profiling()))

    def reset_state(self) -> None:
        """Do nothing: ONNX models keep no state between runs."""

    def close(self) -> None:
        """Free the session."""
        self._session = None


def session_options(
    *, threads: int = 1, profile_prefix: str | None = None
) -> onnxruntime.SessionOptions:
    """Return the options under which every package runs.

    Raises
    ------
    MissingDependencyError
        If onnxruntime is not installed.
    """
    ort = _onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = True
    options.log_severity_level = _QUIET
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile_prefix
    return options


def open_session(
    model: Path, *, threads: int = 1, profile_prefix: str | None = None
) -> onnxruntime.InferenceSession:
    """Open a model with :func:`session_options`.

    Raises
    ------
    PackageError
        If onnxruntime refuses the model.
    MissingDependencyError
        If onnxruntime is not installed.
    """
    ort = _onnxruntime()
    _hold_mmap_threshold()
    options = session_options(threads=threads, profile_prefix=profile_prefix)
    try:
        return ort.InferenceSession(
            str(model),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["NchwcTransformer"],
        )
    except Exception as error:  # onnxruntime's exceptions have no base of their own
        raise PackageError(f"{model}: onnxruntime refuses the model: {error}") from error


@cache
def _hold_mmap_threshold() -> None:
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("onnx", library="onnxruntime") from error
    return onnxruntime


def _run(session: Any, names: list[str], inputs: Mapping[str, Array]) -> dict[str, Array]:
    if session is None:
        raise ExecutionError("the session is closed")
    try:
        arrays = session.run(names, dict(inputs))
    except Exception as error:  # as in open_session
        raise ExecutionError(f"onnxruntime: {error}") from error
    return {name: np.asarray(array) for name, array in zip(names, arrays, strict=True)}


def _events(profile: Path) -> tuple[Event, ...]:
    """Read kernel times from onnxruntime's profile (JSON trace events, times in microseconds)."""
    records = [
        record
        for record in json.loads(profile.read_text())
        if record.get("cat") == "Node" and record["name"].endswith("_kernel_time")
    ]
    began_us = min((record["ts"] for record in records), default=0)
    return tuple(
        Event(
            index,
            record["name"].removesuffix("_kernel_time"),
            record.get("args", {}).get("provider", "").removesuffix("ExecutionProvider").lower(),
            (record["ts"] - began_us) * 1000,
            record["dur"] * 1000,
        )
        for index, record in enumerate(records)
    )
