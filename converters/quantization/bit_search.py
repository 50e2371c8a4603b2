"""Value-driven search for bit widths: entropy lost against bit operations saved.

Each group of activations i that shares a quantization gets the width b of the greatest score

    S(i, b) = -lambda * Omega(i, b) + (1 - lambda) * Phi(i, b)

- ``Omega(i, b) = 4**-H(i, b) - 4**-H(i, 8)``, with the entropy H in bits of the stored values,
  mapped to b bits: a rate of H bits leaves a distortion of ``4**-H`` of the variance (6 dB a bit),
  so that the second bit lost costs more than the first;
- ``Phi(i, b)``: the bit operations saved in the layers that multiply it, as a share of what the
  group that can save most saves at 2 bits.

Both lie between 0 and 1, and S(i, 8) = 0: a group is narrowed where it is worth it. Under a memory
budget groups are narrowed further, always the one that loses least score, until the budget is met;
then those that turn out to be needless are taken back, the dearest first. Nothing is trained, no
accuracy is evaluated.

Source: the score is that of Tao et al., "Value-Driven Mixed-Precision Quantization for
Patch-Based Inference on Microcontrollers" (QuantMCU), DATE 2024; what could be read of it leaves
Omega, Phi and the iteration open.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from edgekit.converters.quantization.bit_widths import (
    WIDTHS,
    Width,
    WidthGroup,
    width_groups,
    with_bit_widths,
)
from edgekit.converters.quantization.histograms import (
    Histogram,
    clip_range,
    entropy_bits,
    narrowed,
)
from edgekit.cost.bit_operations import bit_operations, node_bit_operations
from edgekit.errors import CalibrationError, PlanError, UsageError
from edgekit.graph import Graph
from edgekit.ops import int8

WIDE = 8
"""Bits of an activation that is left as it is."""

PeakBytes = Callable[[Graph], int]
"""From a graph to the memory it needs."""


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """What a width of a group is worth.

    Parameters
    ----------
    group : str
        First tensor of the group.
    bits : int
    omega : float
        Distortion that the loss of entropy stands for, as a share of the variance, 0 to 1.
    phi : float
        Bit operations saved, as a share of the most that one group can save, 0 to 1.
    score : float
    width : tuple of (DType, Quantization)
        Element type and scale at this width.
    """

    group: str
    bits: int
    omega: float
    phi: float
    score: float
    width: Width


@dataclass(frozen=True, slots=True, eq=False)
class BitWidths:
    """The widths that a search chose.

    Parameters
    ----------
    widths : mapping of tensor name to (DType, Quantization)
        Of one tensor of each group that becomes narrower, as
        :func:`~edgekit.converters.quantization.bit_widths.with_bit_widths` takes them.
    bits : mapping of tensor name to int
        Width of every group, by its first tensor.
    scores : tuple of Score
        Everything that was weighed, group by group.
    lambda_ : float
    bit_operations : int
        Of the graph with these widths.
    peak_bytes : int or None
        Memory with these widths; None without a budget.
    """

    widths: Mapping[str, Width]
    bits: Mapping[str, int]
    scores: tuple[Score, ...]
    lambda_: float
    bit_operations: int
    peak_bytes: int | None


def search_bit_widths(
    graph: Graph,
    histograms: Mapping[str, Histogram],
    *,
    lambda_: float,
    allowed: Collection[str] | None = None,
    bits: Sequence[int] = (4, 2),
    mass: float | None = None,
    budget_bytes: int | None = None,
    peak_bytes: PeakBytes | None = None,
) -> BitWidths:
    """Return the width of every group of activations.

    Parameters
    ----------
    graph : Graph
        Quantized to int8, static shapes, channels last.
    histograms : mapping of tensor name to Histogram
        From :func:`~edgekit.converters.quantization.histograms.observe_histograms`.
    lambda_ : float
        0 to 1: how much entropy counts against bit operations.
    allowed : collection of str, optional
        Tensors that may become narrower; all that can be, without it. A group is narrowed where
        all of its tensors are allowed.
    bits : sequence of int
        Widths besides 8, the widest first.
    mass : float, optional
        As :func:`~edgekit.converters.quantization.histograms.clip_range` takes it.
    budget_bytes : int, optional
        Most that ``peak_bytes`` may return.
    peak_bytes : callable, optional
        Needed with a budget.

    Raises
    ------
    UsageError
        If ``lambda_`` is not between 0 and 1, a width is unknown, or there is a budget without
        ``peak_bytes``.
    CalibrationError
        If a tensor has no histogram.
    PlanError
        If the budget is not met with the narrowest widths: the message says what is reached.
    """
    _check(lambda_, bits, budget_bytes, peak_bytes)
    groups = [
        group
        for group in width_groups(graph)
        if group.can_narrow and (allowed is None or set(group.tensors) <= set(allowed))
    ]
    scores = _scores(graph, groups, histograms, lambda_, bits, mass)
    wanted = {
        group: max(rows, key=lambda row: (row.score, row.bits)) for group, rows in scores.items()
    }
    peak = None
    if budget_bytes is not None and peak_bytes is not None:
        budget = _Budget(graph, scores, budget_bytes, peak_bytes)
        wanted, peak = budget.met(wanted)
    return BitWidths(
        _widths(wanted),
        {group: row.bits for group, row in wanted.items()},
        tuple(row for rows in scores.values() for row in rows),
        lambda_,
        bit_operations(with_bit_widths(graph, _widths(wanted))),
        peak,
    )


def _check(
    lambda_: float, bits: Sequence[int], budget_bytes: int | None, peak_bytes: PeakBytes | None
) -> None:
    if not 0.0 <= lambda_ <= 1.0:
        raise UsageError(f"lambda is {lambda_:g}; it lies between 0 and 1")
    unknown = [width for width in bits if width not in WIDTHS or width == WIDE]
    if unknown or sorted(bits, reverse=True) != list(bits):
        raise UsageError(f"widths {list(bits)}: 4 and 2 bits are possible, the widest first")
    if budget_bytes is not None and peak_bytes is None:
        raise UsageError("a budget needs something that tells the peak of a graph")


_Scores = Mapping[str, Sequence[Score]]
"""Rows of each group, the widest first."""


def _scores(
    graph: Graph,
    groups: Sequence[WidthGroup],
    histograms: Mapping[str, Histogram],
    lambda_: float,
    bits: Sequence[int],
    mass: float | None,
) -> _Scores:
    shares = _multiplied(graph, groups)
    most = max(shares.values(), default=0) * (WIDE - min(WIDTHS)) or 1
    scores: dict[str, list[Score]] = {}
    for group in groups:
        first = group.tensors[0]
        tensor = graph.tensors[first]
        histogram = _merged(group, histograms)
        wide = int8.quantization_of(tensor)
        rows = [Score(first, WIDE, 0.0, 0.0, 0.0, (tensor.dtype, wide))]
        for width in (width for width in bits if width in group.narrow_bits):
            narrow = clip_range(histogram, tensor, width, mass)
            kept = entropy_bits(narrowed(histogram, wide, narrow, width))
            omega = max(4.0**-kept - 4.0**-histogram.entropy_bits, 0.0)
            phi = shares[first] * (WIDE - width) / most
            score = -lambda_ * omega + (1.0 - lambda_) * phi
            rows.append(Score(first, width, omega, phi, score, (WIDTHS[width], narrow)))
        scores[first] = rows
    return scores


def _multiplied(graph: Graph, groups: Sequence[WidthGroup]) -> dict[str, int]:
    """Return the bit operations that one bit of each group stands for."""
    by_node = node_bit_operations(graph)
    by_tensor: dict[str, int] = {}
    for node in graph.nodes:
        for name in node.inputs[:1]:
            by_tensor[name] = by_tensor.get(name, 0) + by_node.get(node.name, 0) // WIDE
    return {g.tensors[0]: sum(by_tensor.get(name, 0) for name in g.tensors) for g in groups}


def _merged(group: WidthGroup, histograms: Mapping[str, Histogram]) -> Histogram:
    missing = [name for name in group.tensors if name not in histograms]
    if missing:
        raise CalibrationError(f"tensor {missing[0]} has no histogram")
    total = histograms[group.tensors[0]]
    for name in group.tensors[1:]:
        total = total + histograms[name]
    return total


def _widths(chosen: Mapping[str, Score]) -> dict[str, Width]:
    return {group: row.width for group, row in chosen.items() if row.bits < WIDE}


class _Budget:
    """Narrows groups until a graph needs no more memory than it may."""

    def __init__(
        self, graph: Graph, scores: _Scores, budget_bytes: int, peak_bytes: PeakBytes
    ) -> None:
        self._graph = graph
        self._scores = scores
        self._budget_bytes = budget_bytes
        self._peak_bytes = peak_bytes

    def met(self, wanted: Mapping[str, Score]) -> tuple[dict[str, Score], int]:
        """Return widths that meet the budget, none of them narrower than needed or wanted."""
        chosen, peak = dict(wanted), self._peak(wanted)
        while peak > self._budget_bytes:
            steps = [row for group in chosen if (row := self._next(chosen[group], 1)) is not None]
            if not steps:
                raise PlanError(
                    f"with the narrowest widths {peak} bytes are reached, of a budget of "
                    f"{self._budget_bytes}: allow more tensors to be narrow, or more patches"
                )
            least = min(steps, key=lambda row: chosen[row.group].score - row.score)
            chosen[least.group] = least
            peak = self._peak(chosen)
        return self._taken_back(wanted, chosen, peak)

    def _taken_back(
        self, wanted: Mapping[str, Score], chosen: dict[str, Score], peak: int
    ) -> tuple[dict[str, Score], int]:
        dearest = sorted(chosen, key=lambda group: chosen[group].score - wanted[group].score)
        for group in dearest:
            while chosen[group].bits < wanted[group].bits:
                wider = self._next(chosen[group], -1)
                assert wider is not None  # there is the one that was wanted
                trial = {**chosen, group: wider}
                needed = self._peak(trial)
                if needed > self._budget_bytes:
                    break
                chosen, peak = trial, needed
        return chosen, peak

    def _next(self, row: Score, step: int) -> Score | None:
        rows = self._scores[row.group]
        index = [other.bits for other in rows].index(row.bits) + step
        return rows[index] if 0 <= index < len(rows) else None

    def _peak(self, chosen: Mapping[str, Score]) -> int:
        return self._peak_bytes(with_bit_widths(self._graph, _widths(chosen)))
