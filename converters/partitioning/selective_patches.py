"""Patches in two precisions: few bits where values are ordinary, eight where they are not.

Two graphs describe the same network: ``low``, some of whose activations have four or two bits and
a clipped range, and ``high``, all in eight bits. Every patch of the first layers is computed as in
``low``, unless it holds outliers, values that the clipped range would lose: then it is computed as
in ``high``. Which of the two is decided

- at run time (:class:`Choice` with a test): the first map of the patch is computed in few bits, and
  the elements at the ends of its range are counted. Where they are too many, the patch is computed
  again from the input, otherwise from this map on.
- or once (:class:`Choice` with ``always``): certain positions are always of one kind.

``high`` runs on smaller tiles, one after the other, so that its maps need no more memory than those
of ``low``. The output of the stage has eight bits in both. The result is an ordinary graph: a patch
is pasted if its flag says so (:mod:`edgekit.ops.paste`), computing both cases defines the result,
and :mod:`edgekit.selects` finds what need not run.

Source: "Value-Driven Mixed-Precision Quantization for Patch-Based Inference on Microcontrollers"
(QuantMCU), DATE 2024, section on value-driven patch classification. Testing the first map instead
of the input image, and tiles for the patches of high precision, are this project's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edgekit.converters.partitioning.patch_builder import (
    Guard,
    PatchBuilder,
    own_needs,
    parts_of,
)
from edgekit.converters.partitioning.patches import PatchGrid, stage_length
from edgekit.converters.partitioning.receptive_fields import Region
from edgekit.dtypes import DType
from edgekit.errors import UsageError
from edgekit.graph import Attr, Graph, Node, Tensor, TensorKind


@dataclass(frozen=True, slots=True)
class Choice:
    """Which patches are computed in high precision, and how.

    Parameters
    ----------
    tiles : (int, int)
        Rows and columns into which a patch of high precision is cut.
    tested : str
        Tensor of the stage whose stored values are tested, in the graph of few bits.
    low, high : int
        Stored values that are kept, both inclusive; others are at an end of the range.
    most_share : float
        Share of the elements that may lie outside; a patch with more is an outlier patch.
    always : frozenset of int, optional
        Positions, row by row, that are always of high precision, all others never; no test then.
    """

    tiles: tuple[int, int] = (1, 1)
    tested: str = ""
    low: int = -128
    high: int = 127
    most_share: float = 0.0
    always: frozenset[int] | None = None


def split_selectively(high: Graph, low: Graph, grid: PatchGrid, choice: Choice) -> Graph:
    """Return a graph whose first layers run patch by patch, each patch as in one of two graphs.

    Behind the patch stage the graph is that of few bits.

    Parameters
    ----------
    high, low : Graph
        The same nodes; static shapes, channels last, in the order in which they run. Input and
        output of the stage have one type and quantization.
    grid : PatchGrid
        Without kept rows.
    choice : Choice

    Raises
    ------
    UsageError
        If the graphs are not two forms of one network, or the grid or choice does not fit it, or
        a patch does not compute the map that is tested.
    UnsupportedOpError
        If a layer of the stage cannot be computed in these parts.
    """
    count = stage_length(low, grid)
    for problem in _problems(high, low, count, grid, choice):
        raise UsageError(problem)
    apart = _with_own_constants(high, low)
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    maker = _Maker(
        PatchBuilder(low, low.nodes[:count], grid.streamed, nodes, tensors),
        PatchBuilder(apart, apart.nodes[:count], grid.streamed, nodes, tensors),
        choice,
    )
    maker.make(grid.rows, grid.columns)
    made = {**{tensor.name: tensor for tensor in apart.constants()}, **tensors}
    new = [tensor for name, tensor in made.items() if name not in low.tensors or name in tensors]
    return low.replace(nodes=(*nodes, *low.nodes[count:]), tensors=new)


@dataclass(slots=True)
class _Maker:
    """Makes the patches of both precisions; they share a canvas."""

    low: PatchBuilder
    high: PatchBuilder
    choice: Choice
    canvas: str = ""
    pastes_left: int = field(default=0)

    @property
    def output(self) -> Tensor:
        return self.low.graph.tensors[self.low.stage[-1].outputs[0]]

    def make(self, rows: int, columns: int) -> None:
        parts = parts_of(Region.whole(self.output), rows, columns)
        for index, part in enumerate(parts):
            self.pastes_left += len(self._tiles(part)) if self._may_be(1, index) else 0
            self.pastes_left += self._may_be(0, index)
        if self.choice.always is None:
            self._blank()
        for index, part in enumerate(parts):
            flag = self._ordinary(index, part) if self._may_be(0, index) else ""
            if self._may_be(1, index):
                self._outlier(index, part, (flag, 1) if flag else None)

    def _may_be(self, precision: int, index: int) -> bool:
        always = self.choice.always
        return always is None or (index in always) == bool(precision)

    def _tiles(self, part: Region) -> list[Region]:
        rows, columns = self.choice.tiles
        return parts_of(part, min(rows, part.height), min(columns, part.width))

    def _ordinary(self, index: int, part: Region) -> str:
        """Add a patch of few bits; return the flag that says whether it holds outliers."""
        begin = len(self.low.nodes)
        self._patch(self.low, str(index), part)
        flag = self._test(index, begin) if self.choice.always is None else ""
        self._paste(self.low, str(index), part, (flag, 0) if flag else None)
        return flag

    def _outlier(self, index: int, part: Region, guard: Guard | None) -> None:
        """Add a patch of eight bits, tile by tile."""
        for number, tile in enumerate(self._tiles(part)):
            label = f"{index}.{number}"
            self._patch(self.high, label, tile)
            self._paste(self.high, label, tile, guard)

    def _patch(self, build: PatchBuilder, label: str, part: Region) -> None:
        build.patch(label, own_needs(build.graph, build.stage, [part])[0])

    def _paste(self, build: PatchBuilder, label: str, part: Region, guard: Guard | None) -> None:
        self.pastes_left -= 1
        name = self.output.name
        target = f"{name}@to{label}" if self.pastes_left else name
        build.paste(label, part, target, self.canvas, guard)
        self.canvas = target

    def _blank(self) -> None:
        last, output = self.low.stage[-1], self.output
        self.canvas = f"{output.name}@blank"
        self.low.tensors[self.canvas] = replace(
            output, name=self.canvas, kind=TensorKind.ACTIVATION
        )
        attrs: dict[str, Attr] = {"shape": output.static_shape}
        node = Node(f"{last.name}@blank", "blank", (), (self.canvas,), attrs, last.where)
        self.low.nodes.append(node)

    def _test(self, index: int, begin: int) -> str:
        """Test the first map as soon as it is there: what comes before serves both cases."""
        choice, nodes = self.choice, self.low.nodes
        tested = f"{choice.tested}@{index}"
        flag = f"{choice.tested}@outlier{index}"
        places = [i + 1 for i in range(begin, len(nodes)) if tested in nodes[i].outputs]
        if not places:
            raise UsageError(f"{choice.tested} is not computed in patch {index}: test another map")
        # A whole number of elements: a share that is one of them to the last bit counts as it.
        most = int(choice.most_share * self.low.tensors[tested].elements + 1e-6)
        attrs: dict[str, Attr] = {"low": choice.low, "high": choice.high, "most": most}
        self.low.tensors[flag] = Tensor(flag, (1,), DType.UINT8, TensorKind.ACTIVATION)
        name = f"test {choice.tested}@{index}"
        where = f"outliers of {choice.tested}"
        nodes.insert(places[0], Node(name, "outlier_test", (tested,), (flag,), attrs, where))
        return flag


def _problems(
    high: Graph, low: Graph, count: int, grid: PatchGrid, choice: Choice
) -> Iterator[str]:
    ours, others = _names(low.nodes[:count]), _names(high.nodes[:count])
    if ours != others or high.inputs != low.inputs:
        yield "the two graphs of a choice are not the same network"
        return
    for name in (low.inputs[0], low.nodes[count - 1].outputs[0]):
        one, other = low.tensors[name], high.tensors[name]
        first, second = one.quantization, other.quantization
        same = second is None if first is None else first.same_as(second)
        if (one.shape, one.dtype) != (other.shape, other.dtype) or not same:
            yield f"{name} has not one type and quantization in both graphs of a choice"
    if grid.cached:
        yield "rows are kept between patches of one precision, not between those of two"
    if min(choice.tiles) < 1:
        yield f"a patch is cut into {choice.tiles[0]} x {choice.tiles[1]} tiles; at least 1 x 1"
    stage = {name for node in low.nodes[:count] for name in node.outputs}
    if choice.always is None and choice.tested not in stage:
        yield f"{choice.tested or 'no tensor'} is not computed in the patch stage"
    if choice.always is not None and not choice.always <= set(range(grid.rows * grid.columns)):
        yield f"{grid.text} patches have no position {max(choice.always)}"
    if not 0 <= choice.most_share <= 1:
        yield f"a share of {choice.most_share} elements cannot lie outside; from 0 to 1"


def _names(nodes: Sequence[Node]) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    return [(node.name, node.op, node.inputs, node.outputs) for node in nodes]


def _with_own_constants(high: Graph, low: Graph) -> Graph:
    """Return ``high`` with the constants renamed that differ from those of ``low``."""
    renamed: dict[str, str] = {}
    tensors: list[Tensor] = []
    for tensor in high.constants():
        other = low.tensors.get(tensor.name)
        if other is not None and _is_same_constant(tensor, other):
            continue
        renamed[tensor.name] = f"{tensor.name}@high"
        tensors.append(replace(tensor, name=renamed[tensor.name]))
    nodes = [
        replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs))
        for node in high.nodes
    ]
    return high.replace(nodes=nodes, tensors=tensors)


def _is_same_constant(one: Tensor, other: Tensor) -> bool:
    if not other.is_constant or (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    first, second = one.quantization, other.quantization
    same = second is None if first is None else first.same_as(second)
    return same and (one.data is other.data or np.array_equal(one.data, other.data))
