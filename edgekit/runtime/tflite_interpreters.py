"""TensorFlow Lite interpreters behind one face; used in a child process only.

``litert`` is ai-edge-litert, ``tflite_runtime`` its predecessor, ``tflite_micro`` the interpreter
for microcontrollers, which the tests compare with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgekit.dtypes import Array
from edgekit.errors import MissingDependencyError, UsageError
from edgekit.runtime.child import TensorMessage

_MICRO_ARENA_BYTES = 32 << 20
"""More than any model needs that a microcontroller could hold."""


class TfliteInterpreter(Protocol):
    """A loaded TensorFlow Lite model."""

    def inputs(self) -> list[TensorMessage]:
        """Return the inputs in order."""
        ...

    def outputs(self) -> list[TensorMessage]:
        """Return the outputs in order."""
        ...

    def run(self, arrays: Sequence[Array]) -> tuple[list[Array], float]:
        """Return the outputs and the seconds that the invocation took."""
        ...

    def reset(self) -> None:
        """Set variable tensors to their initial values."""
        ...


def open_interpreter(name: str, model: str, threads: int) -> TfliteInterpreter:
    """Open a model.

    Raises
    ------
    UsageError
        If there is no interpreter of that name.
    MissingDependencyError
        If its library is not installed, or cannot work with the NumPy that is.
    """
    if name not in _INTERPRETERS:
        raise UsageError(f"there is no interpreter {name}; choose of {', '.join(_INTERPRETERS)}")
    return _INTERPRETERS[name](model, threads)


def usable_interpreter() -> str:
    """Return the interpreter that LiteRT packages run on here.

    ai-edge-litert where it is installed; else tflite-runtime, unless it meets NumPy 2: then it
    imports and fails at the first model, so that the versions are compared before the import.

    Raises
    ------
    MissingDependencyError
        If neither is usable.
    """
    if installed_version("ai-edge-litert") is not None:
        return "litert"
    if installed_version("tflite-runtime") is None:
        raise MissingDependencyError("tflite", library="ai-edge-litert")
    check_tflite_runtime_numpy(installed_version("numpy") or "")
    return "tflite_runtime"


def check_tflite_runtime_numpy(numpy_version: str) -> None:
    """Refuse tflite-runtime with a NumPy that it was not built for.

    Raises
    ------
    MissingDependencyError
        If ``numpy_version`` is 2 or newer; ai-edge-litert works with it.
    """
    if int(numpy_version.split(".")[0] or 0) >= 2:
        raise MissingDependencyError(
            "tflite",
            library=f"tflite-runtime cannot work with numpy {numpy_version}; its successor",
        )


def installed_version(distribution: str) -> str | None:
    """Return the version of an installed distribution without importing it, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


class _LiteInterpreter:
    """ai-edge-litert or tflite-runtime: both have the same methods."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        interpreter.allocate_tensors()

    def inputs(self) -> list[TensorMessage]:
        return [_described(details) for details in self._interpreter.get_input_details()]

    def outputs(self) -> list[TensorMessage]:
        return [_described(details) for details in self._interpreter.get_output_details()]

    def run(self, arrays: Sequence[Array]) -> tuple[list[Array], float]:
        details = self._interpreter.get_input_details()
        for tensor, array in zip(details, arrays, strict=True):
            self._interpreter.set_tensor(tensor["index"], array)
        began = time.perf_counter()
        self._interpreter.invoke()
        seconds = time.perf_counter() - began
        outputs = self._interpreter.get_output_details()
        return [self._interpreter.get_tensor(o["index"]) for o in outputs], seconds

    def reset(self) -> None:
        self._interpreter.reset_all_variables()


class _MicroInterpreter:
    """TensorFlow Lite Micro."""

    def __init__(self, model: str) -> None:
        from tflite_micro.python.tflite_micro import runtime

        self._interpreter = runtime.Interpreter.from_file(model, arena_size=_MICRO_ARENA_BYTES)
        parsed = runtime.convert_bytearray_to_object(Path(model).read_bytes())
        self._input_count = len(parsed.subgraphs[0].inputs)
        self._output_count = len(parsed.subgraphs[0].outputs)

    def inputs(self) -> list[TensorMessage]:
        details = (self._interpreter.get_input_details(i) for i in range(self._input_count))
        return [_described({"name": f"input_{i}", **d}) for i, d in enumerate(details)]

    def outputs(self) -> list[TensorMessage]:
        details = (self._interpreter.get_output_details(i) for i in range(self._output_count))
        return [_described({"name": f"output_{i}", **d}) for i, d in enumerate(details)]

    def run(self, arrays: Sequence[Array]) -> tuple[list[Array], float]:
        for index, array in enumerate(arrays):
            self._interpreter.set_input(array, index)
        began = time.perf_counter()
        self._interpreter.invoke()
        seconds = time.perf_counter() - began
        return [self._interpreter.get_output(i) for i in range(self._output_count)], seconds

    def reset(self) -> None:
        self._interpreter.reset()


def _litert(model: str, threads: int) -> TfliteInterpreter:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingDependencyError("tflite", library="ai-edge-litert") from error
    return _LiteInterpreter(Interpreter(model_path=model, num_threads=threads))


def _tflite_runtime(model: str, threads: int) -> TfliteInterpreter:
    if installed_version("tflite-runtime") is None:
        raise MissingDependencyError("tflite", library="tflite-runtime")
    check_tflite_runtime_numpy(np.__version__)
    from tflite_runtime.interpreter import Interpreter

    return _LiteInterpreter(Interpreter(model_path=model, num_threads=threads))


def _tflite_micro(model: str, _: int) -> TfliteInterpreter:
    if installed_version("tflite_micro") is None:
        raise MissingDependencyError("test", library="tflite_micro")
    return _MicroInterpreter(model)


_INTERPRETERS: dict[str, Callable[[str, int], TfliteInterpreter]] = {
    "litert": _litert,
    "tflite_runtime": _tflite_runtime,
    "tflite_micro": _tflite_micro,
}


def _described(details: dict[str, Any]) -> TensorMessage:
    shape = tuple(int(size) for size in details["shape"])
    return TensorMessage(str(details["name"]), shape, np.dtype(details["dtype"]).name)
