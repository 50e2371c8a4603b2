"""A network of four, two and eight bits on emulated cores: in the planned arena, exactly."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.deploy.toolchain import find_toolchain
from edgekit.emulators.mcu import emulate_firmware
from edgekit.emulators.qemu_board import has_qemu
from edgekit.ops.evaluate import evaluate
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from tests.kernels.test_packed_graphs import narrowed_graph
from tests.narrow_networks import samples_of

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]


@pytest.mark.parametrize("device", ["stm32l4r5", "stm32h743"])
@pytest.mark.parametrize("order", ["4", "2 4 8"])
def test_a_packed_network_gives_the_outputs_of_the_reference(device: str, order: str) -> None:
    if find_toolchain() is None or not has_qemu():
        pytest.skip("no cross compiler for Cortex-M, or qemu-system-arm is not installed")
    graph, profile = narrowed_graph(order), load_profile(device)
    (inputs,) = samples_of(graph, 1, seed=3)
    plan = build_plan(graph, profile, executor="reference")
    outputs = emulate_firmware(graph, plan, profile, inputs).outputs
    for name, expected in evaluate(graph, inputs).items():
        np.testing.assert_array_equal(outputs[name], expected)
