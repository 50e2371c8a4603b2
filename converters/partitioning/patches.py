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
from dataclasses import dataclass

from edgekit.converters.partitioning.patch_builder import (
    PatchBuilder,
    kept_needs,
    own_needs,
    parts_of,
)
from edgekit.converters.partitioning.receptive_fields import Region, channels_first, needed
from edgekit.errors import UnsupportedOpError, UsageError
from edgekit.graph import Graph, TensorKind
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
    turned = channels_first(graph)
    for index, node in enumerate(graph.nodes):
        view = OpView.of(graph, node)
        if any(t and t.kind is TensorKind.STATE for t in view.inputs):
            return found
        if node.op == "transpose" and node.inputs[0] not in turned:
            return found  # behind it rows are no rows any more
        try:
            needed(view, Region.whole(view.outputs[0]))
        except (UnsupportedOpError, ValueError):
            return found
        alive.update(node.outputs)
        alive = {name for name in alive if last_use.get(name, -1) > index}
        is_image = alive == {node.outputs[0]} and node.outputs[0] not in turned
        if is_image and max(view.outputs[0].static_shape[1:3]) > 1:
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
    count = stage_length(graph, grid)
    stage = graph.nodes[:count]
    output = graph.tensors[stage[-1].outputs[0]]
    parts = parts_of(Region.whole(output), grid.rows, grid.columns)
    needs = (kept_needs if grid.cached else own_needs)(graph, stage, parts)
    build = PatchBuilder(graph, stage, grid.streamed)
    canvas = ""
    for index, (part, patch) in enumerate(zip(parts, needs, strict=True)):
        target = output.name if index == len(parts) - 1 else f"{output.name}@to{index}"
        build.patch(str(index), patch)
        build.paste(str(index), part, target, canvas)
        canvas = target
    nodes = (*build.nodes, *graph.nodes[count:])
    return graph.replace(nodes=nodes, tensors=build.tensors.values())


def stage_length(graph: Graph, grid: PatchGrid) -> int:
    """Return how many nodes the stage of a grid has.

    Raises
    ------
    UsageError
        If the stage cannot end there, or its output has fewer rows or columns than the grid.
    """
    if grid.last not in patch_stages(graph):
        raise UsageError(f"the layers up to {grid.last} do not make a patch stage")
    count = next(i for i, node in enumerate(graph.nodes) if node.name == grid.last) + 1
    _, height, width, _ = graph.tensors[graph.nodes[count - 1].outputs[0]].static_shape
    if not 1 <= grid.rows <= height or not 1 <= grid.columns <= width:
        raise UsageError(
            f"{grid.text} patches of {height} x {width} pixels behind {grid.last}; "
            f"at most {height}x{width}"
        )
    if grid.cached and grid.columns != 1:
        raise UsageError(f"rows are kept for patches that are whole rows, not for {grid.text}")
    return count
