"""``--mixed`` in the pipeline, on a network without files."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from edgekit.converters.calibration.ranges import calibrate
from edgekit.converters.quantization.static import quantize_static
from edgekit.converters.recipes import Recipe
from edgekit.deploy.cores import kernels_of
from edgekit.errors import AccuracyError
from edgekit.graph import Graph
from edgekit.ops.evaluate import evaluate
from edgekit.pipeline.convert import plan_for
from edgekit.pipeline.job import Job, Product
from edgekit.pipeline.mixed_precision import with_mixed_precision
from edgekit.profiles import load_profile
from edgekit.runtime.native import NativeRunner
from edgekit.schedule import schedule
from tests.narrow_networks import block_network, samples_of

PROFILE = load_profile("stm32l4r5")


class GivenJob:
    """What of a job is asked for, without a model file."""

    def __init__(self, graph: Graph, **options: Any) -> None:
        self.recipe = Recipe(model="given", device="stm32l4r5", **options)
        self.profile = PROFILE
        self.batches = samples_of(graph, 4)
        self.accuracy = None


def made(keep_float: tuple[str, ...] = (), **options: Any) -> tuple[Product, GivenJob]:
    graph = block_network(side=16)
    stored = quantize_static(graph, calibrate(graph, samples_of(graph)), keep_float=keep_float)
    job = GivenJob(graph, **options)
    product = Product("native", schedule(stored, kernels=kernels_of(PROFILE)).graph)
    return with_mixed_precision(product, cast(Job, job))[0], job


@pytest.mark.parametrize("keep_float", [(), ("conv2d_0",)])
def test_what_is_tested_is_an_int8_map(keep_float: tuple[str, ...]) -> None:
    product, job = made(keep_float, mixed="runtime", patch="2x2", mixed_lambda=0.5)
    tests = [node for node in product.graph.nodes if node.op == "outlier_test"]
    assert len(tests) == 4
    assert not any(product.graph.tensors[node.inputs[0]].dtype.is_float for node in tests)
    runner = NativeRunner(product.graph, plan_for(product, PROFILE))
    for sample in job.batches:
        found, exact = runner.run(sample).outputs, evaluate(product.graph, sample)
        for name in exact:
            assert np.allclose(found[name].astype(float), exact[name].astype(float), rtol=1e-5)


def test_the_note_tells_the_worst_case() -> None:
    product, _ = made(mixed="runtime", patch="2x2", mixed_lambda=0.5)
    facts = product.accuracy["mixed"]
    assert facts["bit_operations"] > facts["expected_bit_operations"]
    worst = facts["bit_operations"] / facts["int8_bit_operations"]
    assert f"{worst:.0%} at worst" in product.notes[-1]
    narrow, _ = made(mixed="widths", mixed_lambda=0.5)
    assert "at worst" not in narrow.notes[-1]


@pytest.mark.parametrize("gate", [{"min_sqnr_db": 60.0}, {"max_accuracy_drop": 0.0}])
def test_a_gate_holds_without_labels(gate: dict[str, Any]) -> None:
    with pytest.raises(AccuracyError, match="fewer bits"):
        made(mixed="widths", mixed_lambda=0.0, **gate)
