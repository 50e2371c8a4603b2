"""The memory curve: both ways of running a network, over their steps."""

from __future__ import annotations

import re

import numpy as np

from edgekit.converters.recipes import Recipe
from edgekit.ops.kernel_set import KernelSet
from edgekit.pipeline.job import Product
from edgekit.pipeline.patching import with_patches
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.report.memory_curve import memory_curve
from tests.small_images import ImageBuilder

BOARD = load_profile("nano33ble")


def test_both_curves_have_the_peaks_that_are_planned() -> None:
    b = ImageBuilder(np.random.default_rng(3))
    x = b.conv(b.image(32, 32, 3), 8, (3, 3), ((1, 1), (1, 1)))
    graph = b.graph(b.conv(x, 4, (3, 3), ((1, 1), (1, 1)), strides=(2, 2)))
    kernels = KernelSet.CORTEX_M_DSP
    product, patching = with_patches(
        Product("reference", graph), Recipe(patch="4x4"), BOARD, lambda _: True
    )
    assert patching is not None
    plan = build_plan(product.graph, BOARD, executor="reference", kernels=kernels)
    html = memory_curve(plan, patching.to_json())
    assert f"instead of {patching.whole.peak_bytes:,}" in html
    assert html.count("<polyline") == 2
    paths = [
        [float(y) for y in re.findall(r",([\d.]+)", path)]
        for path in re.findall(r'<polyline points="([^"]+)"', html)
    ]
    assert min(paths[0]) < min(paths[1])  # pixels count downwards: whole layers reach higher
    assert memory_curve(plan, {}) == ""
