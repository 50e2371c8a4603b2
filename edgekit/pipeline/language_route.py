"""``convert`` for language models: from a GGUF file or a folder of weights to a package.

Nothing is computed: the file is checked, memory is planned within the device's limit, speed is
predicted for this limit and for others, and plan and file go into a package together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgekit.converters.importers.gguf import facts_of
from edgekit.converters.recipes import Recipe, recipe_from
from edgekit.errors import MemoryBudgetError, ModelFormatError, ProfileError, UsageError
from edgekit.language_package import LanguagePackage, write_language_package
from edgekit.language_plan import (
    BudgetPoint,
    LanguageExecutorName,
    LanguageFacts,
    LanguageMemory,
    LanguagePlan,
    ModelReference,
)
from edgekit.package_files import check_replaceable
from edgekit.pipeline.language_source import LanguageSource, language_source
from edgekit.pipeline.language_speed import SpeedModel, speed_model
from edgekit.profile_toml import to_toml
from edgekit.profiles import DeviceProfile, load_profile
from edgekit.runtime.language.engine import LanguageModel, open_model
from edgekit.runtime.language.engine_records import MemoryBudget
from edgekit.runtime.language.gguf_file import GgufHeader, read_header
from edgekit.runtime.language.llama_cpp import has_llama_cpp
from edgekit.runtime.language.session import DEFAULT_BATCH, context_of
from edgekit.units import format_bytes, parse_bytes

STEPS = 4
CURVE_POINTS = 8
KINDS = ("phone", "sbc", "heterogeneous", "cloud")
Step = Callable[[str], None]
Planner = Callable[[int | None], MemoryBudget]


@dataclass(frozen=True, slots=True, eq=False)
class LanguageConversion:
    """What came of a conversion.

    Parameters
    ----------
    model_name : str
    package : LanguagePackage or None
        None for a dry run.
    plan : LanguagePlan
    notes : tuple of str
        Sentences for the user.
    seconds : float
    """

    model_name: str
    package: LanguagePackage | None
    plan: LanguagePlan
    notes: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the answer of ``edgekit convert --json``."""
        plan, estimate = self.plan, self.plan.estimate
        return {
            "package": str(self.package.root) if self.package else None,
            "package_bytes": self.package.size_bytes if self.package else None,
            "model": self.model_name,
            "device": plan.device,
            "executor": plan.executor,
            "fits": True,
            "memories": [memory_json(plan)],
            "estimates": {
                "latency_s": 1 / estimate.tokens_per_s if estimate else None,
                "tokens_per_s": estimate.tokens_per_s if estimate else None,
                "prefill_tokens_per_s": estimate.prefill_tokens_per_s if estimate else None,
                "energy_j": None,
                "kind": estimate.kind if estimate else None,
                "stated_error": "not compared with a measurement on this device",
            },
            "accuracy": {},
            "placement": [],
            "bytes_read_per_token": plan.memory.read_bytes_per_token,
            "curve": [msgspec.to_builtins(point) for point in plan.curve],
            "notes": list(self.notes),
            "seconds": self.seconds,
        }


def memory_json(plan: LanguagePlan) -> dict[str, Any]:
    """Return the memory of a plan under the keys that every package has, and its own."""
    own = msgspec.to_builtins(plan.memory)
    return {**own, "peak_bytes": plan.memory.total_bytes}


def convert_language_recipe(recipe: Recipe, *, step: Step = lambda _: None) -> LanguageConversion:
    """Convert a language model as a recipe says.

    Parameters
    ----------
    recipe : Recipe
    step : callable
        Told the title of each stage as it begins (``STEPS`` of them).

    Raises
    ------
    UsageError, ProfileError
        If the recipe asks for what cannot be.
    ModelFormatError
        If the model cannot be read, or no executor computes it.
    MemoryBudgetError
        If the limit is too small; ``required_bytes`` is the smallest that works.
    """
    started = time.perf_counter()
    profile = load_profile(recipe.device)
    if profile.kind not in KINDS:
        raise ProfileError(
            f"{profile.name} ({profile.kind}) runs no language models; "
            f"they need one of: {', '.join(KINDS)}"
        )
    target = Path(recipe.out or f"{language_name(recipe.model)}.{profile.name}.edgekit")
    if not recipe.dry_run:
        check_replaceable(target)
    step("reading the model")
    with language_source(recipe, target) as source:
        header = read_header(source.path)
        facts = facts_of(header)
        executor, notes = choose_executor(recipe, source.path)
        step("planning memory")
        plan = _plan(recipe, source, header, facts, profile, executor)
        step("writing the package")
        package = None
        if not recipe.dry_run:
            package = _write(recipe, source, plan, profile, target)
    seconds = time.perf_counter() - started
    notes = (*source.notes, *notes, *_plan_notes(plan, package))
    return LanguageConversion(source.name, package, plan, notes, seconds)


def convert_language_model(
    model: str | Path = "", *, device: str, **options: object
) -> LanguageConversion:
    """Convert a language model for a device.

    Parameters
    ----------
    model : str or Path
        GGUF file, or Hugging Face folder of a Llama-shaped model.
    device : str
        Name of a profile, or path of a TOML file.
    **options
        Other keys of a recipe: ``out``, ``memory``, ``context``, ``kv``, ``executor``,
        ``weights``, ``store``.

    Raises
    ------
    EdgekitError
        As :func:`convert_language_recipe`.
    """
    values = {**options, "model": str(model), "device": device}
    return convert_language_recipe(recipe_from(values, where="convert_language_model"))


def language_name(model: str) -> str:
    """Return what a model is called: the file without suffix, or the folder."""
    path = Path(model).resolve()
    return path.stem if path.is_file() else path.name


def choose_executor(recipe: Recipe, path: Path) -> tuple[LanguageExecutorName, tuple[str, ...]]:
    """Return what runs a file, and the sentence that says so where nobody asked for it.

    Raises
    ------
    ModelFormatError
        If the native engine refuses it and llama.cpp is not there.
    """
    if recipe.executor == "llama":
        return "llama", ("llama.cpp runs it, as asked; it keeps to no memory budget.",)
    try:
        with open_model(path):
            return "native", ()
    except ModelFormatError as error:
        if recipe.executor == "native" or not has_llama_cpp():
            raise
        return "llama", (f"llama.cpp runs it; the native engine does not: {error}",)


def _plan(
    recipe: Recipe,
    source: LanguageSource,
    header: GgufHeader,
    facts: LanguageFacts,
    profile: DeviceProfile,
    executor: LanguageExecutorName,
) -> LanguagePlan:
    context = recipe.context or context_of(header)
    available = round(profile.ram.available_bytes.value)
    limit = _limit(recipe, available, profile)
    speed = speed_model(profile, executor, facts)
    if executor == "native":
        with open_model(source.path) as model:
            budget_of = native_planner(model, recipe, context)
            budget = within(budget_of, limit, profile)
            curve = budget_curve(budget_of, speed, largest=max(limit, available))
    else:
        budget = llama_budget(facts, context, recipe.kv)
        if budget.total_bytes > limit:
            raise _too_large(budget.total_bytes, limit, profile, "llama.cpp streams nothing")
        curve = ()
    return LanguagePlan(
        device=profile.name,
        executor=executor,
        model=ModelReference(size_bytes=source.path.stat().st_size, sha256=""),
        facts=facts,
        memory=_memory(budget, limit, available, profile),
        context=context,
        batch=DEFAULT_BATCH,
        sessions=recipe.sessions,
        threads=recipe.threads,
        kv=recipe.kv,
        estimate=speed.estimate(budget, batch=DEFAULT_BATCH) if speed else None,
        curve=curve,
    )


def native_planner(model: LanguageModel, recipe: Recipe, context: int) -> Planner:
    """Return a function from a memory limit to what the engine would hold under it."""

    def plan(limit: int | None) -> MemoryBudget:
        return model.plan(
            memory_bytes=limit,
            context=context,
            batch=DEFAULT_BATCH,
            sessions=recipe.sessions,
            threads=recipe.threads,
            kv=recipe.kv,
        )

    return plan


def within(budget_of: Planner, limit: int, profile: DeviceProfile) -> MemoryBudget:
    """Return the plan under a limit (MemoryBudgetError with the smallest limit that works)."""
    try:
        return budget_of(limit)
    except MemoryBudgetError as error:
        hint = (
            f"the smallest limit that works is {error.required_bytes:,} bytes: "
            "give more with --memory, or need less with a smaller --context or --kv q8"
        )
        raise _too_large(error.required_bytes, limit, profile, hint) from error


def budget_curve(
    budget_of: Planner, speed: SpeedModel | None, *, largest: int
) -> tuple[BudgetPoint, ...]:
    """Return what limits between the smallest that works and all weights in memory would give.

    Parameters
    ----------
    budget_of : callable
    speed : SpeedModel or None
        None gives no curve.
    largest : int
        Limits beyond it are left out.
    """
    if speed is None:
        return ()
    whole = budget_of(None)
    low, high = whole.minimum_bytes, min(whole.total_bytes, largest)
    if low > high:
        return ()
    steps = range(CURVE_POINTS + 1)
    limits = sorted({low + (high - low) * step // CURVE_POINTS for step in steps})
    points = []
    for limit in limits:
        budget = whole if limit >= whole.total_bytes else None
        if budget is None:
            with suppress(MemoryBudgetError):
                budget = budget_of(limit)
        cost = speed.decode(budget) if budget else None
        if budget is None or cost is None:
            continue
        points.append(
            BudgetPoint(
                memory_bytes=limit,
                total_bytes=budget.total_bytes,
                pinned_bytes=budget.pinned_bytes,
                read_bytes_per_token=budget.read_bytes_per_token,
                tokens_per_s=1 / cost.seconds,
                bound=cost.bound,
            )
        )
    return tuple(points)


def llama_budget(facts: LanguageFacts, context: int, kv: str) -> MemoryBudget:
    """Return about what llama.cpp takes: all weights and one KV cache."""
    head_width = facts.width // max(facts.heads, 1)
    values = 2 * facts.layers * facts.kv_heads * head_width * context
    # Bytes for 32 values; Q8_0 has a scale of 2 bytes beside them.
    kv_bytes = -(-values * {"f16": 64, "q8": 34, "f32": 128}[kv] // 32)
    total = facts.weights_bytes + kv_bytes
    return MemoryBudget(
        pinned_bytes=facts.weights_bytes,
        stream_bytes=0,
        kv_bytes=kv_bytes,
        activation_bytes=0,
        table_bytes=0,
        total_bytes=total,
        touched_bytes_per_token=facts.weights_bytes,
        read_bytes_per_token=0,
        minimum_bytes=total,
    )


def _limit(recipe: Recipe, available: int, profile: DeviceProfile) -> int:
    if not recipe.memory:
        return available
    limit = parse_bytes(recipe.memory)
    if limit > available:
        raise UsageError(
            f"--memory {recipe.memory} is more than the {available:,} bytes that an app may use "
            f"on {profile.name}"
        )
    return limit


def _too_large(required: int, limit: int, profile: DeviceProfile, hint: str) -> MemoryBudgetError:
    return MemoryBudgetError(
        required_bytes=required,
        available_bytes=limit,
        memory=profile.working_memory,
        hint=hint,
    )


def _memory(
    budget: MemoryBudget, limit: int, available: int, profile: DeviceProfile
) -> LanguageMemory:
    return LanguageMemory(
        name=profile.working_memory,
        available_bytes=available,
        limit_bytes=limit,
        pinned_bytes=budget.pinned_bytes,
        stream_bytes=budget.stream_bytes,
        kv_bytes=budget.kv_bytes,
        activation_bytes=budget.activation_bytes,
        table_bytes=budget.table_bytes,
        total_bytes=budget.total_bytes,
        touched_bytes_per_token=budget.touched_bytes_per_token,
        read_bytes_per_token=budget.read_bytes_per_token,
        minimum_bytes=budget.minimum_bytes,
    )


def _write(
    recipe: Recipe,
    source: LanguageSource,
    plan: LanguagePlan,
    profile: DeviceProfile,
    target: Path,
) -> LanguagePackage:
    settings: Mapping[str, Any] = msgspec.to_builtins(msgspec.structs.replace(recipe, out=""))
    return write_language_package(
        target,
        plan,
        name=source.name,
        model=source.path,
        profile=to_toml(profile).encode(),
        recipe=settings,
        store=source.store,
    )


def _plan_notes(plan: LanguagePlan, package: LanguagePackage | None) -> tuple[str, ...]:
    notes = []
    read = plan.memory.read_bytes_per_token
    if read:
        text = f"{format_bytes(read)} of weights are read from storage for each token"
        last = plan.curve[-1] if plan.curve else None
        if last is not None and not last.read_bytes_per_token:
            text += f"; all of them fit from {last.memory_bytes:,} bytes of memory on"
        notes.append(f"{text}.")
    if package is not None and not plan.model.part and package.plan.model.path:
        notes.append(f"The package refers to {package.plan.model.path}; keep it there.")
    return tuple(notes)
