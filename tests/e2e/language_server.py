"""``edgekit serve`` in a process of its own, for tests that talk to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Server:
    """A server that listens."""

    process: subprocess.Popen[str]
    address: str
    model: str

    def health(self) -> dict[str, Any]:
        """What runs and what waits."""
        with urllib.request.urlopen(f"{self.address}/health", timeout=10) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def wait_until(self, **state: int) -> None:
        """Wait until the numbers of ``/health`` are as given."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found = self.health()
            if all(found[name] == value for name, value in state.items()):
                return
            time.sleep(0.02)
        raise AssertionError(f"the server is at {self.health()}, not at {state}")


@contextmanager
def serving(model: Path, *options: str) -> Iterator[Server]:
    """Start ``edgekit serve`` on a free port and end it afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit", "serve", str(model), "--port", "0", "--json", *options],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        text=True,
    )
    try:
        assert process.stdout is not None
        text = ""
        while "}" not in text:
            line = process.stdout.readline()
            assert line, "the server ended before it listened"
            text += line
        answer = json.loads(text)
        yield Server(process, answer["address"], answer["model"])
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
