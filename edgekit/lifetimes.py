"""Which bytes must exist from which step to which: what the memory planner places.

A :class:`Storage` is a run of bytes that one tensor uses, or several one after another:

- A reshape or identity is another view of the same bytes, for as long as either is needed.
- An operator that declares it (``OpSpec.in_place``) writes its output over an input that is read
  there for the last time. Not over a graph input, which belongs to the caller, nor over a graph
  output, a state or a constant, and not where another input of the node reads the same bytes.

States live for ever, scratch memory for one step, graph inputs from the first step (the caller
fills them before) and graph outputs to the last (the caller reads them after).

That is what a plan of ours prescribes (:data:`PLANNED`). An executor with an allocator of its own
does it by its own rules, which a :class:`ReusePolicy` describes, so that its memory is predicted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgekit.errors import InternalError
from edgekit.graph import Graph, Node, TensorKind
from edgekit.ops import spec_of
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView
from edgekit.plan import BufferKind, Compute, Move, Select, Step

VIEW_OPS = frozenset({"reshape", "identity"})
"""Operators whose output is the very bytes of input 0."""

Key = tuple[str, str]
"""A tensor's copy: tensor name, memory name."""


@dataclass(frozen=True, slots=True)
class ReusePolicy:
    """How an executor reuses memory.

    Parameters
    ----------
    with_scratch : bool
        Whether kernels take their scratch memory from the plan.
    caller_owns_io : bool
        Whether graph inputs and outputs are arrays of the caller, apart from everything else and
        there all the time.
    in_place_ops : frozenset of str, optional
        Operators that write over an input; None for all that can.
    """

    with_scratch: bool = True
    caller_owns_io: bool = False
    in_place_ops: frozenset[str] | None = None

    def works_in_place(self, op: str) -> bool:
        """Whether an operator writes over an input that it declares for that."""
        return self.in_place_ops is None or op in self.in_place_ops


PLANNED = ReusePolicy()
"""Executors that follow the plan to the byte."""


@dataclass(frozen=True, slots=True)
class Value:
    """One tensor in one memory, from its first to its last step (inclusive).

    ``alias_of`` names the tensor whose bytes it takes over.
    """

    tensor: str
    size_bytes: int
    first_step: int
    last_step: int
    kind: BufferKind
    alias_of: str | None = None


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes in one memory and the values that use them."""

    memory: str
    values: tuple[Value, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the largest value."""
        return max(value.size_bytes for value in self.values)

    @property
    def first_step(self) -> int:
        """First step at which any value exists."""
        return min(value.first_step for value in self.values)

    @property
    def last_step(self) -> int:
        """Last step (inclusive) at which any value exists."""
        return max(value.last_step for value in self.values)


def scratch_name(node: Node) -> str:
    """Return the name of the buffer of a node's scratch memory."""
    return f"{node.name}:scratch"


def scratch_bytes(graph: Graph, node: Node, kernels: KernelSet, *, in_place: bool) -> int:
    """Return the bytes of a node's scratch memory.

    Parameters
    ----------
    in_place : bool
        Whether an output takes over the bytes of an input.
    """
    spec, view = spec_of(node), OpView.of(graph, node)
    return spec.scratch_bytes(view, kernels) + (spec.in_place_bytes(view) if in_place else 0)


def view_pair(graph: Graph, node: Node) -> tuple[str, str] | None:
    """Return (input, output) of a node whose output is a view of its input, else None."""
    if node.op not in VIEW_OPS:
        return None
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if source.kind in (TensorKind.CONSTANT, TensorKind.STATE):
        return None
    return (source.name, target.name) if source.size_bytes == target.size_bytes else None


def in_place_pairs(graph: Graph, node: Node) -> Iterator[tuple[str, str]]:
    """Yield (input, output) pairs of a node that may share bytes if the input dies there."""
    kept = {*graph.inputs, *graph.outputs}
    spec = spec_of(node)
    if not spec.in_place or not spec.in_place_when(OpView.of(graph, node)):
        return
    for input_index, output_index in spec.in_place:
        if input_index >= len(node.inputs) or output_index >= len(node.outputs):
            continue
        source, target = node.inputs[input_index], node.outputs[output_index]
        if not source or source in kept:
            continue
        if graph.tensors[source].kind is not TensorKind.ACTIVATION:
            continue
        if graph.tensors[source].size_bytes == graph.tensors[target].size_bytes:
            yield source, target


def find_storages(
    graph: Graph,
    steps: Sequence[Step],
    *,
    host_memory: str,
    policy: ReusePolicy = PLANNED,
    kernels: KernelSet = KernelSet.PORTABLE,
    streamed: Collection[str] = (),
) -> tuple[Storage, ...]:
    """Return every storage that a run of ``steps`` needs.

    Parameters
    ----------
    graph : Graph
        With static shapes.
    steps : sequence of Compute, Move and Select
        ``Compute.memory`` says where a node's tensors lie. A ``Select`` has no bytes: all cases
        are placed as if all of them ran.
    host_memory : str
        Where graph inputs are given and graph outputs are left.
    policy : ReusePolicy
        What may share bytes, and how long the caller's tensors live.
    kernels : KernelSet
        Whose scratch memory counts.
    streamed : collection of str
        Graph inputs that lie in no memory.

    Returns
    -------
    tuple of Storage
        In order of first use.
    """
    return _Finder(graph, steps, host_memory, policy, kernels, streamed).find()


class _Finder:
    """Two passes over the steps: lifetimes of values, then which of them share bytes."""

    def __init__(
        self,
        graph: Graph,
        steps: Sequence[Step],
        host_memory: str,
        policy: ReusePolicy,
        kernels: KernelSet,
        streamed: Collection[str],
    ) -> None:
        self.graph = graph
        self.streamed = frozenset(streamed)
        self.policy = policy
        self.kernels = kernels
        self.steps = steps
        self.host_memory = host_memory
        self.nodes = {node.name: node for node in graph.nodes}
        self.end = max(len(steps) - 1, 0)
        self.lifetimes = self._lifetimes()
        self.groups: list[list[Key]] = []
        self.group_of: dict[Key, int] = {}
        self.alias_of: dict[Key, str] = {}

    def find(self) -> tuple[Storage, ...]:
        for key in self.lifetimes:
            if self._kind(key) in ("input", "state"):
                self._own_group(key)
        found: list[Storage] = []
        for index, step in enumerate(self.steps):
            if isinstance(step, Compute):
                node = self.nodes[step.node]
                self._share(index, node, step.memory)
                found += self._scratch(index, node, step.memory) if self.policy.with_scratch else []
            for key in _writes(self.nodes, step):
                if key not in self.group_of:
                    self._own_group(key)
        found += [self._storage(group) for group in self.groups]
        return tuple(sorted(found, key=lambda s: (s.first_step, s.values[0].tensor, s.memory)))

    def _lifetimes(self) -> dict[Key, tuple[int, int]]:
        lifetimes: dict[Key, tuple[int, int]] = {}

        def touch(key: Key, step: int) -> None:
            first, last = lifetimes.get(key, (step, step))
            lifetimes[key] = (min(first, step), max(last, step))

        for name in self.graph.inputs:
            if name not in self.streamed:
                touch((name, self.host_memory), 0)
        for index, step in enumerate(self.steps):
            for key in (*_reads(self.nodes, step), *_writes(self.nodes, step)):
                if not self.graph.tensors[key[0]].is_constant and key[0] not in self.streamed:
                    touch(key, index)
        for key in lifetimes:
            if self.graph.tensors[key[0]].kind is TensorKind.STATE:
                lifetimes[key] = (0, self.end)
        for name in self.graph.outputs:
            if not self.graph.tensors[name].is_constant:
                touch((name, self.host_memory), self.end)
        if self.policy.caller_owns_io:
            for name in {*self.graph.inputs, *self.graph.outputs}:
                if (name, self.host_memory) in lifetimes:
                    lifetimes[(name, self.host_memory)] = (0, self.end)
        return lifetimes

    def _own_group(self, key: Key) -> None:
        self.group_of[key] = len(self.groups)
        self.groups.append([key])

    def _join(self, source: Key, target: Key) -> None:
        group = self.group_of[source]
        self.group_of[target] = group
        self.groups[group].append(target)
        self.alias_of[target] = source[0]

    def _share(self, step: int, node: Node, memory: str) -> None:
        if self.policy.caller_owns_io and not set(node.outputs).isdisjoint(self.graph.outputs):
            return
        view = view_pair(self.graph, node)
        if view is not None:
            self._join((view[0], memory), (view[1], memory))
            return
        if not self.policy.works_in_place(node.op):
            return
        for source, target in in_place_pairs(self.graph, node):
            key, new = (source, memory), (target, memory)
            if new not in self.group_of and self._dies_here(step, node, key):
                self._join(key, new)

    def _dies_here(self, step: int, node: Node, key: Key) -> bool:
        """Whether nothing but input ``key`` of ``node`` needs its bytes from this step on."""
        for other in self.groups[self.group_of[key]]:
            name = other[0]
            if name in self.graph.outputs or self._kind(other) == "input":
                return False
            if self.lifetimes[other][1] > step or (other != key and name in node.inputs):
                return False
            if name in node.outputs:
                return False
        return True

    def _kind(self, key: Key) -> BufferKind:
        name, memory = key
        if self.graph.tensors[name].kind is TensorKind.STATE:
            return "state"
        if memory == self.host_memory and name in self.graph.inputs:
            return "input"
        return "output" if name in self.graph.outputs else "activation"

    def _scratch(self, step: int, node: Node, memory: str) -> list[Storage]:
        taken = [self.alias_of.get((name, memory)) for name in node.outputs]
        in_place = any(name is not None for name in taken)
        size_bytes = scratch_bytes(self.graph, node, self.kernels, in_place=in_place)
        if size_bytes == 0:
            return []
        return [Storage(memory, (Value(scratch_name(node), size_bytes, step, step, "scratch"),))]

    def _storage(self, group: list[Key]) -> Storage:
        values = tuple(
            Value(
                key[0],
                self.graph.tensors[key[0]].size_bytes,
                *self.lifetimes[key],
                self._kind(key),
                self.alias_of.get(key),
            )
            for key in group
        )
        return Storage(group[0][1], values)


def _reads(nodes: Mapping[str, Node], step: Step) -> list[Key]:
    if isinstance(step, Compute):
        return [(name, step.memory) for name in nodes[step.node].inputs if name]
    if isinstance(step, Move):
        return [(step.tensor, step.source_memory)]
    if isinstance(step, Select):
        return []
    raise InternalError(f"lifetimes of a {type(step).__name__} step are not defined")


def _writes(nodes: Mapping[str, Node], step: Step) -> list[Key]:
    if isinstance(step, Compute):
        return [(name, step.memory) for name in nodes[step.node].outputs]
    if isinstance(step, Move):
        return [(step.tensor, step.target_memory)]
    return []
