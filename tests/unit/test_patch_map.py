"""The picture of patches: every patch once in the input and once in the output, halos doubled."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from edgekit.converters.partitioning.outliers import (
    calibrate_choice,
    outlier_shares,
)
from edgekit.converters.partitioning.patches import PatchGrid, patch_stages, split_into_patches
from edgekit.converters.partitioning.selective_patches import Choice, split_selectively
from edgekit.dtypes import Array
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.ops.evaluate import evaluate
from edgekit.report.patch_areas import patches_of
from edgekit.report.patch_example import example_of, recorded_example
from edgekit.report.patch_map import patch_section
from tests.small_images import ImageBuilder, image_of


def network() -> Graph:
    b = ImageBuilder(np.random.default_rng(0))
    first = b.conv(b.image(12, 12, 3), 3, (3, 3), ((1, 1), (1, 1)))
    return b.graph(b.conv(first, 2, (3, 3), ((1, 1), (1, 1))))


GRAPH = network()
TESTED = GRAPH.nodes[0].outputs[0]
GRID = PatchGrid(patch_stages(GRAPH)[-1], 2, 2)


def images(count: int) -> list[dict[str, Array]]:
    """Return calm images; every third quarter is wild."""
    rng = np.random.default_rng(0)
    found: list[dict[str, Array]] = []
    for number in range(count):
        image = rng.integers(0, 6, (1, 12, 12, 3)).astype(np.int8)
        for quarter in range(number % 3, 4, 3):
            rows, columns = (slice(6 * i, 6 * i + 6) for i in divmod(quarter, 2))
            image[:, rows, columns] = rng.integers(-120, 120, (1, 6, 6, 3))
        found.append({"x": image})
    return found


@pytest.fixture(scope="module")
def choice() -> Choice:
    found = calibrate_choice(GRAPH, GRID, images(6), tested=TESTED, tiles=(2, 1), central_mass=0.9)
    shares = outlier_shares(GRAPH, GRID, found, images(6))
    assert shares.min() < found.most_share < shares.max()
    return found


def marks(html: str) -> str:
    """Return the precision of each patch that is drawn, W for 8 bits and N for fewer."""
    return "".join(kind[0].upper() for kind in re.findall(r'"buffer (wide|narrow)"', html))


def test_whole_layers_have_no_picture() -> None:
    assert patch_section(GRAPH) == ""


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("rows", "columns", "cached"), [(2, 2, False), (3, 1, True)])
def test_every_patch_is_drawn_twice(rows: int, columns: int, cached: bool, streamed: bool) -> None:
    grid = PatchGrid(GRID.last, rows, columns, cached, streamed)
    html = patch_section(split_into_patches(GRAPH, grid))
    assert f"{rows * columns} patches make an image of 12 x 12 pixels" in html
    assert html.count("<rect") == 2 * rows * columns
    found = re.findall(r"rows (\d+) to (\d+), columns (\d+) to (\d+)", html)
    for areas in (found[: rows * columns], found[rows * columns :]):
        covered = np.zeros((12, 12), dtype=int)
        for top, bottom, left, right in (map(int, area) for area in areas):
            covered[top : bottom + 1, left : right + 1] += 1
        assert covered.min() == 1
    assert covered.max() == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_images_with_channels_first_are_read_by_rows_and_columns(streamed: bool) -> None:
    b = ImageBuilder(np.random.default_rng(0))
    stored = b.node("quantize", b.image(3, 12, 10))
    turned = b.node("transpose", stored, perm=(0, 2, 3, 1), scale_of=stored)
    graph = b.graph(b.conv(turned, 4, (3, 3), ((1, 1), (1, 1))))
    grid = PatchGrid(patch_stages(graph)[-1], 2, 2, streamed=streamed)
    patched = split_into_patches(graph, grid)
    covered = np.zeros((12, 10), dtype=int)
    for patch in patches_of(patched):
        assert patch.read is not None
        covered[patch.read.top : patch.read.bottom, patch.read.left : patch.read.right] += 1
    assert covered.min() == 1
    assert covered.max() == 4
    assert example_of(patched, image_of(graph)).image.startswith("data:image/png;base64,")


def test_of_two_precisions_each_patch_is_drawn_once(choice: Choice) -> None:
    html = patch_section(split_selectively(GRAPH, GRAPH, GRID, choice))
    assert "4 patches make an image" in html
    assert "--input" in html
    plain = patch_section(split_into_patches(GRAPH, GRID))
    assert html.startswith(plain)


@pytest.mark.parametrize("index", range(3))
def test_an_example_marks_the_patches_that_run_with_8_bits(choice: Choice, index: int) -> None:
    chosen, sample = split_selectively(GRAPH, GRAPH, GRID, choice), images(3)[index]
    flags = tuple(patch.flag for patch in patches_of(chosen))
    values = evaluate(chosen.replace(outputs=flags), sample)
    example = example_of(chosen, sample)
    html = patch_section(chosen, example)
    assert marks(html) == "".join("NW"[int(values[flag][0])] for flag in flags)
    assert f"They are {marks(html).count('W')} of 4 in the given input" in html
    assert html.count(example.image) == 2
    shares = outlier_shares(GRAPH, GRID, choice, [sample])[0]
    assert [f"{share:.1%}" for share in shares] == re.findall(r'class="share"[^>]*>([^<]*)', html)


def test_a_recorded_example_says_what_the_input_would(choice: Choice) -> None:
    chosen, sample = split_selectively(GRAPH, GRAPH, GRID, choice), images(1)[0]
    shares = outlier_shares(GRAPH, GRID, choice, [sample])[0]
    recorded = recorded_example(shares.tolist(), choice.most_share)
    html = patch_section(chosen, recorded)
    assert marks(html) == marks(patch_section(chosen, example_of(chosen, sample)))
    assert "calibration data" in html
    assert "<image" not in html


def test_recorded_shares_of_other_patches_are_not_drawn(choice: Choice) -> None:
    chosen = split_selectively(GRAPH, GRAPH, GRID, choice)
    assert marks(patch_section(chosen, recorded_example([0.5], 0.1))) == ""


@pytest.mark.parametrize("always", [(), (1,), (0, 3), (0, 1, 2, 3)])
def test_positions_with_8_bits_are_marked_whatever_the_input(
    choice: Choice, always: tuple[int, ...]
) -> None:
    fixed = replace(choice, always=frozenset(always))
    chosen = split_selectively(GRAPH, GRAPH, GRID, fixed)
    expected = "".join("NW"[position in always] for position in range(4)) if always else ""
    given = [example_of(chosen, sample) for sample in images(2)]
    recorded = [recorded_example(shares, 0.1) for shares in ([0.5] * 4, [0.5] * 3)]
    for example in (None, *given, *recorded):
        html = patch_section(chosen, example)
        assert "4 patches make an image" in html
        assert marks(html) == expected
        assert "share" not in html


@pytest.mark.parametrize("streamed", [False, True])
def test_an_example_must_be_an_input_of_the_network(choice: Choice, streamed: bool) -> None:
    grid = PatchGrid(GRID.last, 2, 2, streamed=streamed)
    for always in (None, frozenset({1})):
        chosen = split_selectively(GRAPH, GRAPH, grid, Choice(choice.tiles, TESTED, always=always))
        for wrong in ({}, {"y": np.zeros(3)}, {"x": np.zeros((1, 12, 12, 3), np.float32)}):
            with pytest.raises(UsageError, match="input"):
                example_of(chosen, wrong)
