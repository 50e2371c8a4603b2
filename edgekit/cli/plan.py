"""``edgekit plan``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.image import show_image
from edgekit.cli.output import common_options, estimate_line, print_json, table
from edgekit.errors import UsageError
from edgekit.units import short_name

if TYPE_CHECKING:
    from edgekit.plan import MemoryUse, Plan

ARENA_COLUMNS, ARENA_ROWS = 96, 24


@click.command(short_help="Show where every byte lies, or plan buffers of your own.")
@click.argument("package", required=False, type=click.Path(path_type=Path))
@click.option("--buffers", type=click.Path(path_type=Path), metavar="CSV")
@click.option("--capacity", type=click.IntRange(1), metavar="N", help="Bytes there are.")
@click.option("--out", type=click.Path(path_type=Path), metavar="CSV", help="Adds offsets.")
@click.option("--time-limit", default=10.0, show_default=True, metavar="S")
@common_options
def command(
    package: Path | None,
    buffers: Path | None,
    capacity: int | None,
    out: Path | None,
    time_limit: float,
    as_json: bool,
    quiet: bool,
) -> int:
    """Show the memory plan of PACKAGE, or place the buffers of a CSV file.

    CSV columns: id,lower,upper,size; the lifetime is half open, sizes are bytes.
    """
    if (package is None) == (buffers is None):
        raise UsageError("give a package, or --buffers CSV")
    if package is not None:
        from edgekit.language_package import is_language_package

        show = show_language_package if is_language_package(package) else show_package
        show(package, as_json)
        return 0
    assert buffers is not None
    return plan_buffers(buffers, capacity, out, time_limit, as_json)


def plan_buffers(
    source: Path, capacity: int | None, out: Path | None, time_limit_s: float, as_json: bool
) -> int:
    """Place the buffers of a CSV file; return the exit code (3 where they do not fit)."""
    from edgekit.memory.csvfile import read_buffers, write_offsets
    from edgekit.memory.planner import NO_NODE_LIMIT, plan_offsets

    buffers = read_buffers(source)
    solution = plan_offsets(
        buffers,
        capacity_bytes=capacity,
        node_limit=NO_NODE_LIMIT,
        time_limit_s=time_limit_s,
    )
    if out is not None and solution.feasible:
        write_offsets(out, buffers, solution.offsets)
    if as_json:
        print_json(
            {
                "height_bytes": solution.height_bytes,
                "lower_bound_bytes": solution.lower_bound_bytes,
                "optimal": solution.optimal,
                "feasible": solution.feasible,
                "seconds": solution.seconds,
                "offsets": dict(solution.offsets),
            }
        )
    else:
        proof = "proven smallest" if solution.optimal else "not proven smallest"
        verdict = "" if solution.feasible else f", which is over the capacity of {capacity:,}"
        click.echo(
            f"{len(buffers)} buffers in {solution.height_bytes:,} bytes{verdict} ({proof}, "
            f"lower bound {solution.lower_bound_bytes:,}), {solution.seconds:.2f} s, "
            f"{solution.method}"
        )
    return 0 if solution.feasible else 3


def show_package(path: Path, as_json: bool) -> None:
    """Print the memories and buffers of a package, and draw each arena."""
    import msgspec

    from edgekit.emulators import stated_error
    from edgekit.package import open_package
    from edgekit.pipeline.firmware_files import packaged_image

    package = open_package(path)
    plan, image = package.plan, packaged_image(package)
    if as_json:
        answer = {
            "executor": plan.executor,
            "buffers": [msgspec.to_builtins(buffer) for buffer in plan.buffers],
            "memories": [msgspec.to_builtins(memory) for memory in plan.memories],
            "image": [memory.to_json() for memory in image],
        }
        print_json(answer)
        return
    click.echo(f"{plan.device}, executed by {plan.executor}")
    for memory in plan.memories:
        if memory.arena_bytes:
            click.echo("\n".join(draw_arena(plan, memory)))
    show_buffers(plan)
    if plan.estimates is not None:
        click.echo(estimate_line(plan.estimates))
        error = stated_error(package.profile())
        if error:
            click.echo(f"error for counted instructions: {error}")
    if image:
        show_image(image)


def show_buffers(plan: Plan) -> None:
    """Print every buffer, with the letter that it has in the drawing of its memory."""
    letters: dict[str, str] = {}
    counts: Counter[str] = Counter()
    rows = []
    for buffer in plan.buffers:
        letters[buffer.tensor] = letter(counts[buffer.memory])
        counts[buffer.memory] += 1
        alias = f"in place of {letters.get(buffer.alias_of, '')}" if buffer.alias_of else ""
        rows.append(
            (
                letters[buffer.tensor],
                short_name(buffer.tensor),
                buffer.memory,
                f"{buffer.offset_bytes:,}",
                f"{buffer.size_bytes:,}",
                str(buffer.first_step),
                str(buffer.last_step),
                alias,
            )
        )
    table(("", "tensor", "memory", "offset", "bytes", "first step", "last step", ""), rows)


def letter(index: int) -> str:
    """Return the letter of a memory's buffer in its drawing; they repeat after 52."""
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[index % 52]


def show_language_package(path: Path, as_json: bool) -> None:
    """Print the memory of a language model, and what other limits would give."""
    import msgspec

    from edgekit.cli.language_tables import curve_table, memory_table, speed_line
    from edgekit.language_package import open_language_package
    from edgekit.pipeline.language_route import memory_json

    plan = open_language_package(path).plan
    if as_json:
        answer = {"executor": plan.executor, "buffers": [], "memories": [memory_json(plan)]}
        print_json({**answer, "plan": msgspec.to_builtins(plan)})
        return
    click.echo(f"{plan.device}, executed by {plan.executor}")
    memory_table(plan)
    curve_table(plan)
    click.echo(speed_line(plan))


def draw_arena(plan: Plan, memory: MemoryUse) -> list[str]:
    """Draw an arena in text: steps to the right, addresses upwards, a letter a buffer."""
    buffers = [buffer for buffer in plan.buffers if buffer.memory == memory.name]
    steps = max(buffer.last_step for buffer in buffers) + 1
    width = max(1, ARENA_COLUMNS // steps)
    columns, rows = min(ARENA_COLUMNS, steps * width), ARENA_ROWS
    canvas = [["·"] * columns for _ in range(rows)]
    for index, buffer in enumerate(buffers):
        left = buffer.first_step * columns // steps
        right = max(left + 1, (buffer.last_step + 1) * columns // steps)
        low = buffer.offset_bytes * rows // memory.arena_bytes
        high = -(-(buffer.offset_bytes + buffer.size_bytes) * rows // memory.arena_bytes)
        for row in range(low, max(low + 1, high)):
            canvas[min(row, rows - 1)][left:right] = letter(index) * (right - left)
    proof = "proven smallest" if memory.optimal else "not proven smallest"
    head = (
        f"{memory.name}: arena {memory.arena_bytes:,} bytes ({proof}; lower bound "
        f"{memory.lower_bound_bytes:,}), peaks at {short_name(memory.peak_step)}"
    )
    return [head, *("│" + "".join(row) + "│" for row in reversed(canvas)), ""]
