"""What a conversion is asked for, and what a route to an executor gives back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from edgekit.converters.calibration.data import calibration_batches
from edgekit.converters.quantization.fallback import Accuracy, Gate
from edgekit.converters.quantization.report import LayerError, culprits
from edgekit.converters.recipes import Recipe
from edgekit.cost.work import Precision
from edgekit.dtypes import Array
from edgekit.graph import Graph
from edgekit.package_files import Source
from edgekit.pipeline.labelled import labelled_accuracy
from edgekit.pipeline.source import SourceModel
from edgekit.planner import ExecutorMemory
from edgekit.profiles import DeviceProfile

AUTO_GATE = Gate(min_sqnr_db=12.0)
"""What ``precision: auto`` demands where no gate is given: 12 dB is a cosine of about 0.97."""

CULPRIT_DB = 30.0
"""A layer that alone leaves less than this at the output is worth a look."""


@dataclass(frozen=True)
class Job:
    """One conversion.

    Parameters
    ----------
    recipe : Recipe
    source : SourceModel
    graph : Graph
        The simplified source graph; named dimensions stay.
    bound : Graph
        The same with every dimension a number, as the plan assumes them.
    profile : DeviceProfile
    calibration : object
        Data in one of the accepted forms, None where there is none.
    """

    recipe: Recipe
    source: SourceModel
    graph: Graph
    bound: Graph
    profile: DeviceProfile
    calibration: object

    @cached_property
    def batches(self) -> list[dict[str, Array]]:
        """Calibration inputs; empty where there is no calibration data."""
        if self.calibration is None:
            return []
        limit = self.recipe.calibration_limit
        found: Iterator[dict[str, Array]] = calibration_batches(
            self.calibration, self.graph, limit=limit, preprocessing=self.recipe.preprocessing
        )
        return list(found)

    @cached_property
    def accuracy(self) -> Accuracy | None:
        """Accuracy on labelled data; None where there is none."""
        path = self.recipe.labelled or self.source.labelled
        if not path:
            return None
        return labelled_accuracy(Path(path), self.graph, limit=self.recipe.calibration_limit)

    @property
    def gate(self) -> Gate:
        """The accuracy gate of the recipe; ``auto`` without one keeps to ``AUTO_GATE``."""
        gate = Gate(self.recipe.min_sqnr_db, self.recipe.max_accuracy_drop)
        return AUTO_GATE if gate == Gate() and self.recipe.precision == "auto" else gate


@dataclass(frozen=True, slots=True)
class Product:
    """What goes to the device.

    Parameters
    ----------
    executor : str
    graph : Graph
        What the plan is of, with static shapes.
    model_file : bytes or Path, optional
        For executors with a format of their own.
    reach : str
        Placement takes only processors that this executor reaches; empty for all.
    cost_precision : str or None
        What the cost model takes float tensors of ``graph`` for; None for the graph as it is.
    accuracy : mapping
        Plain JSON values for the manifest; ``precision`` is one of them.
    executor_memory : ExecutorMemory, optional
    notes : tuple of str
        Sentences for the user.
    streamed : tuple of str
        Inputs that are handed over part by part.
    """

    executor: str
    graph: Graph
    model_file: Source | None = None
    reach: str = ""
    cost_precision: Precision | None = None
    accuracy: Mapping[str, Any] = field(default_factory=dict)
    executor_memory: ExecutorMemory | None = None
    notes: tuple[str, ...] = ()
    streamed: tuple[str, ...] = ()


def layer_errors(report: tuple[LayerError, ...]) -> list[dict[str, Any]]:
    """Return a per-layer report as plain values, the culprits marked."""
    loud = [error for error in culprits(report) if error.output_sqnr_db < CULPRIT_DB]
    blamed = {error.layer for error in loud[:3]}
    return [
        {
            "node": error.layer,
            "op": error.op,
            "sqnr_db": error.sqnr_db,
            "own_sqnr_db": error.own_sqnr_db,
            "output_sqnr_db": error.output_sqnr_db,
            "culprit": error.layer in blamed,
        }
        for error in report
    ]
