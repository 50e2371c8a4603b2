"""What the mapping of one TensorFlow Lite operator sees, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edgekit.converters.importers.tflite_ops.file import RawModel, RawOperator, RawTensor
from edgekit.dtypes import DType
from edgekit.errors import ModelFormatError, UnsupportedOpError
from edgekit.graph import Attr

_ACTIVATIONS = {0: "none", 1: "relu", 2: "relu_n1_1", 3: "relu6", 4: "tanh"}
_MAX_CONSTANT_INTS = 4096


@dataclass(frozen=True, slots=True)
class Part:
    """A node to make.

    Parameters
    ----------
    op : str
        Operator of :mod:`edgekit.ops`.
    inputs : tuple of int
        Tensor numbers in the file, -1 for an absent one. A part that follows another one of the
        same layer takes that one's output instead.
    attrs : mapping
    """

    op: str
    inputs: tuple[int, ...]
    attrs: Mapping[str, Attr] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator together with the tensors of its file.

    Parameters
    ----------
    path : str
        The file, for messages.
    """

    model: RawModel
    operator: RawOperator
    path: str

    @property
    def inputs(self) -> tuple[int, ...]:
        """Tensor numbers of the inputs, -1 for an absent one."""
        return self.operator.inputs

    @property
    def output(self) -> RawTensor:
        """The first output."""
        if not self.operator.outputs or self.operator.outputs[0] < 0:
            raise self.damaged("has no output")
        return self.model.tensors[self.operator.outputs[0]]

    def number(self, index: int) -> int:
        """Return the tensor number of a required input.

        Raises
        ------
        ModelFormatError
            If it is absent.
        """
        if index >= len(self.inputs) or self.inputs[index] < 0:
            raise self.damaged(f"has no input {index}")
        return self.inputs[index]

    def tensor(self, index: int) -> RawTensor:
        """Return a required input."""
        return self.model.tensors[self.number(index)]

    def has(self, index: int) -> bool:
        """Whether an optional input is there."""
        return index < len(self.inputs) and self.inputs[index] >= 0

    def image_size(self, index: int) -> tuple[int, int]:
        """Return height and width of an input (N, H, W, C)."""
        return self.image_size_of(self.tensor(index))

    def image_size_of(self, tensor: RawTensor) -> tuple[int, int]:
        """Return height and width of a tensor (N, H, W, C)."""
        if len(tensor.shape) != 4:
            raise self.damaged(f"needs 4 axes, not {list(tensor.shape)}")
        return tensor.shape[1], tensor.shape[2]

    def ints(self, index: int) -> tuple[int, ...]:
        """Return a constant input of integers, such as axes or paddings, flattened.

        Raises
        ------
        UnsupportedOpError
            If the input is computed.
        ModelFormatError
            If it is not a short vector of int32 or int64.
        """
        tensor = self.tensor(index)
        if tensor.data is None:
            raise self.unsupported(f"input {index} is computed; edgekit needs it constant")
        kinds = {"INT32": np.int32, "INT64": np.int64}
        if tensor.type_name not in kinds:
            raise self.damaged(f"input {index} is {tensor.type_name}, not INT32")
        kind = np.dtype(kinds[tensor.type_name])
        count = int(np.prod(tensor.shape, dtype=object)) if tensor.shape else 1
        if count > _MAX_CONSTANT_INTS or tensor.data.size != count * kind.itemsize:
            raise self.damaged(f"input {index} has {tensor.data.size} bytes for {tensor.shape}")
        return tuple(int(value) for value in tensor.data.view(kind))

    def one_int(self, index: int) -> int:
        """Return a constant input of one integer."""
        values = self.ints(index)
        if len(values) != 1:
            raise self.damaged(f"input {index} needs one number, not {len(values)}")
        return values[0]

    def option(self, name: str, default: int = 0) -> int:
        """Return an integer option, or a truth value as 0 or 1."""
        value = self.operator.options.get(name, default)
        return default if isinstance(value, tuple) else int(value)

    def number_option(self, name: str, default: float = 0.0) -> float:
        """Return an option that is a real number."""
        value = self.operator.options.get(name, default)
        return default if isinstance(value, tuple) else float(value)

    def activation(self) -> str:
        """Return the fused activation."""
        number = self.option("activation")
        if number not in _ACTIVATIONS:
            raise self.unsupported(f"fused activation {number} is unknown")
        return _ACTIVATIONS[number]

    def dtype_of(self, tensor: RawTensor) -> DType:
        """Return the element type of a tensor.

        Raises
        ------
        UnsupportedOpError
            If edgekit has no such type.
        """
        try:
            return DType(tensor.type_name.lower())
        except ValueError:
            raise self.unsupported(
                f"tensor '{tensor.name}' is {tensor.type_name}, which edgekit does not compute"
            ) from None

    def damaged(self, what: str) -> ModelFormatError:
        """Return the error for an operator that contradicts the format."""
        return ModelFormatError(f"{self.operator.origin} {what}", path=self.path)

    def unsupported(self, hint: str) -> UnsupportedOpError:
        """Return the error for an operator that cannot be mapped, with the reason."""
        where = self.operator.origin
        return UnsupportedOpError(self.operator.code, node=where, where=self.path, hint=hint)
