"""Time and energy of one node on one processor: the roofline, with measured efficiency.

``seconds = max(operations / (peak x efficiency), bytes / bandwidth) + overhead``.

Application processors, GPUs and NPUs compute at ``ops_per_s x efficiency[class]``.
Microcontrollers take ``macs x instructions_per_mac[class] x cycles_per_instruction / clock``, a
first model: 1.5 cycles an instruction, instructions counted under QEMU for CMSIS-NN kernels (each
profile says which); of layers with fewer than 8 bits, times what they take over int8. Activations
move to and from the processor's memory; weights come from the memory that constants lie in. Nothing
is assumed to stay in caches from node to node.

References
----------
Williams, Waterman and Patterson, "Roofline: An Insightful Visual Performance Model", CACM 2009.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgekit.cost.work import OpClass, Work
from edgekit.profiles import DeviceProfile, Link, Memory, Processor, Quantity

Bound = Literal["compute", "memory", "link", "overhead"]
_FALLBACK_DTYPES = ("float32", "int8", "float16")


@dataclass(frozen=True, slots=True)
class Cost:
    """Modelled time and energy, and what limits it.

    Parameters
    ----------
    seconds, energy_j : float
    bound : str
        ``compute``, ``memory``, ``link`` or ``overhead``: the largest part of the time.
    """

    seconds: float
    energy_j: float
    bound: Bound


def node_cost(work: Work, profile: DeviceProfile, processor: Processor) -> Cost:
    """Return time and energy of a node on a processor that :func:`refusal` has nothing against.

    Energy is the processor's active power over the time plus what the memories take for the bytes;
    the idle power of the device is not in it.
    """
    overhead_s = processor.launch_overhead_s.value * work.calls
    compute_s = _compute_seconds(work, processor)
    memory_s, memory_j = _memory(work, profile, processor)
    busy_s = max(compute_s, memory_s)
    bound: Bound = "compute" if compute_s >= memory_s else "memory"
    if overhead_s > busy_s:
        bound = "overhead"
    seconds = busy_s + overhead_s
    power_w = processor.active_power_w.value if processor.active_power_w else 0.0
    return Cost(seconds, power_w * seconds + memory_j, bound)


def crossing_cost(
    size_bytes: int, profile: DeviceProfile, source: Processor, target: Processor
) -> Cost | None:
    """Return what it costs that ``target`` goes on with a tensor that ``source`` computed.

    In one memory that is the hand-over between the processors; between memories the link is added.

    Returns
    -------
    Cost or None
        None where no link joins the memories.
    """
    handover_s = target.handover_s.value if target.handover_s else 0.0
    if source.memory == target.memory:
        return Cost(handover_s, 0.0, "overhead")
    link = profile.link_between(source.memory, target.memory)
    if link is None:
        return None
    cost = link_cost(size_bytes, link)
    return Cost(cost.seconds + handover_s, cost.energy_j, "link")


def link_cost(size_bytes: int, link: Link) -> Cost:
    """Return time and energy of moving bytes over a link."""
    seconds = link.latency_s.value + size_bytes / link.bandwidth_bytes_per_s.value
    energy_per_byte = link.energy_per_byte_j
    return Cost(seconds, size_bytes * energy_per_byte.value if energy_per_byte else 0.0, "link")


def refusal(work: Work, processor: Processor) -> str | None:
    """Return why a processor cannot run a node, or None if it can."""
    name = processor.name
    if not processor.ops_per_s and processor.cycles_per_instruction is None:
        return f"{name} is left out: its speed is not known"
    if not processor.supports_operator(work.op):
        return f"{name} refuses {work.op}"
    if work.dtype is not None and not processor.supports_dtype(work.dtype):
        return f"{name} refuses {work.op} in {work.dtype}"
    if work.op_class != "view" and _rate(work, processor) is None:
        return f"{name} is left out for {work.op}: its speed there is not known"
    return None


def weights_memory(profile: DeviceProfile, processor: Processor) -> Memory:
    """Return the memory that a processor reads weights from."""
    flash = profile.flash
    if flash is not None and processor.memory == profile.working_memory:
        return flash
    return profile.memory(processor.memory)


def bandwidth(profile: DeviceProfile, processor: Processor) -> float:
    """Return the bytes a second that a processor reaches from its memory."""
    memory_rate = profile.memory(processor.memory).bandwidth_bytes_per_s.value
    own = processor.bandwidth_bytes_per_s
    return min(own.value, memory_rate) if own else memory_rate


def lookup(table: Mapping[str, Quantity], op_class: OpClass, dtype: str | None) -> float | None:
    """Return the entry of an efficiency table for a class and dtype, most specific first.

    ``conv3x3`` falls back to ``conv``.
    """
    classes = (op_class, "conv") if op_class == "conv3x3" else (op_class,)
    for name in classes:
        for key in (f"{name}/{dtype}", name):
            if key in table:
                return table[key].value
    return None


def _rate(work: Work, processor: Processor) -> float | None:
    """Operations a second for a node, or None where the profile does not say."""
    if processor.cycles_per_instruction is not None:
        instructions = lookup(processor.instructions_per_mac, work.op_class, work.dtype)
        if not instructions:
            return None
        cycles = instructions * processor.cycles_per_instruction.value
        return processor.clock_hz.value / cycles
    known = [dtype for dtype in _FALLBACK_DTYPES if dtype in processor.ops_per_s]
    dtype = work.dtype or next(iter(known), None)
    fraction = lookup(processor.efficiency, work.op_class, dtype)
    if dtype not in processor.ops_per_s or not fraction:
        return None
    return processor.ops_per_s[dtype].value * fraction


def _compute_seconds(work: Work, processor: Processor) -> float:
    if work.op_class == "view":
        return 0.0
    rate = _rate(work, processor)
    return work.macs * work.width_factor / rate if rate else 0.0


def _memory(work: Work, profile: DeviceProfile, processor: Processor) -> tuple[float, float]:
    """Time and energy of the bytes of a node."""
    own = profile.memory(processor.memory)
    weights = weights_memory(profile, processor)
    seconds = work.activation_bytes / bandwidth(profile, processor)
    if weights.name == own.name:
        seconds += work.weight_bytes / bandwidth(profile, processor)
    else:
        seconds += work.weight_bytes / weights.bandwidth_bytes_per_s.value
    energy_j = 0.0
    for memory, size_bytes in ((own, work.activation_bytes), (weights, work.weight_bytes)):
        if memory.energy_per_byte_j:
            energy_j += size_bytes * memory.energy_per_byte_j.value
    return seconds, energy_j
