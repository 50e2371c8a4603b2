"""``--mixed`` in the pipeline, on a network without files."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import numpy as np
import pytest

from edgekit.converters.calibration.ranges import calibrate
from edgekit.converters.quantization.static import quantize_static
from edgekit.converters.recipes import Recipe
from edgekit.deploy.cores import kernels_of
from edgekit.errors import AccuracyError, UsageError
from edgekit.fit import exceeded_memories
from edgekit.graph import Graph
from edgekit.ops.evaluate import evaluate
from edgekit.pipeline.convert import plan_for
from edgekit.pipeline.fastest_precision import (
    EQUALLY_FAST,
    fitting_by_fewer_bits,
    in_fastest_precision,
)
from edgekit.pipeline.job import Job, Product
from edgekit.pipeline.mixed_precision import with_mixed_precision
from edgekit.profiles import DeviceProfile, load_profile, with_quantity
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


def made(
    keep_float: tuple[str, ...] = (), seed: int = 0, samples: int = 4, **options: Any
) -> tuple[Product, GivenJob]:
    graph = block_network(seed, side=16)
    stored = quantize_static(graph, calibrate(graph, samples_of(graph)), keep_float=keep_float)
    job = GivenJob(graph, **options)
    job.batches = samples_of(graph, samples)
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
        made(seed=2, samples=64, mixed="widths", mixed_lambda=0.0, **gate)


def int8_product(side: int = 16) -> Product:
    graph = block_network(side=side)
    stored = quantize_static(graph, calibrate(graph, samples_of(graph)))
    return Product("reference", schedule(stored, kernels=kernels_of(PROFILE)).graph)


INT8 = int8_product()


def weighed(memory: str, available_bytes: int, **options: Any) -> tuple[Product, DeviceProfile]:
    """Return what ``--mixed auto`` takes on a board with so much of a memory."""
    profile = with_quantity(PROFILE, f"memories[{memory}].available_bytes", available_bytes)
    job = GivenJob(INT8.graph, mixed="auto", **options)
    job.profile = profile
    plans = partial(plan_for, profile=profile)
    return in_fastest_precision(INT8, cast(Job, job), plans)[0], profile


def needed(memory: str) -> int:
    """Return what whole int8 layers need of a memory."""
    return plan_for(INT8, PROFILE).memory(memory).peak_bytes


def test_int8_stays_where_fewer_bits_are_not_faster() -> None:
    product, _ = weighed("sram", needed("sram"))
    facts = product.accuracy["mixed"]
    assert facts["chosen"] == "int8"
    assert len(facts["weighed"]) > 1
    for name, array in evaluate(INT8.graph, samples_of(INT8.graph)[0]).items():
        np.testing.assert_array_equal(
            evaluate(product.graph, samples_of(INT8.graph)[0])[name], array
        )


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5])
def test_the_fastest_that_fits_is_taken_and_both_are_told(share: float) -> None:
    product, profile = weighed("sram", int(share * needed("sram")))
    facts = product.accuracy["mixed"]
    rows = {row["form"]: row for row in facts["weighed"]}
    assert not exceeded_memories(plan_for(product, profile))
    fastest = min(row["instructions"] for row in rows.values() if row["fits"])
    assert rows[facts["chosen"]]["fits"]
    assert rows[facts["chosen"]]["instructions"] <= EQUALLY_FAST * fastest
    assert facts["chosen"] in product.notes[-1]
    assert "int8" in product.notes[-1]


def test_weights_are_narrowed_where_flash_is_short() -> None:
    product, profile = weighed("flash", needed("flash") - 1)
    facts = product.accuracy["mixed"]
    assert set(facts["weight_bits"].values()) == {4}
    assert facts["bits"] == {}
    assert not exceeded_memories(plan_for(product, profile))
    assert product.graph.weights_bytes < INT8.graph.weights_bytes


def test_a_form_that_loses_too_much_is_left_out() -> None:
    gate = {"min_sqnr_db": 60.0}
    room = int(0.7 * needed("sram"))
    product, _ = weighed("sram", room, **gate)
    assert product.accuracy["mixed"]["chosen"] == "int8"
    assert "Left out: fewer bits" in product.notes[-1]
    with pytest.raises(AccuracyError, match="fewer bits"):
        weighed("sram", int(0.5 * needed("sram")), **gate)


@pytest.mark.parametrize(("memory", "share"), [("sram", 0.5), ("flash", 0.999)])
def test_a_refusal_says_what_fewer_bits_would_take(memory: str, share: float) -> None:
    room = int(share * needed(memory))
    profile = with_quantity(PROFILE, f"memories[{memory}].available_bytes", room)
    job = GivenJob(INT8.graph)
    job.profile = profile
    said = fitting_by_fewer_bits(INT8, cast(Job, job), partial(plan_for, profile=profile))
    product, _ = weighed(memory, room)
    assert "--mixed auto" in said
    peaks = [row["memories"][memory] for row in product.accuracy["mixed"]["weighed"]]
    assert any(f"{peak:,} bytes of {memory}" in said for peak in peaks if peak <= room)


def test_nothing_is_promised_that_fewer_bits_do_not_reach() -> None:
    profile = with_quantity(PROFILE, "memories[sram].available_bytes", 1000)
    job = GivenJob(INT8.graph)
    job.profile = profile
    plans = partial(plan_for, profile=profile)
    assert fitting_by_fewer_bits(INT8, cast(Job, job), plans) == ""


@pytest.mark.parametrize("mode", ["runtime", "static"])
def test_patches_of_two_precisions_are_searched(mode: str) -> None:
    room = int(0.7 * needed("sram"))
    profile = with_quantity(PROFILE, "memories[sram].available_bytes", room)
    job = GivenJob(INT8.graph, mixed=mode, mixed_lambda=0.5)
    job.profile = profile
    product, patching = with_mixed_precision(INT8, cast(Job, job))
    assert patching is not None
    assert patching.chosen.grid is not None
    assert not exceeded_memories(plan_for(product, profile))


def test_a_choice_without_fewer_bits_is_refused() -> None:
    for patch in ("2x2", "auto"):
        with pytest.raises(UsageError, match="mixed-lambda"):
            made(mixed="runtime", patch=patch, mixed_lambda=1.0)
