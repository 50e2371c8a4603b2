"""Calibration: the range of every float activation of a graph, from runs of the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from edgekit.converters.calibration.observers import Observer, Range, observer_of
from edgekit.dtypes import Array
from edgekit.errors import CalibrationError
from edgekit.graph import Graph
from edgekit.ops.evaluate import evaluate

Tracer = Callable[[Graph, Mapping[str, Array], Callable[[str, Array], None]], object]
"""Runs a graph on one batch and shows each input and computed tensor by name."""


def trace_reference(
    graph: Graph, batch: Mapping[str, Array], observe: Callable[[str, Array], None]
) -> None:
    """Run a graph on the reference executor and show every tensor."""
    evaluate(graph, batch, observe=observe)


class RangeCollector:
    """One observer for each float tensor, fed tensor by tensor.

    Parameters
    ----------
    observer : {'min-max', 'percentile', 'entropy', 'mse'}
    """

    def __init__(self, observer: str) -> None:
        self._observer_name = observer
        self._observers: dict[str, Observer] = {}
        observer_of(observer)  # an unknown name fails here, before anything runs

    def observe(self, name: str, array: Array) -> None:
        """Take one tensor of one run into account; integer tensors are passed over.

        Raises
        ------
        CalibrationError
            If a value is not finite: the tensor is named.
        """
        if array.dtype.kind != "f" or array.size == 0:
            return
        if name not in self._observers:
            self._observers[name] = observer_of(self._observer_name)
        try:
            self._observers[name].update(array)
        except CalibrationError as error:
            raise CalibrationError(f"tensor {name}: {error} during calibration") from error

    def ranges(self) -> dict[str, Range]:
        """Return the range of each tensor that was seen."""
        return {name: observer.range() for name, observer in self._observers.items()}


def calibrate(
    graph: Graph,
    batches: Iterable[Mapping[str, Array]],
    *,
    observer: str = "mse",
    trace: Tracer = trace_reference,
) -> dict[str, Range]:
    """Return the range of every float tensor that ``graph`` computes or takes.

    Parameters
    ----------
    graph : Graph
        In floating point.
    batches : iterable of mapping
        Inputs of one run each; 10 to 300 typical ones are enough.
    observer : {'min-max', 'percentile', 'entropy', 'mse'}
    trace : callable
        Runs the graph and shows every tensor.

    Returns
    -------
    dict of tensor name to Range

    Raises
    ------
    CalibrationError
        If there is no batch, or a tensor takes a value that is not finite.
    UsageError
        If the observer is unknown.
    """
    collector = RangeCollector(observer)
    count = 0
    for batch in batches:
        count += 1
        trace(graph, batch, collector.observe)
    if count == 0:
        raise CalibrationError("the calibration data holds no sample")
    return collector.ranges()
