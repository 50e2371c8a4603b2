"""The page: puts the sections together, with the style sheet inside, so that one file is enough."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from html import escape
from importlib import resources
from pathlib import Path

from edgekit.dtypes import Array
from edgekit.emulators import stated_error
from edgekit.errors import UsageError
from edgekit.language_package import LanguagePackage
from edgekit.package import Package
from edgekit.pipeline.firmware_files import packaged_image
from edgekit.plan import Compute, Move, Step
from edgekit.report.firmware_map import firmware_section
from edgekit.report.language import language_body
from edgekit.report.memory_curve import memory_curve
from edgekit.report.memory_map import memory_map
from edgekit.report.patch_example import Example, package_example
from edgekit.report.patch_map import patch_section
from edgekit.report.sections import accuracy_section, layer_section, memory_section, tiles
from edgekit.report.tables import html_table
from edgekit.report.timeline import timeline
from edgekit.units import format_seconds


def write_report(
    package: Package | LanguagePackage, path: Path, inputs: Mapping[str, Array] | None = None
) -> Path:
    """Write the report of a package of any kind as one HTML file that needs no network.

    The file appears complete or not at all.

    Parameters
    ----------
    package : Package or LanguagePackage
    path : Path
    inputs : mapping of name to array, optional
        An input on which to show which patches take 8 bits; without it the report shows what the
        conversion recorded.

    Raises
    ------
    UsageError
        If the file cannot be written there, or the package has no patches of two precisions that
        an input could show, or takes another input.
    """
    return write_page(render(package, inputs), path)


def write_page(html: str, path: Path) -> Path:
    """Write a page so that the file appears complete or not at all.

    Raises
    ------
    UsageError
        If the file cannot be written there.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(html, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def render(package: Package | LanguagePackage, inputs: Mapping[str, Array] | None = None) -> str:
    """Return the report of a package as HTML; see `write_report`."""
    manifest = package.manifest
    if isinstance(package, LanguagePackage):
        if inputs is not None:
            raise UsageError("a report of a language model shows no input; leave out --input")
        body = language_body(package)
    else:
        body = _body(package, package_example(package, inputs))
    return html_page(f"{manifest.name} on {manifest.device}", body)


def html_page(title: str, body: str) -> str:
    """Return a page with the style sheet inside; ``body`` is HTML, ``title`` is not."""
    style = resources.files("edgekit.report").joinpath("style.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>\n{body}</main></body></html>\n"
    )


def _body(package: Package, example: Example | None) -> str:
    manifest, plan = package.manifest, package.plan
    return "\n".join(
        [
            f'<p class="sub">executed by {escape(plan.executor)}; '
            f"{manifest.model.parameters:,} parameters, {manifest.model.macs:,} "
            f"multiply-accumulates, {escape(_interface(package))}</p>",
            tiles(package),
            *_sections(package, example),
        ]
    )


def _sections(package: Package, example: Example | None) -> Iterator[str]:
    plan = package.plan
    names = [step_name(step) for step in plan.steps]
    yield memory_section(plan)
    for memory in plan.memories:
        if any(buffer.memory == memory.name for buffer in plan.buffers):
            yield f"<h3>{escape(memory.name)} over time</h3>"
            yield memory_map(plan, memory, names)
            yield (
                '<p class="key">One rectangle a buffer: steps to the right, addresses upwards. '
                "The dashed line is the sum of live bytes, below which no arena can go. "
                "Point at a buffer for its name and size.</p>"
            )
    yield patch_section(package.structure(), example)
    yield memory_curve(plan, package.manifest.patches)
    yield firmware_section(packaged_image(package))
    if plan.estimates is not None:
        error = stated_error(package.profile())
        yield "<h2>Time</h2>"
        yield (
            f"<p>One inference takes {format_seconds(plan.estimates.latency_s)} "
            f"({plan.estimates.kind}). Bars show what limits each step.</p>"
        )
        if error:
            yield f"<p>Error for counted instructions (edgekit emulate): {escape(error)}.</p>"
        yield timeline(plan.estimates)
        yield (
            '<p class="key">limited by<i class="m0"></i>compute<i class="m1"></i>memory'
            '<i class="m2"></i>overhead</p>'
        )
    yield layer_section(package)
    yield accuracy_section(package.manifest.accuracy)
    yield _provenance(package)


def _interface(package: Package) -> str:
    model = package.manifest.model
    inputs = ", ".join(f"{t.name} {t.dtype}{list(t.shape)}" for t in model.inputs)
    outputs = ", ".join(f"{t.name} {t.dtype}{list(t.shape)}" for t in model.outputs)
    return f"{inputs} to {outputs}"


def step_name(step: Step) -> str:
    """Return what a step is called in pictures and tables."""
    if isinstance(step, Compute):
        return step.node
    if isinstance(step, Move):
        return f"move {step.tensor}"
    return type(step).__name__.lower()


def _provenance(package: Package) -> str:
    manifest = package.manifest
    parts = [(part.path, f"{part.size_bytes:,}", part.sha256[:16]) for part in manifest.parts]
    source = _pairs(manifest.model.source)
    recipe = _pairs({key: str(value) for key, value in manifest.recipe.items()})
    return (
        "<h2>What is in the package</h2>"
        + html_table(("part", "bytes", "SHA-256 (first 16 digits)"), parts, numeric=(1,))
        + (f"<h3>Source model</h3>{source}" if source else "")
        + (f"<h3>Recipe</h3>{recipe}" if recipe else "")
        + f'<p class="note">edgekit {escape(manifest.edgekit_version)}, package format '
        f"{manifest.format_version}.</p>"
    )


def _pairs(values: Mapping[str, str]) -> str:
    return html_table(("", ""), list(values.items())) if values else ""
