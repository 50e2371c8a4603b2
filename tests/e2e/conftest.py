"""The command line in a child process, and packages that several tests look at."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.zoo import default_model


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        answer: dict[str, Any] = json.loads(self.out)
        return answer


Edgekit = Callable[..., Answer]


def run_edgekit(*arguments: object, cwd: Path | None = None, **environment: str) -> Answer:
    """Run ``edgekit`` as a user would."""
    import os

    done = subprocess.run(
        [sys.executable, "-m", "edgekit", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def edgekit() -> Edgekit:
    return run_edgekit


@pytest.fixture(scope="session")
def phone_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The keyword spotter, converted for a phone."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("phone") / "keywords.pixel8.edgekit"
    answer = run_edgekit("convert", "--device", "pixel8", "--out", folder, "--quiet")
    assert answer.code == 0, answer.err
    return folder


@pytest.fixture(scope="session")
def board_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The keyword spotter, converted for a microcontroller."""
    folder = tmp_path_factory.mktemp("board") / "keywords.nano33ble.edgekit"
    answer = run_edgekit("convert", "--device", "nano33ble", "--out", folder, "--quiet")
    assert answer.code == 0, answer.err
    return folder


@pytest.fixture(scope="session")
def one_input(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One held-back sample of the keyword spotter."""
    arrays, _ = default_model().load_test()
    path = tmp_path_factory.mktemp("input") / "input.npz"
    np.savez(path, **{name: array[:1] for name, array in arrays.items()})  # type: ignore[arg-type]
    return path
