"""The example of a report: an input that is given, or what the conversion recorded of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.converters.partitioning.patches import PatchGrid, patch_stages, split_into_patches
from edgekit.converters.partitioning.selective_patches import Choice, split_selectively
from edgekit.errors import PackageError, UsageError
from edgekit.graph import Graph
from edgekit.package import Package, PackageContent, write_package
from edgekit.package_manifest import ModelFacts
from edgekit.planner import build_plan
from edgekit.profile_toml import to_toml
from edgekit.profiles import load_profile
from edgekit.report.page import render
from edgekit.report.patch_example import package_example
from tests.small_images import ImageBuilder, image_of

SHARES = (0.0, 0.5, 0.25, 0.1)


def network() -> Graph:
    b = ImageBuilder(np.random.default_rng(0))
    first = b.conv(b.image(12, 12, 3), 3, (3, 3), ((1, 1), (1, 1)))
    return b.graph(b.conv(first, 2, (3, 3), ((1, 1), (1, 1))))


def in_patches() -> Graph:
    graph = network()
    choice = Choice(tested=graph.nodes[0].outputs[0], low=-90, high=90, most_share=0.3)
    return split_selectively(graph, graph, PatchGrid(patch_stages(graph)[-1], 2, 2), choice)


def package_of(folder: Path, graph: Graph, **mixed: Any) -> Package:
    profile = load_profile("stm32l4r5")
    content = PackageContent(
        model=ModelFacts.of(graph),
        plan=build_plan(graph, profile, executor="reference"),
        profile=to_toml(profile).encode(),
        graph=graph,
        accuracy={"mixed": mixed} if mixed else {},
    )
    return write_package(folder / "model.edgekit", content)


def test_what_was_recorded_is_shown(tmp_path: Path) -> None:
    package = package_of(tmp_path, in_patches(), example_shares=list(SHARES), most_share=0.2)
    example = package_example(package, None)
    assert example is not None
    assert [finding.share for finding in example.findings if finding] == list(SHARES)
    assert "They are 2 of 4 in the first sample of the calibration data" in render(package)


def test_a_given_input_goes_before_what_was_recorded(tmp_path: Path) -> None:
    graph = in_patches()
    package = package_of(tmp_path, graph, example_shares=list(SHARES), most_share=0.2)
    html = render(package, image_of(graph))
    assert "of 4 in the given input" in html
    assert "calibration data" not in html


def test_without_either_the_report_says_how_to_get_one(tmp_path: Path) -> None:
    package = package_of(tmp_path, in_patches())
    assert package_example(package, None) is None
    assert "edgekit report --input NPZ" in render(package)


@pytest.mark.parametrize("has_patches", [False, True])
def test_layers_of_one_precision_take_no_input(tmp_path: Path, has_patches: bool) -> None:
    graph = network()
    if has_patches:
        graph = split_into_patches(graph, PatchGrid(patch_stages(graph)[-1], 2, 2))
    package = package_of(tmp_path, graph)
    with pytest.raises(UsageError, match="leave out --input"):
        render(package, image_of(network()))


@pytest.mark.parametrize(
    "mixed",
    [
        {"example_shares": "many", "most_share": 0.1},
        {"example_shares": [0.1, "x"], "most_share": 0.1},
        {"example_shares": [0.1], "most_share": None},
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, mixed: dict[str, Any]) -> None:
    with pytest.raises(PackageError, match=r"accuracy\.mixed"):
        render(package_of(tmp_path, in_patches(), **mixed))
