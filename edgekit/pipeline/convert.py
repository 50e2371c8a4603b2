"""``convert``: from a model and a device to a package, or to the reason why not.

Read, simplify, quantize, place, order, plan every byte, check the fit, write. Each stage is a call
into the library; this module only puts them in order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from edgekit.converters.partitioning.placement import place
from edgekit.converters.passes import simplify
from edgekit.converters.recipes import Recipe, recipe_from
from edgekit.deploy.cores import kernels_of
from edgekit.deploy.image_map import ImageMemory
from edgekit.deploy.serial.image_facts import ImageFacts
from edgekit.emulators import stated_error
from edgekit.errors import ProfileError, UnsupportedOpError
from edgekit.estimate import estimate_graph
from edgekit.fit import by_memory, check_fit, exceeded_memories, fit_hint, which_devices_fit
from edgekit.package import Package, PackageContent, write_package
from edgekit.package_files import check_replaceable
from edgekit.package_manifest import ModelFacts
from edgekit.pipeline.fastest_precision import fitting_by_fewer_bits, in_fastest_precision
from edgekit.pipeline.firmware_files import FirmwareFiles, firmware_files
from edgekit.pipeline.firmware_route import convert_for_firmware
from edgekit.pipeline.inspect import graph_macs
from edgekit.pipeline.job import Job, Product
from edgekit.pipeline.kept_source import is_quantized
from edgekit.pipeline.litert_route import convert_for_litert, is_tflite
from edgekit.pipeline.mixed_precision import with_mixed_precision
from edgekit.pipeline.onnx_route import convert_for_onnxruntime
from edgekit.pipeline.patching import Patching, smallest_with_patches, with_patches
from edgekit.pipeline.source import SourceModel, read_source
from edgekit.plan import Plan
from edgekit.planner import build_plan
from edgekit.profile_toml import to_toml
from edgekit.profiles import DeviceProfile, list_profiles, load_profile
from edgekit.schedule import schedule
from edgekit.shapes import bind_dims

STEPS = 6
Step = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Conversion:
    """What came of a conversion.

    Parameters
    ----------
    model_name : str
    package : Package or None
        None for a dry run.
    plan : Plan
    accuracy : mapping
        As in the manifest.
    notes : tuple of str
        Sentences for the user: decisions and their reasons.
    seconds : float
    firmware : mapping of name to int
        Exact sizes of the firmware image in bytes; empty where none was built.
    image : tuple of ImageMemory
        What the image takes of each memory.
    flash_images : tuple of ImageFacts
        What ``flash`` can write: the model with the monitor.
    stated_error : str
        What is known of the error of the estimates; empty where nothing is.
    patches : mapping
        Which patches the first layers run in, plain values; empty where they run whole.
    """

    model_name: str
    package: Package | None
    plan: Plan
    accuracy: Mapping[str, Any]
    notes: tuple[str, ...]
    seconds: float
    firmware: Mapping[str, int] = field(default_factory=dict)
    image: tuple[ImageMemory, ...] = ()
    flash_images: tuple[ImageFacts, ...] = ()
    stated_error: str = ""
    patches: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the answer of ``edgekit convert --json``."""
        plan, estimates = self.plan, self.plan.estimates
        return {
            "package": str(self.package.root) if self.package else None,
            "package_bytes": self.package.size_bytes if self.package else None,
            "model": self.model_name,
            "device": plan.device,
            "executor": plan.executor,
            "fits": not exceeded_memories(plan),
            "memories": [msgspec.to_builtins(memory) for memory in plan.memories],
            "estimates": {
                "latency_s": estimates.latency_s if estimates else None,
                "energy_j": estimates.energy_j if estimates else None,
                "kind": estimates.kind if estimates else None,
                "stated_error": self.stated_error,
            },
            "accuracy": dict(self.accuracy),
            "placement": [msgspec.to_builtins(placement) for placement in plan.placement],
            "firmware": dict(self.firmware),
            "image": [memory.to_json() for memory in self.image],
            "flash_images": [msgspec.to_builtins(image) for image in self.flash_images],
            "patches": dict(self.patches),
            "notes": list(self.notes),
            "seconds": self.seconds,
        }


def convert_recipe(
    recipe: Recipe, *, step: Step = lambda _: None, calibration: object = None
) -> Conversion:
    """Convert as a recipe says.

    Parameters
    ----------
    recipe : Recipe
    step : callable
        Told the title of each stage as it begins (``STEPS`` of them).
    calibration : object, optional
        Calibration data in any accepted form; goes before the recipe's path.

    Raises
    ------
    UsageError, ProfileError, CalibrationError
        If the recipe asks for what cannot be.
    ModelError
        If the model cannot be read or converted.
    MemoryBudgetError
        If it does not fit the device; devices that it would fit are named.
    AccuracyError
        If the gate does not hold.
    """
    started = time.perf_counter()
    profile = load_profile(recipe.device)
    route = route_of(profile)
    step("reading the model")
    source = read_source(recipe.model, recipe.dim)
    if not recipe.dry_run:
        check_replaceable(_target(recipe, source, profile))
    step("simplifying the graph")
    graph = simplify(source.graph)
    data = recipe.calibration or source.calibration if calibration is None else calibration
    job = Job(recipe, source, graph, bind_dims(graph), profile, data)
    step("choosing the precision")
    product = route(job)
    step("placing and ordering the layers")
    ordered = schedule(product.graph, kernels=kernels_of(profile)).graph
    whole = replace(product, graph=ordered)
    product, patching = _narrowed_and_cut(whole, job)
    step("planning memory")
    plan = plan_for(product, profile)
    if exceeded_memories(plan):
        check_fit(plan, hint=_remedy(whole, product, plan, job))
    step("writing the package")
    firmware = FirmwareFiles()
    if profile.kind == "mcu":
        firmware = firmware_files(product.graph, plan, profile)
    patches = patching.to_json() if patching else {}
    package = None if recipe.dry_run else _write(job, product, plan, firmware, patches)
    notes = (*_source_notes(source), *product.notes, *firmware.notes)
    return Conversion(
        source.name,
        package,
        plan,
        product.accuracy,
        notes,
        seconds=time.perf_counter() - started,
        firmware=firmware.sizes,
        image=firmware.memories,
        flash_images=firmware.flash_images,
        stated_error=stated_error(profile),
        patches=patches,
    )


def convert(
    model: str | Path = "",
    *,
    device: str,
    calibration: object = None,
    **options: object,
) -> Conversion:
    """Convert a model for a device.

    Parameters
    ----------
    model : str or Path
        ONNX or TensorFlow Lite file, saved torch.export program, or Hugging Face folder; empty for
        the keyword spotter that ships.
    device : str
        Name of a profile, or path of a TOML file.
    calibration : object, optional
        A path, an iterable of ``{name: array}``, an object with ``get_next()``, a callable, or an
        (iterable, transform) pair.
    **options
        Other keys of a recipe: ``out``, ``precision``, ``max_accuracy_drop`` and so on.

    Raises
    ------
    EdgekitError
        As :func:`convert_recipe`.
    """
    values = {**options, "model": str(model), "device": device}
    return convert_recipe(recipe_from(values, where="convert"), calibration=calibration)


def convert_for_app(job: Job) -> Product:
    """Return what an application runs: ONNX, or a TensorFlow Lite file as it is.

    The latter where the file is quantized already, or has layers that ONNX has no form for.
    """
    if not is_tflite(job):
        return convert_for_onnxruntime(job)
    if is_quantized(job.bound):
        return convert_for_litert(job)
    try:
        return convert_for_onnxruntime(job)
    except UnsupportedOpError as error:
        product = convert_for_litert(job)
        return replace(product, notes=(*product.notes, f"onnxruntime was not considered: {error}"))


ROUTES: Mapping[str, Callable[[Job], Product]] = {
    "mcu": convert_for_firmware,
    "phone": convert_for_app,
    "sbc": convert_for_app,
    "heterogeneous": convert_for_app,
    "cloud": convert_for_app,
}
"""How models get to each kind of device."""


def route_of(profile: DeviceProfile) -> Callable[[Job], Product]:
    """Return how models get to a device.

    Raises
    ------
    ProfileError
        If edgekit does not convert for it, with what it can do instead.
    """
    route = ROUTES.get(profile.kind)
    if route is None:
        note = profile.capabilities.note
        raise ProfileError(f"{profile.name} ({profile.kind}) runs no packages. {note}".rstrip())
    return route


def plan_for(product: Product, profile: DeviceProfile) -> Plan:
    """Return the plan of a product on a device, checked but not held against the budget."""
    precision = product.cost_precision
    placed = place(product.graph, profile, precision, executor=product.reach)
    estimates = estimate_graph(
        product.graph, profile, placed.placements, precision, executor=product.reach
    )
    return build_plan(
        product.graph,
        profile,
        executor=product.executor,
        placement=placed.placements,
        estimates=estimates,
        executor_memory=product.executor_memory,
        kernels=kernels_of(profile),
        streamed=product.streamed,
    )


def _narrowed_and_cut(product: Product, job: Job) -> tuple[Product, Patching | None]:
    """Return a product with fewer bits and in patches, where that is asked for or needed."""
    profile = job.profile
    if job.recipe.mixed == "auto":
        return in_fastest_precision(product, job, lambda one: plan_for(one, profile))
    if job.recipe.mixed != "off":
        product, patching = with_mixed_precision(product, job)
        if patching is not None:
            return product, patching
    return with_patches(product, job.recipe, profile, lambda one: _has_room(one, profile))


def _has_room(product: Product, profile: DeviceProfile) -> bool:
    """Whether the arena as it is placed fits the memory that is computed in."""
    exceeded = exceeded_memories(plan_for(product, profile))
    return profile.working_memory not in (use.name for use in exceeded)


def _remedy(whole: Product, product: Product, plan: Plan, job: Job) -> str:
    """Return what would make a product fit: other patches, fewer bits, another device."""
    profile = job.profile
    remedies = [_patch_hint(whole, plan, profile), _narrow_hint(whole, job)]
    if not any(remedies) or job.recipe.mixed == "auto":
        remedies.append(_hint(product, profile))
    return "\n".join(one for one in remedies if one)


def _narrow_hint(whole: Product, job: Job) -> str:
    if job.recipe.mixed == "auto":
        return "This is the least of int8 and fewer bits, in the patches that --patch allows."
    if job.profile.kind != "mcu" or job.recipe.mixed != "off":
        return ""
    return fitting_by_fewer_bits(whole, job, lambda one: plan_for(one, job.profile))


def _patch_hint(whole: Product, plan: Plan, profile: DeviceProfile) -> str:
    """Return the patches with which a product fits whose activations alone are too large."""
    exceeded = {use.name for use in exceeded_memories(plan)}
    if profile.kind != "mcu" or plan.streamed or exceeded != {profile.working_memory}:
        return ""
    return smallest_with_patches(whole.graph, profile)


def _hint(product: Product, profile: DeviceProfile) -> str:
    """Return which devices the product would fit, those of the same kind first."""
    others = [load_profile(summary.name) for summary in list_profiles()]
    usable = [other for other in by_memory(others, profile) if other.kind in ROUTES]
    return fit_hint(which_devices_fit(usable, lambda other: plan_for(product, other)))


def _write(
    job: Job, product: Product, plan: Plan, firmware: FirmwareFiles, patches: Mapping[str, Any]
) -> Package:
    declared = job.graph if product.executor == "onnxruntime" else product.graph
    content = PackageContent(
        model=ModelFacts.of(declared, macs=graph_macs(job.bound)),
        plan=plan,
        profile=to_toml(job.profile).encode(),
        graph=product.graph,
        model_file=product.model_file,
        files={**job.source.files, **firmware.files},
        recipe=msgspec.to_builtins(msgspec.structs.replace(job.recipe, out="")),
        accuracy=product.accuracy,
        patches=patches,
    )
    return write_package(_target(job.recipe, job.source, job.profile), content)


def _target(recipe: Recipe, source: SourceModel, profile: DeviceProfile) -> Path:
    return Path(recipe.out or f"{source.name}.{profile.name}.edgekit")


def _source_notes(source: SourceModel) -> tuple[str, ...]:
    if source.ships:
        return (f"No model was named: this is the {source.name} that ships with edgekit.",)
    return ()
