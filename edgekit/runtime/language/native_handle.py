"""What the native core owns and Python holds."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from edgekit.errors import UsageError
from edgekit.runtime.language import engine_abi as abi


class NativeHandle:
    """A native handle that is given back once, by ``close()``, ``with`` or the collector."""

    _closer = ""
    """Name of the function that gives it back."""
    _handle: int | None = None

    def __init__(self, handle: int) -> None:
        self._handle = handle

    @property
    def handle(self) -> int:
        """The handle (UsageError once it is given back)."""
        if self._handle is None:
            raise UsageError(f"this {type(self).__name__} is closed")
        return self._handle

    def close(self) -> None:
        """Give the native memory back; later calls do nothing."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            getattr(abi.language_library(), self._closer)(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
