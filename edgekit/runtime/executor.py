"""What an executor is: it loads a package and gives something that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from edgekit.dtypes import Array
from edgekit.package import Package
from edgekit.runtime.trace import Event, RunResult


class Runner(Protocol):
    """A loaded model. Inputs have been checked before they come here."""

    def run(self, inputs: Mapping[str, Array]) -> RunResult:
        """Run once."""
        ...

    def profile(self, inputs: Mapping[str, Array]) -> tuple[Event, ...]:
        """Run once, with the time of each layer."""
        ...

    def reset_state(self) -> None:
        """Set recurrent states to their initial values."""
        ...

    def close(self) -> None:
        """Free what the runner holds; it cannot run any more."""
        ...


class Executor(Protocol):
    """Loads packages."""

    @property
    def name(self) -> str:
        """As in ``Plan.executor``."""
        ...

    def load(self, package: Package, *, threads: int = 1) -> Runner:
        """Load a package.

        Raises
        ------
        PackageError
            If the package does not carry what this executor needs, or it is damaged.
        MissingDependencyError
            If the library that runs it is not installed.
        """
        ...
