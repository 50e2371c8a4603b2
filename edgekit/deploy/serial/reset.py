"""How a board is brought into its bootloader and out again by the modem lines of its port.

Boards differ in which line pulls the reset pin and which one the boot pin; each wiring is a value.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from edgekit.deploy.serial.ports import Port

Line = Literal["dtr", "rts"]
Sleep = Callable[[float], None]

RESET_PULSE_S = 0.05
START_S = 0.1


@dataclass(frozen=True, slots=True)
class ResetWiring:
    """Which modem line does what.

    Parameters
    ----------
    name : str
        As typed after ``--reset``.
    reset, boot : "dtr", "rts" or None
        Line that, when asserted, holds the board in reset or selects its bootloader; None where
        the user does it by hand.
    is_boot_inverted : bool
        Whether the released line selects the bootloader: asserted lines are at 0 V, and the boot
        pin of STM32 wants to be high, so that a plain wire needs this and a transistor does not.
    """

    name: str
    reset: Line | None
    boot: Line | None
    is_boot_inverted: bool = False

    @property
    def is_manual(self) -> bool:
        """Whether the user presses buttons."""
        return self.reset is None

    def enter_bootloader(self, port: Port, sleep: Sleep = time.sleep) -> None:
        """Reset the board with the boot line as the bootloader wants it."""
        self._set(port, self.boot, not self.is_boot_inverted)
        self._pulse(port, sleep)

    def start_application(self, port: Port, sleep: Sleep = time.sleep) -> None:
        """Reset the board with the boot line the other way round."""
        self._set(port, self.boot, self.is_boot_inverted)
        self._pulse(port, sleep)

    def _pulse(self, port: Port, sleep: Sleep) -> None:
        if self.reset is None:
            return
        self._set(port, self.reset, True)
        sleep(RESET_PULSE_S)
        self._set(port, self.reset, False)
        sleep(START_S)

    @staticmethod
    def _set(port: Port, line: Line | None, state: bool) -> None:
        if line == "dtr":
            port.dtr = state
        elif line == "rts":
            port.rts = state


WIRINGS: Mapping[str, ResetWiring] = {
    wiring.name: wiring
    for wiring in (
        ResetWiring("dtr-rts", reset="dtr", boot="rts"),
        ResetWiring("rts-dtr", reset="rts", boot="dtr"),
        ResetWiring("dtr-rts-inverted", reset="dtr", boot="rts", is_boot_inverted=True),
        ResetWiring("rts-dtr-inverted", reset="rts", boot="dtr", is_boot_inverted=True),
        ResetWiring("manual", reset=None, boot=None),
    )
}
"""Reset line, then boot line: what ``--reset`` accepts."""
