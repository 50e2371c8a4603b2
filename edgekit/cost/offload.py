"""Time of one token where weights come to a processor from another memory.

The weights of a token move from the memory they lie in, link by link, to the memory of the
processor, which reads them there. Copies over several links follow one another (whole blocks), and
overlap with reading and computing. Weights on a storage without a link of its own come at the rate
of the storage.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from edgekit.cost.decode import product_rate
from edgekit.cost.roofline import bandwidth
from edgekit.errors import EdgekitError, MemoryBudgetError, ProfileError, UsageError
from edgekit.model_shapes import ModelShape
from edgekit.profiles import DeviceProfile, Memory, Processor, Quantity


@dataclass(frozen=True, slots=True)
class Hop:
    """A part of the way of weights: into a memory, or into the processor at the end.

    ``seconds`` and ``energy_j`` are of one token.
    """

    name: str
    size_bytes: float
    seconds: float
    energy_j: float


@dataclass(frozen=True, slots=True)
class OffloadToken:
    """One token.

    Parameters
    ----------
    processor : str
    weights_in : str
        Memory that the weights lie in.
    hops : tuple of Hop
        Copies, in order.
    read : Hop
        What the processor reads from its own memory: weights, keys and values.
    compute_s : float
        Arithmetic; it overlaps.
    compute_j : float
        Active power of the processor over the time of the token.
    prefill_s : float
        Reading a prompt at once: each weight moves once for all tokens.
    stored_bytes, kv_bytes : int
        All weights; keys and values.
    """

    processor: str
    weights_in: str
    hops: tuple[Hop, ...]
    read: Hop
    compute_s: float
    compute_j: float
    prefill_s: float
    stored_bytes: int
    kv_bytes: int

    @property
    def seconds(self) -> float:
        """Time of one token."""
        return max(sum(hop.seconds for hop in self.hops), self.read.seconds, self.compute_s)

    @property
    def moved_bytes(self) -> float:
        """Bytes over all links and into the processor."""
        return sum(hop.size_bytes for hop in (*self.hops, self.read))

    @property
    def energy_j(self) -> float:
        """Energy of links, memories and processor; idle power of the device is not in it."""
        return sum(hop.energy_j for hop in (*self.hops, self.read)) + self.compute_j

    @property
    def limit(self) -> str:
        """What takes most of the time, in words."""
        if self.hops and sum(hop.seconds for hop in self.hops) >= self.seconds:
            slowest = max(self.hops, key=lambda hop: hop.seconds)
            return f"moving weights: {slowest.name}"
        if self.read.seconds >= self.seconds:
            return f"bandwidth: {self.read.name}"
        return f"arithmetic of {self.processor}"


def offload_token(
    shape: ModelShape,
    profile: DeviceProfile,
    *,
    weight_bits: int = 8,
    activation_bytes: int = 2,
    context: int = 1000,
    weights_in: str = "",
    storage_bytes_per_s: float = 0.0,
    head: bool = False,
) -> OffloadToken:
    """Return time, bytes and energy of one token on the processor that takes the least time.

    Parameters
    ----------
    shape : ModelShape
    profile : DeviceProfile
    weight_bits, activation_bytes, context
        As :func:`edgekit.emulators.nand_chiplet.estimate_token`.
    weights_in : str
        Memory that the weights lie in. Without it the nearest to the processor that holds them;
        what a RAM does not hold is read again from storage for each token.
    storage_bytes_per_s : float
        Rate of the storage, where better known than the profile's bandwidth.
    head : bool
        Whether the scores of the vocabulary are computed.

    Raises
    ------
    UsageError
        If no memory is called so.
    ProfileError
        If no processor has a rate, no link leads to its memory, or a bandwidth on the way is 0.
    MemoryBudgetError
        If the weights fit no memory, or not the one that was named.
    """
    usable = [p for p in profile.processors if product_rate(p) and p.reached_by]
    if not usable:
        raise ProfileError(f"{profile.name} has no processor with a rate", key="processors")
    load = _Load(
        used_weights=shape.used_weights + (shape.head.weights if head else 0),
        stored_weights=shape.stored_weights + (shape.head.weights if head else 0),
        kv_bytes=shape.kv_bytes(context, activation_bytes),
        weight_bits=weight_bits,
        context=context,
        attention_macs=shape.layers * context * (context + 1) * shape.attention_width,
    )
    found: list[OffloadToken] = []
    refusal: EdgekitError | None = None
    for processor in usable:
        try:
            found.append(_token_on(processor, profile, load, weights_in, storage_bytes_per_s))
        except (MemoryBudgetError, ProfileError) as error:
            refusal = refusal or error
    if refusal is not None and not found:
        raise refusal
    return min(found, key=lambda token: token.seconds)


@dataclass(frozen=True, slots=True)
class _Load:
    """What one token and one prompt need, whatever the processor."""

    used_weights: int
    stored_weights: int
    kv_bytes: int
    weight_bits: int
    context: int
    attention_macs: int
    """Of a prompt: each position with all before it."""

    @property
    def used_bytes(self) -> float:
        return self.used_weights * self.weight_bits / 8

    @property
    def stored_bytes(self) -> int:
        return -(-self.stored_weights * self.weight_bits // 8)


def _token_on(
    processor: Processor, profile: DeviceProfile, load: _Load, weights_in: str, storage_rate: float
) -> OffloadToken:
    own = profile.memory(processor.memory)
    place, moved_share = _place(profile, own, load.stored_bytes, load.kv_bytes, weights_in)
    moved_bytes = load.used_bytes * moved_share
    hops = _way(profile, place, own, moved_bytes, storage_rate) if moved_bytes else ()
    read = _hop(
        f"{own.name} to {processor.name}",
        load.used_bytes + load.kv_bytes,
        bandwidth(profile, processor),
        own.energy_per_byte_j,
        profile,
    )
    rate = product_rate(processor)
    compute_s = load.used_weights / rate
    busy_s = max(read.seconds, compute_s)
    # With experts, a prompt is taken to need all of them.
    all_over_used = load.stored_bytes / load.used_bytes
    ways_s = (sum(hop.seconds for hop in hops), read.seconds)
    products_s = load.context * compute_s + load.attention_macs / rate
    prompt_s = max(max(ways_s) * all_over_used, products_s) if load.context else 0.0
    power_w = processor.active_power_w.value if processor.active_power_w else 0.0
    return OffloadToken(
        processor.name,
        place.name,
        hops,
        read,
        compute_s,
        power_w * busy_s,
        prompt_s,
        load.stored_bytes,
        load.kv_bytes,
    )


def _hop(
    name: str, size_bytes: float, rate: float, energy: Quantity | None, profile: DeviceProfile
) -> Hop:
    if rate <= 0:
        raise ProfileError(f"the bandwidth of {name} is 0", path=profile.name)
    per_byte_j = energy.value if energy else 0.0
    return Hop(name, size_bytes, size_bytes / rate, size_bytes * per_byte_j)


def _place(
    profile: DeviceProfile, own: Memory, stored: int, kv_bytes: int, weights_in: str
) -> tuple[Memory, float]:
    """Return where the weights lie, and which share of them moves for each token."""
    if weights_in:
        known = {memory.name: memory for memory in profile.memories}
        if weights_in not in known:
            raise UsageError(
                f"{profile.name} has no memory {weights_in!r}; it has {', '.join(known)}"
            )
        _check_room(profile, known[weights_in], stored)
        return known[weights_in], 0.0 if weights_in == own.name else 1.0
    room = own.available_bytes.integer - kv_bytes
    if stored <= room:
        return own, 0.0
    others = [m for m in profile.memories if m.name != own.name and m.kind != "flash"]
    others = sorted(others, key=lambda m: -m.bandwidth_bytes_per_s.value)
    place = next((m for m in others if stored <= m.available_bytes.integer), None)
    if place is None:
        largest = max([own, *others], key=lambda m: m.available_bytes.value)
        _check_room(profile, largest, stored + (kv_bytes if largest == own else 0))
        place = largest
    if place.kind == "storage" and room > 0:
        return place, 1 - room / stored
    return place, 1.0


def _check_room(profile: DeviceProfile, memory: Memory, stored: int) -> None:
    if stored > memory.available_bytes.integer:
        raise MemoryBudgetError(
            required_bytes=stored,
            available_bytes=memory.available_bytes.integer,
            memory=f"{memory.name} of {profile.name}",
            hint="fewer bits a weight, or another memory",
        )


def _way(
    profile: DeviceProfile, start: Memory, end: Memory, size_bytes: float, storage_rate: float
) -> tuple[Hop, ...]:
    """Return the copies from one memory to another over the fewest links."""
    before: dict[str, str] = {start.name: ""}
    queue = deque([start.name])
    while queue:
        name = queue.popleft()
        for memory in profile.memories:
            if memory.name not in before and profile.link_between(name, memory.name):
                before[memory.name] = name
                queue.append(memory.name)
    if end.name not in before:
        if start.kind != "storage":
            where = f"from {start.name} to {end.name}"
            raise ProfileError(f"{profile.name} has no link {where}", key="links")
        rate = storage_rate or start.bandwidth_bytes_per_s.value
        name = f"{start.name} to {end.name}"
        return (_hop(name, size_bytes, rate, start.energy_per_byte_j, profile),)
    hops: list[Hop] = []
    name = end.name
    while before[name]:
        link = profile.link_between(before[name], name)
        if link is not None:
            rate = link.bandwidth_bytes_per_s.value
            hop = _hop(link.name, size_bytes, rate, link.energy_per_byte_j, profile)
            hops.insert(0, replace(hop, seconds=hop.seconds + link.latency_s.value))
        name = before[name]
    return tuple(hops)
