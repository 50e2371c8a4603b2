"""What all tests share: outside assets, and the summary of what was skipped and why."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

Find = Callable[[str], Path]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also what compiles or runs long")
    parser.addoption("--port", default=None, help="serial port of a real board")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    full = config.getoption("--full")
    for item in items:
        if item.get_closest_marker("full") and not full:
            item.add_marker(pytest.mark.skip(reason="needs --full"))
        if item.get_closest_marker("hardware") and not config.getoption("--port"):
            item.add_marker(pytest.mark.skip(reason="needs --port"))


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder of outside models and data; skips where ``EDGEKIT_ASSETS`` is not set.

    Where it is set, whatever is missing below it fails the test that needs it.
    """
    folder = os.environ.get("EDGEKIT_ASSETS")
    if not folder:
        pytest.skip("EDGEKIT_ASSETS is not set")
    path = Path(folder)
    assert path.is_dir(), f"EDGEKIT_ASSETS names no folder: {path}"
    return path


@pytest.fixture(scope="session")
def asset(assets: Path) -> Find:
    """Return a function that finds a file or folder of the assets (missing: the test fails)."""

    def find(name: str) -> Path:
        path = assets / name
        assert path.exists(), f"asset {name} is missing under EDGEKIT_ASSETS"
        return path

    return find


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason.removeprefix("Skipped: ")] += 1
    terminalreporter.write_line(f"{sum(reasons.values())} tests were not run")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"  {count:4d}  {reason}")
