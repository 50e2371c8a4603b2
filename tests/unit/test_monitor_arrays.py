"""What ``monitor`` makes of arrays, single or stacked, and of boards with another model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.deploy.serial.monitor import (
    BoardModel,
    BoardResult,
    BoardTensor,
    check_model,
    one_by_one,
    stacked,
)
from edgekit.errors import DeviceError, UsageError
from edgekit.package_manifest import ModelFacts, TensorFacts

SOUND = BoardTensor("sound", "int8", (1, 4, 3), 0.5, 3)
LEVEL = BoardTensor("level", "float32", (2,), 0.0, 0)
SCORES = BoardTensor("scores", "int8", (1, 5), 0.1, 0)
MODEL = BoardModel("kws", (SOUND, LEVEL), (SCORES,), 16_000_000, False)


def facts(name: str = "kws", shape: tuple[int, ...] = (1, 4, 3)) -> ModelFacts:
    return ModelFacts(
        name=name,
        inputs=(
            TensorFacts("sound", shape, "int8", (0.5,), (3,)),
            TensorFacts("level", (2,), "float32"),
        ),
        outputs=(TensorFacts("scores", (1, 5), "int8", (0.1,), (0,)),),
    )


@given(st.integers(2, 6))
def test_stacked_arrays_are_one_inference_a_row(height: int) -> None:
    sounds = np.arange(height * 12, dtype=np.int8).reshape(height, 4, 3)
    levels = np.arange(height * 2, dtype=np.float32).reshape(height, 2)
    samples = one_by_one(MODEL, {"sound": sounds, "level": levels})
    assert len(samples) == height
    for index, sample in enumerate(samples):
        assert np.array_equal(sample["sound"], sounds[index])
        assert np.array_equal(sample["level"], levels[index])


@pytest.mark.parametrize("shape", [(1, 4, 3), (4, 3)])
def test_single_arrays_are_one_inference(shape: tuple[int, ...]) -> None:
    inputs = {"sound": np.zeros(shape, np.int8), "level": np.zeros(2, np.float32)}
    assert len(one_by_one(MODEL, inputs)) == 1


def test_stacks_of_different_height_and_missing_inputs_are_refused() -> None:
    sounds, levels = np.zeros((3, 4, 3), np.int8), np.zeros((2, 2), np.float32)
    with pytest.raises(UsageError, match="heights"):
        one_by_one(MODEL, {"sound": sounds, "level": levels})
    with pytest.raises(UsageError, match="level is missing"):
        one_by_one(MODEL, {"sound": sounds})


def test_outputs_are_stacked_as_inputs_were() -> None:
    results = [
        BoardResult({"scores": np.full((1, 5), run, np.int8)}, 0.1, True) for run in range(3)
    ]
    together = stacked(results)["scores"]
    assert together.shape == (3, 5)
    assert together[:, 0].tolist() == [0, 1, 2]
    assert stacked(results[:1])["scores"].shape == (1, 5)


def test_board_with_another_model_than_the_package_is_refused() -> None:
    check_model(MODEL, facts())
    with pytest.raises(DeviceError, match="vww"):
        check_model(MODEL, facts(name="vww"))
    with pytest.raises(DeviceError, match="other inputs"):
        check_model(MODEL, facts(shape=(1, 4, 4)))
