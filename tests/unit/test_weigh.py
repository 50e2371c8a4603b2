"""Which precisions a conversion makes, and what it says of those that it does not."""

from __future__ import annotations

import numpy as np
import pytest

import edgekit
from edgekit.converters.recipes import Precision, Recipe
from edgekit.errors import AccuracyError, CalibrationError, UsageError
from edgekit.pipeline.job import Job
from edgekit.pipeline.source import read_source
from edgekit.pipeline.weigh import Candidate, Makers, gather
from edgekit.profiles import load_profile
from edgekit.zoo import default_model

pytest.importorskip("onnx")


def job(precision: Precision) -> Job:
    source = read_source("", {})
    recipe = Recipe(device="nano33ble", precision=precision)
    return Job(recipe, source, source.graph, source.graph, load_profile("nano33ble"), None)


def makers(error: Exception) -> Makers:
    graph = read_source("", {}).graph

    def int8() -> Candidate:
        raise error

    return {"float32": lambda: Candidate(graph, "as it is", graph.weights_bytes), "int8": int8}


@pytest.mark.parametrize(
    "error", [AccuracyError("3 dB", measured=3, limit=12), CalibrationError("no data")]
)
def test_auto_goes_on_without_a_precision_that_cannot_be_made(error: Exception) -> None:
    candidates, notes = gather(job("auto"), makers(error))
    assert list(candidates) == ["float32"]
    assert notes == (f"int8 was not considered: {error}",)


def test_a_precision_asked_for_by_name_must_be_made() -> None:
    with pytest.raises(CalibrationError, match="no data"):
        gather(job("int8"), makers(CalibrationError("no data")))


def test_a_precision_that_a_route_does_not_have_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match=r"nano33ble \(mcu\) runs float32, int8, not float16"):
        gather(job("float16"), makers(CalibrationError("no data")))


def test_calibration_data_may_be_an_array() -> None:
    samples = default_model().load_calibration()["features"][:3]
    conversion = edgekit.convert(
        device="nano33ble", calibration=np.array(samples), calibration_limit=3, dry_run=True
    )
    assert conversion.accuracy["samples"] == 3
