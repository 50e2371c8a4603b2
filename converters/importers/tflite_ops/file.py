"""The content of a TensorFlow Lite file as plain records, with every size checked.

FlatBuffers files are trusted by their generated readers: offsets may point anywhere and vectors may
claim any length. Everything that touches the file happens in :func:`read_tflite`, which bounds the
number of elements read by the size of the file and turns what the reader raises on damaged bytes
into one error. Data of tensors stays where it is in the file.

Source: TensorFlow Lite schema, ``tensorflow/lite/schema/schema.fbs``, version 3.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.converters.importers.tflite_ops.options import Options, option_readers
from edgekit.errors import MissingDependencyError, ModelFormatError

IDENTIFIER = b"TFL3"
"""Bytes 4 to 7 of every file."""

_DAMAGE = (
    struct.error,
    IndexError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    RecursionError,
    AttributeError,
    AssertionError,
)
"""What the generated reader raises where offsets or lengths are wrong."""
_CUSTOM = 32
_MAX_RANK = 8


@dataclass(frozen=True, slots=True, eq=False)
class RawQuantization:
    """Quantization as stored: scales, zero points (either may be empty), and the axis."""

    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int64]
    axis: int


@dataclass(frozen=True, slots=True, eq=False)
class RawTensor:
    """A tensor of the file.

    Parameters
    ----------
    name : str
        May be empty or used twice.
    shape : tuple of int
    type_name : str
        As in the schema: ``FLOAT32``, ``INT8``, ...
    data : array of uint8 or None
        View of the file; None for what is computed or given.
    """

    name: str
    shape: tuple[int, ...]
    type_name: str
    data: npt.NDArray[np.uint8] | None
    quantization: RawQuantization | None
    is_variable: bool
    is_sparse: bool


@dataclass(frozen=True, slots=True)
class RawOperator:
    """An operator of the file; an absent optional input is -1."""

    index: int
    code: str
    is_custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """How messages name the operator."""
        return f"operator {self.index} {self.code}"


@dataclass(frozen=True, slots=True)
class RawModel:
    """The first subgraph of a file."""

    description: str
    version: int
    subgraphs: int
    tensors: tuple[RawTensor, ...]
    operators: tuple[RawOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_tflite(data: Any, path: str) -> RawModel:
    """Return the content of a file.

    Parameters
    ----------
    data : bytes or mmap
        The whole file.
    path : str
        For messages.

    Raises
    ------
    ModelFormatError
        If the file is damaged or not TensorFlow Lite.
    MissingDependencyError
        If the schema library is not installed.
    """
    if len(data) < 8 or bytes(data[4:8]) != IDENTIFIER:
        raise ModelFormatError("is not a TensorFlow Lite file (TFL3)", path=path)
    schema = _schema_library()
    try:
        return _Reader(schema, data).model()
    except _DamagedError as error:
        raise ModelFormatError(f"is damaged: {error}", path=path) from error
    except _DAMAGE as error:
        raise ModelFormatError(
            "is damaged: an offset or a length in it points outside the file", path=path
        ) from error


def _schema_library() -> ModuleType:
    try:
        return importlib.import_module("tflite")
    except ImportError as error:
        raise MissingDependencyError("tflite", library="tflite") from error


class _DamagedError(Exception):
    """What is wrong with a file, found by a check of ours."""


class _Reader:
    """Walks the tables of one file, counting what it reads."""

    def __init__(self, schema: ModuleType, data: Any) -> None:
        self.schema = schema
        self.data = data
        # Every element takes at least a byte of the file, unless tables are shared.
        self.elements_left = 4 * len(data)
        self.type_names = _names_by_number(schema.TensorType)
        self.op_names = _names_by_number(schema.BuiltinOperator)
        self.readers = option_readers(schema)

    def model(self) -> RawModel:
        model = self.schema.Model.GetRootAs(self.data, 0)
        subgraphs = self.count(model.SubgraphsLength(), "subgraphs")
        if subgraphs < 1:
            raise _DamagedError("it has no subgraph")
        graph = model.Subgraphs(0)
        codes = [
            self.operator_code(model.OperatorCodes(index))
            for index in range(self.count(model.OperatorCodesLength(), "operator codes"))
        ]
        tensors = tuple(
            self.tensor(model, graph.Tensors(index), index)
            for index in range(self.count(graph.TensorsLength(), "tensors"))
        )
        operators = tuple(
            self.operator(graph.Operators(index), index, codes, len(tensors))
            for index in range(self.count(graph.OperatorsLength(), "operators"))
        )
        return RawModel(
            description=_text(model.Description()),
            version=int(model.Version()),
            subgraphs=subgraphs,
            tensors=tensors,
            operators=operators,
            inputs=self.references(graph.InputsAsNumpy(), len(tensors), "graph inputs"),
            outputs=self.references(graph.OutputsAsNumpy(), len(tensors), "graph outputs"),
        )

    def count(self, length: int, what: str) -> int:
        """Return a length, after taking it from the number of elements that may be read."""
        self.elements_left -= length
        if self.elements_left < 0:
            raise _DamagedError(f"it claims {length} {what}, more than fit the file")
        return length

    def operator_code(self, code: Any) -> tuple[str, bool]:
        """Return name of an operator and whether it is a custom one.

        Codes above 127 are only in the newer of the two fields, older files have only the other.
        """
        number = max(int(code.BuiltinCode()), int(code.DeprecatedBuiltinCode()))
        if number == _CUSTOM:
            return _text(code.CustomCode()) or "CUSTOM", True
        return self.op_names.get(number, f"BUILTIN_{number}"), False

    def tensor(self, model: Any, tensor: Any, index: int) -> RawTensor:
        shape = self.numbers(tensor.ShapeAsNumpy(), f"axes of tensor {index}")
        if len(shape) > _MAX_RANK or any(dim < 0 for dim in shape):
            raise _DamagedError(f"tensor {index} has the shape {list(shape[: _MAX_RANK + 1])}")
        number = int(tensor.Type())
        return RawTensor(
            name=_text(tensor.Name()),
            shape=shape,
            type_name=self.type_names.get(number, f"TYPE_{number}"),
            data=self.buffer(model, int(tensor.Buffer()), index),
            quantization=self.quantization(tensor.Quantization(), index),
            is_variable=bool(tensor.IsVariable()),
            is_sparse=tensor.Sparsity() is not None,
        )

    def buffer(self, model: Any, number: int, index: int) -> npt.NDArray[np.uint8] | None:
        if number == 0:
            return None
        if number >= model.BuffersLength():
            raise _DamagedError(f"tensor {index} names buffer {number}, which is not in the file")
        buffer = model.Buffers(number)
        if int(buffer.Offset()) > 1:
            # Files above 2 GB keep data behind the tables; offset 1 stands for an empty buffer.
            start, size = int(buffer.Offset()), int(buffer.Size())
            if start + size > len(self.data):
                raise _DamagedError(f"data of tensor {index} lies outside the file")
            return np.frombuffer(self.data, np.uint8, size, start)
        stored = buffer.DataAsNumpy()
        return stored if isinstance(stored, np.ndarray) and stored.size else None

    def quantization(self, parameters: Any, index: int) -> RawQuantization | None:
        if parameters is None or parameters.ScaleLength() == 0:
            return None
        self.count(parameters.ScaleLength() + parameters.ZeroPointLength(), "scales")
        scale = np.asarray(parameters.ScaleAsNumpy(), np.float32)
        zero_point = np.zeros(0, np.int64)
        if parameters.ZeroPointLength():
            zero_point = np.asarray(parameters.ZeroPointAsNumpy(), np.int64)
        if not (np.isfinite(scale).all() and (scale >= 0).all()):
            raise _DamagedError(f"tensor {index} has a scale that is negative or not finite")
        return RawQuantization(scale, zero_point, int(parameters.QuantizedDimension()))

    def operator(
        self, operator: Any, index: int, codes: list[tuple[str, bool]], tensors: int
    ) -> RawOperator:
        number = int(operator.OpcodeIndex())
        if number >= len(codes):
            raise _DamagedError(
                f"operator {index} names operator code {number}, which is not there"
            )
        code, is_custom = codes[number]
        return RawOperator(
            index=index,
            code=code,
            is_custom=is_custom,
            inputs=self.references(operator.InputsAsNumpy(), tensors, f"inputs of {index} {code}"),
            outputs=self.references(
                operator.OutputsAsNumpy(), tensors, f"outputs of {index} {code}"
            ),
            options=self.options(operator, code),
        )

    def options(self, operator: Any, code: str) -> Options:
        """Return the options that the mapping of this operator looks at; absent ones are 0."""
        reader = self.readers.get(code)
        if reader is None:
            return {}
        table = operator.BuiltinOptions()
        record = reader.record()
        if table is None:
            return {}
        record.Init(table.Bytes, table.Pos)
        values = reader.read(record)
        for value in values.values():
            if isinstance(value, tuple):
                self.count(len(value), "numbers in options")
        return values

    def references(self, array: Any, tensors: int, what: str) -> tuple[int, ...]:
        """Return tensor numbers, each -1 or of a tensor that exists."""
        numbers = self.numbers(array, what)
        if any(not -1 <= number < tensors for number in numbers):
            raise _DamagedError(f"{what} name a tensor that is not in the file")
        return numbers

    def numbers(self, array: Any, what: str) -> tuple[int, ...]:
        if not isinstance(array, np.ndarray):
            return ()
        self.count(array.size, what)
        return tuple(int(number) for number in array)


def _names_by_number(enumeration: Any) -> Mapping[int, str]:
    return {
        number: name
        for name, number in vars(enumeration).items()
        if isinstance(number, int) and not name.startswith("_")
    }


def _text(raw: bytes | None) -> str:
    return raw.decode("utf-8", "replace") if raw else ""
