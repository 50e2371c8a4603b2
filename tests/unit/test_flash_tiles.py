"""Tiles, splits and placements on flash that computes: what holds for every matrix and chiplet."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.converters.partitioning.flash_placement import (
    FlashMatrix,
    MatrixPages,
    place_tiles,
    plane_numbers,
)
from edgekit.converters.partitioning.flash_tiles import (
    TileShape,
    page_shape,
    rounds_of,
    split_matrix,
    tile_for,
)
from edgekit.cost.nand import NandGeometry, nand_geometry, optimal_tile, request_times
from edgekit.errors import MemoryBudgetError, ProfileError, UsageError
from edgekit.profiles import load_profile, with_quantity

SMALL = NandGeometry(2, 1, 2, 2, 1, 256, 26, 30e-6, 1e9, 1.8e-11, 5.8e-12)
place_with_room = partial(place_tiles, pages_per_block=8, blocks_per_plane=4096)

geometries = st.builds(
    NandGeometry,
    channels=st.integers(1, 6),
    chips_per_channel=st.integers(1, 3),
    dies_per_chip=st.integers(1, 3),
    planes_per_die=st.integers(2, 4),
    cores_per_die=st.integers(1, 2),
    page_bytes=st.sampled_from([128, 256, 512, 640]),
    spare_bytes_per_page=st.just(16),
    page_read_s=st.floats(3e-6, 1e-4),
    channel_bytes_per_s=st.floats(1e8, 4e9),
    array_read_j_per_bit=st.just(1.8e-11),
    channel_j_per_bit=st.just(5.8e-12),
)
matrices = st.builds(
    FlashMatrix,
    name=st.just("w"),
    rows=st.integers(1, 200),
    columns=st.integers(1, 200),
    weight_bits=st.sampled_from([4, 8, 16]),
)


def flash(name: str) -> NandGeometry:
    return nand_geometry(load_profile(name))


@pytest.mark.parametrize("name", ["cambricon-llm-s", "cambricon-llm-m", "cambricon-llm-l"])
def test_the_best_tile_fills_a_page_of_each_core_and_moves_least(name: str) -> None:
    geometry = flash(name)
    height, width = optimal_tile(geometry)
    assert height * width == pytest.approx(geometry.cores * geometry.page_bytes)

    def moved(h: float) -> float:
        return geometry.cores * geometry.page_bytes / h + geometry.channels * h

    assert all(moved(height) <= moved(height * factor) for factor in (0.5, 0.9, 1.1, 2.0))
    assert width + geometry.channels * height == pytest.approx(moved(height))


def test_published_tile_and_times_of_the_small_chiplet() -> None:
    geometry = flash("cambricon-llm-s")
    assert optimal_tile(geometry) == (256.0, 2048.0)
    assert tile_for(4096, 4096, geometry) == TileShape(256, 2048)
    times = request_times(geometry)
    assert times.read_compute_s == pytest.approx(30.256e-6)
    assert round(times.compute_request_share, 3) == 0.355


def test_requests_that_fill_the_channel_leave_nothing_to_stream() -> None:
    times = request_times(replace(SMALL, channel_bytes_per_s=1e5))
    assert (times.read_compute_share, times.compute_request_share) == (1.0, 1.0)
    assert math.isinf(times.page_s)
    split = split_matrix(64, 64, replace(SMALL, channel_bytes_per_s=1e5))
    assert split.streamed_bytes == 0
    assert split.flash_bytes == pytest.approx(split.weight_bytes)


@given(geometry=geometries, matrix=matrices)
def test_a_tile_is_one_page_of_each_core(geometry: NandGeometry, matrix: FlashMatrix) -> None:
    tile = tile_for(matrix.rows, matrix.columns, geometry, matrix.weight_bits)
    page = page_shape(tile, geometry)
    assert page.rows * geometry.cores_per_channel == tile.rows
    assert page.columns * geometry.channels == tile.columns
    assert page.rows * page.columns <= geometry.page_weights(matrix.weight_bits)
    rounds = rounds_of(matrix.rows, matrix.columns, tile)
    assert rounds * tile.rows * tile.columns >= matrix.rows * matrix.columns


@given(geometry=geometries, matrix=matrices)
def test_both_ways_together_carry_all_weights_no_slower_than_one(
    geometry: NandGeometry, matrix: FlashMatrix
) -> None:
    split = split_matrix(matrix.rows, matrix.columns, geometry, matrix.weight_bits)
    assert split.flash_bytes + split.streamed_bytes == pytest.approx(split.weight_bytes)
    times = request_times(geometry)
    flash_only_s = split.rounds * times.read_compute_s
    assert split.seconds <= flash_only_s * (1 + 1e-9)
    stream_only_s = split.weight_bytes / (times.streamed_bytes_per_s(geometry) or 1e-30)
    assert split.seconds <= stream_only_s * (1 + 1e-9)


@settings(max_examples=30)
@given(geometry=geometries, matrix=matrices)
def test_every_weight_lies_in_exactly_one_page(geometry: NandGeometry, matrix: FlashMatrix) -> None:
    placed = place_with_room([matrix], geometry)
    pages = placed.matrices[0]
    seen = np.zeros((matrix.rows, matrix.columns), dtype=int)
    parts = zip(pages.first_row, pages.first_column, pages.rows, pages.columns, strict=True)
    for row, column, rows, columns in parts:
        assert rows * columns <= geometry.page_weights(matrix.weight_bits)
        seen[row : row + rows, column : column + columns] += 1
    assert (seen == 1).all()


@settings(max_examples=30)
@given(geometry=geometries, matrix=matrices)
def test_addresses_exist_and_no_two_pages_share_one(
    geometry: NandGeometry, matrix: FlashMatrix
) -> None:
    placed = place_with_room([matrix, replace(matrix, name="v")], geometry)
    for pages in placed.matrices:
        limits = (
            (pages.channel, geometry.channels),
            (pages.chip, geometry.chips_per_channel),
            (pages.die, geometry.dies_per_chip),
            (pages.plane, geometry.planes_per_die),
            (pages.block, placed.blocks_per_plane),
            (pages.page, placed.pages_per_block),
        )
        assert all(((part >= 0) & (part < limit)).all() for part, limit in limits)
    numbers = np.concatenate([placed.page_numbers(pages) for pages in placed.matrices])
    assert len(np.unique(numbers)) == len(numbers)


@settings(max_examples=30)
@given(geometry=geometries, matrix=matrices)
def test_blocks_are_filled_in_order_and_reads_are_counted(
    geometry: NandGeometry, matrix: FlashMatrix
) -> None:
    placed = place_with_room([matrix], geometry)
    pages = placed.matrices[0]
    counted = np.zeros_like(placed.reads_per_token)
    np.add.at(counted, (plane_numbers(geometry, pages), pages.block), 1.0)
    assert np.array_equal(counted, placed.reads_per_token)
    planes = plane_numbers(geometry, pages)
    for plane, block in set(zip(planes, pages.block, strict=True)):
        here = pages.page[(planes == plane) & (pages.block == block)]
        assert sorted(here) == list(range(len(here)))


def round_pages(pages: MatrixPages) -> dict[int, int]:
    return dict(zip(*np.unique(pages.channel, return_counts=True), strict=True))


def test_pages_of_a_full_matrix_are_spread_evenly_over_the_channels() -> None:
    placed = place_with_room([FlashMatrix("w", 256, 256)], SMALL)
    counts = round_pages(placed.matrices[0])
    assert len(counts) == SMALL.channels
    assert len(set(counts.values())) == 1


def test_as_much_streams_as_the_split_says() -> None:
    geometry = flash("cambricon-llm-s")
    placed = place_tiles(
        [FlashMatrix("w", 4096, 4096)], geometry, pages_per_block=64, blocks_per_plane=64
    )
    pages = placed.matrices[0]
    expected = pages.split.streamed_bytes / pages.split.weight_bytes
    assert pages.streamed.mean() == pytest.approx(expected, abs=0.02)


def test_a_page_streams_from_another_plane_than_the_next_that_computes() -> None:
    pages = place_with_room([FlashMatrix("w", 1024, 256)], SMALL).matrices[0]
    tiles_across = -(-256 // pages.split.tile.columns)
    tile = pages.first_row // pages.split.tile.rows * tiles_across
    tile += pages.first_column // pages.split.tile.columns
    checked = 0
    for core in set(zip(pages.channel, pages.chip, pages.die, strict=True)):
        of_core = (pages.channel == core[0]) & (pages.chip == core[1]) & (pages.die == core[2])
        order = np.flatnonzero(of_core)[np.argsort(tile[of_core])]
        for place, index in enumerate(order):
            later = [other for other in order[place + 1 :] if not pages.streamed[other]]
            if pages.streamed[index] and later:
                assert pages.plane[index] != pages.plane[later[0]]
                checked += 1
    assert checked


def test_reads_are_level_over_the_blocks_of_a_plane() -> None:
    placed = place_tiles(
        [FlashMatrix("w", 512, 512)], SMALL, pages_per_block=64, blocks_per_plane=8
    )
    for plane in placed.reads_per_token:
        assert plane.max() - plane.min() <= 1


def test_rarely_read_experts_share_blocks_with_what_is_always_read() -> None:
    always = FlashMatrix("attention", 256, 512)
    experts = [FlashMatrix(f"expert {n}", 256, 512, reads_per_token=0.25) for n in range(8)]
    placed = place_tiles([*experts, always], SMALL, pages_per_block=64, blocks_per_plane=32)
    total = placed.reads_per_token.sum()
    mean = total / placed.reads_per_token.size
    assert placed.most_reads_per_token <= mean + 1.0
    assert [pages.matrix.name for pages in placed.matrices][-1] == "attention"
    assert placed.tokens_until(1000) == pytest.approx(1000 / placed.most_reads_per_token)


def test_blocks_that_are_read_already_are_used_last() -> None:
    reads = np.zeros((SMALL.planes, 4))
    reads[:, 0] = 1000.0
    placed = place_tiles(
        [FlashMatrix("w", 128, 128)],
        SMALL,
        pages_per_block=64,
        blocks_per_plane=4,
        block_reads=reads,
    )
    assert (placed.matrices[0].block != 0).all()


def test_a_plane_that_is_full_is_refused_with_both_sizes() -> None:
    with pytest.raises(MemoryBudgetError, match="plane") as caught:
        place_tiles([FlashMatrix("w", 512, 512)], SMALL, pages_per_block=2, blocks_per_plane=2)
    assert caught.value.required_bytes > caught.value.available_bytes
    assert caught.value.step == "w"


@pytest.mark.parametrize("bad", [(0, 4, 8), (4, -1, 8), (4, 4, 5)])
def test_matrices_without_tiles_are_refused(bad: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError):
        tile_for(bad[0], bad[1], SMALL, bad[2])


def test_wrong_placements_are_refused() -> None:
    twice = [FlashMatrix("w", 8, 8), FlashMatrix("w", 8, 8)]
    with pytest.raises(UsageError, match="same name"):
        place_with_room(twice, SMALL)
    with pytest.raises(UsageError, match="at least one block"):
        place_tiles(twice[:1], SMALL, pages_per_block=0, blocks_per_plane=1)
    with pytest.raises(UsageError, match="shape"):
        place_with_room(twice[:1], SMALL, block_reads=np.zeros((1, 1)))


def test_profiles_that_describe_no_flash_are_refused_by_key() -> None:
    with pytest.raises(ProfileError, match="no flash that computes"):
        nand_geometry(load_profile("pixel8"))
    chiplet = load_profile("cambricon-llm-s")
    wrong = (
        ("channels", 0.0),
        ("page_read_s", 0.0),
        ("dies_per_chip", 1.5),
        ("cores_per_die", 3.0),
    )
    for key, value in wrong:
        with pytest.raises(ProfileError, match=f"nand.{key}"):
            nand_geometry(with_quantity(chiplet, f"nand.{key}", value))
