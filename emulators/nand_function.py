"""What a NAND chiplet computes: products of a vector with matrices of a flash image, page by page.

The two levels are those of the hardware. A page that is computed in flash is read, its bit errors
are corrected on the die, and the core of the die multiplies it with its part of the input: one
int32 sum for each of its rows goes over the channel. A page that streams goes over the channel
itself, corrected as well, and the processor multiplies it. The processor adds what comes from all
dies, channels and rounds. int32 sums of int8 products are exact, so that without bit errors the
result is that of a plain product.

Source: Cambricon-LLM (arXiv 2409.15654), sections IV to VI. Time and energy: the closed form of
:mod:`edgekit.emulators.nand_chiplet` and the events of :mod:`edgekit.emulators.nand_events`.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from edgekit.emulators.flash_errors import BitErrors
from edgekit.emulators.flash_image import (
    FlashImage,
    StoredPage,
    Weights,
    unpack_weights,
)
from edgekit.errors import ExecutionError, UsageError
from edgekit.native import load_library

MAX_COLUMNS = 131071
"""``EK_NAND_MAX_COLUMNS``: so many products of int8 never leave int32."""

Bytes = npt.NDArray[np.uint8]
Sums = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class ProductResult:
    """A matrix times a vector.

    Parameters
    ----------
    output : array of int32, shape (rows,)
    die_pages, streamed_pages : int
        Multiplied in flash, and by the processor.
    die_sums : int
        int32 sums that dies sent; the processor added them.
    """

    output: Sums
    die_pages: int
    streamed_pages: int
    die_sums: int


def multiply(
    image: FlashImage, name: str, vector: npt.NDArray[np.int8], *, errors: BitErrors | None = None
) -> ProductResult:
    """Multiply a matrix of an image with a vector.

    Parameters
    ----------
    image : FlashImage
    name : str
        Of the matrix.
    vector : array of int8, shape (columns,)
    errors : BitErrors, optional
        Of every page read; the image itself is not changed.

    Raises
    ------
    UsageError
        If the matrix is not in the image or too wide, or the vector does not fit it.
    MissingDependencyError
        If the native core is not built.
    """
    matrix = image.matrix(name)
    if vector.shape != (matrix.columns,) or vector.dtype != np.int8:
        raise UsageError(
            f"matrix {name} takes {matrix.columns:,} values of int8, not "
            f"{vector.dtype} {vector.shape}"
        )
    if matrix.columns > MAX_COLUMNS:
        raise UsageError(f"matrix {name} has {matrix.columns:,} columns, at most {MAX_COLUMNS:,}")
    output = np.zeros(matrix.rows, dtype=np.int32)
    die_pages = die_sums = 0
    for page in image.pages[name]:
        data = read_page(image, page, errors)
        part = vector[page.column : page.column + page.columns]
        output[page.row : page.row + page.rows] += _core_sums(data, page, part, matrix.weight_bits)
        if not page.is_streamed:
            die_pages += 1
            die_sums += page.rows
    return ProductResult(output, die_pages, len(image.pages[name]) - die_pages, die_sums)


def read_page(image: FlashImage, page: StoredPage, errors: BitErrors | None = None) -> Bytes:
    """Return the data of a page after correction, uint8 array of shape (page_bytes,)."""
    stored = image.read(page)
    if errors is not None:
        stored = errors.read(stored, page.number)
    size_bytes = image.geometry.page_bytes
    scheme = image.correction
    if scheme is None:
        return stored[:size_bytes]
    return scheme.correct(stored[:size_bytes].view(np.int8), stored[size_bytes:]).view(np.uint8)


def read_weights(image: FlashImage, name: str, errors: BitErrors | None = None) -> Weights:
    """Return a matrix as the cores see it, int8 array of shape (rows, columns).

    Raises
    ------
    UsageError
        If the image has none of that name.
    """
    matrix = image.matrix(name)
    weights = np.zeros((matrix.rows, matrix.columns), dtype=np.int8)
    for page in image.pages[name]:
        data = read_page(image, page, errors)
        part = unpack_weights(data, page.rows * page.columns, matrix.weight_bits)
        place = np.s_[page.row : page.row + page.rows, page.column : page.column + page.columns]
        weights[place] = part.reshape(page.rows, page.columns)
    return weights


def _core_sums(
    data: Bytes, page: StoredPage, vector: npt.NDArray[np.int8], weight_bits: int
) -> Sums:
    """Return what one core makes of one page: a sum for each row of the page."""
    sums = np.zeros(page.rows, dtype=np.int32)
    part = np.ascontiguousarray(vector)
    kernel = _library().ek_nand_gemv_s8 if weight_bits == 8 else _library().ek_nand_gemv_s4
    status = kernel(data.ctypes.data, page.rows, page.columns, part.ctypes.data, sums.ctypes.data)
    if status:
        raise ExecutionError("a page cannot be multiplied", status=status)
    return sums


@cache
def _library() -> ctypes.CDLL:
    library = load_library()
    number, pointer = ctypes.c_int32, ctypes.c_void_p
    arguments = (pointer, number, number, pointer, pointer)
    library.ek_nand_gemv_s8.argtypes = arguments
    library.ek_nand_gemv_s4.argtypes = arguments
    return library
