"""Runs TensorFlow Lite Micro, in a process of its own because some models abort it.

Started as ``python tflm_child.py FOLDER``: for each ``NAME.tflite`` there, in order of name, runs
it on the inputs of ``NAME.in.npz`` (``RUN_INPUT``, for instance ``0_0``) one run after the other
without resetting states, and writes ``NAME.out.npz`` with the outputs, or ``NAME.error``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tflite_micro import runtime

ARENA_BYTES = 16 * 2**20


def run(model: Path) -> None:
    given = dict(np.load(model.with_suffix(".in.npz")))
    interpreter = runtime.Interpreter.from_file(str(model), arena_size=ARENA_BYTES)
    runs = 1 + max(int(name.split("_")[0]) for name in given)
    outputs = {}
    for index in range(runs):
        place = 0
        while f"{index}_{place}" in given:
            interpreter.set_input(given[f"{index}_{place}"], place)
            place += 1
        interpreter.invoke()
        place = 0
        while True:
            try:
                outputs[f"{index}_{place}"] = interpreter.get_output(place)
            except (IndexError, RuntimeError):
                break
            place += 1
    np.savez(model.with_suffix(".out.npz"), **outputs)


def main() -> None:
    for model in sorted(Path(sys.argv[1]).glob("*.tflite")):
        if model.with_suffix(".out.npz").exists() or model.with_suffix(".error").exists():
            continue
        # Stands until the outputs are there, so that an abort leaves its reason.
        model.with_suffix(".error").write_text("aborted the process")
        try:
            run(model)
        except (RuntimeError, ValueError) as error:
            model.with_suffix(".error").write_text(str(error) or type(error).__name__)
            continue
        model.with_suffix(".error").unlink()


if __name__ == "__main__":
    main()
