"""The app in C: converted, compiled and run as its README says, beside the same model in Python."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgekit.pipeline.convert import convert
from edgekit.runtime.session import load

APP = Path(__file__).resolve().parents[2] / "apps" / "embed_c"

pytestmark = pytest.mark.skipif(
    shutil.which("make") is None or shutil.which("cc") is None, reason="make or cc is missing"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app beside the package of the keyword spotter that ships, compiled."""
    place = tmp_path_factory.mktemp("embed")
    convert(device="stm32l4r5", out=str(place / "spotter.edgekit"))
    shutil.copytree(APP, place / "app")
    done = run(place, "make", "PACKAGE=../spotter.edgekit", "CFLAGS=-O1 -Wall -Wextra -Werror")
    assert done.returncode == 0, done.stderr
    return place


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder / "app", capture_output=True, text=True, check=False, timeout=120
    )


def test_scores_are_those_of_python(folder: Path) -> None:
    features = np.random.default_rng(5).normal(size=(1, 1, 49, 10)).astype(np.float32)
    features.tofile(folder / "app" / "input.bin")
    done = run(folder, "./classify", "input.bin")
    assert done.returncode == 0, done.stderr
    scores_line, class_line = done.stdout.splitlines()
    with load(folder / "spotter.edgekit") as session:
        expected = session.run({"features": features}).outputs["scores"][0]
    scores = [float(word) for word in scores_line.split()]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert class_line == f"class {int(np.argmax(expected))}"


@pytest.mark.parametrize(
    ("size_bytes", "message"), [(100, "shorter"), (5000, "longer"), (0, "shorter")]
)
def test_an_input_of_another_size_is_refused(folder: Path, size_bytes: int, message: str) -> None:
    (folder / "app" / "wrong.bin").write_bytes(bytes(size_bytes))
    done = run(folder, "./classify", "wrong.bin")
    assert done.returncode == 1
    assert message in done.stderr
