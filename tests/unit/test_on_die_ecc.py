"""Correction on the die: what each layout promises, and the native core against plain Python.

The plain decoders below are written from the layout's description alone.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.emulators.flash_errors import BitErrors, flip_bits
from edgekit.emulators.on_die_ecc import (
    BitPlaneCodes,
    Correction,
    OutlierCopies,
    correction_named,
    hamming_check_bits,
    hamming_checks,
    word_bits,
)
from edgekit.errors import UsageError
from edgekit.native import has_library, load_library

native = pytest.mark.skipif(not has_library(), reason="the native core is not built")

Values = npt.NDArray[np.int8]
Bytes = npt.NDArray[np.uint8]


def weights(count: int, seed: int, sigma: float = 25.0) -> Values:
    draws = np.random.default_rng(seed).normal(0, sigma, count)
    return np.clip(np.rint(draws), -127, 127).astype(np.int8)


def bits_of(data: Bytes) -> list[int]:
    return [int(bit) for bit in np.unpackbits(data, bitorder="little")]


def number(bits: Sequence[int]) -> int:
    return sum(bit << index for index, bit in enumerate(bits))


def plain_word(data: list[int], checks: list[int], parity: int | None = None) -> list[int] | None:
    """Decode one Hamming word the slow way; None where it cannot be right."""
    places = [place for place in range(1, 1 << len(checks)) if place & (place - 1)]
    syndrome = number(checks)
    for place, bit in zip(places, data, strict=False):
        syndrome ^= place * bit
    if syndrome == 0:
        return data
    if parity is not None and (sum(data) + sum(checks) + parity) % 2 == 0:
        return None
    if syndrome & (syndrome - 1) == 0:
        return data
    if syndrome not in places[: len(data)]:
        return None
    fixed = list(data)
    fixed[places.index(syndrome)] ^= 1
    return fixed


def plain_threshold(bits: list[int]) -> int:
    return number([int(sum(bits[i:72:8]) > 4) for i in range(8)])


def plain_correct(scheme: Correction, values: Values, spare: Bytes) -> Values:
    bits = bits_of(spare)
    threshold, cursor = plain_threshold(bits), 72
    page = [int(value) & 255 for value in values]
    width = (len(page) - 1).bit_length()
    checks = hamming_check_bits(width)
    is_copies = isinstance(scheme, OutlierCopies)
    assert isinstance(scheme, OutlierCopies | BitPlaneCodes)
    tail = 16 if is_copies else 1
    known = set()
    for _ in range(scheme.protected):
        entry = bits[cursor : cursor + width + checks + tail]
        cursor += len(entry)
        address = plain_word(
            entry[:width], entry[width : width + checks], None if is_copies else entry[-1]
        )
        if address is None or number(address) >= len(page):
            continue
        place = number(address)
        known.add(place)
        if is_copies:
            a, b, c = page[place], number(entry[-16:-8]), number(entry[-8:])
            page[place] = (a & b) | (a & c) | (b & c)
    if isinstance(scheme, BitPlaneCodes):
        for plane in range(7, -1, -1):
            r = scheme.check_bits[plane]
            for first in range(0, len(page), word_bits(r)) if r else ():
                places = range(first, min(first + word_bits(r), len(page)))
                data = [page[i] >> plane & 1 for i in places]
                fixed = plain_word(data, bits[cursor : cursor + r])
                cursor += r
                for i, bit in zip(places, fixed or data, strict=True):
                    page[i] = page[i] & ~(1 << plane) | bit << plane
    for place, raw in enumerate(page):
        if place not in known and abs(signed(raw)) > threshold:
            origins = [raw ^ (1 << bit) for bit in range(7, -1, -1)]
            best = min(origins, key=lambda origin: abs(signed(origin)))
            page[place] = 0 if is_copies or abs(signed(best)) > threshold else best
    return np.array(page, dtype=np.uint8).view(np.int8)


def signed(raw: int) -> int:
    return raw - 256 if raw > 127 else raw


SCHEMES: list[Correction] = [
    OutlierCopies(500, 9),
    OutlierCopies(512),
    BitPlaneCodes(500, 5, (0, 0, 0, 0, 5, 4, 3, 6)),
    BitPlaneCodes(512, 3),
]


def test_sizes_of_a_16_kib_page_are_the_published_ones_and_ours_no_larger() -> None:
    copies, planes = OutlierCopies(), BitPlaneCodes()
    assert copies.protected == 163
    assert copies.spare_bits == 8 * 9 + (14 + 5 + 16) * 163 == 5777
    assert copies.spare_bits // 8 == 722
    assert math.ceil(planes.spare_bits / 8) <= 722
    assert correction_named("planes") == planes
    assert correction_named("copies") == copies
    assert correction_named("none") is None


@native
@pytest.mark.parametrize("scheme", SCHEMES)
def test_native_sizes_are_those_of_python(scheme: Correction) -> None:
    library = load_library()
    page = scheme.page_values
    assert isinstance(scheme, OutlierCopies | BitPlaneCodes)
    scheme.correct(np.zeros(page, np.int8), np.zeros(scheme.spare_bits // 8 + 1, np.uint8))
    if isinstance(scheme, BitPlaneCodes):
        checks = (ctypes.c_int32 * 8)(*scheme.check_bits)
        found = library.ek_nand_planes_spare_bits(page, scheme.protected, checks)
    else:
        found = library.ek_nand_copies_spare_bits(page, scheme.protected)
    assert found == scheme.spare_bits
    assert len(scheme.encode(np.zeros(page, np.int8))) == -(-scheme.spare_bits // 8)


@native
@pytest.mark.parametrize("scheme", SCHEMES)
@given(seed=st.integers(0, 1000), sigma=st.floats(1, 90))
@settings(max_examples=20)
def test_a_page_without_errors_comes_back_unchanged(
    scheme: Correction, seed: int, sigma: float
) -> None:
    page = weights(scheme.page_values, seed, sigma)
    assert np.array_equal(scheme.correct(page, scheme.encode(page)), page)


@native
@pytest.mark.parametrize("scheme", SCHEMES)
@given(seed=st.integers(0, 10_000), rate=st.sampled_from([1e-3, 1e-2, 0.1, 0.5]))
@settings(max_examples=12, deadline=None)
def test_native_correction_is_the_plain_one(scheme: Correction, seed: int, rate: float) -> None:
    page = weights(scheme.page_values, seed)
    spare = scheme.encode(page)
    read = BitErrors(rate, seed).read(np.concatenate([page.view(np.uint8), spare]), 7)
    values, area = read[: len(page)].view(np.int8), read[len(page) :]
    expected = plain_correct(scheme, values, area)
    assert np.array_equal(scheme.correct(values, area), expected)


@native
@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_single_error_of_an_address_is_corrected(
    scheme: Correction, data: st.DataObject
) -> None:
    assert isinstance(scheme, OutlierCopies | BitPlaneCodes)
    page = weights(scheme.page_values, data.draw(st.integers(0, 99)))
    spare = scheme.encode(page)
    width = scheme.address_bits + hamming_check_bits(scheme.address_bits)
    entry = width + (16 if isinstance(scheme, OutlierCopies) else 1)
    chosen = data.draw(st.integers(0, scheme.protected - 1))
    place = 72 + chosen * entry + data.draw(st.integers(0, width - 1))
    spare[place // 8] ^= 1 << place % 8
    assert np.array_equal(scheme.correct(page, spare), page)


@native
@given(seed=st.integers(0, 99), place=st.integers(0, 511), plane=st.integers(4, 7))
@settings(max_examples=60, deadline=None)
def test_planes_correct_any_single_error_of_the_high_bits(
    seed: int, place: int, plane: int
) -> None:
    scheme = BitPlaneCodes(512, 3)
    page = weights(512, seed)
    hurt = page.copy()
    hurt.view(np.uint8)[place] ^= 1 << plane
    assert np.array_equal(scheme.correct(hurt, scheme.encode(page)), page)


@native
@given(seed=st.integers(0, 99), bit=st.integers(0, 7))
@settings(max_examples=30, deadline=None)
def test_copies_correct_any_single_error_of_a_protected_value(seed: int, bit: int) -> None:
    scheme = OutlierCopies(512)
    page = weights(512, seed)
    hurt = page.copy()
    hurt.view(np.uint8)[np.abs(page.astype(int)).argmax()] ^= 1 << bit
    assert np.array_equal(scheme.correct(hurt, scheme.encode(page)), page)


@native
def test_copies_clip_what_is_above_the_threshold_to_zero() -> None:
    page = np.full(512, 3, np.int8)
    page[:5] = 40
    scheme = OutlierCopies(512, 5)
    hurt = page.copy()
    hurt[100] = 3 - 128
    expected = page.copy()
    expected[100] = 0
    assert np.array_equal(scheme.correct(hurt, scheme.encode(page)), expected)


@given(data=st.data(), width=st.integers(4, 16))
@settings(max_examples=100)
def test_two_errors_of_an_address_are_always_seen_with_the_parity_bit(
    data: st.DataObject, width: int
) -> None:
    address = data.draw(st.lists(st.integers(0, 1), min_size=width, max_size=width))
    checks = hamming_checks(np.array([address], np.uint8), hamming_check_bits(width))[0].tolist()
    word = [*address, *checks, (sum(address) + sum(checks)) % 2]
    pair = data.draw(st.sets(st.integers(0, len(word) - 1), min_size=2, max_size=2))
    for place in pair:
        word[place] ^= 1
    found = plain_word(word[:width], word[width:-1], word[-1])
    assert found is None or found == address


def test_most_pairs_of_errors_in_a_published_address_are_not_seen() -> None:
    word = [0] * 14 + hamming_checks(np.zeros((1, 14), np.uint8), 5)[0].tolist()
    wrong = 0
    for first, second in combinations(range(19), 2):
        hurt = [bit ^ (place in (first, second)) for place, bit in enumerate(word)]
        found = plain_word(hurt[:14], hurt[14:])
        wrong += found is not None and found != word[:14]
    assert wrong == 123  # of 171: those whose places differ by the place of a third bit


@native
@given(seed=st.integers(0, 2**64 - 1), stream=st.integers(0, 2**64 - 1))
@settings(max_examples=50, deadline=None)
def test_flipped_bits_are_those_of_the_plain_generator(seed: int, stream: int) -> None:
    data = np.zeros(400, np.uint8)
    count = flip_bits(data, 0.01, seed, stream)
    assert [i for i, bit in enumerate(bits_of(data)) if bit] == plain_flips(
        3200, 0.01, seed, stream
    )
    assert sum(bits_of(data)) == count


def plain_flips(bits: int, rate: float, seed: int, stream: int) -> list[int]:
    """Places of flipped bits: SplitMix64 and geometric distances."""
    mask = (1 << 64) - 1

    def step(state: int) -> tuple[int, int]:
        state = (state + 0x9E3779B97F4A7C15) & mask
        value = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & mask
        value = (value ^ value >> 27) * 0x94D049BB133111EB & mask
        return state, value ^ value >> 31

    state = step(stream)[1] ^ seed
    found: list[int] = []
    place = -1
    while True:
        state, value = step(state)
        place += 1 + math.floor(math.log(((value >> 11) + 1) * 2.0**-53) / math.log1p(-rate))
        if place >= bits:
            return found
        found.append(place)


@native
@pytest.mark.parametrize("rate", [1e-4, 1e-3, 0.03, 0.5])
def test_share_of_flipped_bits_is_the_rate(rate: float) -> None:
    data = np.zeros(1 << 20, np.uint8)
    bits = data.size * 8
    count = flip_bits(data, rate, 5, 0)
    assert count == int(np.unpackbits(data).sum())
    assert abs(count - bits * rate) < 5 * math.sqrt(bits * rate)


@native
def test_a_rate_of_zero_flips_nothing_and_seeds_and_streams_differ() -> None:
    page = np.zeros(4096, np.uint8)
    assert not BitErrors(0.0).read(page, 1).any()
    reads = [BitErrors(1e-2, seed).read(page, stream) for seed in (0, 1) for stream in (0, 1)]
    assert len({read.tobytes() for read in reads}) == 4
    assert np.array_equal(BitErrors(1e-2, 1).read(page, 1), reads[3])


@pytest.mark.parametrize(
    "make",
    [
        lambda: OutlierCopies(1),
        lambda: OutlierCopies(1 << 17),
        lambda: OutlierCopies(100, 101),
        lambda: BitPlaneCodes(check_bits=(2,) * 8),
        lambda: BitPlaneCodes(check_bits=(6,)),
        lambda: correction_named("bch"),
        lambda: BitErrors(0.6),
        lambda: BitErrors(float("nan")),
        lambda: BitErrors(0.1, -1),
        lambda: OutlierCopies(64).encode(np.zeros(63, np.int8)),
        lambda: OutlierCopies(64).correct(np.zeros(64, np.int8), np.zeros(3, np.uint8)),
    ],
)
def test_what_cannot_be_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(UsageError):
        make()


@native
@pytest.mark.parametrize("sigma", [12.0, 25.0, 40.0])
@pytest.mark.parametrize("rate", [2e-4, 4e-4, 8e-4])
def test_planes_leave_less_damage_than_copies(sigma: float, rate: float) -> None:
    damage = {"copies": 0.0, "planes": 0.0}
    for number in range(8):
        page = weights(16384, number, sigma)
        for name in damage:
            scheme = correction_named(name)
            assert scheme is not None
            stored = np.concatenate([page.view(np.uint8), scheme.encode(page)])
            read = BitErrors(rate, 1).read(stored, number)
            fixed = scheme.correct(read[:16384].view(np.int8), read[16384:])
            damage[name] += float(np.square(fixed - page.astype(float)).sum())
    assert damage["planes"] < damage["copies"]


@native
def test_native_functions_refuse_bad_arguments() -> None:
    OutlierCopies(64).correct(np.zeros(64, np.int8), np.zeros(100, np.uint8))
    flip_bits(np.zeros(1, np.uint8), 0.0, 0, 0)
    library = load_library()
    page, spare, scratch = (ctypes.create_string_buffer(512) for _ in range(3))
    flips = ctypes.c_int64()
    correct = library.ek_nand_correct_copies
    assert correct(page, 512, 3, spare, 512, scratch, 512) == 0
    assert correct(None, 512, 3, spare, 512, scratch, 512) == 100
    assert correct(page, 1, 1, spare, 512, scratch, 512) == 102
    assert correct(page, 512, 513, spare, 512, scratch, 512) == 102
    assert correct(page, 512, 3, spare, 9, scratch, 512) == 101
    assert correct(page, 512, 3, spare, 512, scratch, 511) == 200
    checks = (ctypes.c_int32 * 8)(*(2,) * 8)
    assert library.ek_nand_correct_planes(page, 512, 3, None, spare, 512, scratch, 512) == 100
    assert library.ek_nand_correct_planes(page, 512, 3, checks, spare, 512, scratch, 512) == 102
    assert library.ek_nand_flip_bits(None, 5, 0.1, 0, 0, ctypes.byref(flips)) == 100
    for rate in (-0.1, 0.6, float("nan")):
        assert library.ek_nand_flip_bits(page, 5, rate, 0, 0, ctypes.byref(flips)) == 102
    assert page.raw == bytes(512)
