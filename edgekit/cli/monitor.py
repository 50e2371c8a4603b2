"""``edgekit monitor``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.output import common_options, counted_progress, note, print_json, table
from edgekit.cli.port_names import complete_port
from edgekit.errors import UsageError
from edgekit.units import format_seconds

if TYPE_CHECKING:
    from edgekit.deploy.serial.monitor import BoardModel
    from edgekit.dtypes import Array
    from edgekit.profiles import DeviceProfile

FIRST_VALUES = 6


@click.command(short_help="Run inference on a board over its serial port.")
@click.argument("package", required=False, type=click.Path(path_type=Path))
@click.option(
    "--port",
    metavar="URL",
    shell_complete=complete_port,
    help="/dev/ttyACM0, rfc2217://host:port ... [found by USB]",
)
@click.option("--input", "source", type=click.Path(path_type=Path), metavar="NPZ")
@click.option("--output", "target", type=click.Path(path_type=Path), metavar="NPZ")
@click.option("--baud", type=click.IntRange(50, 12_000_000), help="[the package's, else 115200]")
@click.option("--runs", default=1, show_default=True, type=click.IntRange(1, 1_000_000))
@click.option(
    "--timeout",
    "patience_s",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0.5, 3600),
    metavar="S",
    help="How long a silent board is asked again.",
)
@common_options
def command(
    package: Path | None,
    port: str | None,
    source: Path | None,
    target: Path | None,
    baud: int | None,
    runs: int,
    patience_s: float,
    as_json: bool,
    quiet: bool,
) -> None:
    """Send arrays to the firmware on a board and print what it computes.

    NPZ has one array an input, named as in the model, or stacked ones for many inferences; real
    numbers are quantized as the input asks for. Without --input the board's model is described.
    With PACKAGE, what runs on the board must be the model in it.
    """
    import statistics

    from edgekit.cli.arrays import read_arrays, write_arrays
    from edgekit.deploy.serial.link import Link
    from edgekit.deploy.serial.monitor import Monitor, check_model, one_by_one, stacked
    from edgekit.deploy.serial.ports import choose_port, open_port
    from edgekit.package import open_package

    opened = open_package(package) if package else None
    profile = opened.profile() if opened else None
    if port is None:
        if profile is None:
            raise UsageError(
                "name a PACKAGE, whose board is then looked for, or its port with --port"
            )
        port = choose_port(profile)
    inputs = read_arrays(source) if source else {}
    rate = baud or (profile.serial.baud.integer if profile and profile.serial else 115200)
    with open_port(port, baud=rate) as line:
        monitor = Monitor.connect(Link(line, patience_s=patience_s))
        if opened:
            check_model(monitor.model, opened.manifest.model)
        if source is None:
            describe(monitor.model, as_json)
            return
        samples = one_by_one(monitor.model, inputs) * runs
        results = []
        with counted_progress("inferences", quiet=quiet or as_json) as progress:
            for done, sample in enumerate(samples, 1):
                results.append(monitor.run(sample))
                progress(done, len(samples))
    outputs = stacked(results[-len(samples) // runs :])
    latency_s = statistics.median(result.latency_s for result in results)
    if target is not None:
        write_arrays(target, outputs)
    clock_hz = monitor.model.clock_hz
    if as_json:
        print_json(
            {
                "model": monitor.model.name,
                "port": port,
                "latency_s": latency_s,
                "clock_hz": clock_hz or None,
                "runs": len(results),
                "repeated_requests": monitor.link.repeats,
                "outputs": {name: array.tolist() for name, array in outputs.items()},
                "kind": "measured",
            }
        )
        return
    show_outputs(outputs)
    clock = f"at {clock_hz / 1e6:g} MHz, the board's clock" if clock_hz else "the line included"
    click.echo(
        f"{monitor.model.name}: {format_seconds(latency_s)} an inference ({clock}), "
        f"{len(results)} runs"
    )
    note_clock(clock_hz, profile, quiet=quiet)


def show_outputs(outputs: Mapping[str, Array]) -> None:
    """Print type, shape and first values of arrays by name."""
    rows = [
        (
            name,
            str(array.dtype),
            str(list(array.shape)),
            ", ".join(f"{value:.5g}" for value in array.ravel()[:FIRST_VALUES].tolist()),
        )
        for name, array in outputs.items()
    ]
    table(("output", "dtype", "shape", "first values"), rows)


def describe(model: BoardModel, as_json: bool) -> None:
    """Print what the board says about its model."""
    tensors = [("input", tensor) for tensor in model.inputs]
    tensors += [("output", tensor) for tensor in model.outputs]
    if as_json:
        print_json(
            {
                "model": model.name,
                "clock_hz": model.clock_hz or None,
                "tensors": [
                    {
                        "kind": kind,
                        "name": tensor.name,
                        "dtype": tensor.dtype,
                        "shape": list(tensor.shape),
                        "scale": tensor.scale,
                        "zero_point": tensor.zero_point,
                    }
                    for kind, tensor in tensors
                ],
            }
        )
        return
    rows = [
        (kind, t.name, t.dtype, str(list(t.shape)), f"{t.scale:.6g}", str(t.zero_point))
        for kind, t in tensors
    ]
    table(("", "name", "dtype", "shape", "scale", "zero point"), rows, title=model.name)


def note_clock(clock_hz: int, profile: DeviceProfile | None, *, quiet: bool) -> None:
    """Say so where the board does not run at the clock that estimates are for."""
    if profile is None or not clock_hz:
        return
    usual_hz = profile.processors[0].clock_hz.value
    if abs(usual_hz - clock_hz) > 0.01 * usual_hz:
        note(
            f"the monitor leaves the clock as it is after reset; estimates for {profile.name} are "
            f"for {usual_hz / 1e6:g} MHz",
            quiet=quiet,
        )
