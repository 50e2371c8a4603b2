"""Inference on a board over its serial line: the client of ``csrc/monitor``.

Every frame has a CRC; the inputs as a whole are checked by the board before it computes, the
outputs as a whole by the client after they were read. A result that is returned is the board's.
"""

from __future__ import annotations

import math
import struct
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.deploy.serial.framing import MAX_BODY_BYTES
from edgekit.deploy.serial.link import Link
from edgekit.dtypes import Array
from edgekit.errors import DeviceError, LinkTimeoutError, UsageError
from edgekit.package_manifest import ModelFacts

HELLO, TENSOR, WRITE, RUN, READ = range(1, 6)
PROTOCOL = 1
RUN_WAIT_S = 5.0
LARGEST_PART = MAX_BODY_BYTES - 5
SMALLEST_PART = 16

DTYPES: Mapping[int, str] = {
    1: "int8",
    2: "uint8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float32",
    7: "bool",
}
"""``ek_monitor_dtype``."""


@dataclass(frozen=True, slots=True)
class BoardTensor:
    """An input or output as the firmware describes it.

    Parameters
    ----------
    name, dtype : str
    shape : tuple of int
    scale : float
        0 where the tensor is not quantized.
    zero_point : int
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class BoardModel:
    """What runs on the board.

    Parameters
    ----------
    name : str
    inputs, outputs : tuple of BoardTensor
    clock_hz : int
        Of the clock that measures runs; 0 where the board has none.
    has_update : bool
        Whether the firmware takes images for its other slot.
    """

    name: str
    inputs: tuple[BoardTensor, ...]
    outputs: tuple[BoardTensor, ...]
    clock_hz: int
    has_update: bool


@dataclass(frozen=True, slots=True)
class BoardResult:
    """One inference.

    Parameters
    ----------
    outputs : mapping of name to array
    latency_s : float
        Of the inference, by the board's clock; of the exchange where it has none.
    is_board_time : bool
    """

    outputs: Mapping[str, Array]
    latency_s: float
    is_board_time: bool


@dataclass(slots=True)
class Monitor:
    """A session with a board.

    Parameters
    ----------
    link : Link
    model : BoardModel
    part_bytes : int
        Bytes in one frame; fewer where the line is noisy.
    run_wait_s : float
        Before a request to run is repeated; three times what the last one took.
    """

    link: Link
    model: BoardModel
    part_bytes: int = LARGEST_PART
    run_wait_s: float = RUN_WAIT_S

    @classmethod
    def connect(cls, link: Link) -> Monitor:
        """Say hello; recurrent state of the model is set to rest.

        Raises
        ------
        LinkTimeoutError
            If nothing answers.
        DeviceError
            If the firmware speaks another version of the protocol.
        """
        body = link.request(HELLO, name="hello (is this the port of a board that was flashed?)")
        protocol, inputs, outputs, has_update, clock_hz = struct.unpack_from("<4BI", body)
        if protocol != PROTOCOL:
            raise DeviceError(
                f"the board speaks version {protocol} of the protocol, this edgekit {PROTOCOL}; "
                "flash the board again"
            )
        tensors = tuple(_tensor(link, index) for index in range(inputs + outputs))
        name = body[8:].decode(errors="replace")
        model = BoardModel(name, tensors[:inputs], tensors[inputs:], clock_hz, bool(has_update))
        return cls(link, model)

    def run(self, inputs: Mapping[str, Array]) -> BoardResult:
        """Compute once on the board.

        Parameters
        ----------
        inputs : mapping of name to array
            Shapes and dtypes of ``model.inputs``; a leading dimension of 1 may be missing. Real
            numbers for a quantized input are quantized.

        Raises
        ------
        UsageError
            If an input is missing or has another shape.
        DeviceError
            If the line or the board fails.
        """
        given = [_bytes_of(tensor, inputs) for tensor in self.model.inputs]
        checksum = 0
        for index, data in enumerate(given):
            self._write(index, data)
            checksum = zlib.crc32(data, checksum)
        start, repeats = time.monotonic(), self.link.repeats
        body = struct.pack("<I", checksum)
        ticks, expected = struct.unpack(
            "<QI", self.link.request(RUN, body, name="run", wait_s=self.run_wait_s)
        )
        elapsed_s = time.monotonic() - start
        if self.link.repeats == repeats:
            self.run_wait_s = max(self.link.first_wait_s, 3 * elapsed_s)
        read = [
            self._read(index, tensor.size_bytes)
            for index, tensor in enumerate(self.model.outputs, len(self.model.inputs))
        ]
        if zlib.crc32(b"".join(read)) != expected:
            raise DeviceError("the outputs changed while they were read; nothing is returned")
        outputs = {
            tensor.name: np.frombuffer(content, tensor.dtype).reshape(tensor.shape)
            for tensor, content in zip(self.model.outputs, read, strict=True)
        }
        clock_hz = self.model.clock_hz
        return BoardResult(outputs, ticks / clock_hz if clock_hz else elapsed_s, clock_hz > 0)

    def _write(self, index: int, data: bytes) -> None:
        offset = 0
        while offset < len(data):
            part = data[offset : offset + self.part_bytes]
            body = struct.pack("<BI", index, offset) + part
            if self._adapting(WRITE, body, "write") is not None:
                offset += len(part)

    def _read(self, index: int, size_bytes: int) -> bytes:
        data = bytearray()
        while len(data) < size_bytes:
            count = min(self.part_bytes, size_bytes - len(data))
            answer = self._adapting(READ, struct.pack("<BIB", index, len(data), count), "read")
            if answer is not None:
                data += answer
        return bytes(data)

    def _adapting(self, kind: int, body: bytes, name: str) -> bytes | None:
        """Return the answer, or None where smaller parts are to be tried: damage grows with size.

        What is written or read twice is written or read to the same place.
        """
        repeats, received = self.link.repeats, self.link.received_bytes
        try:
            answer = self.link.request(kind, body, name=name)
        except LinkTimeoutError:
            if self.part_bytes <= SMALLEST_PART or self.link.received_bytes == received:
                raise
            self.part_bytes = max(SMALLEST_PART, self.part_bytes // 4)
            return None
        if self.link.repeats > repeats + 1:
            self.part_bytes = max(SMALLEST_PART, self.part_bytes // 2)
        return answer


def check_model(model: BoardModel, facts: ModelFacts) -> None:
    """Refuse a board that runs another model than a package has (DeviceError)."""
    on_board = [(t.name, t.dtype, t.shape) for t in (*model.inputs, *model.outputs)]
    packaged = [(t.name, t.dtype, tuple(t.shape)) for t in (*facts.inputs, *facts.outputs)]
    if model.name != facts.name or on_board != packaged:
        raise DeviceError(
            f"the board runs {model.name}, the package has {facts.name}"
            f"{'' if model.name != facts.name else ' with other inputs or outputs'}: flash it first"
        )


def one_by_one(model: BoardModel, inputs: Mapping[str, Array]) -> list[dict[str, Array]]:
    """Return the inputs of each inference: arrays may be stacked along their first dimension.

    Raises
    ------
    UsageError
        If an input is missing, or stacks differ in height.
    """
    heights: dict[str, int] = {}
    for tensor in model.inputs:
        array = _given(tensor, inputs)
        rows = tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape
        is_stack = array.shape[1:] == rows and array.shape != tensor.shape and array.ndim > 0
        heights[tensor.name] = len(array) if is_stack else 0
    height = max(heights.values(), default=0)
    if any(other != height for other in heights.values()):
        shown = ", ".join(f"{name}: {other or 'one'}" for name, other in heights.items())
        raise UsageError(f"inputs are stacked to different heights ({shown})")
    if not height:
        return [dict(inputs)]
    return [{name: inputs[name][index] for name in heights} for index in range(height)]


def stacked(results: Sequence[BoardResult]) -> dict[str, Array]:
    """Return the outputs of inferences, more than one along the first dimension."""
    if len(results) == 1:
        return dict(results[0].outputs)
    names = results[0].outputs
    join = {
        name: np.concatenate if array.shape[:1] == (1,) else np.stack
        for name, array in names.items()
    }
    return {name: join[name]([result.outputs[name] for result in results]) for name in names}


def _tensor(link: Link, index: int) -> BoardTensor:
    body = link.request(TENSOR, bytes([index]), name="tensor")
    size_bytes, dtype, rank = struct.unpack_from("<IBB", body)
    if dtype not in DTYPES or len(body) < 6 + 4 * rank + 8:
        raise DeviceError(f"the board describes tensor {index} in a way that is not understood")
    shape = struct.unpack_from(f"<{rank}I", body, 6)
    scale, zero_point = struct.unpack_from("<fi", body, 6 + 4 * rank)
    name = body[14 + 4 * rank :].decode(errors="replace")
    tensor = BoardTensor(name, DTYPES[dtype], shape, scale, zero_point)
    if tensor.size_bytes != size_bytes:
        raise DeviceError(f"tensor {name} of the board: shape and size contradict each other")
    return tensor


def _bytes_of(tensor: BoardTensor, inputs: Mapping[str, Array]) -> bytes:
    array = _given(tensor, inputs)
    wanted = np.dtype(tensor.dtype)
    if array.size != math.prod(tensor.shape) or array.shape not in (tensor.shape, tensor.shape[1:]):
        raise UsageError(
            f"input {tensor.name} has shape {list(array.shape)}, the board takes "
            f"{list(tensor.shape)}"
        )
    if array.dtype != wanted:
        if array.dtype.kind != "f" or not tensor.scale:
            raise UsageError(f"input {tensor.name} is {array.dtype}, the board takes {wanted}")
        limits = np.iinfo(wanted)
        levels = np.round(array.astype(np.float64) / tensor.scale) + tensor.zero_point
        array = np.clip(levels, limits.min, limits.max).astype(wanted)
    return np.ascontiguousarray(array).tobytes()


def _given(tensor: BoardTensor, inputs: Mapping[str, Array]) -> Array:
    if tensor.name not in inputs:
        names = ", ".join(sorted(inputs)) or "nothing"
        raise UsageError(f"input {tensor.name} is missing (given: {names})")
    return np.asarray(inputs[tensor.name])
