"""Products from a flash image: the tiles hold the matrix, and sums are those of a plain product."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.cost.nand import NandGeometry, nand_geometry
from edgekit.emulators.flash_errors import BitErrors
from edgekit.emulators.flash_image import (
    _ENTRY,
    _FIXED,
    FlashImage,
    open_image,
    pack_weights,
    write_image,
)
from edgekit.emulators.nand_function import multiply, read_weights
from edgekit.errors import EdgekitError, EmulatorError, PackageDigestError, UsageError
from edgekit.native import has_library
from edgekit.profiles import load_profile

pytestmark = pytest.mark.skipif(not has_library(), reason="the native core is not built")

SMALL = NandGeometry(2, 2, 1, 2, 1, 256, 64, 30e-6, 1e9, 18e-12, 6e-12)

LLAMA2_7B = {"q": (4096, 4096), "o": (4096, 4096), "up": (11008, 4096), "down": (4096, 11008)}
"""Layer shapes, outputs first; ``k`` and ``v`` are as ``q``, ``gate`` is as ``up``."""


def draw(shape: tuple[int, ...], seed: int, bits: int = 8) -> npt.NDArray[np.int8]:
    half = 1 << (bits - 1)
    return np.random.default_rng(seed).integers(-half, half, shape, dtype=np.int8)


def plain(weights: npt.NDArray[np.int8], vector: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    return weights.astype(np.int64) @ vector.astype(np.int64)


def small_image(path: Path, correction: str = "none") -> FlashImage:
    matrices = {"first": draw((37, 70), 1), "second": draw((64, 64), 2)}
    geometry = replace(SMALL, page_bytes=256, spare_bytes_per_page=128)
    return write_image(path, matrices, geometry, correction=correction, pages_per_block=4)


@given(
    rows=st.integers(1, 90),
    columns=st.integers(1, 200),
    bits=st.sampled_from([4, 8]),
    channels=st.integers(1, 3),
    chips=st.integers(1, 3),
    seed=st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_product_from_the_image_is_the_plain_one(
    tmp_path_factory: pytest.TempPathFactory,
    rows: int,
    columns: int,
    bits: int,
    channels: int,
    chips: int,
    seed: int,
) -> None:
    geometry = replace(SMALL, channels=channels, chips_per_channel=chips)
    weights, vector = draw((rows, columns), seed, bits), draw((columns,), seed + 1)
    path = tmp_path_factory.mktemp("image") / "matrix.ekn"
    image = write_image(path, {"w": weights}, geometry, weight_bits={"w": bits}, pages_per_block=3)
    found = multiply(image, "w", vector)
    assert np.array_equal(read_weights(image, "w"), weights)
    assert np.array_equal(found.output, plain(weights, vector))
    assert found.die_pages + found.streamed_pages == len(image.pages["w"])
    covered = sum(page.rows * page.columns for page in image.pages["w"])
    assert covered == weights.size
    assert len({page.number for page in image.pages["w"]}) == len(image.pages["w"])


def test_widths_are_mixed_in_one_image(tmp_path: Path) -> None:
    matrices = {"wide": draw((50, 60), 3), "narrow": draw((50, 60), 4, bits=4)}
    image = write_image(tmp_path / "i.ekn", matrices, SMALL, weight_bits={"narrow": 4})
    vector = draw((60,), 5)
    for name, weights in matrices.items():
        assert np.array_equal(multiply(image, name, vector).output, plain(weights, vector))
    assert len(image.pages["narrow"]) < len(image.pages["wide"])


def test_largest_sums_are_exact(tmp_path: Path) -> None:
    weights, vector = np.full((1, 131071), -128, np.int8), np.full(131071, -128, np.int8)
    image = write_image(tmp_path / "i.ekn", {"w": weights}, replace(SMALL, page_bytes=16384))
    assert multiply(image, "w", vector).output[0] == 131071 * 16384


@pytest.mark.parametrize(
    "name", ["q", *(pytest.param(name, marks=pytest.mark.full) for name in ("o", "up", "down"))]
)
@pytest.mark.parametrize("correction", ["none", "planes"])
def test_layers_of_llama2_7b_are_exact_from_the_image(
    tmp_path: Path, name: str, correction: str
) -> None:
    geometry = nand_geometry(load_profile("cambricon-llm-s"))
    weights, vector = draw(LLAMA2_7B[name], 6), draw((LLAMA2_7B[name][1],), 7)
    image = write_image(
        tmp_path / "i.ekn", {name: weights}, geometry, correction=correction, pages_per_block=16
    )
    found = multiply(image, name, vector)
    expected = weights.astype(np.float64) @ vector.astype(np.float64)  # below 2**53: exact
    assert np.array_equal(found.output, expected.astype(np.int64))
    assert found.die_pages > found.streamed_pages > 0


def test_same_matrices_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (small_image(tmp_path / name, "planes") for name in ("a", "b"))
    assert first.path.read_bytes() == second.path.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_dies_and_channels_of_pages_are_those_of_the_chiplet(tmp_path: Path) -> None:
    image = small_image(tmp_path / "i.ekn")
    pages = [page for group in image.pages.values() for page in group]
    assert {image.channel_of(page) for page in pages} == set(range(SMALL.channels))
    assert {image.die_of(page) for page in pages} == set(range(4))


@pytest.mark.parametrize("correction", ["copies", "planes"])
def test_correction_brings_products_nearer(tmp_path: Path, correction: str) -> None:
    weights = np.random.default_rng(8).normal(0, 20, (256, 256)).round().clip(-127, 127)
    matrices = {"w": weights.astype(np.int8)}
    geometry = replace(SMALL, page_bytes=16384, spare_bytes_per_page=1664)
    vector, errors = draw((256,), 9), BitErrors(4e-4, seed=3)
    exact = plain(matrices["w"], vector)
    distance = {}
    for name in ("none", correction):
        image = write_image(tmp_path / name, matrices, geometry, correction=name, pages_per_block=2)
        output = multiply(image, "w", vector, errors=errors).output
        assert np.array_equal(output, plain(read_weights(image, "w", errors), vector))
        distance[name] = float(np.square(output - exact, dtype=np.float64).sum())
    assert 0 < distance[correction] < distance["none"]


def test_errors_leave_the_image_alone(tmp_path: Path) -> None:
    image = small_image(tmp_path / "i.ekn")
    before = image.path.read_bytes()
    hurt = read_weights(image, "first", BitErrors(0.1, seed=1))
    assert not np.array_equal(hurt, read_weights(image, "first"))
    assert np.array_equal(hurt, read_weights(image, "first", BitErrors(0.1, seed=1)))
    assert image.path.read_bytes() == before


@given(data=st.binary(max_size=300))
@settings(max_examples=40)
def test_files_that_are_no_images_are_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "i.ekn"
    path.write_bytes(data)
    with pytest.raises(EdgekitError):
        open_image(path)


def test_images_that_are_cut_off_or_changed_are_refused(tmp_path: Path) -> None:
    whole = small_image(tmp_path / "i.ekn").path.read_bytes()
    path = tmp_path / "other.ekn"
    for size in (0, 3, 55, 60, 400, 4000, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises((EmulatorError, PackageDigestError)):
            open_image(path)
    for place in (0, 4, 9, 17, 30, 70, 300, 700):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(EdgekitError):
            open_image(path)
    with pytest.raises(EmulatorError, match="cannot be read"):
        open_image(tmp_path / "missing.ekn")


@pytest.mark.parametrize(
    ("written", "claimed"),
    [
        (b'"weight_bits":8', b'"weight_bits":1'),
        (b'"weight_bits":8', b'"weight_bits":0'),
        (b'"channels":2', b'"channels":0'),
        (b'"spare_bytes_per_page":', b'"spare_bytes_per_page":-'),
        (b'"rows":', b'"rows":99999999999999999999'),
    ],
)
def test_descriptions_that_were_made_up_are_refused(
    tmp_path: Path, written: bytes, claimed: bytes
) -> None:
    """Anybody can compute the digest again: what it covers need not be true."""
    path = small_image(tmp_path / "i.ekn").path
    data = path.read_bytes()
    magic, version, start, size, _ = _FIXED.unpack(data[: _FIXED.size])
    text = data[_FIXED.size : _FIXED.size + size]
    assert written in text
    text = text.replace(written, claimed)
    assert _FIXED.size + len(text) <= start
    pages = open_image(path).description.matrices
    table = data[_FIXED.size + size :][: sum(m.pages for m in pages) * _ENTRY.itemsize]
    digest = hashlib.sha256(text + table).digest()
    header = _FIXED.pack(magic, version, start, len(text), digest) + text + table
    path.write_bytes(header.ljust(start, b"\0") + data[start:])
    with pytest.raises(EdgekitError):
        open_image(path)


def test_what_cannot_be_stored_or_multiplied_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "i.ekn"
    good = draw((4, 4), 1)
    with pytest.raises(UsageError, match="two axes"):
        write_image(path, {"w": good[0]}, SMALL)
    with pytest.raises(UsageError, match="weights of 4 bits"):
        write_image(path, {"w": np.full((4, 4), 8, np.int8)}, SMALL, weight_bits={"w": 4})
    with pytest.raises(UsageError, match="8 bits"):
        write_image(path, {"w": good & 7}, SMALL, weight_bits={"w": 4}, correction="planes")
    with pytest.raises(UsageError, match="spare area"):
        write_image(path, {"w": good}, replace(SMALL, spare_bytes_per_page=2), correction="copies")
    assert not list(tmp_path.iterdir())
    image = write_image(path, {"w": good}, SMALL)
    with pytest.raises(UsageError, match="it has w"):
        multiply(image, "v", good[0])
    with pytest.raises(UsageError, match="4 values"):
        multiply(image, "w", draw((5,), 1))


@given(count=st.integers(0, 50), seed=st.integers(0, 9))
def test_packed_int4_has_the_first_weight_in_the_low_half(count: int, seed: int) -> None:
    weights = draw((count,), seed, bits=4)
    packed = pack_weights(weights, 4)
    halves = [int(byte) >> shift & 15 for byte in packed for shift in (0, 4)]
    assert [half - 16 if half > 7 else half for half in halves[:count]] == weights.tolist()
