"""``convert --mixed auto``: int8 and narrower forms weighed, the fastest that fits taken.

Fewer bits make a layer slower and a plan smaller, so that larger patches fit, or none are needed:
less is computed twice. Which of the two wins is predicted from the instructions of both plans
(:mod:`edgekit.cost.instructions`). Weighed are

- int8, in the patches that ``--patch`` asks for or memory needs;
- the widths that ``--mixed-lambda`` asks for, in their own patches;
- where int8 layers do not fit whole: as few narrow activations as make whole layers fit, and all
  that can be with 4 bits;
- each of these with weights of 4 bits in as many layers as it takes, the largest first, where
  int8 weights are too large for the device.

A narrower form that does not hold the gates of the recipe is left out. Forms whose instructions
differ by less than what the prediction is off by count as equally fast: of these the one that keeps
most bits is taken, int8 before all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgekit.converters.partitioning.patch_search import live_peak_bytes
from edgekit.converters.partitioning.selective_search import Work
from edgekit.converters.quantization.bit_search import WIDE, BitWidths, search_bit_widths
from edgekit.converters.quantization.bit_widths import WIDTHS, width_groups, with_bit_widths
from edgekit.converters.quantization.histograms import Histogram, observe_histograms
from edgekit.converters.quantization.narrow_layers import layers_for_flash
from edgekit.cost.bit_operations import bit_operations
from edgekit.cost.instructions import instructions
from edgekit.deploy.cores import kernels_of
from edgekit.errors import AccuracyError, PlanError
from edgekit.fit import exceeded_memories
from edgekit.graph import Graph
from edgekit.ops import int8
from edgekit.pipeline.job import Job, Product
from edgekit.pipeline.mixed_accuracy import measured_against_int8
from edgekit.pipeline.mixed_choice import Mixed
from edgekit.pipeline.narrowing import narrow_kernels, narrow_layers, narrowed, searched_widths
from edgekit.pipeline.patching import Patching, available_bytes, in_patches, with_patches
from edgekit.pipeline.weigh import needs_data
from edgekit.plan import MemoryUse, Plan

Plans = Callable[[Product], Plan]
"""From a product to its plan on the device."""

INT8 = "int8"

EQUALLY_FAST = 1.05
"""Instructions over those of the fastest form that the prediction does not tell apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """A form of a network that is weighed.

    Parameters
    ----------
    name : str
        As the user reads it.
    product : Product
        In its patches.
    patching : Patching or None
    plan : Plan
    instructions : float
        Predicted, of one inference.
    kept_bits : int
        Of all weights and activations of the whole layers.
    found : BitWidths or None
        None for int8 activations.
    layers : mapping of node name to int
        Bits of the weights that are narrower.
    """

    name: str
    product: Product
    patching: Patching | None
    plan: Plan
    instructions: float
    kept_bits: int
    found: BitWidths | None = None
    layers: Mapping[str, int] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether every memory suffices."""
        return not exceeded_memories(self.plan)

    def to_json(self) -> dict[str, Any]:
        """Return the plain values of ``accuracy.mixed.weighed``."""
        grid = self.patching.chosen.grid if self.patching else None
        return {
            "form": self.name,
            "patches": grid.text if grid else "",
            "rows_kept": grid is not None and grid.cached,
            "instructions": round(self.instructions),
            "memories": {use.name: use.peak_bytes for use in self.plan.memories},
            "fits": self.fits,
        }

    def sentence(self) -> str:
        """Return what a user reads about this form."""
        grid = self.patching.chosen.grid if self.patching else None
        kept = " with rows kept" if grid and grid.cached else ""
        where = f"in {grid.text} patches{kept}" if grid else "in whole layers"
        sizes = ", ".join(_size(use) for use in self.plan.memories)
        return f"{self.name} {where}: {self.instructions / 1e6:.1f} M instructions, {sizes}"


def _size(use: MemoryUse) -> str:
    exceeded = f", of which it has {use.available_bytes:,}"
    return f"{use.peak_bytes:,} bytes of {use.name}" + (
        exceeded if use.peak_bytes > use.available_bytes else ""
    )


def in_fastest_precision(
    product: Product, job: Job, plan_of: Plans
) -> tuple[Product, Patching | None]:
    """Return the form with the fewest predicted instructions that fits and holds the gates.

    Where none fits, the one that needs least memory, for the refusal to name.

    Parameters
    ----------
    product : Product
        In int8, whole layers.
    job : Job
        With calibration data.
    plan_of : callable

    Raises
    ------
    UsageError
        If the device or the model has no form with fewer bits.
    CalibrationError
        If there is no calibration data.
    AccuracyError
        If every form that fits loses more than may be lost.
    """
    narrow_kernels(product, job.profile)
    if not job.batches:
        raise needs_data("--mixed")
    weighed = list(_Weighing(product, job, plan_of).forms())
    left = [form for form in weighed if form.fits]
    if not left:
        least = min(weighed, key=lambda form: _shortfall(form.plan))
        return least.product, least.patching
    refusals: list[AccuracyError] = []
    while left:
        form = preferred(left)
        try:
            return _finished(product, form, job, weighed, refusals)
        except AccuracyError as error:
            refusals.append(error)
            left.remove(form)
    raise refusals[0]


def preferred(forms: Sequence[Form]) -> Form:
    """Return the fastest form; of those that are as fast, the one that keeps most bits."""
    fastest = min(form.instructions for form in forms)
    near = [form for form in forms if form.instructions <= EQUALLY_FAST * fastest]
    return max(near, key=lambda form: (form.kept_bits, -form.instructions))


def fitting_by_fewer_bits(product: Product, job: Job, plan_of: Plans) -> str:
    """Return how a product that does not fit would; empty where fewer bits do not help.

    No data is needed: sizes do not depend on the ranges of activations.
    """
    if not any(group.can_narrow for group in width_groups(product.graph)):
        return ""
    weighing = _Weighing(product, job, plan_of)
    for form in weighing.smallest_forms():
        if form.fits:
            sizes = " and ".join(
                f"{use.peak_bytes:,} bytes of {use.name}" for use in form.plan.memories
            )
            data = "" if job.batches else " --calibration DATA"
            return f"with --mixed auto{data} it fits in {sizes} ({form.name}); outputs change"
    return ""


class _Weighing:
    """Makes the forms of one network and tells what each costs."""

    def __init__(self, product: Product, job: Job, plan_of: Plans) -> None:
        self._product = product
        self._job = job
        self._plan_of = plan_of
        self._kernels = kernels_of(job.profile)

    def forms(self) -> Iterator[Form]:
        """Yield int8 and the narrower forms that are worth weighing."""
        plain = self._form(INT8, self._product.graph)
        yield plain
        graph, profile = self._product.graph, self._job.profile
        layers = self._layers(plain.plan)
        histograms = observe_histograms(graph, self._job.batches)
        if layers:
            none = search_bit_widths(graph, histograms, lambda_=1.0, allowed=())
            yield self._narrow("", none, layers)
        wanted = searched_widths(graph, self._job, histograms=histograms)
        yield self._narrow(f"widths of lambda {wanted.lambda_:g}", wanted, layers)
        if plain.patching is None and not self._is_short(plain.plan, profile.working_memory):
            return
        for name, found in self._for_memory(histograms):
            yield self._narrow(name, found, layers)

    def smallest_forms(self) -> Iterator[Form]:
        """Yield forms whose sizes are known without data: weights alone, and all of 4 bits."""
        graph, profile = self._product.graph, self._job.profile
        layers = self._layers(self._plan_of(self._product))
        weights = with_bit_widths(graph, {}, layers)
        home = profile.memory(profile.constants_memory or profile.working_memory)
        if weights.weights_bytes > home.available_bytes.integer:
            return
        if layers:
            yield self._form(_weights_of(layers), weights)
        widths = {
            name: (WIDTHS[4], int8.quantization_of(graph.tensors[name]))
            for name in (g.tensors[0] for g in width_groups(graph) if 4 in g.narrow_bits)
        }
        title = ", ".join(part for part in ("activations of 4 bits", _weights_of(layers)) if part)
        yield self._form(title, with_bit_widths(graph, widths, layers))

    def _layers(self, plain: Plan) -> Mapping[str, int]:
        """Return the layers whose weights are narrower: as asked for, or as flash needs it."""
        graph, profile = self._product.graph, self._job.profile
        home = profile.constants_memory or profile.working_memory
        every = narrow_layers(graph, 4)
        if self._job.recipe.mixed_weights < WIDE:
            return every
        if not self._is_short(plain, home):
            return {}
        if home == profile.working_memory:
            return every
        memory = profile.memory(home)
        available = memory.available_bytes.integer
        reserved = memory.reserved_bytes.integer if memory.reserved_bytes else 0
        largest = layers_for_flash(graph, available + reserved)
        needed = with_bit_widths(graph, {}, largest).weights_bytes
        return largest if needed <= available else every

    def _for_memory(self, histograms: dict[str, Histogram]) -> Iterator[tuple[str, BitWidths]]:
        graph = self._product.graph
        budget = available_bytes(graph, self._job.profile)
        try:
            fewest = search_bit_widths(
                graph,
                histograms,
                lambda_=1.0,
                bits=(4,),
                budget_bytes=budget,
                peak_bytes=lambda narrow: live_peak_bytes(narrow, self._kernels),
            )
            yield "as few activations of 4 bits as whole layers need", fewest
        except PlanError:
            pass  # whole layers do not fit, however narrow
        yield "activations of 4 bits", _all_of_4_bits(graph, histograms)

    def _narrow(self, name: str, found: BitWidths, layers: Mapping[str, int]) -> Form:
        narrow = with_bit_widths(self._product.graph, found.widths, layers)
        title = ", ".join(part for part in (name, _weights_of(layers)) if part)
        return self._form(title, narrow, found, layers)

    def _form(
        self,
        name: str,
        graph: Graph,
        found: BitWidths | None = None,
        layers: Mapping[str, int] | None = None,
    ) -> Form:
        whole = replace(self._product, graph=graph)
        recipe, profile = self._job.recipe, self._job.profile
        made, patching = with_patches(whole, recipe, profile, self._has_room)
        patching = None if patching is None else replace(patching, exact=found is None)
        plan = self._plan_of(made)
        counted = sum(instructions(made.graph, self._kernels).values())
        kept = sum(tensor.elements * tensor.dtype.bits for tensor in graph.tensors.values())
        return Form(name, made, patching, plan, counted, kept, found, layers or {})

    def _has_room(self, product: Product) -> bool:
        return not self._is_short(self._plan_of(product), self._job.profile.working_memory)

    @staticmethod
    def _is_short(plan: Plan, memory: str) -> bool:
        return memory in (use.name for use in exceeded_memories(plan))


def _weights_of(layers: Mapping[str, int]) -> str:
    return f"weights of {min(layers.values())} bits in {len(layers)} layers" if layers else ""


def _all_of_4_bits(graph: Graph, histograms: dict[str, Histogram]) -> BitWidths:
    """Return the widths with which every group that can be narrower has 4 bits."""
    searched = search_bit_widths(graph, histograms, lambda_=0.0, bits=(4,))
    rows = {row.group: row for row in searched.scores if row.bits == 4}
    widths = {group: row.width for group, row in rows.items()}
    narrow = bit_operations(with_bit_widths(graph, widths))
    bits = {group: row.bits for group, row in rows.items()}
    return replace(searched, widths=widths, bits=bits, bit_operations=narrow)


def _finished(
    product: Product,
    form: Form,
    job: Job,
    weighed: list[Form],
    refusals: list[AccuracyError],
) -> tuple[Product, Patching | None]:
    """Return a form with its weights rounded by data, once it holds the gates."""
    notes = (_comparison(form, weighed, refusals),)
    facts = {"weighed": [one.to_json() for one in weighed], "chosen": form.name}
    if form.found is None:
        accuracy = {**product.accuracy, "mixed": {"mode": "auto", **facts}}
        made = replace(form.product, accuracy=accuracy)
        return replace(made, notes=(*made.notes, *notes)), form.patching
    graph = narrowed(product.graph, job, form.found, layers=form.layers)
    made, patching = replace(product, graph=graph), form.patching
    if patching is not None:
        made, patching = in_patches(made, patching, kernels_of(job.profile))
    work = bit_operations(made.graph)
    mixed = Mixed(
        "auto",
        form.found,
        bit_operations(product.graph),
        Work(work, work, float(work)),
        accuracy=measured_against_int8(product.graph, graph, job),
        weight_bits=form.layers,
    )
    accuracy = {**product.accuracy, "precision": "mixed", "mixed": {**mixed.to_json(), **facts}}
    return replace(made, accuracy=accuracy, notes=(*made.notes, mixed.note(), *notes)), patching


def _comparison(chosen: Form, weighed: list[Form], refusals: list[AccuracyError]) -> str:
    lines = [f"Taken, of what fits the fastest by prediction: {chosen.sentence()}."]
    for form in weighed:
        if form is not chosen:
            lines.append(f"Weighed as well: {form.sentence()}.")
    lines += [f"Left out: {error}" for error in refusals]
    return "\n".join(lines)


def _shortfall(plan: Plan) -> tuple[int, int]:
    """Return by how many bytes memories are exceeded, and the arena."""
    over = sum(use.peak_bytes - use.available_bytes for use in exceeded_memories(plan))
    return over, sum(use.peak_bytes for use in plan.memories)
