"""Published latencies of microcontrollers that the emulator's cycle model is compared with.

A row is claimed where both sides are known: a published latency of an engine on a board, and the
instructions of that engine's kernels, counted under QEMU with the same models (CMSIS-NN commit
99f736a called by generated code, gcc 12.2 -Ofast). The model has one constant, cycles an
instruction. The profile's value comes from all four rows, so those are marked as fitted; held out
are the leave-one-out rows, each predicted with the constant of the other three.

No published energy belongs to an engine whose instructions are known, so there is no energy row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.emulators.validation import ValidationRow, compare
from edgekit.profiles import load_profile

_NAME = "mcu"
_SOURCE = "MLPerf Tiny v1.0, microTVM with CMSIS-NN on NUCLEO-L4R5ZI"


@dataclass(frozen=True, slots=True)
class PublishedLatency:
    """Inferences a second that were published, and instructions of one inference."""

    model: str
    inferences_per_s: float
    instructions: float


L4R5_ROWS = (
    PublishedLatency("keyword spotting", 10.0, 7.84e6),
    PublishedLatency("image classification", 2.57, 29.87e6),
    PublishedLatency("visual wake words", 3.32, 24.71e6),
    PublishedLatency("anomaly detection", 116.0, 0.580e6),
)


def cycles_per_instruction(rows: Sequence[PublishedLatency], clock_hz: float) -> float:
    """Return the constant that fits rows best: the geometric mean of what each says."""
    logs = [math.log(clock_hz / row.inferences_per_s / row.instructions) for row in rows]
    return math.exp(sum(logs) / len(logs))


def published_rows() -> list[ValidationRow]:
    """Return every row, with the profile's constant and with one fitted to the others."""
    processor = load_profile("stm32l4r5").processor("cpu")
    clock_hz = processor.clock_hz.value
    constant = processor.cycles_per_instruction
    found: list[ValidationRow] = []
    for row in L4R5_ROWS:
        others = [other for other in L4R5_ROWS if other is not row]
        held_out = cycles_per_instruction(others, clock_hz)
        choices = [(held_out, "leave-one-out", False)]
        if constant is not None:
            choices.append((constant.value, "profile", True))
        for cycles, label, fitted in choices:
            found.append(
                compare(
                    _NAME,
                    f"{row.model}, latency in s ({label}, {cycles:.2f} cycles an instruction)",
                    _SOURCE,
                    1 / row.inferences_per_s,
                    row.instructions * cycles / clock_hz,
                    fitted=fitted,
                )
            )
    return found
