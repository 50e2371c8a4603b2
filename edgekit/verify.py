"""Proof that a plan is sound, written apart from whatever made it.

It replays the steps over the bytes of each memory and trusts nothing but the graph: every tensor a
step reads was written before and has not been overwritten, no two buffers that live at one step
overlap unless one is a legal alias of the other, and all sums are what the plan says they are.
``edgekit.memory`` has its own verifier for raw buffers.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.errors import InternalError
from edgekit.graph import Graph, Node, TensorKind
from edgekit.ops import registry, spec_of
from edgekit.ops.spec import OpView
from edgekit.plan import Compute, MemoryUse, Move, Plan, PlannedBuffer, Select
from edgekit.verify_selects import select_problems, select_shape_problems

_VIEWS = ("reshape", "identity")


def verify_plan(plan: Plan, graph: Graph) -> None:
    """Check a plan that edgekit itself made.

    Raises
    ------
    InternalError
        Naming the first problem that :func:`find_problems` finds.
    """
    for problem in find_problems(plan, graph):
        raise InternalError(f"the plan is wrong: {problem}")


def find_problems(plan: Plan, graph: Graph) -> Iterator[str]:
    """Yield everything that is wrong with a plan; nothing where it is sound.

    Parameters
    ----------
    plan : Plan
        May be hostile; nothing in it is used before it is checked.
    graph : Graph
        With static shapes.
    """
    problems = [
        *_shape_problems(plan),
        *_step_problems(plan, graph),
        *select_shape_problems(plan),
    ]
    yield from problems
    if problems:
        return
    yield from _stream_problems(plan, graph)
    yield from select_problems(plan, graph)
    yield from _size_problems(plan, graph)
    yield from _overlap_problems(plan, graph)
    yield from _presence_problems(plan, graph)
    yield from _sum_problems(plan)


def _shape_problems(plan: Plan) -> Iterator[str]:
    """Numbers that no plan can have, without looking at the graph."""
    names = [use.name for use in plan.memories]
    if len(set(names)) != len(names):
        yield "a memory is listed twice"
    seen: set[tuple[str, str]] = set()
    for buffer in plan.buffers:
        where = f"buffer {buffer.tensor} in {buffer.memory}"
        if (buffer.tensor, buffer.memory) in seen:
            yield f"{where} is placed twice"
        seen.add((buffer.tensor, buffer.memory))
        if buffer.memory not in names:
            yield f"{where}: there is no such memory"
            continue
        use = plan.memory(buffer.memory)
        if buffer.offset_bytes < 0 or buffer.size_bytes < 0:
            yield f"{where}: negative offset or size"
        elif buffer.offset_bytes + buffer.size_bytes > use.arena_bytes:
            yield f"{where} ends above the arena of {use.arena_bytes:,} bytes"
        if use.alignment_bytes < 1 or buffer.offset_bytes % use.alignment_bytes:
            yield f"{where} is not aligned to {use.alignment_bytes} bytes"
        if not 0 <= buffer.first_step <= buffer.last_step < max(len(plan.steps), 1):
            yield f"{where} lives from step {buffer.first_step} to {buffer.last_step}"


def _step_problems(plan: Plan, graph: Graph) -> Iterator[str]:
    """Each node runs once; moves and dependencies refer to what exists."""
    names = {node.name for node in graph.nodes}
    unknown_ops = [node.op for node in graph.nodes if node.op not in registry()]
    if unknown_ops:
        yield f"there is no operator {unknown_ops[0]}"
    computed: list[str] = []
    for index, step in enumerate(plan.steps):
        if isinstance(step, Compute):
            computed.append(step.node)
            after = step.after
        elif isinstance(step, Move):
            after = step.after
            tensor = graph.tensors.get(step.tensor)
            if tensor is None or tensor.is_constant or tensor.size_bytes != step.size_bytes:
                yield f"step {index} moves {step.tensor} with {step.size_bytes:,} bytes"
        elif isinstance(step, Select):
            continue
        else:
            yield f"step {index} is a {type(step).__name__}, which has no place in a static plan"
            continue
        if any(not 0 <= other < index for other in after):
            yield f"step {index} waits for a step that is not before it"
    if len(set(computed)) != len(computed) or set(computed) != names:
        yield "the steps are not the nodes of the graph, each once"


def _stream_problems(plan: Plan, graph: Graph) -> Iterator[str]:
    """Streamed inputs have no bytes, and only what cuts parts out of them reads them."""
    if len(plan.streamed) > 1:
        yield f"{len(plan.streamed)} inputs are streamed, one can be"
    for name in plan.streamed:
        readers = [node for node in graph.nodes if name in node.inputs]
        if name not in graph.inputs or name in graph.outputs:
            yield f"{name} is streamed and no input of the graph alone"
        if any(buffer.tensor == name for buffer in plan.buffers):
            yield f"{name} is streamed and has a buffer"
        for node in readers:
            strides = node.attrs.get("strides", (1, 1, 1, 1))
            if node.op != "slice" or strides != (1, 1, 1, 1):
                yield f"{node.where} reads {name}, which is streamed"


def _size_problems(plan: Plan, graph: Graph) -> Iterator[str]:
    """Each buffer has the bytes of its tensor, or of its node's scratch memory.

    Plans that do not say for which kernels they are have scratch memory for the neediest.
    """
    nodes = {node.name: node for node in graph.nodes}
    for buffer in plan.buffers:
        if buffer.kind == "scratch":
            node = nodes.get(buffer.tensor.removesuffix(":scratch"))
            needed = _scratch_bytes(plan, graph, node) if node else -1
            is_right = 0 <= needed <= buffer.size_bytes
        else:
            tensor = graph.tensors.get(buffer.tensor)
            needed = tensor.size_bytes if tensor and not tensor.is_constant else -1
            is_right = needed == buffer.size_bytes
        if not is_right:
            yield f"buffer {buffer.tensor} has {buffer.size_bytes:,} bytes, needs {needed:,}"


def _scratch_bytes(plan: Plan, graph: Graph, node: Node) -> int:
    """Return what a node's kernel needs; more where its output overwrites its input."""
    spec, view = spec_of(node), OpView.of(graph, node)
    overwrites = any(b.tensor in node.outputs and b.alias_of in node.inputs for b in plan.buffers)
    own_bytes = spec.scratch_bytes(view, plan.kernels)
    return own_bytes + (spec.in_place_bytes(view) if overwrites else 0)


def _overlap_problems(plan: Plan, graph: Graph) -> Iterator[str]:
    """No two buffers share a byte at one step, unless one is a legal alias of the other."""
    buffers = sorted(plan.buffers, key=lambda b: (b.memory, b.first_step))
    aliases = {(b.tensor, b.memory): b.alias_of for b in buffers}
    live: list[PlannedBuffer] = []
    for buffer in buffers:
        live = [
            other
            for other in live
            if other.memory == buffer.memory and other.last_step >= buffer.first_step
        ]
        for other in live:
            overlaps = (
                other.offset_bytes < buffer.offset_bytes + buffer.size_bytes
                and buffer.offset_bytes < other.offset_bytes + other.size_bytes
            )
            if overlaps and not _may_share(plan, graph, aliases, other, buffer):
                yield (
                    f"buffers {other.tensor} and {buffer.tensor} overlap in {buffer.memory} "
                    f"at step {buffer.first_step}"
                )
        live.append(buffer)


def _may_share(
    plan: Plan,
    graph: Graph,
    aliases: dict[tuple[str, str], str | None],
    first: PlannedBuffer,
    second: PlannedBuffer,
) -> bool:
    """Whether two buffers that live at one step may have the same bytes."""
    if (first.offset_bytes, first.size_bytes) != (second.offset_bytes, second.size_bytes):
        return False
    roots = [_view_root(graph, aliases, b) for b in (first, second)]
    if roots[0] == roots[1]:
        return True
    for old, new in ((first, second), (second, first)):
        if old.last_step == new.first_step and _in_place_at(plan, graph, old, new):
            return True
    return False


def _view_root(
    graph: Graph, aliases: dict[tuple[str, str], str | None], buffer: PlannedBuffer
) -> str:
    """Follow aliases through reshapes and identities only: the tensor with the same data."""
    producers = graph.producers()
    name = buffer.tensor
    for _ in range(len(graph.nodes)):
        source = aliases.get((name, buffer.memory))
        node = producers.get(name)
        if source is None or node is None or node.op not in _VIEWS or node.inputs[0] != source:
            break
        name = source
    return name


def _in_place_at(plan: Plan, graph: Graph, old: PlannedBuffer, new: PlannedBuffer) -> bool:
    """Whether the step that writes ``new`` may overwrite ``old``, directly or as a view of it."""
    step = plan.steps[new.first_step]
    if not isinstance(step, Compute) or step.memory != new.memory:
        return False
    node = next(node for node in graph.nodes if node.name == step.node)
    if new.tensor not in node.outputs or old.tensor in graph.outputs or old.kind != "activation":
        return False
    if graph.tensors[old.tensor].kind is not TensorKind.ACTIVATION:
        return False
    if not spec_of(node).in_place_when(OpView.of(graph, node)):
        return False
    target = node.outputs.index(new.tensor)
    sources = {
        node.inputs[i] for i, o in spec_of(node).in_place if o == target and i < len(node.inputs)
    }
    return old.tensor in sources and new.alias_of == old.tensor


def _presence_problems(plan: Plan, graph: Graph) -> Iterator[str]:
    """Replay: whatever a step reads is in its memory, and was written there before."""
    nodes = {node.name: node for node in graph.nodes}
    buffers = {(b.tensor, b.memory): b for b in plan.buffers}
    given = {key for key, b in buffers.items() if b.kind in ("input", "state") and not b.first_step}
    written = {key for key in given if graph.tensors[key[0]].kind is TensorKind.STATE}
    written |= {key for key in given if key[0] in graph.inputs}
    for index, step in enumerate(plan.steps):
        if isinstance(step, Compute):
            node = nodes[step.node]
            reads = [
                (name, step.memory)
                for name in node.inputs
                if name and not graph.tensors[name].is_constant and name not in plan.streamed
            ]
            writes = [(name, step.memory) for name in node.outputs]
        elif isinstance(step, Move):
            reads = [(step.tensor, step.source_memory)]
            writes = [(step.tensor, step.target_memory)]
        else:
            continue
        for key in (*reads, *writes):
            buffer = buffers.get(key)
            if buffer is None or not buffer.first_step <= index <= buffer.last_step:
                yield f"step {index} uses {key[0]} in {key[1]}, which has no buffer then"
        yield from (
            f"step {index} reads {key[0]} in {key[1]}, which nothing wrote before"
            for key in reads
            if key not in written
        )
        written.update(writes)
    yield from _end_problems(plan, graph)


def _end_problems(plan: Plan, graph: Graph) -> Iterator[str]:
    end = max(len(plan.steps) - 1, 0)
    for name in graph.outputs:
        kept = [b for b in plan.buffers if b.tensor == name and b.last_step == end]
        if not kept and not graph.tensors[name].is_constant:
            yield f"output {name} does not live to the end"
    for buffer in plan.buffers:
        tensor = graph.tensors.get(buffer.tensor)
        if tensor is None or tensor.kind is not TensorKind.STATE:
            continue
        if (buffer.first_step, buffer.last_step) != (0, end) or buffer.alias_of:
            yield f"state {buffer.tensor} does not live all the time in bytes of its own"


def _sum_problems(plan: Plan) -> Iterator[str]:
    for use in plan.memories:
        if use.peak_bytes != use.arena_bytes + use.weights_bytes + use.overhead_bytes:
            yield f"memory {use.name}: the peak is not the sum of arena, weights and overhead"
        largest = live_peak_bytes(plan, use)
        if use.lower_bound_bytes != largest or largest > use.arena_bytes:
            yield (
                f"memory {use.name}: {largest:,} bytes live at once, lower bound "
                f"{use.lower_bound_bytes:,}, arena {use.arena_bytes:,}"
            )


def live_peak_bytes(plan: Plan, use: MemoryUse) -> int:
    """Return the largest number of bytes of one memory that are in use at one step."""
    return max(live_bytes(plan, use), default=0)


def live_bytes(plan: Plan, use: MemoryUse) -> list[int]:
    """Return, for each step, the bytes of one memory that some buffer uses.

    Buffers that share bytes count once.
    """
    totals = [0] * max(len(plan.steps), 1)
    starts: dict[tuple[int, int], list[PlannedBuffer]] = {}
    for buffer in plan.buffers:
        if buffer.memory == use.name:
            starts.setdefault((buffer.offset_bytes, buffer.size_bytes), []).append(buffer)
    for (_, size_bytes), sharers in starts.items():
        steps = {s for b in sharers for s in range(b.first_step, b.last_step + 1)}
        for step in steps:
            totals[step] += size_bytes
    return totals
