"""The temperature of a device and what it does to the clock: a first-order model.

One thermal resistance to the surroundings and one heat capacity (``[thermal]`` in the profile):
``dT/dt = (ambient + R P - T) / (R C)``. Up to ``throttle_c`` the clock is full; from there it falls
in proportion to the temperature, down to ``slowest_fraction`` at ``limit_c``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgekit.profiles import DeviceProfile, Thermal


@dataclass(frozen=True, slots=True)
class ThermalState:
    """Temperature of a device.

    Parameters
    ----------
    thermal : Thermal or None
        None: it never throttles.
    celsius : float
    """

    thermal: Thermal | None
    celsius: float

    @classmethod
    def cold(cls, profile: DeviceProfile) -> ThermalState:
        """Return a device at ambient temperature, warmed by its idle power."""
        if profile.thermal is None:
            return cls(None, 25.0)
        idle_w = profile.power.idle_w.value if profile.power else 0.0
        rise_k = profile.thermal.resistance_k_per_w.value * idle_w
        return cls(profile.thermal, profile.thermal.ambient_c.value + rise_k)

    @property
    def clock_fraction(self) -> float:
        """Share of the full clock that the device allows at this temperature."""
        if self.thermal is None:
            return 1.0
        start, end = self.thermal.throttle_c.value, self.thermal.limit_c.value
        slowest = self.thermal.slowest_fraction.value
        share = min(1.0, max(0.0, (self.celsius - start) / (end - start)))
        return 1.0 - share * (1.0 - slowest)

    def after(self, power_w: float, seconds: float) -> ThermalState:
        """Return the state after a constant power for a time (the exact exponential)."""
        if self.thermal is None:
            return self
        resistance = self.thermal.resistance_k_per_w.value
        tau_s = resistance * self.thermal.capacity_j_per_k.value
        final = self.thermal.ambient_c.value + resistance * power_w
        celsius = final + (self.celsius - final) * math.exp(-seconds / tau_s)
        return ThermalState(self.thermal, celsius)
