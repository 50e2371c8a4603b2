"""Patches as a picture: which part of the input each reads, and what each adds to the output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from edgekit.graph import Graph, Node
from edgekit.ops.spec import OpView
from edgekit.ops.windows import pair_attr
from edgekit.selects import selects_in_order

SIDE = 400
"""Of the longer side of an image, in the units of the picture."""
GAP, TOP = 60, 26
COLOURS = 8


@dataclass(frozen=True, slots=True)
class Area:
    """A part of an image: first row and column, rows and columns."""

    top: int
    left: int
    height: int
    width: int


def patch_section(graph: Graph) -> str:
    """Return pictures of the patches that the first layers run in; nothing where they run whole."""
    nodes = _ordinary(graph)
    pasted = [node for node in nodes if node.op == "paste"]
    if not pasted:
        return ""
    stage = [_pasted_area(graph, node) for node in pasted]
    stage_size = pair_attr(OpView.of(graph, pasted[0]), "size")
    source = graph.inputs[0]
    read = [
        _read_area(graph, node) for node in nodes if node.op == "slice" and source in node.inputs
    ]
    pictures = [(f"{source}, what each patch reads", graph.tensors[source].static_shape[1:3], read)]
    if not read:
        pictures = []
    pictures.append(("output of the last layer in patches", stage_size, stage))
    return (
        f"<h2>Patches</h2><p>{len(pasted)} patches make an image of {stage_size[0]} x "
        f"{stage_size[1]} pixels, one after the other; all layers behind it run "
        f"whole.{_twice(read)}{_OUTLIERS if len(nodes) < len(graph.nodes) else ''}</p>"
        f"{_drawing(pictures)}"
        '<p class="key">Darker: read by several patches. Point at a patch for its rows and '
        "columns.</p>"
    )


_OUTLIERS = (
    " Patches in which a test at run time finds outliers are computed with 8 bits instead, in "
    "smaller tiles (edgekit emulate says which)."
)


def _ordinary(graph: Graph) -> list[Node]:
    """Return the nodes that run where no patch holds outliers."""
    dear = {
        index
        for select in selects_in_order(graph)
        for index in range(select.cases[1][0], select.cases[1][1] + 1)
    }
    return [node for index, node in enumerate(graph.nodes) if index not in dear]


def _twice(read: Sequence[Area]) -> str:
    """Say how much of the input is read more than once."""
    if not read:
        return ""
    height = max(area.top + area.height for area in read)
    width = max(area.left + area.width for area in read)
    total = sum(area.height * area.width for area in read)
    return f" {total / (height * width) - 1:.0%} of the input is read again by a neighbour."


def _read_area(graph: Graph, node: Node) -> Area:
    view = OpView.of(graph, node)
    _, top, left, _ = view.ints_attr("begin")
    _, bottom, right, _ = view.ints_attr("end")
    return Area(top, left, bottom - top, right - left)


def _pasted_area(graph: Graph, node: Node) -> Area:
    view = OpView.of(graph, node)
    top, left = pair_attr(view, "at")
    _, height, width, _ = view.input(0).static_shape
    return Area(top, left, height, width)


def _drawing(pictures: Sequence[tuple[str, Sequence[int], Sequence[Area]]]) -> str:
    width = len(pictures) * (SIDE + GAP) - GAP + 40
    parts = [
        f'<svg class="patches" viewBox="0 0 {width} {SIDE + TOP + 20}" role="img" '
        'aria-label="patches">'
    ]
    for index, (title, size, areas) in enumerate(pictures):
        left = 20 + index * (SIDE + GAP)
        parts.append(f'<text class="axis" x="{left}" y="{TOP - 9}">{escape(title)}</text>')
        parts.extend(_areas(areas, size, left))
    return "\n".join([*parts, "</svg>"])


def _areas(areas: Sequence[Area], size: Sequence[int], left: float) -> Iterator[str]:
    """Yield one rectangle an area; they are translucent, so that what overlaps is darker."""
    scale = SIDE / max(size)
    for index, area in enumerate(areas):
        x, y = left + area.left * scale, TOP + area.top * scale
        yield (
            f'<g class="buffer c{index % COLOURS}"><title>patch {index + 1}: rows {area.top} to '
            f"{area.top + area.height - 1}, columns {area.left} to {area.left + area.width - 1}"
            f'</title><rect x="{x:.1f}" y="{y:.1f}" width="{area.width * scale:.1f}" '
            f'height="{area.height * scale:.1f}" fill-opacity="0.5" stroke="currentColor" '
            'stroke-opacity="0.6"/></g>'
        )
