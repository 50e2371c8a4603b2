"""Tensors of a TensorFlow Lite file as tensors of a graph, converted when a layer names them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgekit.converters.importers.tflite_ops.file import RawModel, RawTensor
from edgekit.converters.importers.tflite_ops.layer import Layer
from edgekit.dtypes import Array, DType
from edgekit.errors import ModelFormatError
from edgekit.graph import Quantization, Tensor, TensorKind
from edgekit.ops.int8 import integer_range, real_from_stored
from edgekit.ops.spec import TensorType

_LOGGER = logging.getLogger(__name__)


class TensorTable:
    """The tensors of one graph under construction.

    Parameters
    ----------
    model : RawModel
    path : str
        The file, for messages.
    """

    def __init__(self, model: RawModel, path: str) -> None:
        self.model = model
        self.path = path
        self.names = _unique_names(model)
        self.tensors: dict[str, Tensor] = {}
        self._taken = set(self.names)
        self._widened: dict[str, str] = {}
        self._aliases: dict[str, str] = {}
        self._misplaced_axes: list[str] = []

    def declare(self, number: int, layer: Layer | None = None) -> str:
        """Return the name of a tensor of the file, after adding it to the table.

        Raises
        ------
        ModelFormatError
            If its data, shape or scales contradict each other.
        """
        if number < 0:
            raise ModelFormatError("an output has no tensor", path=self.path)
        name = self.names[number]
        name = self._aliases.get(name, name)
        if name not in self.tensors:
            self.tensors[name] = self._converted(self.model.tensors[number], name, layer)
        return name

    def declare_input(self, number: int) -> str:
        """Return the name of a graph input, after adding it to the table."""
        name = self.declare(number)
        self.tensors[name] = replace(self.tensors[name], kind=TensorKind.INPUT, load=None)
        return name

    def intermediate(self, like: str, label: str, kind: TensorType) -> str:
        """Add a tensor with the quantization of ``like`` and return its name."""
        name = self._fresh(f"{like}/{label}")
        quantization = self.tensors[like].quantization
        self.tensors[name] = Tensor(name, kind.shape, kind.dtype, quantization=quantization)
        return name

    def widen(self, name: str) -> str:
        """Return the name of the float32 form of a constant, added where it is not there."""
        if name in self._widened:
            return self._widened[name]
        tensor = self.tensors[name]
        if not tensor.dtype.is_float and tensor.quantization is None:
            raise ModelFormatError(
                f"tensor {name} is {tensor.dtype.value} without scale", path=self.path
            )
        wide = self._fresh(f"{name}/float32")
        self.tensors[wide] = Tensor(
            wide, tensor.shape, DType.FLOAT32, TensorKind.CONSTANT, None, lambda: _real(tensor)
        )
        self._widened[name] = wide
        return wide

    def alias(self, number: int, name: str) -> None:
        """Let a tensor of the file that is not computed stand for another one."""
        self._aliases[self.names[number]] = name

    def warn(self) -> None:
        """Log what was read although it contradicts the format."""
        if self.model.subgraphs > 1:
            _LOGGER.warning(
                "%s: only the first of %d subgraphs is read", self.path, self.model.subgraphs
            )
        if self._misplaced_axes:
            _LOGGER.warning(
                "%s: %d tensors (first %s) have scales along an axis that they do not have; "
                "read as axis 0",
                self.path,
                len(self._misplaced_axes),
                self._misplaced_axes[0],
            )

    def _fresh(self, name: str) -> str:
        while name in self._taken:
            name += "'"
        self._taken.add(name)
        return name

    def _converted(self, raw: RawTensor, name: str, layer: Layer | None) -> Tensor:
        dtype = self._dtype_of(raw, layer)
        if 0 in raw.shape:
            raise ModelFormatError(f"tensor {name} is empty: {list(raw.shape)}", path=self.path)
        if raw.is_sparse:
            raise ModelFormatError(
                f"tensor {name} is sparse; export the model with dense weights", path=self.path
            )
        kind = TensorKind.STATE if raw.is_variable else TensorKind.ACTIVATION
        load: Callable[[], Array] | None = None
        if raw.data is not None and not raw.is_variable:
            kind, load = TensorKind.CONSTANT, self._loader(raw, dtype, name)
        quantization = None if dtype.is_float else self._quantization(raw, dtype, name)
        return Tensor(name, raw.shape, dtype, kind, quantization, load)

    def _dtype_of(self, raw: RawTensor, layer: Layer | None) -> DType:
        if layer is not None:
            return layer.dtype_of(raw)
        try:
            return DType(raw.type_name.lower())
        except ValueError:
            raise ModelFormatError(
                f"tensor '{raw.name}' is {raw.type_name}, which edgekit does not compute",
                path=self.path,
            ) from None

    def _loader(self, raw: RawTensor, dtype: DType, name: str) -> Callable[[], Array]:
        """Return what gives the data of a constant, a view of the file."""
        data = raw.data
        wanted = math.prod(raw.shape) * dtype.item_bytes
        if data is None or data.size != wanted:
            held = 0 if data is None else data.size
            raise ModelFormatError(
                f"tensor {name} holds {held} bytes, its shape {list(raw.shape)} needs {wanted}",
                path=self.path,
            )
        stored = data
        return lambda: stored.view(dtype.numpy).reshape(raw.shape)

    def _quantization(self, raw: RawTensor, dtype: DType, name: str) -> Quantization | None:
        given = raw.quantization
        if given is None or dtype is DType.BOOL:
            return None
        if not (given.scale > 0).all():
            raise ModelFormatError(f"tensor {name} has a scale of 0", path=self.path)
        points = given.zero_point if given.zero_point.size else np.zeros(1, np.int64)
        low, high = integer_range(dtype)
        low, high = max(low, -(2**31)), min(high, 2**31 - 1)
        in_range = ((points >= low) & (points <= high)).all()
        if points.size not in (1, given.scale.size) or not in_range:
            raise ModelFormatError(f"tensor {name} has zero points out of range", path=self.path)
        points = np.broadcast_to(points, given.scale.shape)
        axis = None if given.scale.size == 1 else self._scale_axis(raw.shape, given.axis, name)
        if axis is not None and raw.shape[axis] != given.scale.size:
            raise ModelFormatError(
                f"tensor {name} {list(raw.shape)} has {given.scale.size} scales along axis {axis}",
                path=self.path,
            )
        return Quantization(given.scale, points.astype(np.int32), axis)

    def _scale_axis(self, shape: tuple[int, ...], axis: int, name: str) -> int:
        """Return the axis of per-channel scales; a vector has only one, whatever the file says."""
        if 0 <= axis < len(shape):
            return axis
        if len(shape) != 1:
            raise ModelFormatError(
                f"tensor {name} {list(shape)} has scales along axis {axis}", path=self.path
            )
        self._misplaced_axes.append(name)
        return 0


def _real(tensor: Tensor) -> Array:
    data = tensor.data
    return data.astype(np.float32) if tensor.dtype.is_float else real_from_stored(data, tensor)


def _unique_names(model: RawModel) -> list[str]:
    """Return a name for each tensor: its own, with its number where that is empty or taken."""
    names: list[str] = []
    taken: set[str] = set()
    for number, tensor in enumerate(model.tensors):
        name = tensor.name or f"tensor_{number}"
        while name in taken:
            name = f"{name}_{number}"
        taken.add(name)
        names.append(name)
    return names
