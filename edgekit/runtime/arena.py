"""One memory of a device as one block of bytes, watched while a plan runs in it.

Every byte that no live buffer owns holds a guard pattern. :meth:`Arena.check` proves after each
step that the pattern is whole and that no live buffer changed but those that the step writes, so
that a plan whose buffers collide cannot pass unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array, DType, from_device_bytes, to_device_bytes
from edgekit.errors import ExecutionError
from edgekit.plan import PlannedBuffer

GUARD = 0xA5
_MARGIN_BYTES = 64
"""Guarded bytes before and after the arena."""


@dataclass(slots=True)
class Arena:
    """The arena of one memory.

    Parameters
    ----------
    name : str
        Memory of the profile.
    size_bytes : int
        Height of the planned arena.
    alignment_bytes : int
        Of the block itself; offsets in it are the plan's.
    """

    name: str
    size_bytes: int
    alignment_bytes: int = 64
    highest_bytes: int = 0
    _block: npt.NDArray[np.uint8] = field(init=False)
    _live: dict[str, PlannedBuffer] = field(init=False, default_factory=dict)
    _contents: dict[str, npt.NDArray[np.uint8]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        try:
            raw = np.full(
                self.size_bytes + 2 * _MARGIN_BYTES + self.alignment_bytes, GUARD, np.uint8
            )
        except MemoryError as error:
            raise ExecutionError(
                f"this computer cannot give {self.size_bytes:,} bytes for {self.name}"
            ) from error
        start = -(raw.ctypes.data + _MARGIN_BYTES) % self.alignment_bytes
        self._block = raw[start : start + self.size_bytes + 2 * _MARGIN_BYTES]

    def begin(self, buffer: PlannedBuffer) -> None:
        """Let a buffer live from now on (ExecutionError where it leaves the arena)."""
        if not 0 <= buffer.offset_bytes <= self.size_bytes - buffer.size_bytes:
            raise ExecutionError(f"buffer {buffer.tensor} does not lie in {self.name}")
        self._live[buffer.tensor] = buffer
        self.highest_bytes = max(self.highest_bytes, buffer.offset_bytes + buffer.size_bytes)

    def end(self, tensor: str) -> None:
        """Let a buffer die; bytes that no other live buffer shares become guarded again."""
        buffer = self._live.pop(tensor)
        self._contents.pop(tensor, None)
        span = (buffer.offset_bytes, buffer.size_bytes)
        if all((b.offset_bytes, b.size_bytes) != span for b in self._live.values()):
            self._bytes(buffer)[:] = GUARD

    def load(self, tensor: str, dtype: DType, shape: tuple[int, ...]) -> Array:
        """Return the array that lies in a live buffer; writes go to the arena if it is not packed.

        Raises
        ------
        ExecutionError
            If the buffer is too small for it.
        """
        return from_device_bytes(self._stored(tensor, dtype, shape), dtype, shape)

    def store(self, tensor: str, dtype: DType, array: Array) -> None:
        """Put an array of the type into a live buffer (errors as :meth:`load`)."""
        self._stored(tensor, dtype, array.shape)[:] = to_device_bytes(array, dtype)

    def _stored(self, tensor: str, dtype: DType, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        buffer = self._live[tensor]
        needed_bytes = dtype.size_bytes(shape)
        if needed_bytes > buffer.size_bytes:
            raise ExecutionError(
                f"{tensor} needs {needed_bytes:,} bytes, {buffer.size_bytes:,} are planned"
            )
        return self._bytes(buffer)[:needed_bytes]

    def scribble(self, tensor: str) -> None:
        """Overwrite a scratch buffer, as a kernel does with its own."""
        self._bytes(self._live[tensor])[:] = GUARD ^ 0xFF

    def remember(self) -> None:
        """Note what every live buffer holds now."""
        self._contents = {name: self._bytes(b).copy() for name, b in self._live.items()}

    def check(self, step: str, written: set[str]) -> None:
        """Prove that a step changed nothing but the buffers that it writes.

        Raises
        ------
        ExecutionError
            Naming the step and the bytes that changed.
        """
        free = np.ones(len(self._block), np.bool_)
        targets = {(b.offset_bytes, b.size_bytes) for n, b in self._live.items() if n in written}
        for name, buffer in self._live.items():
            start = _MARGIN_BYTES + buffer.offset_bytes
            free[start : start + buffer.size_bytes] = False
            shares = (buffer.offset_bytes, buffer.size_bytes) in targets
            if not shares and name in self._contents:
                changed = not np.array_equal(self._contents[name], self._bytes(buffer))
                if changed:
                    raise ExecutionError(f"changed {name} in {self.name}", step=step)
        broken = np.flatnonzero(free & (self._block != GUARD))
        if broken.size:
            offset = int(broken[0]) - _MARGIN_BYTES
            raise ExecutionError(f"wrote to free byte {offset} of {self.name}", step=step)

    def _bytes(self, buffer: PlannedBuffer) -> npt.NDArray[np.uint8]:
        start = _MARGIN_BYTES + buffer.offset_bytes
        return self._block[start : start + buffer.size_bytes]
