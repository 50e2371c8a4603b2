"""TensorFlow Lite's interface over a package, for programs that were written for it.

::

    interpreter = Interpreter("model.stm32f746.edgekit")
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    scores = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekit.dtypes import Array, DType
from edgekit.errors import UsageError
from edgekit.package_manifest import TensorFacts
from edgekit.runtime.session import Session, load


class Interpreter:
    """A package behind TensorFlow Lite's methods.

    Parameters
    ----------
    model_path : str or Path
        Directory of a package.
    num_threads : int
    """

    def __init__(self, model_path: str | Path, num_threads: int = 1) -> None:
        self._session: Session = load(model_path, threads=num_threads)
        self._allocated = False
        self._values: dict[int, Array] = {}

    def allocate_tensors(self) -> None:
        """Give every input zeros; must come before ``set_tensor``."""
        zeros = self._session.zeros()
        names = [facts.name for facts in self._session.inputs]
        self._values = {index: zeros[name] for index, name in enumerate(names)}
        self._allocated = True

    def get_input_details(self) -> list[dict[str, Any]]:
        """Return name, index, shape, dtype and quantization of each input."""
        return [self._details(i, facts) for i, facts in enumerate(self._session.inputs)]

    def get_output_details(self) -> list[dict[str, Any]]:
        """Return name, index, shape, dtype and quantization of each output."""
        first = len(self._session.inputs)
        return [self._details(first + i, facts) for i, facts in enumerate(self._session.outputs)]

    def set_tensor(self, tensor_index: int, value: Array) -> None:
        """Set an input (UsageError where the index is no input, or before allocation)."""
        if not self._allocated:
            raise UsageError("call allocate_tensors() before set_tensor()")
        if not 0 <= tensor_index < len(self._session.inputs):
            raise UsageError(f"tensor {tensor_index} is no input")
        self._values[tensor_index] = value

    def invoke(self) -> None:
        """Run once.

        Raises
        ------
        UsageError
            If an input has another shape or dtype than the model takes.
        ExecutionError
            If a step fails.
        """
        if not self._allocated:
            raise UsageError("call allocate_tensors() before invoke()")
        inputs = {facts.name: self._values[i] for i, facts in enumerate(self._session.inputs)}
        outputs = self._session.run(inputs).outputs
        first = len(self._session.inputs)
        for index, facts in enumerate(self._session.outputs):
            self._values[first + index] = outputs[facts.name]

    def get_tensor(self, tensor_index: int) -> Array:
        """Return an input as it was set, or an output of the last run, as an array of its own."""
        if tensor_index not in self._values:
            raise UsageError(f"tensor {tensor_index} has no value; call invoke() first")
        return self._values[tensor_index].copy()

    def reset_all_variables(self) -> None:
        """Set recurrent states to their initial values."""
        self._session.reset_state()

    def _details(self, index: int, facts: TensorFacts) -> dict[str, Any]:
        dims = self._session.package.manifest.model.dims
        shape = [dims.get(d, 1) if isinstance(d, str) else d for d in facts.shape]
        return {
            "name": facts.name,
            "index": index,
            "shape": np.array(shape, np.int32),
            "dtype": DType(facts.dtype).numpy.type,
            "quantization": (facts.scale or 0.0, facts.zero_point or 0),
        }
