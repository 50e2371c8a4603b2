"""What tests with boards share: a package for the board that QEMU has, and the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.cli.main import run
from edgekit.deploy.toolchain import find_toolchain
from edgekit.dtypes import Array
from edgekit.emulators.qemu_board import has_qemu
from edgekit.ops.evaluate import evaluate
from edgekit.package import Package, open_package
from edgekit.pipeline.convert import convert

Edgekit = Callable[..., tuple[int, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class KeywordSpotter:
    """The keyword spotter of MLPerf Tiny for an STM32F405, and what it must answer."""

    package: Package
    samples: Array
    expected: Array

    @property
    def input(self) -> str:
        return self.package.manifest.model.inputs[0].name

    @property
    def output(self) -> str:
        return self.package.manifest.model.outputs[0].name

    def save_samples(self, path: Path) -> Path:
        np.savez(path, **{self.input: self.samples})
        return path


@pytest.fixture(scope="session")
def keyword_spotter(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> KeywordSpotter:
    if not has_qemu() or find_toolchain() is None:
        pytest.skip("no qemu-system-arm or cross compiler")
    folder = tmp_path_factory.mktemp("package") / "kws.edgekit"
    model = assets / "mcu/mlperf_tiny/kws/kws_ref_model.tflite"
    convert(model, device="stm32f405", out=str(folder))
    package = open_package(folder)
    graph = package.graph()
    name = graph.inputs[0]
    draw = np.random.default_rng(1)
    samples = draw.integers(-128, 128, (100, *graph.tensors[name].static_shape[1:])).astype(np.int8)
    rows = [evaluate(graph, {name: samples[i : i + 1]}, {})[graph.outputs[0]] for i in range(100)]
    return KeywordSpotter(package, samples, np.concatenate(rows))


@pytest.fixture
def edgekit(capfd: pytest.CaptureFixture[str]) -> Edgekit:
    """Return a function that runs a command line and gives back exit code and JSON answer."""

    def command(*arguments: object) -> tuple[int, dict[str, Any]]:
        capfd.readouterr()
        code = run([str(argument) for argument in (*arguments, "--json")])
        return code, json.loads(capfd.readouterr().out)

    return command
