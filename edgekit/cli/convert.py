"""``edgekit convert``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from edgekit.cli.image import show_image
from edgekit.cli.output import (
    common_options,
    estimate_line,
    note,
    numbered_steps,
    print_json,
    table,
)
from edgekit.errors import UsageError
from edgekit.units import format_bytes

if TYPE_CHECKING:
    from edgekit.converters.recipes import Recipe
    from edgekit.pipeline.convert import Conversion
    from edgekit.pipeline.language_route import LanguageConversion


@click.command(
    short_help="Turn a model into a package for a named device.",
    epilog="""\b
Examples:
  edgekit convert --device pixel8
  edgekit convert model.onnx --device pixel8 --calibration images/
  edgekit convert kws.tflite --device nano33ble --dry-run
  edgekit convert model.gguf --device oneplus12 --memory 4GiB""",
)
@click.argument("model", required=False, type=click.Path())
@click.option("--device", metavar="NAME", help="Device profile; see: edgekit devices.")
@click.option("--out", metavar="DIR", help="Folder of the package. [<model>.<device>.edgekit]")
@click.option("--calibration", metavar="DATA", help=".npz, folder, or text file that lists files.")
@click.option("--labelled", metavar="NPZ", help="Inputs and 'labels': accuracy is measured.")
@click.option("--calibration-limit", metavar="N", type=int, help="Most samples to use. [100]")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "float16", "int8"]),
    help="Number format; auto weighs predicted latency against accuracy.",
)
@click.option(
    "--observer",
    type=click.Choice(["min-max", "percentile", "entropy", "mse"]),
    help="How ranges are taken from calibration data. [mse]",
)
@click.option("--channel-order", type=click.Choice(["rgb", "bgr"]), help="Of images. [rgb]")
@click.option("--pixel-mean", multiple=True, type=float, help="Images: (pixel - mean) / std.")
@click.option("--pixel-std", multiple=True, type=float, help="Images: (pixel - mean) / std.")
@click.option("--max-accuracy-drop", type=float, metavar="X", help="Gate: 0.01 is one point.")
@click.option("--min-sqnr-db", type=float, metavar="DB", help="Gate: output against float.")
@click.option("--keep-float", multiple=True, metavar="LAYER", help="Do not quantize this layer.")
@click.option("--dim", multiple=True, metavar="NAME=N", help="Value of a named dimension.")
@click.option("--patch", metavar="auto|off|RxC", help="Firmware: first layers in patches. [auto]")
@click.option(
    "--stream-input", is_flag=True, default=None, help="Firmware: hand the input to patches."
)
@click.option(
    "--mixed",
    type=click.Choice(["off", "auto", "widths", "static", "runtime"]),
    help="Firmware: activations of 4 and 2 bits; auto: where that is faster; static, runtime: "
    "outlier patches keep 8. [off]",
)
@click.option("--mixed-lambda", type=float, metavar="X", help="Entropy against work. [0.9]")
@click.option("--mixed-phi", type=float, metavar="X", help="Share without outliers. [0.98]")
@click.option("--mixed-weights", type=int, metavar="8|4", help="Bits of the weights of layers. [8]")
@click.option("--memory", metavar="BYTES", help="Language models: hard limit, such as 2GiB.")
@click.option("--context", type=int, metavar="N", help="Language models: tokens of a session.")
@click.option("--sessions", type=int, metavar="N", help="Language models: at the same time. [1]")
@click.option("--threads", type=int, metavar="N", help="Language models: that compute. [1]")
@click.option(
    "--kv", type=click.Choice(["f16", "q8", "f32"]), help="Language models: KV cache. [f16]"
)
@click.option(
    "--executor",
    type=click.Choice(["auto", "native", "llama"]),
    help="Language models: what runs it. [auto]",
)
@click.option(
    "--weights",
    type=click.Choice(["keep", "f32", "f16", "q8_0", "q4_0"]),
    help="Language models from a folder: type of the matrices. [keep]",
)
@click.option(
    "--store",
    type=click.Choice(["auto", "link", "copy", "reference"]),
    help="Language models: how the GGUF file gets into the package. [auto]",
)
@click.option("--recipe", "recipe_file", metavar="FILE", help="YAML with these options as keys.")
@click.option("--dry-run", is_flag=True, default=None, help="Plan and check, write nothing.")
@common_options
def command(recipe_file: str | None, as_json: bool, quiet: bool, **options: object) -> None:
    """Convert MODEL for a device: quantize, place, plan every byte, refuse what does not fit.

    MODEL is an ONNX or TFLite file, a saved torch.export program, a Hugging Face folder or a GGUF
    language model; without it the keyword spotter that ships with edgekit is converted.
    """
    from pathlib import Path

    from edgekit.converters.recipes import layered, load_recipe, recipe_from_environment
    from edgekit.pipeline.convert import STEPS, convert_recipe
    from edgekit.pipeline.language_source import is_language_model

    options["dim"] = dims_of(options.pop("dim"))
    given = {key: value for key, value in options.items() if value not in (None, (), {})}
    from_file = load_recipe(Path(recipe_file)) if recipe_file else {}
    recipe = layered(from_file, recipe_from_environment(), given)
    if not recipe.device:
        raise UsageError("name a device: --device pixel8 (all of them: edgekit devices)")
    is_language = bool(recipe.model) and is_language_model(Path(recipe.model))
    check_keys({**from_file, **given}, is_language=is_language)
    if is_language:
        convert_language(recipe, as_json=as_json, quiet=quiet)
        return
    with numbered_steps(STEPS, quiet=quiet or as_json) as step:
        conversion = convert_recipe(recipe, step=step)
    if as_json:
        print_json(conversion.to_json())
    else:
        show(conversion, quiet=quiet)


def check_keys(given: Mapping[str, object], *, is_language: bool) -> None:
    """Refuse options that mean nothing for this kind of model (UsageError)."""
    from edgekit.converters.recipes import LANGUAGE_KEYS

    shared = {"model", "device", "out", "dry_run"}
    known = shared | set(LANGUAGE_KEYS) if is_language else None
    for key in given:
        option = f"--{key.replace('_', '-')}"
        if known is not None and key not in known:
            raise UsageError(f"{option} is not for language models, which are not calibrated")
        if known is None and key in LANGUAGE_KEYS:
            raise UsageError(f"{option} is for language models: GGUF files and folders of such")


def convert_language(recipe: Recipe, *, as_json: bool, quiet: bool) -> None:
    """Convert a language model and print what came of it."""
    from edgekit.pipeline.language_route import STEPS, convert_language_recipe

    with numbered_steps(STEPS, quiet=quiet or as_json) as step:
        conversion = convert_language_recipe(recipe, step=step)
    if as_json:
        print_json(conversion.to_json())
    else:
        show_language(conversion, quiet=quiet)


def show_language(conversion: LanguageConversion, *, quiet: bool) -> None:
    """Print what a person wants to know about the conversion of a language model."""
    from edgekit.cli.language_tables import curve_table, memory_table, speed_line

    plan = conversion.plan
    click.echo(f"{conversion.model_name} for {plan.device}, executed by {plan.executor}")
    memory_table(plan)
    curve_table(plan)
    click.echo(speed_line(plan))
    for line in conversion.notes:
        click.echo(line)
    if conversion.package is None:
        note("dry run: nothing was written", quiet=quiet)
        return
    click.echo(f"package: {conversion.package.root}, {conversion.seconds:.1f} s")
    note(f'next: edgekit generate {conversion.package.root} --prompt "Once"', quiet=quiet)


def dims_of(pairs: object) -> dict[str, int]:
    """Return ``NAME=N`` options as a mapping (UsageError where one has another form)."""
    dims: dict[str, int] = {}
    for pair in pairs if isinstance(pairs, tuple) else ():
        name, separator, value = str(pair).partition("=")
        if not separator or not value.isdigit():
            raise UsageError(f"--dim takes NAME=N such as sequence=128, not {pair}")
        dims[name] = int(value)
    return dims


def show(conversion: Conversion, *, quiet: bool) -> None:
    """Print what a person wants to know about a conversion."""
    from edgekit.pipeline.firmware_route import EXECUTOR

    plan = conversion.plan
    executed = f"executed by {plan.executor}"
    if plan.executor == EXECUTOR:
        executed = f"as C with {plan.kernels.value} kernels"
    click.echo(f"{conversion.model_name} for {plan.device}, {executed}")
    rows = [
        (
            memory.name,
            f"{memory.peak_bytes:,}",
            f"{memory.available_bytes:,}",
            f"{memory.arena_bytes:,}",
            f"{memory.weights_bytes:,}",
            f"{memory.overhead_bytes:,}",
        )
        for memory in plan.memories
    ]
    headings = ("memory", "peak bytes", "available", "arena", "weights", "executor")
    table(headings, rows)
    if plan.estimates is not None:
        click.echo(estimate_line(plan.estimates))
        if conversion.stated_error:
            click.echo(f"error for counted instructions: {conversion.stated_error}")
    if conversion.image:
        show_image(conversion.image)
    for image in conversion.flash_images:
        more = image.flash_bytes - conversion.firmware["flash_bytes"]
        click.echo(
            f"image for flash by {image.protocol}: {image.size_bytes:,} bytes at "
            f"0x{image.address:08x}; the monitor takes {more:,} of them, and RAM "
            f"{image.static_bytes:,} static, {image.stack_bytes:,} stack"
        )
    for line in conversion.notes:
        click.echo(line)
    if conversion.package is None:
        note("dry run: nothing was written", quiet=quiet)
    else:
        size = format_bytes(conversion.package.size_bytes)
        click.echo(f"package: {conversion.package.root} ({size}), {conversion.seconds:.1f} s")
        root = conversion.package.root
        note(f"next: edgekit report {root} --out report.html", quiet=quiet)
        if conversion.image:
            note(f"counted instructions: edgekit emulate {root} --input NPZ", quiet=quiet)
