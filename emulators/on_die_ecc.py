"""Error correction inside a flash die: what lies in the spare area of a page of int8 weights.

A die that computes on a page cannot send it through the controller's decoder first. What is here is
small enough for each die: parity, comparisons, a majority of three. Two layouts, both beginning
with nine copies of the threshold, the smallest magnitude of a protected value:

:class:`OutlierCopies` (Cambricon-LLM, arXiv 2409.15654, section VI). The largest 1 % of the values
have an entry each: address, check bits of a Hamming code over the address, and two more copies of
the value. The value becomes the majority of three, bit by bit; an entry whose address cannot be
right is dropped. Any other value above the threshold becomes zero. Five check bits over 14 address
bits correct one error but take some pairs of errors for another single one, and then a wrong value
is overwritten; and a flipped bit that stays below the threshold is never seen.

:class:`BitPlaneCodes`. Damage goes with the weight of a bit: a flipped bit ``k`` changes a value
by ``2**k``, and the four highest planes have 99.6 % of the mean square. So the spare bits go to
these planes of all values: a plane is cut into words of a Hamming code, short ones for the two
highest. The few largest values have an address each, with a parity bit that tells two errors from
one, and no copies: the planes hold those already. Any other value above the threshold is set to
the smallest magnitude that one flipped bit could have made it of, the likeliest origin because
small weights are the frequent ones, instead of to zero.

Bits follow each other without gaps, each number from its lowest bit, the first bit being the lowest
of the first byte: nine bytes of threshold; the entries (address, check bits, then the copies or
the parity bit); the check bits of the planes, the highest plane first, words in order of address.
Encoding happens once, when an image is written, and is here; correction is in ``csrc/nand/ecc.c``.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgekit.errors import ExecutionError, UsageError
from edgekit.native import load_library

THRESHOLD_COPIES = 9
MAX_VALUES = 65536
"""``EK_NAND_MAX_VALUES``."""

PROTECTED_SHARE = 0.01
"""Of the values of a page, those that have copies."""

PAGE_VALUES = 16384
"""Of the pages that the sizes below are for."""

Bytes = npt.NDArray[np.uint8]
Values = npt.NDArray[np.int8]
Bits = npt.NDArray[np.uint8]


class Correction(Protocol):
    """A layout of the spare area that corrects pages of int8 weights."""

    @property
    def name(self) -> str:
        """As in the header of an image."""

    @property
    def page_values(self) -> int:
        """Values of a page."""

    @property
    def spare_bits(self) -> int:
        """Bits of the spare area in use."""

    def encode(self, values: Values) -> Bytes:
        """Return the spare area for a page, int8 array of shape (page_values,)."""

    def correct(self, values: Values, spare: Bytes) -> Values:
        """Return the corrected values of a page as read, and its spare area as read."""


@dataclass(frozen=True, slots=True)
class OutlierCopies:
    """Copies of the largest values, and zero for what looks too large.

    Parameters
    ----------
    page_values : int
        2 .. 65536.
    protected : int
        Values that have copies; without it 1 % of the page, at least one.

    Raises
    ------
    UsageError
        If a number is out of range.
    """

    page_values: int = PAGE_VALUES
    protected: int = 0
    name: str = "copies"

    def __post_init__(self) -> None:
        if self.protected == 0:
            object.__setattr__(self, "protected", max(1, int(self.page_values * PROTECTED_SHARE)))
        _check_counts(self.page_values, self.protected)

    @property
    def address_bits(self) -> int:
        """Bits of an address."""
        return (self.page_values - 1).bit_length()

    @property
    def spare_bits(self) -> int:
        """``8 x 9 + (address + check + 16) x protected``: 5,777 for 16 KiB."""
        entry = self.address_bits + hamming_check_bits(self.address_bits) + 16
        return 8 * THRESHOLD_COPIES + entry * self.protected

    def encode(self, values: Values) -> Bytes:
        """Return the spare area, uint8 array of shape (ceil(spare_bits / 8),)."""
        _check_page(values, self.page_values)
        largest, threshold = _largest(values, self.protected)
        addresses = _bits_of(largest, self.address_bits)
        checks = hamming_checks(addresses, hamming_check_bits(self.address_bits))
        copy = _bits_of(values[largest].view(np.uint8), 8)
        entries = np.concatenate([addresses, checks, copy, copy], axis=1)
        return _pack(threshold, entries.ravel())

    def correct(self, values: Values, spare: Bytes) -> Values:
        """Return the corrected values, int8 array of shape (page_values,).

        Raises
        ------
        UsageError
            If the page or its spare area has another size.
        MissingDependencyError
            If the native core is not built.
        """
        page, area = _as_read(values, spare, self.page_values, self.spare_bits)
        scratch = np.empty(self.page_values, dtype=np.uint8)
        status = _library().ek_nand_correct_copies(
            _at(page), len(page), self.protected, _at(area), len(area), _at(scratch), len(scratch)
        )
        _check_status(status)
        return page


@dataclass(frozen=True, slots=True)
class BitPlaneCodes:
    """Hamming words over the high bit planes, and the likeliest origin of what is too large.

    Parameters
    ----------
    page_values : int
        2 .. 65536.
    protected : int
        Values whose address is kept.
    check_bits : tuple of int
        Of a word of each bit plane, the lowest first; 0 for a plane without, else 3 .. 16. A word
        with ``r`` check bits has ``2**r - 1 - r`` bits of its plane. The defaults fit the bytes
        that :class:`OutlierCopies` uses on a page of 16 KiB.

    Raises
    ------
    UsageError
        If a number is out of range.
    """

    page_values: int = PAGE_VALUES
    protected: int = 16
    check_bits: tuple[int, ...] = (0, 0, 0, 0, 7, 7, 6, 6)
    name: str = "planes"

    def __post_init__(self) -> None:
        _check_counts(self.page_values, self.protected)
        if len(self.check_bits) != 8 or any(r and not 3 <= r <= 16 for r in self.check_bits):
            raise UsageError("check_bits has eight numbers, each 0 or 3..16")

    @property
    def address_bits(self) -> int:
        """Bits of an address."""
        return (self.page_values - 1).bit_length()

    @property
    def spare_bits(self) -> int:
        """``8 x 9 + (address + check + 1) x protected + check bits``: 5,766 for 16 KiB."""
        entry = self.address_bits + hamming_check_bits(self.address_bits) + 1
        words = sum(r * -(-self.page_values // word_bits(r)) for r in self.check_bits if r)
        return 8 * THRESHOLD_COPIES + entry * self.protected + words

    def encode(self, values: Values) -> Bytes:
        """Return the spare area, uint8 array of shape (ceil(spare_bits / 8),)."""
        _check_page(values, self.page_values)
        largest, threshold = _largest(values, self.protected)
        addresses = _bits_of(largest, self.address_bits)
        checks = hamming_checks(addresses, hamming_check_bits(self.address_bits))
        entries = np.concatenate([addresses, checks], axis=1)
        parity = entries.sum(axis=1, keepdims=True, dtype=np.uint8) & 1
        parts = [np.concatenate([entries, parity], axis=1).ravel()]
        for plane in range(7, -1, -1):
            if r := self.check_bits[plane]:
                bits = (values.view(np.uint8) >> plane) & 1
                padded = np.pad(bits, (0, -len(bits) % word_bits(r)))
                parts.append(hamming_checks(padded.reshape(-1, word_bits(r)), r).ravel())
        return _pack(threshold, np.concatenate(parts))

    def correct(self, values: Values, spare: Bytes) -> Values:
        """Return the corrected values; arguments and errors as :meth:`OutlierCopies.correct`."""
        page, area = _as_read(values, spare, self.page_values, self.spare_bits)
        scratch = np.empty(self.page_values, dtype=np.uint8)
        checks = np.array(self.check_bits, dtype=np.int32)
        status = _library().ek_nand_correct_planes(
            *(_at(page), len(page), self.protected, _at(checks)),
            *(_at(area), len(area), _at(scratch), len(scratch)),
        )
        _check_status(status)
        return page


def correction_named(name: str, page_values: int = PAGE_VALUES) -> Correction | None:
    """Return the correction of a name for pages of a size; None for ``none``.

    Raises
    ------
    UsageError
        If the name is not known, or no page of that size can be corrected.
    """
    if name == "none":
        return None
    if name == "copies":
        return OutlierCopies(page_values)
    if name == "planes":
        return BitPlaneCodes(page_values, protected=max(1, page_values // 1024))
    raise UsageError(f"error correction {name!r} is not known; use none, copies or planes")


def hamming_check_bits(data_bits: int) -> int:
    """Return the fewest check bits that correct one error in so many bits of data."""
    bits = 2
    while data_bits + bits >= 1 << bits:
        bits += 1
    return bits


def word_bits(check_bits: int) -> int:
    """Return the bits of data in a full word with so many check bits."""
    return (1 << check_bits) - 1 - check_bits


def hamming_checks(data: Bits, check_bits: int) -> Bits:
    """Check bits of words: data lies at the places of a word that are no powers of two.

    Parameters
    ----------
    data : array of uint8 (0 or 1), shape (words, bits)
    check_bits : int

    Returns
    -------
    array of uint8, shape (words, check_bits)
    """
    places = [place for place in range(1, 1 << check_bits) if place & (place - 1)]
    used = np.array(places[: data.shape[1]], dtype=np.int64)
    member = ((used[:, None] >> np.arange(check_bits)) & 1).astype(np.uint16)
    return np.asarray((data.astype(np.uint16) @ member) & 1, dtype=np.uint8)


def _largest(values: Values, count: int) -> tuple[npt.NDArray[np.int64], int]:
    """Addresses of the largest magnitudes in order of address, and the least of these."""
    magnitudes = np.abs(values.astype(np.int16))
    order = np.argsort(-magnitudes, kind="stable")[:count]
    return np.sort(order), int(magnitudes[order[-1]])


def _bits_of(numbers: npt.NDArray[np.integer], bits: int) -> Bits:
    return ((numbers[:, None].astype(np.int64) >> np.arange(bits)) & 1).astype(np.uint8)


def _pack(threshold: int, rest: Bits) -> Bytes:
    first = np.tile(_bits_of(np.array([threshold]), 8).ravel(), THRESHOLD_COPIES)
    return np.packbits(np.concatenate([first, rest]), bitorder="little")


def _check_counts(page_values: int, protected: int) -> None:
    if not 2 <= page_values <= MAX_VALUES:
        raise UsageError(
            f"pages of {page_values:,} values cannot be corrected, use 2..{MAX_VALUES:,}"
        )
    if not 1 <= protected <= page_values:
        raise UsageError(f"{protected} values cannot be protected, use 1..{page_values:,}")


def _check_page(values: Values, page_values: int) -> None:
    if values.shape != (page_values,) or values.dtype != np.int8:
        raise UsageError(
            f"a page is {page_values:,} values of int8, not {values.dtype} {values.shape}"
        )


def _as_read(
    values: Values, spare: Bytes, page_values: int, spare_bits: int
) -> tuple[Values, Bytes]:
    _check_page(values, page_values)
    if spare.ndim != 1 or spare.dtype != np.uint8 or len(spare) * 8 < spare_bits:
        raise UsageError(f"the spare area has {spare_bits:,} bits, not {spare.size * 8:,}")
    return values.copy(), np.ascontiguousarray(spare)


def _at(array: npt.NDArray[np.generic]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _check_status(status: int) -> None:
    if status:
        raise ExecutionError("a page cannot be corrected", status=status)


@cache
def _library() -> ctypes.CDLL:
    library = load_library()
    size, number, pointer = ctypes.c_size_t, ctypes.c_int32, ctypes.c_void_p
    tail = (pointer, size, pointer, size)
    library.ek_nand_correct_copies.argtypes = (pointer, number, number, *tail)
    library.ek_nand_correct_planes.argtypes = (pointer, number, number, pointer, *tail)
    library.ek_nand_copies_spare_bits.argtypes = (number, number)
    library.ek_nand_copies_spare_bits.restype = ctypes.c_int64
    library.ek_nand_planes_spare_bits.argtypes = (number, number, pointer)
    library.ek_nand_planes_spare_bits.restype = ctypes.c_int64
    return library
