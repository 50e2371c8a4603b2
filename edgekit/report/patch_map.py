"""Patches as a picture: what each reads and adds to the output, and which take 8 bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from edgekit.graph import Graph
from edgekit.ops.spec import OpView
from edgekit.ops.windows import pair_attr
from edgekit.report.patch_areas import Area, Finding, Patch, patches_of, row_axis
from edgekit.report.patch_example import Example

SIDE = 400
"""Of the longer side of an image, in the units of the picture."""
GAP, LEFT, TOP = 60, 20, 26
COLOURS = 8
SMALLEST_LABELLED = (16, 34)
"""Height and width of a patch that has room for its share."""


def patch_section(graph: Graph, example: Example | None = None) -> str:
    """Return pictures of the patches that the first layers run in; nothing where they run whole."""
    patches = patches_of(graph)
    if not patches:
        return ""
    source, axis = graph.inputs[0], row_axis(graph)
    stage_size = _stage_size(graph)
    size = graph.tensors[source].static_shape[axis : axis + 2]
    read = [patch.read for patch in patches if patch.read is not None]
    panels = [_panel(f"{source}, what each patch reads", size, _areas(read, size))] if read else []
    written = [patch.written for patch in patches]
    panels.append(
        _panel("output of the last layer in patches", stage_size, _areas(written, stage_size))
    )
    return (
        f"<h2>Patches</h2><p>{len(patches)} patches make an image of {stage_size[0]} x "
        f"{stage_size[1]} pixels, one after the other; all layers behind it run "
        f"whole.{_twice(read)}</p>"
        f"{_drawing(panels)}"
        '<p class="key">Darker: read by several patches. Point at a patch for its rows and '
        f"columns.</p>{_precisions(patches, stage_size, example)}"
    )


def _stage_size(graph: Graph) -> tuple[int, int]:
    paste = next(node for node in graph.nodes if node.op == "paste")
    return pair_attr(OpView.of(graph, paste), "size")


def _twice(read: Sequence[Area]) -> str:
    """Say how much of the input is read more than once."""
    if not read:
        return ""
    whole = Area(0, 0, max(area.bottom for area in read), max(area.right for area in read))
    again = sum(area.elements for area in read) / whole.elements - 1
    return f" {again:.0%} of the input is read again by a neighbour."


def _precisions(patches: Sequence[Patch], size: Sequence[int], example: Example | None) -> str:
    """Return which patches take 8 bits, on an example where a test at run time decides."""
    if not any(patch.flag or patch.has_tiles for patch in patches):
        return ""
    image = "" if example is None else example.image
    heading = "<h3>Precision of the patches</h3>"
    if not any(patch.flag for patch in patches):
        example = None
        found: list[Finding | None] = [None] * len(patches)
        wide = [patch.has_tiles for patch in patches]
    elif example is None or len(example.findings) != len(patches):
        return f"{heading}<p>{_TESTED} {_SHOW}</p>"
    else:
        found = list(example.findings)
        wide = [finding is not None and finding.is_outlier for finding in found]
    panels = [_panel("the input", size, [_image(image, size)])] if image else []
    marks = [_image(image, size)] if image else []
    for index, patch in enumerate(patches):
        marks.append(_mark(index, patch.written, size, wide[index], found[index]))
    shares = ", with the share of their elements that are outliers" if example else ""
    panels.append(_panel(f"patches{shares}", size, marks))
    return (
        f"{heading}<p>{_sentence(wide, example)}</p>{_drawing(panels)}"
        '<p class="key"><i class="wide"></i>8 bits<i class="narrow"></i>fewer bits</p>'
    )


_TESTED = (
    "Patches in which a test at run time finds outliers are computed with 8 bits, in smaller "
    "tiles; the others with fewer."
)
_SHOW = "edgekit report --input NPZ shows which these are on an example."


def _sentence(wide: Sequence[bool], example: Example | None) -> str:
    if example is None:
        return (
            f"{sum(wide)} of {len(wide)} patches are always computed with 8 bits, in smaller "
            "tiles; the others with fewer."
        )
    most = max((finding.most_share for finding in example.findings if finding), default=0.0)
    return (
        f"{_TESTED} They are {sum(wide)} of {len(wide)} in {escape(example.origin)}: those with "
        f"more than {most:.2%} outliers."
    )


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    marks: Sequence[str]
    """SVG elements, as if the panel began at 0, 0."""
    height: float


def _panel(title: str, size: Sequence[int], marks: Iterator[str] | Sequence[str]) -> _Panel:
    return _Panel(title, tuple(marks), size[0] * SIDE / max(size))


def _drawing(panels: Sequence[_Panel]) -> str:
    """Return panels beside each other; a picture with one is as wide as one with two."""
    width = 2 * (SIDE + GAP) - GAP + 2 * LEFT
    height = TOP + max(panel.height for panel in panels) + 20
    parts = [
        f'<svg class="patches" viewBox="0 0 {width} {height:.0f}" role="img" aria-label="patches">'
    ]
    for index, panel in enumerate(panels):
        left = LEFT + index * (SIDE + GAP)
        parts.append(f'<text class="axis" x="{left}" y="{TOP - 9}">{escape(panel.title)}</text>')
        parts += [f'<g transform="translate({left} {TOP})">', *panel.marks, "</g>"]
    return "\n".join([*parts, "</svg>"])


def _areas(areas: Sequence[Area], size: Sequence[int]) -> Iterator[str]:
    """Yield one rectangle an area; they are translucent, so that what overlaps is darker."""
    for index, area in enumerate(areas):
        yield _rectangle(f"buffer c{index % COLOURS}", _place(index, area), area, size)


def _mark(
    index: int, area: Area, size: Sequence[int], is_wide: bool, finding: Finding | None
) -> str:
    """Return a patch in the colour of its precision, with its share of outliers."""
    title = f"{_place(index, area)}; {'8 bits' if is_wide else 'fewer bits'}"
    text = ""
    if finding is not None:
        title += f", {finding.share:.2%} of the elements are outliers"
        text = _share(area, size, finding.share)
    kind = "wide" if is_wide else "narrow"
    return _rectangle(f"buffer {kind}", title, area, size, text)


def _share(area: Area, size: Sequence[int], share: float) -> str:
    """Return the share in the middle of an area; nothing where there is no room for it."""
    scale = SIDE / max(size)
    room = (scale * (area.bottom - area.top), scale * (area.right - area.left))
    if room[0] < SMALLEST_LABELLED[0] or room[1] < SMALLEST_LABELLED[1]:
        return ""
    x, y = scale * (area.left + area.right) / 2, scale * (area.top + area.bottom) / 2
    return f'<text class="share" x="{x:.1f}" y="{y + 4:.1f}">{share:.1%}</text>'


def _place(index: int, area: Area) -> str:
    return (
        f"patch {index + 1}: rows {area.top} to {area.bottom - 1}, columns {area.left} to "
        f"{area.right - 1}"
    )


def _rectangle(kind: str, title: str, area: Area, size: Sequence[int], text: str = "") -> str:
    scale = SIDE / max(size)
    x, y = area.left * scale, area.top * scale
    width, height = (area.right - area.left) * scale, (area.bottom - area.top) * scale
    return (
        f'<g class="{kind}"><title>{title}</title><rect x="{x:.1f}" y="{y:.1f}" '
        f'width="{width:.1f}" height="{height:.1f}" fill-opacity="0.5" stroke="currentColor" '
        f'stroke-opacity="0.6"/>{text}</g>'
    )


def _image(address: str, size: Sequence[int]) -> str:
    """Return an image, stretched over a panel of a stage with ``size`` rows and columns."""
    scale = SIDE / max(size)
    return (
        f'<image href="{address}" x="0" y="0" width="{size[1] * scale:.1f}" '
        f'height="{size[0] * scale:.1f}" preserveAspectRatio="none"/>'
    )
