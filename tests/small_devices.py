"""Small device profiles built in code, for tests of costs and placements."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.profiles import Capabilities, DeviceProfile, Link, Memory, Power, Processor, Quantity


def q(value: float) -> Quantity:
    return Quantity(value, "assumed: for a test", "low")


def table(values: Mapping[str, float]) -> dict[str, Quantity]:
    return {key: q(value) for key, value in values.items()}


def processor(
    name: str,
    memory: str = "ram",
    *,
    macs_per_s: float = 1e9,
    dtypes: tuple[str, ...] = ("float32", "int8"),
    overhead_s: float = 1e-6,
    handover_s: float = 2e-6,
    operators: tuple[str, ...] = (),
    reached_by: tuple[str, ...] = ("native", "onnxruntime"),
    made_of: tuple[str, ...] = (),
) -> Processor:
    return Processor(
        name=name,
        kind="cpu",
        core="test",
        memory=memory,
        cores=q(1),
        clock_hz=q(1e9),
        launch_overhead_s=q(overhead_s),
        ops_per_s=table(dict.fromkeys(dtypes, macs_per_s)),
        efficiency=table({"conv": 0.5, "depthwise": 0.1, "matmul": 0.5, "elementwise": 0.25}),
        handover_s=q(handover_s),
        active_power_w=q(2.0),
        operators=operators,
        reached_by=reached_by,
        made_of=made_of,
    )


def memory(name: str, *, bytes_per_s: float = 1e9) -> Memory:
    return Memory(
        name=name,
        kind="ram",
        capacity_bytes=q(2**20),
        available_bytes=q(2**19),
        bandwidth_bytes_per_s=q(bytes_per_s),
        energy_per_byte_j=q(1e-10),
    )


def device(
    *processors: Processor, link_bytes_per_s: float = 1e9, link_latency_s: float = 1e-6
) -> DeviceProfile:
    """Return a phone with the memories that the processors name, linked to ``ram``."""
    names = dict.fromkeys(("ram", *(p.memory for p in processors)))
    links = tuple(
        Link(f"ram-{name}", "ram", name, q(link_bytes_per_s), q(link_latency_s), q(1e-10))
        for name in names
        if name not in ("ram", "island")
    )
    return DeviceProfile(
        name="test-device",
        kind="phone",
        title="A device for tests",
        working_memory="ram",
        capabilities=Capabilities(estimate=True, emulate=True, build=False, flash=False),
        processors=processors,
        memories=tuple(memory(name) for name in names),
        links=links,
        power=Power(idle_w=q(1.0)),
    )
