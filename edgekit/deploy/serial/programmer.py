"""From an image to a board that runs it, by the protocol that the board speaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.deploy.serial import an3155, smp, uf2
from edgekit.deploy.serial.flash_map import flash_map_of
from edgekit.deploy.serial.image_facts import ImageFacts
from edgekit.deploy.serial.ports import open_port
from edgekit.deploy.serial.reset import ResetWiring
from edgekit.errors import DeviceError
from edgekit.profiles import DeviceProfile

PRODUCT_IDS: Mapping[str, int] = {
    "stm32f405": 0x413,
    "stm32f746": 0x449,
    "stm32h743": 0x450,
    "stm32h7a3": 0x480,
    "stm32l4r5": 0x470,
    "stm32u575": 0x482,
}
"""What GetID answers: AN2606, "Device-dependent bootloader parameters"."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FlashReport:
    """What was done.

    Parameters
    ----------
    port : str
    protocol : str
    size_bytes : int
    seconds : float
    is_verified : bool
        Whether the flash was read back, or its digest compared, and is the image.
    """

    port: str
    protocol: str
    size_bytes: int
    seconds: float
    is_verified: bool


def flash_board(
    profile: DeviceProfile,
    image: bytes,
    facts: ImageFacts,
    *,
    url: str,
    wiring: ResetWiring,
    progress: Progress,
) -> FlashReport:
    """Write an image to a board, verify it and start it.

    Parameters
    ----------
    profile : DeviceProfile
    image : bytes
    facts : ImageFacts
        Where the image belongs, and by which protocol it goes there.
    url : str
        Port; for ``uf2`` the folder that the board's drive is mounted on, or empty to look for it.
    wiring : ResetWiring
        For ``an3155``.
    progress : callable
        Told how many bytes of how many are done.

    Raises
    ------
    DeviceError
        If board or line fail; what to do is said.
    MemoryBudgetError
        If the image is larger than the flash.
    """
    start = time.monotonic()
    protocol, is_verified = facts.protocol, True
    baud = profile.serial.baud.integer if profile.serial else 115200
    if protocol == "uf2":
        content = uf2.to_uf2(image, address=facts.address, device=profile.name)
        drive = Path(url) if url else uf2.find_drive(profile.name)
        uf2.copy_to_drive(content, drive, profile.name)
        progress(len(image), len(image))
        # The drive goes away with the restart: nothing can be read back.
        url, is_verified = str(drive), False
    elif protocol == "smp":
        with open_port(url, baud=baud) as port:
            smp.program(port, image, progress)
    else:
        with open_port(url, baud=baud, parity="E") as port:
            loader = an3155.Bootloader(port, wiring)
            loader.connect()
            check_product(profile, loader.product_id())
            an3155.program(loader, flash_map_of(profile), facts.address, image, progress)
            if wiring.is_manual:
                loader.start(facts.address)
            else:
                wiring.start_application(port)
    return FlashReport(url, protocol, len(image), time.monotonic() - start, is_verified)


def check_product(profile: DeviceProfile, found: int) -> None:
    """Refuse a board of another type (DeviceError), whose flash is divided otherwise."""
    expected = PRODUCT_IDS.get(profile.name)
    if expected is not None and found != expected:
        names = [name for name, identifier in PRODUCT_IDS.items() if identifier == found]
        raise DeviceError(
            f"the board is {names[0] if names else 'of an unknown type'} (0x{found:03x}), the "
            f"package is for {profile.name} (0x{expected:03x}); nothing was written"
        )
