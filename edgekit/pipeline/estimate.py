"""``estimate``: how fast a language model would be on a device, from its shape alone.

Flash that computes is estimated by :mod:`edgekit.emulators.nand_chiplet`, every other device by the
way of its weights to the processor (:mod:`edgekit.cost.offload`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from edgekit.converters.importers.gguf import facts_of
from edgekit.cost.offload import OffloadToken, offload_token
from edgekit.cost.price import price_usd
from edgekit.emulators import stated_error
from edgekit.emulators.nand_chiplet import ChipletEstimate, FlashPolicy, estimate_token
from edgekit.errors import ModelFormatError, UsageError
from edgekit.estimate import idle_power_w
from edgekit.model_shapes import ModelShape, find_shape
from edgekit.pipeline.language_speed import storage_rate
from edgekit.profiles import DeviceProfile, quantities, with_quantity
from edgekit.runtime.language.gguf_file import GgufHeader, read_header
from edgekit.runtime.language.session import is_gguf
from edgekit.zoo import language_model_path

MOST_CONTEXT = 1 << 24
SHIPPED = "tales"
"""Name of the language model that ships."""


@dataclass(frozen=True, slots=True)
class Precision:
    """Widths of weights and activations, as ``w8a8`` or ``w4a16`` say them."""

    weight_bits: int
    activation_bits: int

    @property
    def activation_bytes(self) -> int:
        """Bytes of one activation, key or value."""
        return self.activation_bits // 8


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """What a memory has to hold, and what it gives."""

    name: str
    required_bytes: int
    available_bytes: int

    @property
    def fits(self) -> bool:
        """Whether it holds it."""
        return self.required_bytes <= self.available_bytes


@dataclass(frozen=True, slots=True)
class EstimatePart:
    """One part of the time of a token; parts that overlap say so in ``detail``."""

    name: str
    seconds: float
    size_bytes: float
    detail: str


@dataclass(frozen=True, slots=True)
class Gain:
    """How many times as fast decoding would be if one number of the profile changed alone."""

    change: str
    key: str
    factor: float
    speedup: float


@dataclass(frozen=True, slots=True)
class ModelEstimate:
    """The answer.

    Parameters
    ----------
    model, device, weights : str
    context : int
    tokens_per_s : float
        Decoding, one session.
    prefill_s : float
        Reading a prompt of ``context`` tokens.
    bytes_moved_per_token : float
        Chiplet: over the flash channels. Others: over all links and into the processor.
    energy_j_per_token : float
        Chiplet: array reads and channels, the boundary of published figures. Others: links,
        memories, processor and the idle power of the device.
    energy : mapping of str to float
        Its parts, and what lies beyond that boundary (``dram_j``, ``npu_j``).
    cost_usd : float or None
        Of the memories; None where the profile has no prices.
    limit : str
        What takes most of the time.
    memories : tuple of MemoryNeed
    parts : tuple of EstimatePart
    stated_error : str
        What is known of the error; empty: nothing.
    gains : tuple of Gain
        Of a chiplet: what each part would give if it were twice as good.
    chiplet : ChipletEstimate or None
    """

    model: str
    device: str
    weights: str
    context: int
    tokens_per_s: float
    prefill_s: float
    bytes_moved_per_token: float
    energy_j_per_token: float
    energy: dict[str, float]
    cost_usd: float | None
    limit: str
    memories: tuple[MemoryNeed, ...]
    parts: tuple[EstimatePart, ...]
    stated_error: str
    gains: tuple[Gain, ...] = ()
    chiplet: ChipletEstimate | None = None

    @property
    def fits(self) -> bool:
        """Whether every memory holds what it has to."""
        return all(memory.fits for memory in self.memories)


@dataclass(frozen=True, slots=True)
class Workload:
    """What is estimated.

    Parameters
    ----------
    shape : ModelShape
    weights : str
        As :func:`parse_precision` reads it.
    context : int
    policy : str
        Of a chiplet: :data:`edgekit.emulators.nand_chiplet.POLICIES`.
    weights_in : str
        Of other devices: the memory that weights lie in; empty for the nearest that holds them.
    head : bool
        Whether the scores of the vocabulary are computed.
    """

    shape: ModelShape
    weights: str = "w8a8"
    context: int = 1000
    policy: FlashPolicy = "sliced"
    weights_in: str = ""
    head: bool = False


def parse_precision(text: str) -> Precision:
    """Return the widths that ``w<bits>a<bits>`` says.

    Raises
    ------
    UsageError
        If they are not 4, 8 or 16 bits of weights and 8 or 16 of activations.
    """
    match = re.fullmatch(r"w(4|8|16)a(8|16)", text.lower())
    if not match:
        raise UsageError(
            f"{text!r} is no width of weights and activations; write w8a8, w4a16, w4a8, w8a16 "
            "or w16a16"
        )
    return Precision(int(match.group(1)), int(match.group(2)))


def shape_of(model: str) -> ModelShape:
    """Return a published shape by name, or that of a GGUF file or of the model that ships.

    Raises
    ------
    UsageError
        If there is neither.
    ModelFormatError
        If the file is damaged, or does not say its shape.
    """
    path = language_model_path() if model.lower() == SHIPPED else Path(model)
    if path.is_file():
        if not is_gguf(path):
            raise ModelFormatError("is no GGUF file, the only kind with a shape", path=model)
        return shape_of_gguf(path)
    return find_shape(model)


def shape_of_gguf(path: Path) -> ModelShape:
    """Return the shape that the header of a GGUF file says.

    Raises
    ------
    ModelFormatError
        If the file is damaged, or does not say its shape.
    """
    header = read_header(path)
    facts, kind = facts_of(header), header.architecture
    mlp_width = header.integer(f"{kind}.feed_forward_length", 0)
    if facts.experts:
        mlp_width = header.integer(f"{kind}.expert_feed_forward_length", mlp_width)
    needed = {"layers": facts.layers, "width": facts.width, "heads": facts.heads}
    needed |= {"kv heads": facts.kv_heads, "feed-forward width": mlp_width}
    missing = [name for name, value in needed.items() if value < 1]
    if missing:
        raise ModelFormatError(f"does not say its {', '.join(missing)}", path=str(path))
    return ModelShape(
        name=path.stem,
        layers=facts.layers,
        width=facts.width,
        heads=facts.heads,
        kv_heads=facts.kv_heads,
        head_width=header.integer(f"{kind}.attention.key_length", facts.width // facts.heads),
        mlp_width=mlp_width,
        vocabulary=facts.vocabulary_size,
        gated=_is_gated(header, mlp_width),
        experts=facts.experts,
        experts_used=facts.experts_used,
        source=path.name,
    )


def _is_gated(header: GgufHeader, mlp_width: int) -> bool:
    """Return whether the feed-forward part has a gate, of its own or within ``ffn_up``."""
    names = [tensor.name for tensor in header.tensors]
    if any(".ffn_gate." in name or ".ffn_gate_exps." in name for name in names):
        return True
    up = next((tensor for tensor in header.tensors if ".ffn_up." in tensor.name), None)
    return up is not None and up.shape[0] == 2 * mlp_width


def estimate_model(
    work: Workload, profile: DeviceProfile, *, with_gains: bool = True
) -> ModelEstimate:
    """Estimate a workload on a device, ``with_gains`` also what would help.

    Raises
    ------
    MemoryBudgetError
        If the weights fit no memory of the device, or not the one that was named.
    ProfileError
        If the profile has no rate of a processor, or no way for the weights.
    UsageError
        If the precision, the context or the memory cannot be meant.
    """
    if not 0 <= work.context <= MOST_CONTEXT:
        raise UsageError(f"a context of {work.context:,} tokens; up to {MOST_CONTEXT:,} work")
    if profile.nand is not None:
        if work.weights_in:
            raise UsageError(f"{profile.name} has its weights in flash; leave out --weights-in")
        gains = chiplet_gains(work, profile) if with_gains else ()
        return _on_chiplet(work, profile, gains)
    if work.policy != "sliced":
        raise UsageError(f"{profile.name} has no flash that computes; leave out --policy")
    return _elsewhere(work, profile)


def with_memory_limit(profile: DeviceProfile, limit_bytes: int) -> DeviceProfile:
    """Return a profile whose working memory gives an app no more than ``limit_bytes``."""
    ram = profile.ram
    given = replace(
        ram.available_bytes,
        value=min(ram.available_bytes.value, limit_bytes),
        source="assumed: a limit that was asked for",
    )
    changed = replace(ram, available_bytes=given)
    memories = tuple(changed if m.name == ram.name else m for m in profile.memories)
    return replace(profile, memories=memories)


def chiplet_gains(work: Workload, profile: DeviceProfile) -> tuple[Gain, ...]:
    """Return what decoding gains from each part of a chiplet that is twice as good, one by one.

    Where no part gives a factor of two, several share the time of a token.

    Raises
    ------
    EdgekitError
        As :func:`estimate_model`.
    """
    base_s = _token(work, profile).seconds
    numbers = dict(quantities(profile))
    parts = (
        ("page reads in half the time", "nand.page_read_s", 0.5),
        ("twice the dies", "nand.dies_per_chip", 2.0),
        ("twice the channels", "nand.channels", 2.0),
        ("twice the rate of a channel", "nand.channel_bytes_per_s", 2.0),
        ("twice the rate of DRAM", f"memories[{profile.ram.name}].bandwidth_bytes_per_s", 2.0),
    )
    gains: list[Gain] = []
    for change, key, factor in parts:
        better = with_quantity(profile, key, numbers[key].value * factor)
        gains.append(Gain(change, key, factor, base_s / _token(work, better).seconds))
    return tuple(gains)


def _token(work: Workload, profile: DeviceProfile) -> ChipletEstimate:
    precision = parse_precision(work.weights)
    return estimate_token(
        work.shape,
        profile,
        weight_bits=precision.weight_bits,
        activation_bytes=precision.activation_bytes,
        context=work.context,
        policy=work.policy,
        head=work.head,
    )


def _on_chiplet(work: Workload, profile: DeviceProfile, gains: tuple[Gain, ...]) -> ModelEstimate:
    found = _token(work, profile)
    parts = [
        EstimatePart(
            item.name,
            item.seconds,
            item.flash_bytes + item.streamed_bytes,
            f"{item.calls} x {item.rows} x {item.columns}, {item.rounds} rounds of "
            f"{item.tile.rows} x {item.tile.columns}, {item.filled:.0%} filled",
        )
        for item in found.matrices
    ]
    detail = f"{work.context:,} positions from {profile.ram.name}"
    parts.append(EstimatePart("keys and values", found.kv_s, found.kv_bytes, detail))
    needs = [_need(profile, profile.working_memory, found.kv_bytes)]
    if profile.constants_memory:
        needs.append(_need(profile, profile.constants_memory, found.stored_bytes))
    return ModelEstimate(
        model=work.shape.name,
        device=profile.name,
        weights=work.weights,
        context=work.context,
        tokens_per_s=found.tokens_per_s,
        prefill_s=found.prefill_s,
        bytes_moved_per_token=found.moved_bytes,
        energy_j_per_token=found.energy_j,
        energy={
            "array_j": found.array_j,
            "channels_j": found.channel_j,
            "dram_j": found.dram_j,
            "npu_j": found.npu_j,
        },
        cost_usd=price_usd(profile),
        limit=found.limit,
        memories=tuple(needs),
        parts=tuple(parts),
        stated_error=stated_error(profile),
        gains=gains,
        chiplet=found,
    )


def _elsewhere(work: Workload, profile: DeviceProfile) -> ModelEstimate:
    precision = parse_precision(work.weights)
    stored = work.shape.stored_weights * precision.weight_bits // 8
    found = offload_token(
        work.shape,
        profile,
        weight_bits=precision.weight_bits,
        activation_bytes=precision.activation_bytes,
        context=work.context,
        weights_in=work.weights_in,
        storage_bytes_per_s=storage_rate(profile, stored),
        head=work.head,
    )
    parts = [EstimatePart(h.name, h.seconds, h.size_bytes, "copy") for h in found.hops]
    parts.append(
        EstimatePart(
            found.read.name, found.read.seconds, found.read.size_bytes, "overlaps with copies"
        )
    )
    parts.append(EstimatePart("arithmetic", found.compute_s, 0.0, f"{found.processor}, overlaps"))
    idle_j = idle_power_w(profile) * found.seconds
    memory_j = found.energy_j - found.compute_j
    return ModelEstimate(
        model=work.shape.name,
        device=profile.name,
        weights=work.weights,
        context=work.context,
        tokens_per_s=1 / found.seconds,
        prefill_s=found.prefill_s,
        bytes_moved_per_token=found.moved_bytes,
        energy_j_per_token=found.energy_j + idle_j,
        energy={
            "links_and_memories_j": memory_j,
            "processor_j": found.compute_j,
            "idle_j": idle_j,
        },
        cost_usd=price_usd(profile),
        limit=found.limit,
        memories=_needs(profile, found),
        parts=tuple(parts),
        stated_error=stated_error(profile),
    )


def _needs(profile: DeviceProfile, found: OffloadToken) -> tuple[MemoryNeed, ...]:
    """Return what the memories hold; weights that only partly fit RAM lie in storage as a whole."""
    own = profile.processor(found.processor).memory
    if found.weights_in == own:
        return (_need(profile, own, found.stored_bytes + found.kv_bytes),)
    return (
        _need(profile, own, found.kv_bytes),
        _need(profile, found.weights_in, found.stored_bytes),
    )


def _need(profile: DeviceProfile, memory: str, required_bytes: int) -> MemoryNeed:
    return MemoryNeed(memory, required_bytes, profile.memory(memory).available_bytes.integer)
