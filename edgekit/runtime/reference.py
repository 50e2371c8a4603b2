"""The NumPy reference executor: slow, plain, and the definition of every operator.

It runs a plan in one arena a memory, with every tensor a view at its planned offset, so that a
plan is proven by use: were two live buffers to overlap, an output would change, and the guard of
:class:`~edgekit.runtime.arena.Arena` names the step. Weights are read from the package once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgekit.dtypes import Array
from edgekit.errors import ExecutionError, ModelError, PackageError, UsageError
from edgekit.graph import Graph, Node, TensorKind
from edgekit.ops import spec_of
from edgekit.ops.evaluate import initial_state
from edgekit.ops.spec import OpCall, OpView
from edgekit.package import WEIGHTS_NAME, Package
from edgekit.plan import Compute, Move, Plan, PlannedBuffer, Select
from edgekit.runtime.arena import Arena
from edgekit.runtime.trace import Event, RunResult, Trace
from edgekit.shapes import bind_dims
from edgekit.verify import find_problems


@dataclass(frozen=True, slots=True)
class ReferenceExecutor:
    """Runs packages that carry a graph.

    Parameters
    ----------
    guarded : bool
        Whether every step is followed by a check of all bytes of the arena.
    """

    guarded: bool = True
    name: str = "reference"

    def load(self, package: Package, *, threads: int = 1) -> ReferenceRunner:
        """Load a package (``threads`` is accepted and not needed).

        Raises
        ------
        PackageError
            If the package has no graph, or its plan does not fit the graph.
        """
        if not package.has(WEIGHTS_NAME):
            raise PackageError(
                f"{package.root} was made for {package.manifest.executor} and has no weights for "
                "the reference executor"
            )
        graph = package.graph()
        facts = package.manifest.model
        declared = [(t.name, t.shape, t.dtype) for t in (*facts.inputs, *facts.outputs)]
        own = [graph.tensors[name] for name in (*graph.inputs, *graph.outputs)]
        if declared != [(t.name, t.shape, t.dtype.value) for t in own]:
            raise PackageError(f"{package.root}: manifest and graph differ in inputs or outputs")
        try:
            static = bind_dims(graph)
            problem = next(find_problems(package.plan, static), None)
        except (ModelError, OverflowError) as error:
            raise PackageError(f"{package.root}: {error}; convert the model again") from error
        if problem is not None:
            raise PackageError(f"{package.root}: the plan is wrong: {problem}")
        return ReferenceRunner(graph, package.plan, guarded=self.guarded)


@dataclass(slots=True)
class ReferenceRunner:
    """A plan on arenas.

    Parameters
    ----------
    graph : Graph
        Named dimensions take their sizes from the inputs of each run, up to what was planned.
    plan : Plan
        Verified.
    guarded : bool
    """

    graph: Graph
    plan: Plan
    guarded: bool = True
    _constants: dict[str, Array] = field(init=False)
    _states: dict[str, Array] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._constants = {tensor.name: tensor.data for tensor in self.graph.constants()}
        for array in self._constants.values():
            array.flags.writeable = False
        self.reset_state()

    def run(self, inputs: Mapping[str, Array]) -> RunResult:
        """Run once; the trace has an event for each step and the observed height of each arena."""
        graph = _bound(self.graph, inputs)
        run = _Run(graph, self.plan, self._constants, self._states, self.guarded)
        run.start(inputs)
        events = run.steps()
        outputs = run.outputs()
        latency_s = sum(event.duration_ns for event in events) * 1e-9
        peaks = self._peaks(run)
        trace = Trace("measured", "reference", latency_s, peaks, events, cases=run.cases)
        return RunResult(outputs, trace)

    def profile(self, inputs: Mapping[str, Array]) -> tuple[Event, ...]:
        """Run once and return the events."""
        return self.run(inputs).trace.events

    def reset_state(self) -> None:
        """Set recurrent states to their initial values."""
        self._states = {
            tensor.name: initial_state(tensor)
            for tensor in self.graph.tensors.values()
            if tensor.kind is TensorKind.STATE
        }

    def close(self) -> None:
        """Drop the weights."""
        self._constants = {}

    def _peaks(self, run: _Run) -> dict[str, int]:
        """Return the observed use of each memory: arena as touched, weights as loaded."""
        peaks: dict[str, int] = {}
        for use in self.plan.memories:
            arena = run.arenas[use.name]
            peaks[use.name] = arena.highest_bytes + use.weights_bytes + use.overhead_bytes
        return peaks


class _Run:
    """One run: arenas, and the buffers that begin and end at each step."""

    def __init__(
        self,
        graph: Graph,
        plan: Plan,
        constants: Mapping[str, Array],
        states: dict[str, Array],
        guarded: bool,
    ) -> None:
        self.graph = graph
        self.plan = plan
        self.constants = constants
        self.states = states
        self.given: Mapping[str, Array] = {}
        self.guarded = guarded
        self.nodes = {node.name: node for node in graph.nodes}
        self.arenas = {use.name: Arena(use.name, use.arena_bytes) for use in plan.memories}
        self.flags = {step.predicate for step in plan.steps if isinstance(step, Select)}
        self.cases: dict[str, int] = {}
        self.begins = _by_step(plan, [b.first_step for b in plan.buffers])
        self.ends = _by_step(plan, [b.last_step for b in plan.buffers])

    def start(self, inputs: Mapping[str, Array]) -> None:
        """Put inputs and states where the plan wants them before the first step."""
        self.given = {name: inputs[name] for name in self.plan.streamed}
        for buffer in self.begins[0]:
            if buffer.kind not in ("input", "state"):
                continue
            self.arenas[buffer.memory].begin(buffer)
            source = inputs if buffer.kind == "input" else self.states
            self._store(buffer.tensor, buffer.memory, source[buffer.tensor])

    def steps(self) -> tuple[Event, ...]:
        began = time.perf_counter_ns()
        return tuple(self._step(index, began) for index in range(len(self.plan.steps)))

    def outputs(self) -> dict[str, Array]:
        """Copy the outputs, and the states for the next run, out of the arenas."""
        last = {b.tensor: b for b in self.plan.buffers if b.last_step == len(self.begins) - 1}
        for name in self.states:
            self.states[name] = self._view(name, last[name].memory).copy()
        return {
            name: self.constants[name]
            if name in self.constants
            else self._view(name, last[name].memory).copy()
            for name in self.graph.outputs
        }

    def _step(self, index: int, began: int) -> Event:
        step = self.plan.steps[index]
        for buffer in self.begins[index]:
            if index or buffer.kind not in ("input", "state"):
                self.arenas[buffer.memory].begin(buffer)
        if self.guarded:
            for arena in self.arenas.values():
                arena.remember()
            for buffer in self.begins[index]:
                if buffer.kind == "scratch":
                    self.arenas[buffer.memory].scribble(buffer.tensor)
        start = time.perf_counter_ns()
        if isinstance(step, Compute):
            name, processor = step.node, step.processor
            written = self._compute(self.nodes[step.node], step.memory)
        elif isinstance(step, Move):
            name, processor = step.tensor, step.link
            self._store(name, step.target_memory, self._view(name, step.source_memory))
            written = {name}
        elif isinstance(step, Select):
            # Every case has run: pastes have kept their canvas where it was not taken.
            name, processor, written = step.predicate, "", set()
        else:
            raise ExecutionError(f"the reference executor has no {type(step).__name__} steps")
        event = Event(index, name, processor, start - began, time.perf_counter_ns() - start)
        self._finish(index, name, written)
        return event

    def _finish(self, index: int, name: str, written: set[str]) -> None:
        is_last = index == len(self.plan.steps) - 1
        scratch = {b.tensor for b in self.begins[index] if b.kind == "scratch"}
        for arena in self.arenas.values():
            if self.guarded:
                arena.check(name, written | scratch)
        for buffer in self.ends[index]:
            if not is_last:
                self.arenas[buffer.memory].end(buffer.tensor)

    def _compute(self, node: Node, memory: str) -> set[str]:
        arrays = tuple(self._input(name, memory) if name else None for name in node.inputs)
        results = spec_of(node).reference(OpCall(OpView.of(self.graph, node), arrays))
        states = {n for n in node.inputs if n in self.states}
        for name, result in zip(node.outputs, results, strict=True):
            tensor = self.graph.tensors[name]
            if result.dtype != tensor.dtype.numpy or result.shape != tensor.static_shape:
                raise ExecutionError(
                    f"{node.op} computed {result.dtype}{list(result.shape)} for {name}, declared "
                    f"{tensor.dtype.value}{list(tensor.static_shape)}",
                    step=node.where,
                )
            self._store(name, memory, result)
            if name in self.flags:
                self.cases[name] = int(result[0])
        return {*node.outputs, *states}

    def _input(self, name: str, memory: str) -> Array:
        if name in self.constants:
            return self.constants[name]
        if name in self.given:
            return self.given[name]
        view = self._view(name, memory)
        view.flags.writeable = name in self.states
        return view

    def _view(self, name: str, memory: str) -> Array:
        tensor = self.graph.tensors[name]
        return self.arenas[memory].load(name, tensor.dtype, tensor.static_shape)

    def _store(self, name: str, memory: str, array: Array) -> None:
        self.arenas[memory].store(name, self.graph.tensors[name].dtype, array)


def _by_step(plan: Plan, steps: Sequence[int]) -> list[list[PlannedBuffer]]:
    found: list[list[PlannedBuffer]] = [[] for _ in range(max(len(plan.steps), 1))]
    for buffer, step in zip(plan.buffers, steps, strict=True):
        found[step].append(buffer)
    return found


def _bound(graph: Graph, inputs: Mapping[str, Array]) -> Graph:
    """Give named dimensions the sizes of this run."""
    dims: dict[str, int] = {}
    for name in graph.inputs:
        for dim, size in zip(graph.tensors[name].shape, inputs[name].shape, strict=True):
            if isinstance(dim, str):
                dims[dim] = size
    too_large = [d for d, size in dims.items() if size > graph.dims.get(d, size)]
    if too_large:
        name = too_large[0]
        raise UsageError(
            f"dimension '{name}' is {dims[name]}, the package is planned for at most "
            f"{graph.dims[name]}; convert the model again with a larger value"
        )
    return bind_dims(graph, dims) if dims else graph
