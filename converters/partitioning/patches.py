"""The first layers of a network computed part by part: their large images never exist whole.

A :class:`PatchGrid` says which layers and how many parts. :func:`split_into_patches` returns a
graph that computes the same bytes: for every patch the layers of the stage on just the pixels that
the patch needs (:mod:`edgekit.converters.partitioning.receptive_fields`), each patch pasted into
the output of the stage. The result is an ordinary graph: planned, proven, run and emitted like any
other, every temporary counted. Weights are shared by all patches.

Pixels near the border of a patch are needed by its neighbours too. They are computed again (the
price are multiply-accumulates), or, with ``cached``, kept: patches are then whole rows, every
layer computes the rows that are new, and behind each layer a window of rows moves down the image
that holds what later patches still need. Nothing is computed twice then.

Sources: Lin et al., "MCUNetV2: Memory-Efficient Patch-based Inference for Tiny Deep Learning",
NeurIPS 2021, section 3 (patches); Zheng et al., "StreamNet: Memory-Efficient Streaming Tiny Deep
Learning Inference on the Microcontroller", NeurIPS 2023 (keeping what overlaps).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from edgekit.converters.partitioning.receptive_fields import (
    Need,
    Region,
    needed,
)
from edgekit.errors import UnsupportedOpError, UsageError
from edgekit.graph import Attr, Graph, Node, Tensor, TensorKind
from edgekit.ops.spec import OpView


@dataclass(frozen=True, slots=True, order=True)
class PatchGrid:
    """How the first layers are cut.

    Parameters
    ----------
    last : str
        Last node of the patch stage.
    rows, columns : int
        Patches of its output.
    cached : bool
        Whether rows that patches share are kept; ``columns`` is 1 then.
    streamed : bool
        Whether the input is read patch by patch, each pixel as the patch needs it, instead of lying
        in memory as a whole.
    """

    last: str
    rows: int
    columns: int = 1
    cached: bool = False
    streamed: bool = False

    @property
    def text(self) -> str:
        """The grid as ``--patch`` takes it."""
        return f"{self.rows}x{self.columns}"


def parse_grid(text: str) -> tuple[int, int]:
    """Return rows and columns of ``RxC`` (UsageError where it has another form)."""
    match = re.fullmatch(r"([1-9]\d{0,2})[xX]([1-9]\d{0,2})", text)
    if match is None:
        raise UsageError(f"--patch takes auto, off or RxC such as 2x2, not {text}")
    return int(match[1]), int(match[2])


def patch_stages(graph: Graph) -> list[str]:
    """Return the nodes that a patch stage can end with, in order.

    A stage is the nodes up to one through whose output alone everything later depends on them.

    Parameters
    ----------
    graph : Graph
        With static shapes, in the order in which it runs.
    """
    if len(graph.inputs) != 1 or len(graph.tensors[graph.inputs[0]].shape) != 4:
        return []
    found: list[str] = []
    last_use = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
    last_use.update(dict.fromkeys(graph.outputs, len(graph.nodes)))
    alive: set[str] = set(graph.inputs)
    for index, node in enumerate(graph.nodes):
        view = OpView.of(graph, node)
        if any(t and t.kind is TensorKind.STATE for t in view.inputs):
            return found
        if node.op == "transpose" and node.inputs[0] != graph.inputs[0]:
            return found  # behind it rows are no rows any more
        try:
            needed(view, Region.whole(view.outputs[0]))
        except (UnsupportedOpError, ValueError):
            return found
        alive.update(node.outputs)
        alive = {name for name in alive if last_use.get(name, -1) > index}
        if alive == {node.outputs[0]} and max(view.outputs[0].static_shape[1:3]) > 1:
            found.append(node.name)
    return found


def split_into_patches(graph: Graph, grid: PatchGrid) -> Graph:
    """Return a graph that computes the same, its first layers patch by patch.

    Parameters
    ----------
    graph : Graph
        With static shapes, channels last, in the order in which it runs.
    grid : PatchGrid

    Raises
    ------
    UsageError
        If the stage cannot end there, or its output has fewer rows or columns than the grid.
    UnsupportedOpError
        If a layer of the stage cannot be computed in these parts.
    """
    if grid.last not in patch_stages(graph):
        raise UsageError(f"the layers up to {grid.last} do not make a patch stage")
    count = next(i for i, node in enumerate(graph.nodes) if node.name == grid.last) + 1
    output = graph.tensors[graph.nodes[count - 1].outputs[0]]
    _, height, width, _ = output.static_shape
    if not 1 <= grid.rows <= height or not 1 <= grid.columns <= width:
        raise UsageError(
            f"{grid.text} patches of {height} x {width} pixels behind {grid.last}; "
            f"at most {height}x{width}"
        )
    if grid.cached and grid.columns != 1:
        raise UsageError(f"rows are kept for patches that are whole rows, not for {grid.text}")
    build = _Builder(graph, graph.nodes[:count], streamed=grid.streamed)
    parts = _parts(height, width, grid)
    needs = _kept_needs(graph, build.stage, parts) if grid.cached else _own_needs(build, parts)
    for index, patch in enumerate(needs):
        build.patch(index, patch)
        build.paste(index, parts[index], is_last=index == len(parts) - 1)
    nodes = (*build.nodes, *graph.nodes[count:])
    return graph.replace(nodes=nodes, tensors=build.tensors)


def _parts(height: int, width: int, grid: PatchGrid) -> list[Region]:
    """Return the patches of an output, row by row; their sizes differ by one at most."""
    rows = [height * i // grid.rows for i in range(grid.rows + 1)]
    columns = [width * i // grid.columns for i in range(grid.columns + 1)]
    return [
        Region(top, bottom, left, right)
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    ]


@dataclass(frozen=True, slots=True)
class _Patch:
    """What one patch computes, by tensor.

    Parameters
    ----------
    made : mapping of tensor to Region
        What is computed (or read, of the graph's input) for this patch.
    kept : mapping of tensor to Region
        What of it, and of what was kept before, later patches read.
    """

    made: Mapping[str, Region]
    kept: Mapping[str, Region] = field(default_factory=dict)


def _requests(graph: Graph, node: Node, region: Region) -> Iterator[tuple[str, Region]]:
    for index, part in needed(OpView.of(graph, node), region).inputs:
        yield node.inputs[index], part


def _own_needs(build: _Builder, parts: Sequence[Region]) -> list[_Patch]:
    """Return what patches need that share nothing."""
    found = []
    for part in parts:
        made = {build.stage[-1].outputs[0]: part}
        for node in reversed(build.stage):
            if node.outputs[0] not in made:
                continue
            for name, region in _requests(build.graph, node, made[node.outputs[0]]):
                made[name] = made[name].joined(region) if name in made else region
        found.append(_Patch(made))
    return found


def _kept_needs(graph: Graph, stage: Sequence[Node], parts: Sequence[Region]) -> list[_Patch]:
    """Return what rows need where the rows before are kept.

    A tensor's new rows begin where those of the patch before end. What is kept begins with the
    first row that a later patch reads.
    """
    last = stage[-1].outputs[0]
    reached: dict[str, Region] = {}
    asked: list[dict[str, Region]] = []
    made: list[dict[str, Region]] = []
    ends: list[dict[str, Region]] = []
    for part in parts:
        wanted, new = {last: part}, {last: part}
        for node in reversed(stage):
            for name, region in (
                _requests(graph, node, new[node.outputs[0]]) if node.outputs[0] in new else ()
            ):
                wanted[name] = wanted[name].joined(region) if name in wanted else region
                area = wanted[name]
                begin = reached[name].bottom if name in reached else area.top
                if area.bottom > begin:
                    new[name] = replace(area, top=begin)
        reached = {**reached, **new}
        asked.append(wanted)
        made.append(new)
        ends.append(reached)
    found = []
    tops: dict[str, int] = {}
    for wanted, new, end in zip(reversed(asked), reversed(made), reversed(ends), strict=True):
        kept = {
            name: replace(end[name], top=top)
            for name, top in tops.items()
            if name in end and top < end[name].bottom
        }
        found.append(_Patch(new, kept))
        for name, region in wanted.items():
            tops[name] = min(tops.get(name, region.top), region.top)
    return found[::-1]


@dataclass(slots=True)
class _Builder:
    """Makes the nodes of patches, one patch after the other."""

    graph: Graph
    stage: Sequence[Node]
    streamed: bool
    nodes: list[Node] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    held: dict[str, tuple[str, Region]] = field(default_factory=dict)
    """By tensor: what there is of it, its name and region."""

    def patch(self, index: int, patch: _Patch) -> None:
        """Add the nodes that compute a patch."""
        source = self.graph.inputs[0]
        _, *sizes = self.graph.tensors[source].static_shape
        height, width = sizes[self.row_axis(source) - 1 :][:2]
        whole = (source, Region(0, height, 0, width))
        if not self.streamed:
            self.held[source] = whole
        elif source in patch.made:
            name = self._cut(whole, patch.made[source], f"{source}@{index}")
            self._hold(source, name, patch.made[source], index)
        active = [node for node in self.stage if node.outputs[0] in patch.made]
        last_use = {name: place for place, node in enumerate(active) for name in node.inputs}
        for place, node in enumerate(active):
            output = node.outputs[0]
            name = self._compute(node, patch.made[output], index)
            self._hold(output, name, patch.made[output], index)
            for read in dict.fromkeys(node.inputs):
                if last_use[read] == place and read in self.held:
                    self._trim(read, patch, index)

    def paste(self, index: int, part: Region, *, is_last: bool) -> None:
        """Put a patch into the output of the stage."""
        last = self.stage[-1]
        output = self.graph.tensors[last.outputs[0]]
        canvas = (f"{output.name}@to{index - 1}",) if index else ()
        name = output.name if is_last else f"{output.name}@to{index}"
        attrs: dict[str, Attr] = {
            "size": output.static_shape[1:3],
            "at": (part.top, part.left),
        }
        self.tensors.append(replace(output, name=name))
        inputs = (self.held.pop(output.name)[0], *canvas)
        self.nodes.append(
            Node(f"{last.name}@paste{index}", "paste", inputs, (name,), attrs, last.where)
        )

    def row_axis(self, tensor: str) -> int:
        """Return the axis of an image's rows: 1, but 2 where its channels are first."""
        first = self.graph.tensors[self.graph.inputs[0]].name
        is_first = tensor == first or tensor.startswith(f"{first}@")
        readers = [node for node in self.stage if first in node.inputs]
        turned = all(node.op == "transpose" for node in readers)
        return 2 if is_first and turned else 1

    def _compute(self, node: Node, region: Region, index: int) -> str:
        view = OpView.of(self.graph, node)
        need: Need = needed(view, region)
        inputs = list(node.inputs)
        for position, part in need.inputs:
            source = node.inputs[position]
            name = f"{source}@{index}for:{node.name}:{position}"
            inputs[position] = self._cut(self.held[source], part, name)
        name = self._tensor(self.graph.tensors[node.outputs[0]], region, f"@{index}")
        attrs = {**node.attrs, **dict(need.attrs)}
        made = replace(
            node,
            name=f"{node.name}@{index}",
            inputs=tuple(inputs),
            outputs=(name,),
            attrs=attrs,
            origin=node.where,
        )
        self.nodes.append(made)
        return name

    def _hold(self, tensor: str, name: str, made: Region, index: int) -> None:
        """Put what was made below the rows that are kept of the patch before."""
        above, kept = self.held.get(tensor, (name, made))
        if kept != made and kept.bottom == made.top:
            made = replace(made, top=kept.top)
            joined = self._tensor(self.graph.tensors[tensor], made, f"@{index}rows")
            attrs: dict[str, Attr] = {"axis": self.row_axis(tensor)}
            node = Node(f"{tensor}@{index}rows", "concat", (above, name), (joined,), attrs)
            self.nodes.append(replace(node, origin=f"rows of {tensor}"))
            name = joined
        self.held[tensor] = (name, made)

    def _trim(self, tensor: str, patch: _Patch, index: int) -> None:
        """Drop what no later patch reads, once the last reader of this patch has run."""
        if tensor == self.graph.inputs[0] and not self.streamed:
            return
        if tensor not in patch.kept:
            del self.held[tensor]
            return
        kept = patch.kept[tensor]
        self.held[tensor] = (self._cut(self.held[tensor], kept, f"{tensor}@{index}kept"), kept)

    def _cut(self, there: tuple[str, Region], part: Region, name: str) -> str:
        """Return the tensor that holds a part of another."""
        source, region = there
        if region == part and not (self.streamed and source == self.graph.inputs[0]):
            return source
        whole = self.graph.tensors[self.graph.inputs[0]]
        tensor = next((t for t in reversed(self.tensors) if t.name == source), whole)
        axis = self.row_axis(source)
        shape = _resized(tensor, axis, part)
        begin = (*(0,) * axis, part.top - region.top, part.left - region.left, 0)[:4]
        end = tuple(first + size for first, size in zip(begin, shape, strict=True))
        attrs: dict[str, Attr] = {"begin": begin, "end": end, "strides": (1, 1, 1, 1)}
        kind = TensorKind.ACTIVATION
        self.tensors.append(replace(tensor, name=name, shape=shape, kind=kind))
        node = Node(f"cut {name}", "slice", (source,), (name,), attrs, f"part of {source}")
        self.nodes.append(node)
        return name

    def _tensor(self, whole: Tensor, region: Region, suffix: str) -> str:
        shape = _resized(whole, self.row_axis(whole.name), region)
        name = f"{whole.name}{suffix}"
        kind = TensorKind.ACTIVATION
        self.tensors.append(replace(whole, name=name, shape=shape, kind=kind))
        return name


def _resized(tensor: Tensor, row_axis: int, region: Region) -> tuple[int, ...]:
    shape = tensor.static_shape
    return (*shape[:row_axis], region.height, region.width, *shape[row_axis + 2 :])
