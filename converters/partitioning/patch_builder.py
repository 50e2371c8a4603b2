"""The nodes of patches: the layers of a stage on just the pixels that each patch needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from edgekit.converters.partitioning.receptive_fields import (
    Need,
    Region,
    channels_first,
    needed,
)
from edgekit.graph import Attr, Graph, Node, Tensor, TensorKind
from edgekit.ops.spec import OpView


def parts_of(region: Region, rows: int, columns: int) -> list[Region]:
    """Return the parts of a region, row by row; their sizes differ by one at most."""
    tops = [region.top + region.height * i // rows for i in range(rows + 1)]
    lefts = [region.left + region.width * i // columns for i in range(columns + 1)]
    return [
        Region(top, bottom, left, right)
        for top, bottom in pairwise(tops)
        for left, right in pairwise(lefts)
    ]


Guard = tuple[str, int]
"""A flag, and the value with which a patch is pasted."""


@dataclass(frozen=True, slots=True)
class PatchNeeds:
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


def own_needs(graph: Graph, stage: Sequence[Node], parts: Sequence[Region]) -> list[PatchNeeds]:
    """Return what patches need that share nothing."""
    found = []
    for part in parts:
        made = {stage[-1].outputs[0]: part}
        for node in reversed(stage):
            if node.outputs[0] not in made:
                continue
            for name, region in _requests(graph, node, made[node.outputs[0]]):
                made[name] = made[name].joined(region) if name in made else region
        found.append(PatchNeeds(made))
    return found


def kept_needs(graph: Graph, stage: Sequence[Node], parts: Sequence[Region]) -> list[PatchNeeds]:
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
        found.append(PatchNeeds(new, kept))
        for name, region in wanted.items():
            tops[name] = min(tops.get(name, region.top), region.top)
    return found[::-1]


@dataclass(slots=True)
class PatchBuilder:
    """Makes the nodes of patches, one patch after the other; ``label`` is part of their names."""

    graph: Graph
    stage: Sequence[Node]
    streamed: bool
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    held: dict[str, tuple[str, Region]] = field(default_factory=dict)
    """By tensor: what there is of it, its name and region."""

    def patch(self, label: str, patch: PatchNeeds) -> None:
        """Add the nodes that compute a patch."""
        source = self.graph.inputs[0]
        _, *sizes = self.graph.tensors[source].static_shape
        height, width = sizes[self.row_axis(source) - 1 :][:2]
        whole = (source, Region(0, height, 0, width))
        if not self.streamed:
            self.held[source] = whole
        elif source in patch.made:
            name = self._cut(whole, patch.made[source], f"{source}@{label}")
            self._hold(source, name, patch.made[source], label)
        active = [node for node in self.stage if node.outputs[0] in patch.made]
        last_use = {name: place for place, node in enumerate(active) for name in node.inputs}
        for place, node in enumerate(active):
            output = node.outputs[0]
            name = self._compute(node, patch.made[output], label)
            self._hold(output, name, patch.made[output], label)
            for read in dict.fromkeys(node.inputs):
                if last_use[read] == place and read in self.held:
                    self._trim(read, patch, label)

    def paste(
        self, label: str, part: Region, target: str, canvas: str = "", guard: Guard | None = None
    ) -> None:
        """Put a patch into the output of the stage.

        Parameters
        ----------
        label : str
            Of the patch.
        part : Region
            Where it goes.
        target, canvas : str
            Names of the output with the patch in it, and without it; zeros without a canvas.
        guard : (str, int), optional
            Flag, and the value it must have: else the canvas stays as it is.
        """
        last = self.stage[-1]
        output = self.graph.tensors[last.outputs[0]]
        attrs: dict[str, Attr] = {
            "size": output.static_shape[1:3],
            "at": (part.top, part.left),
        }
        inputs = (self.held.pop(output.name)[0], *([canvas] if canvas else []))
        if guard is not None:
            inputs, attrs["when"] = (*inputs, guard[0]), guard[1]
        self.tensors[target] = replace(output, name=target)
        name = f"{last.name}@paste{label}"
        self.nodes.append(Node(name, "paste", inputs, (target,), attrs, last.where))

    def row_axis(self, tensor: str) -> int:
        """Return the axis of an image's rows: 1, but 2 where its channels are first."""
        turned = channels_first(self.graph)
        is_turned = any(tensor == name or tensor.startswith(f"{name}@") for name in turned)
        return 2 if is_turned else 1

    def _compute(self, node: Node, region: Region, label: str) -> str:
        view = OpView.of(self.graph, node)
        need: Need = needed(view, region)
        inputs = list(node.inputs)
        for position, part in need.inputs:
            source = node.inputs[position]
            name = f"{source}@{label}for:{node.name}:{position}"
            inputs[position] = self._cut(self.held[source], part, name)
        name = self._tensor(self.graph.tensors[node.outputs[0]], region, f"@{label}")
        attrs = {**node.attrs, **dict(need.attrs)}
        made = replace(
            node,
            name=f"{node.name}@{label}",
            inputs=tuple(inputs),
            outputs=(name,),
            attrs=attrs,
            origin=node.where,
        )
        self.nodes.append(made)
        return name

    def _hold(self, tensor: str, name: str, made: Region, label: str) -> None:
        """Put what was made below the rows that are kept of the patch before."""
        above, kept = self.held.get(tensor, (name, made))
        if kept != made and kept.bottom == made.top:
            made = replace(made, top=kept.top)
            joined = self._tensor(self.graph.tensors[tensor], made, f"@{label}rows")
            attrs: dict[str, Attr] = {"axis": self.row_axis(tensor)}
            node = Node(f"{tensor}@{label}rows", "concat", (above, name), (joined,), attrs)
            self.nodes.append(replace(node, origin=f"rows of {tensor}"))
            name = joined
        self.held[tensor] = (name, made)

    def _trim(self, tensor: str, patch: PatchNeeds, label: str) -> None:
        """Drop what no later patch reads, once the last reader of this patch has run."""
        if tensor == self.graph.inputs[0] and not self.streamed:
            return
        if tensor not in patch.kept:
            del self.held[tensor]
            return
        kept = patch.kept[tensor]
        self.held[tensor] = (self._cut(self.held[tensor], kept, f"{tensor}@{label}kept"), kept)

    def _cut(self, there: tuple[str, Region], part: Region, name: str) -> str:
        """Return the tensor that holds a part of another."""
        source, region = there
        if region == part and not (self.streamed and source == self.graph.inputs[0]):
            return source
        tensor = self.tensors.get(source) or self.graph.tensors[source]
        axis = self.row_axis(source)
        shape = _resized(tensor, axis, part)
        begin = (*(0,) * axis, part.top - region.top, part.left - region.left, 0)[:4]
        end = tuple(first + size for first, size in zip(begin, shape, strict=True))
        attrs: dict[str, Attr] = {"begin": begin, "end": end, "strides": (1, 1, 1, 1)}
        kind = TensorKind.ACTIVATION
        self.tensors[name] = replace(tensor, name=name, shape=shape, kind=kind)
        node = Node(f"cut {name}", "slice", (source,), (name,), attrs, f"part of {source}")
        self.nodes.append(node)
        return name

    def _tensor(self, whole: Tensor, region: Region, suffix: str) -> str:
        shape = _resized(whole, self.row_axis(whole.name), region)
        name = f"{whole.name}{suffix}"
        kind = TensorKind.ACTIVATION
        self.tensors[name] = replace(whole, name=name, shape=shape, kind=kind)
        return name


def _resized(tensor: Tensor, row_axis: int, region: Region) -> tuple[int, ...]:
    shape = tensor.static_shape
    return (*shape[:row_axis], region.height, region.width, *shape[row_axis + 2 :])
