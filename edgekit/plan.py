"""The plan: what happens on the device, in which order, and where every byte lies.

One record, written by the planners, proven by :mod:`edgekit.verify`, and read by the runtime, the
emitters and every emulator. It is stored as ``plan.json`` in a package; the structs below are its
schema (fields are only ever appended).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgekit.ops.kernel_set import KernelSet

EstimateKind = Literal["measured", "modelled"]
BufferKind = Literal["input", "activation", "output", "state", "scratch"]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """Base of all plan records: immutable, unknown fields are ignored."""


class Compute(Record, frozen=True, tag="compute"):
    """Run one node on one processor.

    Parameters
    ----------
    node : str
        Node of the graph.
    processor : str
        Processor of the profile.
    after : tuple of int
        Steps that must be finished.
    memory : str
        Memory that the processor computes from: all tensors of the node but constants lie there.
    """

    node: str
    processor: str
    after: tuple[int, ...] = ()
    memory: str = ""


class Move(Record, frozen=True, tag="move"):
    """Copy a tensor over a link, from one memory to another.

    ``size_bytes`` is what crosses the link.
    """

    tensor: str
    source_memory: str
    target_memory: str
    link: str
    size_bytes: int
    after: tuple[int, ...] = ()


class Gather(Record, frozen=True, tag="gather"):
    """Read rows of a constant from storage, for instance embeddings of the tokens at hand."""

    tensor: str
    memory: str
    row_bytes: int
    after: tuple[int, ...] = ()


class Repeat(Record, frozen=True, tag="repeat"):
    """Run steps ``first`` to ``last`` (inclusive) ``count`` times, for instance once a patch."""

    first: int
    last: int
    count: int


class Select(Record, frozen=True, tag="select"):
    """Run one of several step ranges, chosen at run time; memory is planned for the largest.

    ``cases`` are (first, last) step ranges, inclusive.
    """

    cases: tuple[tuple[int, int], ...]
    predicate: str


Step = Compute | Move | Gather | Repeat | Select


class PlannedBuffer(Record, frozen=True):
    """Where one tensor lies, and from which step to which.

    ``first_step`` and ``last_step`` are indices into ``Plan.steps``, both inclusive. ``alias_of``
    names the tensor whose bytes this one takes over, at the same offset: in place, where the other
    lives up to ``first_step``, or as another view of the same data (reshape), where it may live on.
    The buffer of a node's scratch memory is called ``<node>:scratch``.
    """

    tensor: str
    memory: str
    offset_bytes: int
    size_bytes: int
    first_step: int
    last_step: int
    alias_of: str | None = None
    kind: BufferKind = "activation"


class MemoryUse(Record, frozen=True):
    """What a plan needs of one memory, to the byte.

    Parameters
    ----------
    name : str
        Memory of the profile.
    peak_bytes : int
        ``arena_bytes + weights_bytes + overhead_bytes``.
    available_bytes : int
        What the profile gives to one app (or firmware).
    arena_bytes : int
        Height of the planned arena.
    weights_bytes : int
        Constants that lie here.
    overhead_bytes : int
        What the executor itself takes here (0 for firmware: listed by the linker).
    lower_bound_bytes : int
        Largest sum of live bytes: no arena can be smaller.
    optimal : bool
        Whether ``arena_bytes`` is proven to be the smallest possible for this order.
    greedy_bytes : int
        Height that the best greedy placement reaches (0 where nothing is placed).
    peak_step : str
        Node at which the live bytes are largest.
    alignment_bytes : int
        Every offset is a multiple of it.
    """

    name: str
    peak_bytes: int
    available_bytes: int
    arena_bytes: int = 0
    weights_bytes: int = 0
    overhead_bytes: int = 0
    lower_bound_bytes: int = 0
    optimal: bool = False
    greedy_bytes: int = 0
    peak_step: str = ""
    alignment_bytes: int = 1


class Placement(Record, frozen=True):
    """Where a node runs, and why."""

    node: str
    processor: str
    reason: str


class StepCost(Record, frozen=True):
    """Modelled time and energy of one step.

    ``bound`` says what limits it: ``compute``, ``memory``, ``link`` or ``overhead``.
    """

    step: int
    node: str
    processor: str
    seconds: float
    energy_j: float
    bound: str


class Estimates(Record, frozen=True):
    """Time and energy of one inference, and how they were obtained."""

    latency_s: float
    energy_j: float
    kind: EstimateKind
    breakdown: tuple[StepCost, ...] = ()


class Plan(Record, frozen=True):
    """The plan of a static graph on one device.

    Parameters
    ----------
    device : str
        Name of the profile.
    executor : str
        Which executor the figures are for: ``reference``, ``onnxruntime``, ``litert``, ``native``.
    steps : tuple of Step
    buffers : tuple of PlannedBuffer
    memories : tuple of MemoryUse
    placement : tuple of Placement
    estimates : Estimates or None
    kernels : KernelSet
        Whose scratch memory is planned; generated code calls these kernels and no others.
    streamed : tuple of str
        Graph inputs that lie in no memory: the nodes that cut parts out of them (``slice``) are
        handed these parts by the caller.
    """

    device: str
    executor: str
    steps: tuple[Step, ...]
    buffers: tuple[PlannedBuffer, ...]
    memories: tuple[MemoryUse, ...]
    placement: tuple[Placement, ...] = ()
    estimates: Estimates | None = None
    kernels: KernelSet = KernelSet.PORTABLE
    streamed: tuple[str, ...] = ()

    def memory(self, name: str) -> MemoryUse:
        """Return the use of one memory (KeyError where the plan does not touch it)."""
        for use in self.memories:
            if use.name == name:
                return use
        raise KeyError(name)
