"""Published latencies and energies of microcontrollers beside what the emulator's model gives.

A row is claimed where both sides are known: a published figure of an engine on a board, and the
instructions of that engine's kernels, counted under QEMU on the same models (CMSIS-NN commit
99f736a called by generated code, gcc 12.2 -Ofast). That is microTVM with CMSIS-NN of MLPerf Tiny,
measured by three submitters on two boards. The counts are those of Cortex-M4; Cortex-M33 has the
same instructions and runs the same kernels.

Constants: cycles an instruction of each board, and the current a hertz of the board whose energy
was published; one for four networks each. A network is predicted with the constants that the other
three give (held out: these rows count). The profiles have the constants of all four, so that
those rows are marked as fitted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgekit.emulators.mcu_model import energy_of, latency_of, processor_of
from edgekit.emulators.validation import ValidationRow, compare
from edgekit.profiles import DeviceProfile, load_profile

NAME = "mcu"

INSTRUCTIONS = {
    "keyword spotting": 7.84e6,
    "image classification": 29.87e6,
    "visual wake words": 24.71e6,
    "anomaly detection": 0.580e6,
}
"""Of one inference with CMSIS-NN on a core with the DSP extension."""


@dataclass(frozen=True, slots=True)
class PublishedRun:
    """One published measurement.

    Parameters
    ----------
    device : str
        Name of the profile.
    submission : str
        Round and submitter; the engine is microTVM with CMSIS-NN in all of them.
    model : str
        Key of :data:`INSTRUCTIONS`.
    inferences_per_s : float
        Median of five windows (``results.txt`` of the submission).
    energy_j : float or None
        Median energy of an inference, of runs in energy mode.
    """

    device: str
    submission: str
    model: str
    inferences_per_s: float
    energy_j: float | None = None

    @property
    def cycles(self) -> float:
        """Clock cycles of one inference."""
        return clock_hz(self.device) / self.inferences_per_s


def runs_of(
    device: str, submission: str, inferences_per_s: Sequence[float]
) -> tuple[PublishedRun, ...]:
    """Return the runs of one submission, in the order of :data:`INSTRUCTIONS`."""
    pairs = zip(INSTRUCTIONS, inferences_per_s, strict=False)
    return tuple(PublishedRun(device, submission, model, speed) for model, speed in pairs)


LATENCIES = (
    # mlcommons/tiny_results_v1.0 at cc81fd5, closed/OctoML/results/microtvm_cmsis_nn
    *runs_of("stm32l4r5", "v1.0, OctoML", (10.019, 2.567, 3.320, 116.212)),
    *runs_of("nrf5340", "v1.0, OctoML", (13.143, 3.163, 4.310, 159.579)),
    # mlcommons/tiny_results_v1.1 at 04558bf, closed/Krai and closed/cTuning (two networks)
    *runs_of("stm32l4r5", "v1.1, Krai", (10.019, 2.567, 3.324, 116.212)),
    *runs_of("stm32l4r5", "v1.1, cTuning", (10.016, 2.567)),
    *runs_of("nrf5340", "v1.1, Krai", (13.074, 3.146, 4.286, 159.020)),
)

ENERGIES = (
    # mlcommons/tiny_results_v1.0 at cc81fd5, closed/OctoML/results/microtvm_cmsis_nn, energy/:
    # the supply of the processor alone, 1,800 mV (log.txt, "m-voltage-mv")
    PublishedRun("stm32l4r5", "v1.0, OctoML", "keyword spotting", 9.997, 5230.273e-6),
    PublishedRun("stm32l4r5", "v1.0, OctoML", "image classification", 2.566, 20236.298e-6),
    PublishedRun("stm32l4r5", "v1.0, OctoML", "visual wake words", 3.347, 15531.354e-6),
    PublishedRun("stm32l4r5", "v1.0, OctoML", "anomaly detection", 116.207, 443.184e-6),
)


def clock_hz(device: str) -> float:
    """Return the clock of a device's core."""
    return processor_of(load_profile(device)).clock_hz.value


def supply_v(device: str) -> float:
    """Return the supply that energies of a device are stated for."""
    power = load_profile(device).power
    return power.supply_v.value if power and power.supply_v else 0.0


def fitted_cycles_per_instruction(runs: Sequence[PublishedRun]) -> float:
    """Return the constant that fits latencies best: the geometric mean of what each says."""
    return _geometric_mean([run.cycles / INSTRUCTIONS[run.model] for run in runs])


def fitted_current_a_per_hz(runs: Sequence[PublishedRun]) -> float:
    """Return the current over the clock that fits energies best, in amperes a hertz."""
    return _geometric_mean(
        [run.energy_j / supply_v(run.device) / run.cycles for run in runs if run.energy_j]
    )


def published_rows() -> list[ValidationRow]:
    """Return every row: held out first, then with the constants of the profile."""
    return [*_latency_rows(), *_energy_rows()]


def stated_error(profile: DeviceProfile) -> str:
    """Return what is known of the error of a device's modelled time and energy.

    A device without a published row is called unvalidated; where another board has rows with the
    same core, these are named as what is nearest.
    """
    devices = {run.device for run in LATENCIES}
    if profile.name in devices:
        return _error_on(profile.name)
    core = processor_of(profile).core
    same = sorted(name for name in devices if processor_of(load_profile(name)).core == core)
    if same:
        return (
            "unvalidated: nothing is published for this board. "
            f"The same core on {same[0]}: {_error_on(same[0])}"
        )
    return f"unvalidated: no published measurement on {core} has known instructions"


def _error_on(device: str) -> str:
    latencies = [row for row in _latency_rows(device) if not row.fitted]
    energies = [row for row in _energy_rows(device) if not row.fitted]
    parts = [
        f"{what} off by {_mean(rows):.1f} % on average, {_largest(rows):.1f} % at most "
        f"({len(rows)} published rows)"
        for what, rows in (("time", latencies), ("energy", energies))
        if rows
    ]
    return "; ".join(parts) + ("" if energies else "; energy unvalidated")


def _mean(rows: Sequence[ValidationRow]) -> float:
    """Return the mean error of networks, each counted once however often it was measured."""
    by_network: dict[str, list[float]] = {}
    for row in rows:
        network, _, _ = row.quantity.partition(",")
        by_network.setdefault(network, []).append(abs(row.error_percent))
    return sum(sum(found) / len(found) for found in by_network.values()) / len(by_network)


def _largest(rows: Sequence[ValidationRow]) -> float:
    return max(abs(row.error_percent) for row in rows)


def _latency_rows(device: str = "") -> Iterator[ValidationRow]:
    for run in LATENCIES:
        if device not in ("", run.device):
            continue
        instructions = INSTRUCTIONS[run.model]
        held_out = fitted_cycles_per_instruction(_others(LATENCIES, run))
        computed = instructions * held_out / clock_hz(run.device)
        constants = f"leave-one-out, {held_out:.2f} cycles an instruction"
        yield _row(run, f"latency in s ({constants})", 1 / run.inferences_per_s, computed)
        profile = load_profile(run.device)
        computed = latency_of(profile, instructions)
        yield _row(run, "latency in s (profile)", 1 / run.inferences_per_s, computed, fitted=True)


def _energy_rows(device: str = "") -> Iterator[ValidationRow]:
    for run in ENERGIES:
        if run.energy_j is None or device not in ("", run.device):
            continue
        instructions = INSTRUCTIONS[run.model]
        cycles = instructions * fitted_cycles_per_instruction(_others(LATENCIES, run))
        current = fitted_current_a_per_hz(_others(ENERGIES, run))
        computed = supply_v(run.device) * current * cycles
        constants = f"leave-one-out, {current * 1e12:.0f} uA/MHz at {supply_v(run.device)} V"
        yield _row(run, f"energy in J ({constants})", run.energy_j, computed)
        profile = load_profile(run.device)
        computed = energy_of(profile, latency_of(profile, instructions))
        yield _row(run, "energy in J (profile)", run.energy_j, computed, fitted=True)


def _others(runs: Sequence[PublishedRun], run: PublishedRun) -> list[PublishedRun]:
    """Return runs on the same board of other networks, whoever measured them."""
    return [other for other in runs if other.device == run.device and other.model != run.model]


def _row(
    run: PublishedRun, quantity: str, published: float, computed: float, *, fitted: bool = False
) -> ValidationRow:
    source = f"MLPerf Tiny {run.submission}: microTVM with CMSIS-NN on {run.device}"
    return compare(NAME, f"{run.model}, {quantity}", source, published, computed, fitted=fitted)


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))
