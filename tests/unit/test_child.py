"""Interpreters in child processes: results come back, and a death there is an error here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekit.errors import ExecutionError, MissingDependencyError
from edgekit.runtime import child, tflite_interpreters
from edgekit.runtime.child import ArrayMessage, ChildInterpreter

KWS = "mcu/mlperf_tiny/kws/kws_ref_model.tflite"


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_arrays_cross_unchanged(shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape)), dtype=np.int16).reshape(shape)
    packed = msgspec.msgpack.encode(ArrayMessage.of(array))
    unpacked = msgspec.msgpack.decode(packed, type=ArrayMessage).array()
    assert unpacked.dtype == array.dtype
    np.testing.assert_array_equal(unpacked, array)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    with pytest.raises(ExecutionError, match="litert"):
        ChildInterpreter("litert", tmp_path / "nothing.tflite")


def test_an_unknown_interpreter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match="there is no interpreter abacus"):
        ChildInterpreter("abacus", tmp_path / "x.tflite")


def test_a_child_that_dies_is_an_error_that_names_the_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"import os; os.kill(os.getpid(), {int(signal.SIGABRT)})"
    with_program(monkeypatch, code)
    with pytest.raises(ExecutionError, match="killed by SIGABRT") as caught:
        ChildInterpreter("litert", tmp_path / "x.tflite")
    assert caught.value.status == -signal.SIGABRT


def test_a_child_that_exits_says_what_it_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_program(monkeypatch, "import sys; sys.exit('cannot go on')")
    with pytest.raises(ExecutionError, match="exit code 1"):
        ChildInterpreter("litert", tmp_path / "x.tflite")


def test_a_child_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_program(monkeypatch, "import time; time.sleep(600)")
    with pytest.raises(ExecutionError, match=r"within 0\.2 s"):
        ChildInterpreter("litert", tmp_path / "x.tflite", timeout_s=0.2)


def with_program(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Start another program instead of the interpreter's."""
    start = subprocess.Popen
    monkeypatch.setattr(
        child.subprocess, "Popen", lambda _, **rest: start([sys.executable, "-c", code], **rest)
    )


@pytest.mark.parametrize(
    ("version", "works"), [("1.26.4", True), ("2.0.0", False), ("2.4.6", False)]
)
def test_tflite_runtime_is_checked_before_it_is_imported(version: str, works: bool) -> None:
    if works:
        tflite_interpreters.check_tflite_runtime_numpy(version)
    else:
        with pytest.raises(MissingDependencyError, match=version):
            tflite_interpreters.check_tflite_runtime_numpy(version)
    assert "tflite_runtime" not in sys.modules


@pytest.mark.parametrize(
    ("installed", "chosen"),
    [
        ({"ai-edge-litert": "2.3.0", "numpy": "2.4.6"}, "litert"),
        ({"tflite-runtime": "2.14.0", "numpy": "1.26.4"}, "tflite_runtime"),
        ({"tflite-runtime": "2.14.0", "numpy": "2.4.6"}, None),
        ({"numpy": "2.4.6"}, None),
    ],
)
def test_the_usable_interpreter_is_chosen_from_what_is_installed(
    installed: dict[str, str], chosen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tflite_interpreters, "installed_version", installed.get)
    if chosen:
        assert tflite_interpreters.usable_interpreter() == chosen
    else:
        with pytest.raises(MissingDependencyError, match="edgekit\\[tflite\\]"):
            tflite_interpreters.usable_interpreter()


def test_litert_runs_a_model_and_closes(assets: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    with ChildInterpreter("litert", assets / KWS) as interpreter:
        (tensor,) = interpreter.inputs
        assert (tensor.shape, tensor.dtype) == ((1, 49, 10, 1), "int8")
        first, seconds = interpreter.run([np.zeros(tensor.shape, np.int8)])
        second, _ = interpreter.run([np.zeros(tensor.shape, np.int8)])
        pid = interpreter.process_id
    np.testing.assert_array_equal(first[0], second[0])
    assert seconds > 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
