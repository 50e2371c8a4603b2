"""What each patch of a graph reads and writes, and with which precision it is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgekit.converters.passes.dead_nodes import remove_dead_nodes
from edgekit.dtypes import Array
from edgekit.graph import Graph, Node
from edgekit.ops.evaluate import evaluate
from edgekit.ops.spec import OpView
from edgekit.ops.windows import pair_attr
from edgekit.selects import guard_of


@dataclass(frozen=True, slots=True)
class Area:
    """A part of an image: its rows and columns, ``bottom`` and ``right`` exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    def joined(self, other: Area | None) -> Area:
        """Return the smallest area with both in it."""
        if other is None:
            return self
        return Area(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )

    @property
    def elements(self) -> int:
        """Pixels of the area."""
        return (self.bottom - self.top) * (self.right - self.left)


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch.

    Parameters
    ----------
    written : Area
        Of the output of the stage.
    read : Area or None
        Of the graph's input; None where it is handed to the layers as a whole.
    flag : str
        Tensor that says at run time whether the patch holds outliers; empty where nothing does.
    has_tiles : bool
        Whether it is cut again, as patches of 8 bits are where the others have fewer.
    """

    written: Area
    read: Area | None = None
    flag: str = ""
    has_tiles: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What the test of a patch finds in one input.

    Parameters
    ----------
    share : float
        Of the elements, those that are outliers.
    most_share : float
        A patch with more is computed with 8 bits.
    """

    share: float
    most_share: float

    @property
    def is_outlier(self) -> bool:
        """Whether the patch is computed with 8 bits."""
        return self.share > self.most_share


def patches_of(graph: Graph) -> list[Patch]:
    """Return the patches of a graph, row by row; none where its layers run whole."""
    found: dict[int, Patch] = {}
    for node in graph.nodes:
        if node.op != "paste":
            continue
        position, is_tile = _position(node.name.rpartition("@paste")[2])
        area = _written(graph, node)
        old = found.get(position, Patch(area))
        guard = guard_of(node)
        found[position] = replace(
            old,
            written=area.joined(old.written),
            flag=guard[0] if guard else old.flag,
            has_tiles=old.has_tiles or is_tile,
        )
    for position, area in _reads(graph):
        old = found[position]
        found[position] = replace(old, read=area.joined(old.read))
    return [found[position] for position in sorted(found)]


def row_axis(graph: Graph) -> int:
    """Return the axis of the rows of the input: 1, but 2 where its channels are first."""
    name = graph.inputs[0]
    while True:
        reader = next((node for node in graph.nodes if name in node.inputs), None)
        if reader is None or reader.op not in ("slice", "quantize"):
            return 2 if reader is not None and reader.op == "transpose" else 1
        name = reader.outputs[0]


def findings(
    graph: Graph, patches: Sequence[Patch], inputs: Mapping[str, Array]
) -> list[Finding | None]:
    """Return what the test of each patch finds, by computing what is tested and nothing else.

    Parameters
    ----------
    graph : Graph
        With the data of its constants.
    patches : sequence of Patch
        Of the graph.
    inputs : mapping of name to array

    Raises
    ------
    UsageError
        If an input is missing, unknown, or of another shape or dtype.
    """
    tests = {node.outputs[0]: node for node in graph.nodes if node.op == "outlier_test"}
    tested = tuple(node.inputs[0] for node in tests.values())
    maps = evaluate(remove_dead_nodes(graph.replace(outputs=tested)), inputs)
    return [
        _finding(graph, tests[patch.flag], maps) if patch.flag in tests else None
        for patch in patches
    ]


def _finding(graph: Graph, test: Node, maps: Mapping[str, Array]) -> Finding:
    view = OpView.of(graph, test)
    values = maps[test.inputs[0]].astype(np.int64)
    outside = (values < view.int_attr("low")) | (values > view.int_attr("high"))
    # Both are shares of one number of elements: they compare as the counts do.
    return Finding(
        int(np.count_nonzero(outside)) / outside.size, view.int_attr("most") / outside.size
    )


def _position(label: str) -> tuple[int, bool]:
    """Return the place of a patch, and whether this is a tile of it: ``7`` or ``7.2``."""
    position, point, _ = label.partition(".")
    return int(position), bool(point)


def _written(graph: Graph, node: Node) -> Area:
    view = OpView.of(graph, node)
    top, left = pair_attr(view, "at")
    _, height, width, _ = view.input(0).static_shape
    return Area(top, left, top + height, left + width)


def _reads(graph: Graph) -> Iterator[tuple[int, Area]]:
    """Yield what is cut out of the input, and for which patch: its output is ``x@7`` or longer."""
    source = graph.inputs[0]
    axis = row_axis(graph)
    for node in graph.nodes:
        if node.op != "slice" or node.inputs[0] != source:
            continue
        view = OpView.of(graph, node)
        top, left = view.ints_attr("begin")[axis : axis + 2]
        bottom, right = view.ints_attr("end")[axis : axis + 2]
        label = node.outputs[0].removeprefix(f"{source}@").partition("for:")[0]
        yield _position(label)[0], Area(top, left, bottom, right)
