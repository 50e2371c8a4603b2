"""Bit errors of flash cells: each bit of a page, spare area included, is read wrong at one rate.

Errors belong to a seed and a stream, for instance the number of a page: a page that is read again
has the same errors, as cells that have lost charge do. Read disturb is not modelled.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from edgekit.errors import ExecutionError, UsageError
from edgekit.native import load_library

MAX_RATE = 0.5


@dataclass(frozen=True, slots=True)
class BitErrors:
    """Errors of all pages of a chiplet.

    Parameters
    ----------
    rate : float
        Raw bit error rate, 0 .. 0.5.
    seed : int
        0 .. 2**64 - 1.

    Raises
    ------
    UsageError
        If a number is out of range.
    """

    rate: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate <= MAX_RATE:
            raise UsageError(f"a bit error rate is 0..{MAX_RATE}, not {self.rate}")
        if not 0 <= self.seed < 1 << 64:
            raise UsageError(f"a seed is 0..2**64-1, not {self.seed}")

    def read(self, page: npt.NDArray[np.uint8], stream: int) -> npt.NDArray[np.uint8]:
        """Return a page as it is read.

        Parameters
        ----------
        page : array of uint8, shape (bytes,)
        stream : int
            Number of the page, 0 .. 2**64 - 1.

        Raises
        ------
        MissingDependencyError
            If the native core is not built.
        """
        found = page.copy()
        flip_bits(found, self.rate, self.seed, stream)
        return found


def flip_bits(data: npt.NDArray[np.uint8], rate: float, seed: int, stream: int) -> int:
    """Flip bits of an array in place, each with the same probability, and return how many.

    Parameters
    ----------
    data : array of uint8, contiguous
    rate : float
        0 .. 0.5.
    seed, stream : int
        The same two flip the same bits.

    Raises
    ------
    UsageError
        If the array is not contiguous uint8.
    ExecutionError
        If the rate is out of range.
    MissingDependencyError
        If the native core is not built.
    """
    if data.dtype != np.uint8 or not data.flags.c_contiguous:
        raise UsageError("bits are flipped in a contiguous array of uint8")
    flips = ctypes.c_int64()
    pointer = ctypes.c_void_p(data.ctypes.data)
    status = _library().ek_nand_flip_bits(
        pointer, data.size, rate, seed, stream, ctypes.byref(flips)
    )
    if status:
        raise ExecutionError("bits cannot be flipped", status=status)
    return flips.value


@cache
def _library() -> ctypes.CDLL:
    library = load_library()
    library.ek_nand_flip_bits.argtypes = (
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_double, ctypes.c_uint64, ctypes.c_uint64),
        ctypes.c_void_p,
    )
    return library
