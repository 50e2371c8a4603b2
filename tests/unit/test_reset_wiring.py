"""Modem lines on their way to reset and boot pin."""

from __future__ import annotations

import pytest

from edgekit.deploy.serial.reset import WIRINGS


class Lines:
    """A port that notes what its modem lines do."""

    def __init__(self) -> None:
        self.timeout: float | None = None
        self.seen: list[str] = []

    @property
    def dtr(self) -> bool:
        return False

    @dtr.setter
    def dtr(self, state: bool) -> None:
        self.seen.append(f"dtr={int(state)}")

    @property
    def rts(self) -> bool:
        return False

    @rts.setter
    def rts(self, state: bool) -> None:
        self.seen.append(f"rts={int(state)}")

    def read(self, size: int = 1) -> bytes:
        return b""

    def write(self, data: bytes, /) -> int | None:
        return len(data)

    def reset_input_buffer(self) -> None:
        pass


@pytest.mark.parametrize("name", sorted(WIRINGS))
def test_boot_pin_is_set_before_the_reset_ends(name: str) -> None:
    wiring, waits = WIRINGS[name], []
    to_boot, to_application = Lines(), Lines()
    wiring.enter_bootloader(to_boot, waits.append)
    wiring.start_application(to_application, waits.append)
    if wiring.is_manual:
        assert not to_boot.seen
        assert not to_application.seen
        return
    boot, application = (0, 1) if wiring.is_boot_inverted else (1, 0)
    pulse = [f"{wiring.reset}=1", f"{wiring.reset}=0"]
    assert to_boot.seen == [f"{wiring.boot}={boot}", *pulse]
    assert to_application.seen == [f"{wiring.boot}={application}", *pulse]
    assert all(wait > 0 for wait in waits)
