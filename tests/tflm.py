"""TensorFlow Lite Micro as an oracle: its interpreter in a child process, one answer a model."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.dtypes import Array

CHILD = Path(__file__).with_name("kernels") / "tflm_child.py"


@dataclass(frozen=True, slots=True)
class Answer:
    """What TensorFlow Lite Micro made of one model: outputs by ``RUN_OUTPUT``, or an error."""

    outputs: dict[str, Array]
    error: str = ""


def ask_tflm(folder: Path) -> dict[str, Answer]:
    """Run every model of a folder; restart the child after a model that aborts it."""
    names = sorted(path.stem for path in folder.glob("*.tflite"))
    for _ in names:
        child = subprocess.run(
            [sys.executable, str(CHILD), str(folder)],
            capture_output=True,
            timeout=1200,
            check=False,
        )
        if child.returncode == 0:
            break
    answers = {}
    for name in names:
        error = folder / f"{name}.error"
        if error.exists():
            answers[name] = Answer({}, error.read_text())
        else:
            answers[name] = Answer(dict(np.load(folder / f"{name}.out.npz")))
    return answers


def tflm_outputs(path: Path, runs: Sequence[Mapping[str, Array]], folder: Path) -> list[bytes]:
    """Return the bytes of all outputs of each run, one after the other with state kept between.

    Parameters
    ----------
    path : Path
        Of the ``.tflite`` file.
    runs : sequence of mapping of name to array
        In the order of the model's inputs.
    folder : Path
        Empty; for files.
    """
    shutil.copyfile(path, folder / "model.tflite")
    given = {
        f"{index}_{place}": array
        for index, inputs in enumerate(runs)
        for place, array in enumerate(inputs.values())
    }
    np.savez(folder / "model.in.npz", **given)
    answer = ask_tflm(folder)["model"]
    assert not answer.error
    places = len(answer.outputs) // len(runs)
    return [
        b"".join(answer.outputs[f"{run}_{place}"].tobytes() for place in range(places))
        for run in range(len(runs))
    ]
