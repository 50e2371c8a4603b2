"""The picture of patches: every patch once in the input and once in the output, halos doubled."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgekit.converters.partitioning.patches import PatchGrid, patch_stages, split_into_patches
from edgekit.converters.partitioning.selective_patches import Choice, split_selectively
from edgekit.graph import Graph
from edgekit.report.patch_map import patch_section
from tests.small_images import ImageBuilder


def network() -> Graph:
    b = ImageBuilder(np.random.default_rng(0))
    first = b.conv(b.image(12, 12, 2), 3, (3, 3), ((1, 1), (1, 1)))
    return b.graph(b.conv(first, 2, (3, 3), ((1, 1), (1, 1))))


def test_whole_layers_have_no_picture() -> None:
    assert patch_section(network()) == ""


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("rows", "columns", "cached"), [(2, 2, False), (3, 1, True)])
def test_every_patch_is_drawn_twice(rows: int, columns: int, cached: bool, streamed: bool) -> None:
    graph = network()
    grid = PatchGrid(patch_stages(graph)[-1], rows, columns, cached, streamed)
    html = patch_section(split_into_patches(graph, grid))
    assert f"{rows * columns} patches make an image of 12 x 12 pixels" in html
    assert html.count("<rect") == 2 * rows * columns
    found = re.findall(r"rows (\d+) to (\d+), columns (\d+) to (\d+)", html)
    for areas in (found[: rows * columns], found[rows * columns :]):
        covered = np.zeros((12, 12), dtype=int)
        for top, bottom, left, right in (map(int, area) for area in areas):
            covered[top : bottom + 1, left : right + 1] += 1
        assert covered.min() == 1
    assert covered.max() == 1


def test_of_two_precisions_the_ordinary_patches_are_drawn() -> None:
    graph = network()
    grid = PatchGrid(patch_stages(graph)[-1], 2, 2)
    tested = graph.nodes[0].outputs[0]
    chosen = split_selectively(graph, graph, grid, Choice(tiles=(2, 1), tested=tested))
    html = patch_section(chosen)
    assert "4 patches make an image" in html
    assert "outliers" in html
    assert html.count("<rect") == patch_section(split_into_patches(graph, grid)).count("<rect")
