"""The native executor: a plan in one arena, computed by the kernels that boards run.

Tensors lie at their planned offsets and every kernel is called with the parameters that generated
C has, so that what runs here is what runs on a microcontroller, less the core's own instructions.
The kernels are the portable ones; where the plan is for others, scratch memory is not the plan's.
There is no fallback: an operator without a kernel is an error at loading.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array, from_device_bytes, to_device_bytes
from edgekit.errors import ExecutionError, UsageError
from edgekit.graph import Graph, Node, TensorKind
from edgekit.lifetimes import scratch_bytes, scratch_name, view_pair
from edgekit.ops.evaluate import initial_state
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView
from edgekit.package import Package
from edgekit.plan import Compute, Plan, PlannedBuffer, Select
from edgekit.runtime.lowering import SCRATCH, lower
from edgekit.runtime.native_kernels import BoundCall, bind
from edgekit.runtime.reference import ReferenceExecutor
from edgekit.runtime.trace import Event, RunResult, Trace
from edgekit.selects import Case, cases_of
from edgekit.shapes import bind_dims

_GUARD = 0xA5
_GUARD_BYTES = 64
"""Before and after the arena; also its alignment."""


@dataclass(frozen=True, slots=True)
class NativeExecutor:
    """Runs packages that carry a graph, with the native kernels."""

    name: str = "native"

    def load(self, package: Package, *, threads: int = 1) -> NativeRunner:
        """Load a package (kernels use one thread, whatever ``threads``).

        Raises
        ------
        PackageError
            If the package has no graph, or its plan does not fit the graph.
        UnsupportedOpError
            If an operator has no kernel.
        ExecutionError
            If the plan uses more than one memory.
        MissingDependencyError
            If the native core is not built.
        """
        checked = ReferenceExecutor(guarded=False).load(package)
        return NativeRunner(checked.graph, checked.plan)


@dataclass(slots=True)
class NativeRunner:
    """A plan in one arena.

    Parameters
    ----------
    graph : Graph
        Named dimensions have the sizes that were planned.
    plan : Plan
        Verified; of computations in one memory.
    """

    graph: Graph
    plan: Plan
    _block: npt.NDArray[np.uint8] = field(init=False)
    _buffers: dict[str, PlannedBuffer] = field(init=False)
    _outside: dict[str, npt.NDArray[np.uint8]] = field(init=False)
    _steps: list[tuple[str, str, tuple[BoundCall, ...]]] = field(init=False)
    _cases: dict[int, Case] = field(init=False)

    def __post_init__(self) -> None:
        self.graph = bind_dims(self.graph)
        memories = {buffer.memory for buffer in self.plan.buffers}
        if len(memories) > 1 or not all(
            isinstance(step, Compute | Select) for step in self.plan.steps
        ):
            raise ExecutionError("the native executor computes in one memory; the plan uses more")
        self._buffers = {buffer.tensor: buffer for buffer in self.plan.buffers}
        self._outside = {t.name: to_device_bytes(t.data, t.dtype) for t in self.graph.constants()}
        for name in self.plan.streamed:
            self._outside[name] = np.zeros(self.graph.tensors[name].size_bytes, np.uint8)
        raw = np.full(self.arena_bytes + 3 * _GUARD_BYTES, _GUARD, np.uint8)
        self._block = raw[-raw.ctypes.data % _GUARD_BYTES :]
        nodes = {node.name: node for node in self.graph.nodes}
        self._steps = [
            (step.node, step.processor, self._bound(nodes[step.node]))
            for step in self.plan.steps
            if isinstance(step, Compute)
        ]
        self._cases = {case.first: case for case in cases_of(self.plan)}
        self.reset_state()

    @property
    def arena_bytes(self) -> int:
        """Bytes from the arena's begin to the end of its last buffer."""
        return max((b.offset_bytes + b.size_bytes for b in self.plan.buffers), default=0)

    def run(self, inputs: Mapping[str, Array]) -> RunResult:
        """Run once; the trace has an event for each step that ran.

        Raises
        ------
        UsageError
            If an input has not the planned shape.
        ExecutionError
            If a kernel wrote outside the arena.
        """
        for name in self.graph.inputs:
            shape, given = self.graph.tensors[name].static_shape, inputs[name]
            if shape != given.shape:
                raise UsageError(
                    f"input {name} has shape {list(given.shape)}, the package is made for "
                    f"{list(shape)}; convert the model again for another size"
                )
            self._store(name, given)
        events, cases = self._computed()
        self._check_guards()
        outputs = {name: self._load(name).copy() for name in self.graph.outputs}
        latency_s = sum(event.duration_ns for event in events) * 1e-9
        peaks = {
            use.name: self.arena_bytes + use.weights_bytes + use.overhead_bytes
            for use in self.plan.memories
        }
        trace = Trace("measured", "native", latency_s, peaks, events, cases=cases)
        return RunResult(outputs, trace)

    def profile(self, inputs: Mapping[str, Array]) -> tuple[Event, ...]:
        """Run once and return the events."""
        return self.run(inputs).trace.events

    def reset_state(self) -> None:
        """Set recurrent states to their initial values."""
        for tensor in self.graph.tensors.values():
            if tensor.kind is TensorKind.STATE:
                self._store(tensor.name, initial_state(tensor))

    def close(self) -> None:
        """Drop the bound kernels and the weights."""
        self._steps, self._outside = [], {}

    def _computed(self) -> tuple[tuple[Event, ...], dict[str, int]]:
        """Run the steps, but for cases that are not taken; return events and what was taken."""
        began = time.perf_counter_ns()
        events: list[Event] = []
        taken: dict[str, int] = {}
        resume = 0
        for index, (name, processor, calls) in enumerate(self._steps):
            if index in self._cases:
                case = self._cases[index]
                taken[case.flag] = int(self._load(case.flag)[0])
                resume = resume if taken[case.flag] == case.when else case.last + 1
            if index < resume:
                continue
            start = time.perf_counter_ns()
            for call in calls:
                call()
            duration = time.perf_counter_ns() - start
            events.append(Event(index, name, processor, start - began, duration))
        return tuple(events), taken

    def _bound(self, node: Node) -> tuple[BoundCall, ...]:
        pair = view_pair(self.graph, node)
        if pair is not None and self._shares_bytes(*pair):
            return ()

        view = OpView.of(self.graph, node)

        def address(name: str) -> int:
            return self._scratch(view) if name == SCRATCH else self._address(name)

        return tuple(bind(call, address) for call in lower(view, KernelSet.PORTABLE))

    def _scratch(self, view: OpView) -> int:
        """Return where the scratch memory of a node lies, which has some."""
        name = scratch_name(view.node)
        if self.plan.kernels is KernelSet.PORTABLE:
            return self._address(name)
        in_place = any(self._buffers[name].alias_of for name in view.node.outputs)
        size_bytes = scratch_bytes(self.graph, view.node, KernelSet.PORTABLE, in_place=in_place)
        self._outside[name] = np.zeros(size_bytes, np.uint8)
        return self._address(name)

    def _shares_bytes(self, source: str, target: str) -> bool:
        return self._buffers[source].offset_bytes == self._buffers[target].offset_bytes

    def _address(self, name: str) -> int:
        if name in self._outside:
            return int(self._outside[name].ctypes.data)
        offset = self._buffers[name].offset_bytes
        return int(self._block.ctypes.data) + _GUARD_BYTES + offset

    def _load(self, name: str) -> Array:
        tensor = self.graph.tensors[name]
        return from_device_bytes(self._stored(name), tensor.dtype, tensor.static_shape)

    def _store(self, name: str, array: Array) -> None:
        dtype = self.graph.tensors[name].dtype
        self._stored(name)[:] = to_device_bytes(array.astype(dtype.numpy, copy=False), dtype)

    def _stored(self, name: str) -> npt.NDArray[np.uint8]:
        if name in self._outside:
            return self._outside[name]
        start = _GUARD_BYTES + self._buffers[name].offset_bytes
        return self._block[start : start + self.graph.tensors[name].size_bytes]

    def _check_guards(self) -> None:
        end = _GUARD_BYTES + self.arena_bytes
        around = self._block[:_GUARD_BYTES], self._block[end : end + _GUARD_BYTES]
        if any((part != _GUARD).any() for part in around):
            raise ExecutionError("a kernel wrote outside the arena")
