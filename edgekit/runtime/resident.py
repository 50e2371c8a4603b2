"""Measures by how much resident memory grows when a process loads and runs an ONNX model.

In a fresh child process: numpy and onnxruntime are imported, the kernel's high-water mark is reset,
and VmRSS is read. Then the inputs are read, the session is created with the options that packages
run under, and the model runs three times. The growth is VmHWM (the high-water mark) at the end less
that VmRSS.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgekit.dtypes import Array
from edgekit.errors import ExecutionError

_RUNS = 3
_TIMEOUT_S = 300.0
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def measure_growth_bytes(model: Path, inputs: Mapping[str, Array]) -> int:
    """Return the measured growth of resident memory in bytes.

    Parameters
    ----------
    model : Path
        An ONNX file.
    inputs : mapping of name to array

    Raises
    ------
    ExecutionError
        If the child fails, or the system does not tell (only Linux does).
    """
    if not _CLEAR_REFS.exists():
        raise ExecutionError("resident memory can be measured on Linux only")
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "inputs.npz"
        np.savez(arrays, allow_pickle=False, **dict(inputs))
        search_path = os.pathsep.join(path for path in sys.path if path)
        done = subprocess.run(
            [sys.executable, "-m", "edgekit.runtime.resident", str(model), str(arrays)],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            env={**os.environ, "PYTHONPATH": search_path},
            check=False,
        )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ExecutionError(f"measuring {model} failed: {last}")
    growth: int = json.loads(done.stdout)["growth_bytes"]
    return growth


def main(model: str, arrays: str) -> None:
    """Run the measurement in this process and print it as JSON."""
    import zipfile

    import onnxruntime

    from edgekit.runtime.onnxruntime_executor import open_session

    del zipfile, onnxruntime  # imported here so that their pages do not count
    _CLEAR_REFS.write_text("5")
    before = _status_bytes("VmRSS")
    with np.load(arrays, allow_pickle=False) as file:
        inputs = {name: file[name] for name in file.files}
    session = open_session(Path(model))
    for _ in range(_RUNS):
        session.run(None, inputs)
    print(json.dumps({"growth_bytes": _status_bytes("VmHWM") - before}))


def _status_bytes(key: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise ExecutionError(f"{_STATUS} has no {key}")


if __name__ == "__main__":
    main(*sys.argv[1:])
