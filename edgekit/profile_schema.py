"""The schema of a device profile: what one TOML file of ``device_profiles/`` may say.

A device is processors, memories and links. A GPU, an NPU, a NAND die and a server are processors;
PCIe, a flash channel and the uplink are links. Every number is a :class:`Quantity`: a value, where
it comes from, and how far it can be trusted. Identifiers (USB ids, names) are text.

Reading, inheritance and listing are in :mod:`edgekit.profiles`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Confidence = Literal["high", "medium", "low"]
DeviceKind = Literal["phone", "sbc", "mcu", "nand_chiplet", "heterogeneous", "cloud"]
ProcessorKind = Literal["cpu", "gpu", "npu", "mcu", "cloud", "nand"]
MemoryKind = Literal["ram", "flash", "storage", "vram"]
OP_CLASSES = ("conv", "conv3x3", "depthwise", "matmul", "elementwise")
"""Classes of operators that a processor runs at different efficiency.

``conv3x3`` is a 3x3 convolution of stride 1, for which some libraries use Winograd's algorithm;
where a profile has no entry for it, ``conv`` holds.
"""


class ProfileRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all profile records: immutable, unknown fields are errors."""


class Quantity(ProfileRecord, frozen=True):
    """A number with its origin.

    Parameters
    ----------
    value : float
        In the unit that the field's name says.
    source : str
        A data sheet, paper or page by name; ``derived: ...`` with the arithmetic, or
        ``assumed: ...`` with the reason.
    confidence : str
        ``high``: measured or from the maker; ``medium``: derived from such figures, or one
        independent page; ``low``: leaked, assumed or from memory.
    """

    value: float
    source: str
    confidence: Confidence

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise ValueError("a quantity needs a source")
        if not (0 <= self.value < float("inf")):
            raise ValueError(f"{self.value} is not a finite number >= 0")

    @property
    def integer(self) -> int:
        """The value as an integer (bytes, addresses, counts)."""
        return round(self.value)


class Capabilities(ProfileRecord, frozen=True):
    """What edgekit can do for the device.

    Parameters
    ----------
    estimate, emulate, build, flash : bool
        Predict time and energy; run packages on an emulator; build firmware; program the board.
    note : str
        Why something is missing and what would be needed, for messages.
    """

    estimate: bool
    emulate: bool
    build: bool
    flash: bool
    note: str = ""


class Processor(ProfileRecord, frozen=True):
    """Something that computes.

    Time of a node is modelled in one of two ways. Application processors: multiply-accumulates
    over ``ops_per_s x efficiency``. Microcontrollers: multiply-accumulates times
    ``instructions_per_mac`` times ``cycles_per_instruction`` over ``clock_hz``.

    Parameters
    ----------
    name : str
        For instance ``cpu-big``.
    kind : str
    core : str
        Architecture name, for instance ``cortex-m4``.
    memory : str
        Name of the memory it computes from.
    cores, clock_hz : Quantity
        Number of equal cores, and their clock.
    ops_per_s : mapping of dtype to Quantity
        Peak multiply-accumulates per second of all cores together. A dtype that is missing cannot
        run here; no entry at all means that the peak is not known, and nothing is placed here.
    efficiency : mapping of operator class to Quantity
        Fraction of the peak that real kernels reach, by :data:`OP_CLASSES`; a key such as
        ``conv/int8`` holds for one dtype only and goes first. More than 1 where an algorithm needs
        fewer operations than the direct form.
    instructions_per_mac, cycles_per_instruction : mapping as ``efficiency``, Quantity
        The microcontroller model; for ``elementwise`` the unit is instructions per output element.
    launch_overhead_s : Quantity
        Fixed time of one node.
    handover_s : Quantity
        Time until this processor goes on with what another one left in the same memory.
    active_power_w : Quantity
        While it computes, above the idle power of the device.
    bandwidth_bytes_per_s : Quantity
        What this processor reaches from ``memory``, where less than the memory can give.
    batch_cost : mapping of ``dtype/n`` to Quantity
        Time of a matrix product with n rows over the time with one row (verification tables).
    made_of : tuple of str
        Other processors of the profile whose cores it uses: they cannot work at the same time.
    features : tuple of str
        Instruction set features, for instance ``dsp``, ``fpu-sp``, ``dotprod``, ``i8mm``.
    operators : tuple of str
        Operators it supports; empty for all.
    reached_by : tuple of str
        Executors through which an app reaches it (``onnxruntime``, ``litert``, ``native`` ...);
        empty: not reached, so it is never part of a placement.
    note : str
        Why it is not reached, or a condition.
    """

    name: str
    kind: ProcessorKind
    core: str
    memory: str
    cores: Quantity
    clock_hz: Quantity
    launch_overhead_s: Quantity
    ops_per_s: dict[str, Quantity] = {}
    efficiency: dict[str, Quantity] = {}
    instructions_per_mac: dict[str, Quantity] = {}
    cycles_per_instruction: Quantity | None = None
    handover_s: Quantity | None = None
    active_power_w: Quantity | None = None
    bandwidth_bytes_per_s: Quantity | None = None
    batch_cost: dict[str, Quantity] = {}
    made_of: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    reached_by: tuple[str, ...] = ()
    note: str = ""

    def supports_dtype(self, dtype: str) -> bool:
        """Whether the profile gives a compute rate for ``dtype``."""
        if self.ops_per_s:
            return dtype in self.ops_per_s
        suffixes = {key.partition("/")[2] for key in self.instructions_per_mac}
        return dtype in suffixes or (dtype == "int8" and "" in suffixes)

    def supports_operator(self, op: str) -> bool:
        """Whether the operator can run here, whatever its dtype."""
        return not self.operators or op in self.operators


class Memory(ProfileRecord, frozen=True):
    """Something that holds bytes.

    Parameters
    ----------
    name : str
    kind : str
        ``ram``, ``flash`` (executes or reads in place), ``storage`` (file system), ``vram``.
    capacity_bytes, available_bytes : Quantity
        All of it, and what one app or firmware may use.
    bandwidth_bytes_per_s : Quantity
        Sequential read rate that software reaches (not the peak of the bus, where both are known).
    reserved_bytes : Quantity
        What is left out of ``available_bytes``: stack and .data of firmware, the system of a phone.
    energy_per_byte_j : Quantity
    usd_per_gib : Quantity
        Price, in dollars for 2**30 bytes.
    latency_s : Quantity
    address, sector_bytes : Quantity
        Where it is mapped, and the erase unit.
    cachable : bool
    regions : tuple of str
        Banks that this memory joins, or attributes such as ``dma``; documentation for linkers.
    note : str
    """

    name: str
    kind: MemoryKind
    capacity_bytes: Quantity
    available_bytes: Quantity
    bandwidth_bytes_per_s: Quantity
    reserved_bytes: Quantity | None = None
    energy_per_byte_j: Quantity | None = None
    usd_per_gib: Quantity | None = None
    latency_s: Quantity | None = None
    address: Quantity | None = None
    sector_bytes: Quantity | None = None
    cachable: bool = False
    regions: tuple[str, ...] = ()
    note: str = ""


class Link(ProfileRecord, frozen=True):
    """A way for bytes between two memories, in both directions unless ``one_way``."""

    name: str
    source: str
    target: str
    bandwidth_bytes_per_s: Quantity
    latency_s: Quantity
    energy_per_byte_j: Quantity | None = None
    one_way: bool = False


class Thermal(ProfileRecord, frozen=True):
    """First-order thermal model: one resistance to the surroundings, one heat capacity.

    Above ``throttle_c`` the clock is lowered in proportion, down to ``slowest_fraction`` of the
    full clock at ``limit_c``.
    """

    resistance_k_per_w: Quantity
    capacity_j_per_k: Quantity
    ambient_c: Quantity
    throttle_c: Quantity
    limit_c: Quantity
    slowest_fraction: Quantity


class Power(ProfileRecord, frozen=True):
    """Power of the whole device: idle, while busy, supply voltage, battery."""

    idle_w: Quantity
    active_w: Quantity | None = None
    supply_v: Quantity | None = None
    battery_j: Quantity | None = None


class Serial(ProfileRecord, frozen=True):
    """How a board is found and programmed.

    Parameters
    ----------
    usb_ids : tuple of str
        ``vid:pid`` in hexadecimal, as ``0483:374b``.
    protocols : tuple of str
        ``an3155``, ``smp``, ``esp-rom``, ``uf2``, ``sam-ba``.
    baud : Quantity
        Usual speed of the port.
    boot : str
        How to enter the bootloader, for messages.
    source : str
        Where the identifiers are from.
    """

    usb_ids: tuple[str, ...]
    protocols: tuple[str, ...]
    baud: Quantity
    boot: str
    source: str


class StorageRead(ProfileRecord, frozen=True):
    """One measured read rate of a storage device.

    Sizes are text as :func:`edgekit.units.parse_bytes` reads it; ``anchor`` marks the rows that the
    storage model is made from, the others are there to test it.

    Parameters
    ----------
    pattern : str
        ``sequential`` or ``random``.
    block : str
        Bytes of one read.
    rate_bytes_per_s : Quantity
    span : str
        Size of the range that random reads fall in; empty for any.
    issuer : str
        Processor whose core issues the reads; empty for the fastest.
    lanes : str
        Number of reads kept in flight (``"1"``, ``"2"`` ...); empty for as many as pay.
    anchor : bool
    """

    pattern: Literal["sequential", "random"]
    block: str
    rate_bytes_per_s: Quantity
    span: str = ""
    issuer: str = ""
    lanes: str = ""
    anchor: bool = True


class Storage(ProfileRecord, frozen=True):
    """Read behaviour of a storage device.

    Parameters
    ----------
    memory : str
        The memory of kind ``storage`` that it describes.
    interface : str
        For instance ``UFS 4.0``.
    reads : tuple of StorageRead
    contention_loss : Quantity
        Fraction of the rate that is lost when several cores issue reads into one command queue.
    """

    memory: str
    interface: str
    reads: tuple[StorageRead, ...] = ()
    contention_loss: Quantity | None = None


class NandArray(ProfileRecord, frozen=True):
    """Geometry and timing of a NAND chiplet that computes inside the flash dies.

    ``pages_per_block`` and ``block_read_limit`` (reads of a block until its data have to be written
    again, read disturb) are for placement and lifetime; speed does not depend on them.
    """

    channels: Quantity
    chips_per_channel: Quantity
    dies_per_chip: Quantity
    planes_per_die: Quantity
    cores_per_die: Quantity
    page_bytes: Quantity
    spare_bytes_per_page: Quantity
    page_read_s: Quantity
    channel_bytes_per_s: Quantity
    array_read_j_per_bit: Quantity
    channel_j_per_bit: Quantity
    pages_per_block: Quantity | None = None
    block_read_limit: Quantity | None = None

    @property
    def compute_cores(self) -> int:
        """Number of compute cores of the whole chiplet."""
        per_channel = self.chips_per_channel.value * self.dies_per_chip.value
        return round(self.channels.value * per_channel * self.cores_per_die.value)


class DeviceProfile(ProfileRecord, frozen=True):
    """Everything that edgekit knows about one device.

    Parameters
    ----------
    name : str
        As typed after ``--device``; equal to the file's name.
    kind : str
    title : str
        For people.
    working_memory : str
        Memory that activations (the arena) lie in.
    capabilities : Capabilities
    processors, memories : tuple
    constants_memory : str
        Memory that constants of firmware lie in; empty where weights are loaded into
        ``working_memory`` (phones, computers).
    links : tuple of Link
    thermal, power, serial, storage, nand
        Where they apply.
    toolchain : str
        Name of the compiler target for firmware, for instance ``cortex-m4``.
    emulator : str
        Module of :mod:`edgekit.emulators` that reproduces it.
    inherits : str
        Profile whose tables this one changes; already applied after reading.
    note : str
    """

    name: str
    kind: DeviceKind
    title: str
    working_memory: str
    capabilities: Capabilities
    processors: tuple[Processor, ...]
    memories: tuple[Memory, ...]
    constants_memory: str = ""
    links: tuple[Link, ...] = ()
    thermal: Thermal | None = None
    power: Power | None = None
    serial: Serial | None = None
    storage: Storage | None = None
    nand: NandArray | None = None
    toolchain: str = ""
    emulator: str = ""
    inherits: str = ""
    note: str = ""

    def processor(self, name: str) -> Processor:
        """Return a processor by name (KeyError where the device has none such)."""
        for processor in self.processors:
            if processor.name == name:
                return processor
        raise KeyError(name)

    def memory(self, name: str) -> Memory:
        """Return a memory by name (KeyError where the device has none such)."""
        for memory in self.memories:
            if memory.name == name:
                return memory
        raise KeyError(name)

    @property
    def ram(self) -> Memory:
        """The memory that activations lie in."""
        return self.memory(self.working_memory)

    @property
    def flash(self) -> Memory | None:
        """The memory that constants of firmware lie in; None where weights are loaded into RAM."""
        return self.memory(self.constants_memory) if self.constants_memory else None

    def link_between(self, source: str, target: str) -> Link | None:
        """Return the link that carries bytes from one memory to another, or None."""
        for link in self.links:
            ends = (link.source, link.target)
            if ends == (source, target) or (not link.one_way and ends == (target, source)):
                return link
        return None
