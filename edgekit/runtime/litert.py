"""LiteRT as an executor, in a child process: some models abort the interpreter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.dtypes import Array
from edgekit.errors import PackageError
from edgekit.package import Package
from edgekit.runtime.child import ChildInterpreter
from edgekit.runtime.tflite_interpreters import usable_interpreter
from edgekit.runtime.trace import Event, RunResult, Trace


@dataclass(frozen=True, slots=True)
class LitertExecutor:
    """Runs packages that carry ``model.tflite``.

    Parameters
    ----------
    timeout_s : float
        How long loading or one run may take.
    """

    timeout_s: float = 60.0
    name: str = "litert"

    def load(self, package: Package, *, threads: int = 1) -> LitertRunner:
        """Load the model.

        Raises
        ------
        PackageError
            If the package has no TensorFlow Lite model, or the model has other inputs or outputs
            than the manifest.
        ExecutionError
            If LiteRT refuses the model or dies.
        MissingDependencyError
            If neither ai-edge-litert nor a usable tflite-runtime is installed.
        """
        if package.manifest.executor != self.name:
            raise PackageError(
                f"{package.root} was made for {package.manifest.executor}, not for LiteRT; "
                "convert the model again, for a device that runs it"
            )
        child = ChildInterpreter(
            usable_interpreter(), package.model_path, threads=threads, timeout_s=self.timeout_s
        )
        facts = package.manifest.model
        if (len(child.inputs), len(child.outputs)) != (len(facts.inputs), len(facts.outputs)):
            child.close()
            raise PackageError(f"{package.root}: model and manifest differ in inputs or outputs")
        inputs = [tensor.name for tensor in facts.inputs]
        outputs = [tensor.name for tensor in facts.outputs]
        return LitertRunner(child, inputs, outputs)


class LitertRunner:
    """A model in a child process; inputs and outputs are matched by position."""

    def __init__(self, child: ChildInterpreter, inputs: list[str], outputs: list[str]) -> None:
        self._child = child
        self._inputs = inputs
        self._outputs = outputs

    def run(self, inputs: Mapping[str, Array]) -> RunResult:
        """Run once; the time is the interpreter's own, without the way to the child and back."""
        arrays, seconds = self._child.run([inputs[name] for name in self._inputs])
        outputs = dict(zip(self._outputs, arrays, strict=True))
        return RunResult(outputs, Trace("measured", "litert", seconds))

    def profile(self, inputs: Mapping[str, Array]) -> tuple[Event, ...]:
        """Return one event for the whole run: LiteRT does not tell the time of layers."""
        seconds = self.run(inputs).trace.latency_s
        return (Event(0, "invoke", "", 0, round(seconds * 1e9)),)

    def reset_state(self) -> None:
        """Set variable tensors to their initial values."""
        self._child.reset()

    def close(self) -> None:
        """End the child process."""
        self._child.close()
