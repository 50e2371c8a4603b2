"""The page of an estimate; for flash that computes with the tiles and what a channel does."""

from __future__ import annotations

from html import escape
from pathlib import Path

from edgekit.converters.partitioning.flash_tiles import page_shape
from edgekit.cost.nand import NandGeometry, nand_geometry
from edgekit.emulators.nand_chiplet import ChipletEstimate, MatrixCost
from edgekit.emulators.nand_events import (
    EventKind,
    EventPolicy,
    NandEvent,
    simulate_token,
    token_products,
)
from edgekit.errors import EmulatorError, MissingDependencyError
from edgekit.pipeline.estimate import ModelEstimate
from edgekit.profiles import DeviceProfile
from edgekit.report.page import html_page, write_page
from edgekit.report.tables import html_table
from edgekit.units import format_bytes, format_joules, format_seconds

_WIDTH, _MAP_HEIGHT, _LANE, _LEFT = 1040, 230, 30, 120
_MOST_LINES = 64
_WINDOW_ROUNDS = 5
_MOST_UNITS = 4
_KINDS = {
    EventKind.INPUT: ("input slice", "#3b7dd8"),
    EventKind.COMPUTE_READ: ("page read for a core", "#8a97a5"),
    EventKind.MULTIPLY: ("multiply", "#7b61c4"),
    EventKind.RESULT: ("results", "#b34d73"),
    EventKind.PAGE_READ: ("page read to stream", "#d9b26a"),
    EventKind.PAGE_MOVE: ("slices of a page", "#2f9e77"),
}


def write_estimate_report(found: ModelEstimate, profile: DeviceProfile, path: Path) -> Path:
    """Write the page of an estimate as one HTML file.

    Raises
    ------
    UsageError
        If the file cannot be written there.
    """
    title = f"{found.model} {found.weights} on {found.device}"
    body = [
        f'<p class="sub">{escape(profile.title)}; context {found.context:,}; modelled</p>',
        _tiles(found),
        f"<p>Limited by {escape(found.limit)}.</p>",
        "<h2>Time of a token</h2>",
        _parts(found),
    ]
    if found.gains:
        body += ["<h2>What would help</h2>", _gains(found)]
    if found.chiplet is not None:
        geometry = nand_geometry(profile)
        body += _tile_section(found.chiplet, geometry)
        body += _channel_section(found.chiplet, geometry)
        body += _read_section(found.chiplet, geometry, profile)
    if found.stated_error:
        body.append(f'<p class="note">Error: {escape(found.stated_error)}.</p>')
    return write_page(html_page(title, "\n".join(body)), path)


def _tiles(found: ModelEstimate) -> str:
    values = [
        (f"{found.tokens_per_s:.3g}", "tokens a second"),
        (format_seconds(found.prefill_s), f"prompt of {found.context:,} tokens"),
        (format_joules(found.energy_j_per_token), "a token"),
        (format_bytes(found.bytes_moved_per_token), "moved a token"),
    ]
    if found.cost_usd is not None:
        values.append((f"${found.cost_usd:.2f}", "price of the memories"))
    cells = [
        f'<div class="tile"><span class="kind">modelled</span><b>{escape(value)}</b>'
        f"<span>{escape(text)}</span></div>"
        for value, text in values
    ]
    return f'<div class="tiles">{"".join(cells)}</div>'


def _parts(found: ModelEstimate) -> str:
    rows = [
        (part.name, format_seconds(part.seconds), format_bytes(part.size_bytes), part.detail)
        for part in found.parts
    ]
    return html_table(("part", "time", "bytes", ""), rows, numeric=(1, 2))


def _gains(found: ModelEstimate) -> str:
    ranked = sorted(found.gains, key=lambda gain: -gain.speedup)
    rows = [(gain.change, gain.key, f"{gain.speedup:.2f}x") for gain in ranked]
    return html_table(("one change alone", "field", "tokens a second"), rows, numeric=(2,))


def _tile_section(chiplet: ChipletEstimate, geometry: NandGeometry) -> list[str]:
    body = [
        "<h2>Tiles</h2>",
        "<p>One rectangle a matrix, one cell a tile: what all cores compute in one round. Hatched "
        "parts of the last cells have no weights, and the cores there compute nothing.</p>",
    ]
    for item in chiplet.matrices:
        page = page_shape(item.tile, geometry)
        body.append(
            f"<h3>{escape(item.name)}: {item.rows:,} x {item.columns:,}, {item.rounds:,} rounds of "
            f"{item.tile.rows:,} x {item.tile.columns:,} (a page: {page.rows:,} x "
            f"{page.columns:,}), {item.filled:.0%} filled</h3>"
        )
        body.append(tile_map(item))
    return body


def tile_map(item: MatrixCost) -> str:
    """Return a matrix with the grid of its tiles as an SVG element, columns to the right."""
    down = -(-item.rows // item.tile.rows)
    across = -(-item.columns // item.tile.columns)
    whole_rows, whole_columns = down * item.tile.rows, across * item.tile.columns
    width, height = _WIDTH - 20, _MAP_HEIGHT - 20
    right = width * item.columns / whole_columns
    bottom = height * item.rows / whole_rows
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_MAP_HEIGHT}" role="img" aria-label="tiles of {item.name}">',
        '<defs><pattern id="empty" width="6" height="6" patternUnits="userSpaceOnUse">'
        '<path d="M0 6L6 0" stroke="#b3261e" stroke-width="1"/></pattern></defs>',
        f'<rect x="10" y="10" width="{width}" height="{height}" fill="url(#empty)"/>',
        f'<rect x="10" y="10" width="{right:.1f}" height="{bottom:.1f}" fill="#3b7dd8"/>',
    ]
    for index in range(0, down + 1, max(1, down // _MOST_LINES)):
        y = 10 + height * index / down
        parts.append(f'<path d="M10 {y:.1f}H{10 + width}" stroke="#fff" stroke-width=".8"/>')
    for index in range(0, across + 1, max(1, across // _MOST_LINES)):
        x = 10 + width * index / across
        parts.append(f'<path d="M{x:.1f} 10V{10 + height}" stroke="#fff" stroke-width=".8"/>')
    return "\n".join([*parts, "</svg>"])


def _channel_section(chiplet: ChipletEstimate, geometry: NandGeometry) -> list[str]:
    """Show what one channel does in the middle of a layer, simulated event by event."""
    try:
        lanes = channel_timeline(chiplet, geometry)
    except (EmulatorError, MissingDependencyError) as error:
        return [f'<p class="note">No picture of the channel: {escape(str(error))}</p>']
    key = "".join(
        f'<i style="background:{colour}"></i>{escape(name)}' for name, colour in _KINDS.values()
    )
    return [
        "<h2>A channel at work</h2>",
        "<p>The first channel, simulated event by event in the second layer: the channel itself, "
        "its first cores, and the first planes that stream.</p>",
        lanes,
        f'<p class="key">{key}</p>',
    ]


def channel_timeline(chiplet: ChipletEstimate, geometry: NandGeometry) -> str:
    """Return the lanes of the first channel over a few rounds as an SVG element.

    Raises
    ------
    EmulatorError
        If the event simulation cannot do what the estimate was made for.
    MissingDependencyError
        If the native core is not there.
    """
    one_layer = len(chiplet.shape.layer_matrices)
    used = sum(matrix.used for matrix in chiplet.shape.layer_matrices)
    products = token_products(chiplet.shape, weight_bits=chiplet.weight_bits)[: 2 * used]
    policy = EventPolicy(streaming=chiplet.policy)
    whole = simulate_token(products, geometry, policy)
    start_ns = round(whole.seconds * 1e9 * (0.5 + 0.25 / max(one_layer, 1)))
    length_ns = round(_WINDOW_ROUNDS * geometry.page_read_s * 1e9)
    window = (start_ns, start_ns + length_ns)
    events = simulate_token(products, geometry, policy, window_ns=window).timeline
    own = [event for event in events if event.channel == 0]
    return _lanes(own, window)


def _lanes(events: list[NandEvent], window_ns: tuple[int, int]) -> str:
    channel = {EventKind.INPUT, EventKind.RESULT, EventKind.PAGE_MOVE}
    rows: dict[str, list[NandEvent]] = {"channel 0": []}
    for event in sorted(events, key=lambda item: (item.kind == EventKind.PAGE_READ, item.unit)):
        if event.kind in channel:
            rows["channel 0"].append(event)
        elif event.unit < _MOST_UNITS:
            unit = "plane" if event.kind == EventKind.PAGE_READ else "core"
            rows.setdefault(f"{unit} {event.unit}", []).append(event)
    names = list(rows)
    start, end = window_ns
    scale = (_WIDTH - _LEFT - 14) / (end - start)
    height = len(names) * _LANE + 24
    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="one channel">']
    for row, name in enumerate(names):
        y = row * _LANE
        parts.append(
            f'<text class="axis" x="{_LEFT - 8}" y="{y + 19}" text-anchor="end">{name}</text>'
        )
        for event in rows[name]:
            text, colour = _KINDS[event.kind]
            left = max(event.start_ns, start)
            width = max((min(event.end_ns, end) - left) * scale, 0.3)
            parts.append(
                f'<rect x="{_LEFT + (left - start) * scale:.2f}" y="{y + 4}" width="{width:.2f}" '
                f'height="{_LANE - 8}" fill="{colour}"><title>{text}, '
                f"{event.end_ns - event.start_ns:,} ns</title></rect>"
            )
    for quarter in range(5):
        x = _LEFT + (_WIDTH - _LEFT - 14) * quarter / 4
        text = f"{(end - start) * quarter / 4e3:.0f} us"
        parts.append(
            f'<text class="axis" x="{x:.1f}" y="{height - 6}" text-anchor="middle">{text}</text>'
        )
    return "\n".join([*parts, "</svg>"])


def _read_section(
    chiplet: ChipletEstimate, geometry: NandGeometry, profile: DeviceProfile
) -> list[str]:
    """Say how often a block is read (read disturb), where the profile has blocks."""
    nand, flash = profile.nand, profile.flash
    if nand is None or flash is None or nand.pages_per_block is None:
        return []
    block_bytes = nand.pages_per_block.integer * geometry.page_bytes
    blocks = flash.available_bytes.value / block_bytes
    read_bytes = chiplet.flash_bytes + chiplet.streamed_bytes
    reads = read_bytes / geometry.page_bytes / blocks
    text = (
        f"A token reads {read_bytes / geometry.page_bytes:,.0f} pages. Spread over all "
        f"{blocks:,.0f} blocks, a block is read {reads:,.1f} times a token"
    )
    limit = nand.block_read_limit
    if limit is not None and reads:
        text += (
            f"; {limit.value:,.0f} reads of one block, after which data have to be written again, "
            f"are reached after {limit.value / reads:,.0f} tokens ({limit.source})"
        )
    return ["<h2>Reads of a block</h2>", f"<p>{escape(text)}.</p>"]
