"""A loaded package: check the inputs, run, and keep the plan at hand.

::

    session = edgekit.load("model.pixel8.edgekit")
    result = session.run({"image": image})
    result.outputs["scores"], result.trace.latency_s
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.errors import UsageError
from edgekit.package import Package, open_package
from edgekit.package_manifest import TensorFacts
from edgekit.plan import Plan
from edgekit.runtime.executor import Executor, Runner
from edgekit.runtime.trace import Event, RunResult


class Session:
    """A package that is loaded and ready to run.

    Parameters
    ----------
    package : Package
    runner : Runner
    executor : str
        Name of the executor that loaded it.
    """

    def __init__(self, package: Package, runner: Runner, executor: str) -> None:
        self.package = package
        self.executor = executor
        self._runner = runner

    @property
    def inputs(self) -> tuple[TensorFacts, ...]:
        """Name, shape, dtype and quantization of each input."""
        return self.package.manifest.model.inputs

    @property
    def outputs(self) -> tuple[TensorFacts, ...]:
        """Name, shape, dtype and quantization of each output."""
        return self.package.manifest.model.outputs

    @property
    def plan(self) -> Plan:
        """Steps, buffers and memories."""
        return self.package.plan

    def run(self, inputs: Mapping[str, Array]) -> RunResult:
        """Run once.

        Parameters
        ----------
        inputs : mapping of name to array
            One for each input, of its shape and dtype; nothing is converted silently.

        Returns
        -------
        RunResult
            Outputs are arrays of the caller's own.

        Raises
        ------
        UsageError
            If an input is missing, unknown, or of another shape or dtype.
        ExecutionError
            If a step fails.
        """
        return self._runner.run(self._checked(inputs))

    def profile(self, inputs: Mapping[str, Array] | None = None) -> tuple[Event, ...]:
        """Run once and return the time of each layer.

        Parameters
        ----------
        inputs : mapping of name to array, optional
            Zeros of the planned shapes where it is left out.
        """
        return self._runner.profile(self._checked(self.zeros() if inputs is None else inputs))

    def zeros(self) -> dict[str, Array]:
        """Return an array of zeros for each input; named dimensions as the plan assumes them."""
        dims = self.package.manifest.model.dims
        return {
            facts.name: np.zeros(
                tuple(dims.get(d, 1) if isinstance(d, str) else d for d in facts.shape),
                DType(facts.dtype).numpy,
            )
            for facts in self.inputs
        }

    def reset_state(self) -> None:
        """Set recurrent states to their initial values."""
        self._runner.reset_state()

    def close(self) -> None:
        """Free what the session holds; it cannot run any more."""
        self._runner.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _checked(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        known = [facts.name for facts in self.inputs]
        unknown = [name for name in inputs if name not in known]
        missing = [name for name in known if name not in inputs]
        if unknown or missing:
            problem = f"there is no input {unknown[0]}" if unknown else f"{missing[0]} is missing"
            raise UsageError(f"{problem}; the inputs are {', '.join(known)}")
        dims: dict[str, int] = {}
        return {
            facts.name: _checked_array(facts, inputs[facts.name], dims) for facts in self.inputs
        }


def load(
    path_or_package: str | Path | Package, executor: str | None = None, threads: int = 1
) -> Session:
    """Load a package.

    Parameters
    ----------
    path_or_package : str, Path or Package
    executor : str, optional
        ``reference``, ``native``, ``onnxruntime`` or ``litert``; the one that the package was made
        for where it is left out.
    threads : int
        Threads that one run may use.

    Raises
    ------
    UsageError
        If there is no such executor, or the package cannot run on it.
    PackageError
        If the package is damaged.
    MissingDependencyError
        If the executor's library is not installed.
    """
    if isinstance(path_or_package, Package):
        package = path_or_package
    else:
        package = open_package(path_or_package)
    name = executor or package.manifest.executor
    if threads < 1:
        raise UsageError(f"threads must be at least 1, not {threads}")
    runner = _executor(name).load(package, threads=threads)
    return Session(package, runner, name)


def _reference() -> Executor:
    from edgekit.runtime.reference import ReferenceExecutor

    return ReferenceExecutor()


def _onnxruntime() -> Executor:
    from edgekit.runtime.onnxruntime_executor import OnnxruntimeExecutor

    return OnnxruntimeExecutor()


def _litert() -> Executor:
    from edgekit.runtime.litert import LitertExecutor

    return LitertExecutor()


def _native() -> Executor:
    from edgekit.runtime.native import NativeExecutor

    return NativeExecutor()


_EXECUTORS: dict[str, Callable[[], Executor]] = {
    "reference": _reference,
    "onnxruntime": _onnxruntime,
    "litert": _litert,
    "native": _native,
}


def _executor(name: str) -> Executor:
    if name not in _EXECUTORS:
        raise UsageError(
            f"packages for '{name}' do not run on this computer; "
            f"choose one of {', '.join(_EXECUTORS)}"
        )
    return _EXECUTORS[name]()


def _checked_array(facts: TensorFacts, value: Array, dims: dict[str, int]) -> Array:
    array = np.asarray(value)
    if array.dtype != DType(facts.dtype).numpy:
        raise UsageError(
            f"input {facts.name} takes {facts.dtype}, not {array.dtype}; "
            f"convert it with .astype('{facts.dtype}')"
        )
    expected = ", ".join(str(dim) for dim in facts.shape)
    wrong = UsageError(f"input {facts.name} takes the shape ({expected}), not {tuple(array.shape)}")
    if array.ndim != len(facts.shape):
        raise wrong
    for dim, size in zip(facts.shape, array.shape, strict=True):
        if isinstance(dim, str):
            if dims.setdefault(dim, size) != size:
                raise UsageError(f"dimension '{dim}' is both {dims[dim]} and {size}")
        elif dim != size:
            raise wrong
    return np.ascontiguousarray(array).reshape(array.shape)
