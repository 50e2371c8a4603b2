"""Evaluates while storage stalls (``stalled_storage.c`` is preloaded) and after it is back."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from edgekit.errors import ExecutionError
from edgekit.runtime.language.engine import open_model

TOKENS = [1, 2, 3, 4, 5]


def main(path: str) -> None:
    stall = Path(os.environ["STALL"])
    with open_model(path) as model:
        with model.load() as engine, engine.session() as session:
            expected = session.eval(TOKENS)
        limit = model.plan().minimum_bytes
        with model.load(memory_bytes=limit, storage_timeout_s=0.5) as engine:
            session = engine.session()
            session.eval(TOKENS[:2])
            stall.touch()
            try:
                for _ in range(8):
                    session.eval(TOKENS[2:])
                    session.truncate(2)
                print("no error")
            except ExecutionError as error:
                print(error)
            stall.unlink()
            session.truncate(0)
            print("equal" if np.array_equal(session.eval(TOKENS), expected) else "different")
            session.close()


if __name__ == "__main__":
    main(sys.argv[1])
