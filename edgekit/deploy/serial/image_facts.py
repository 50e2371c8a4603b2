"""``firmware/image.json``: which images a package carries for ``flash``, and where they belong."""

from __future__ import annotations

import hashlib

import msgspec

from edgekit.errors import DeviceError, PackageError, UsageError
from edgekit.package import Package
from edgekit.profiles import DeviceProfile

FACTS_NAME = "firmware/image.json"
PROTOCOLS = ("an3155", "smp", "uf2")
"""Protocols that edgekit speaks."""


class ImageFacts(msgspec.Struct, frozen=True):
    """One image.

    Parameters
    ----------
    file : str
        Part of the package.
    protocol : str
        One of :data:`PROTOCOLS`.
    address : int
        Of its first byte.
    size_bytes : int
    sha256 : str
    layout : str
        ``raw``: what lies in flash, vector table first; ``mcuboot``: with that bootloader's header
        and digest; ``rp2040``, ``rp2350``: raw, with what the boot ROM looks for.
    contains : tuple of str
    flash_bytes, static_bytes, arena_bytes, stack_bytes : int
        Of the program in it.
    baud : int
        Of the port that the monitor answers on.
    """

    file: str
    protocol: str
    address: int
    size_bytes: int
    sha256: str
    layout: str = "raw"
    contains: tuple[str, ...] = ()
    flash_bytes: int = 0
    static_bytes: int = 0
    arena_bytes: int = 0
    stack_bytes: int = 0
    baud: int = 115200


class FlashImages(msgspec.Struct, frozen=True):
    """All images of a package.

    Parameters
    ----------
    device : str
    images : tuple of ImageFacts
        The usual protocol's first.
    format : int
    """

    device: str
    images: tuple[ImageFacts, ...]
    format: int = 1

    def to_json(self) -> bytes:
        """Return the content of ``firmware/image.json``."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def choose_protocol(profile: DeviceProfile, wanted: str | None) -> str:
    """Return the protocol to flash a device by.

    Raises
    ------
    UsageError
        If the device does not speak the wanted one.
    DeviceError
        If edgekit speaks none of the device's.
    """
    offered = profile.serial.protocols if profile.serial else ()
    if wanted is not None:
        if wanted not in offered:
            spoken = ", ".join(offered) or "no protocol over a serial line"
            raise UsageError(f"{profile.name} does not speak {wanted}; it speaks {spoken}")
        return wanted
    for protocol in offered:
        if protocol in PROTOCOLS:
            return protocol
    raise DeviceError(
        f"{profile.name} cannot be flashed by edgekit (it speaks {', '.join(offered) or 'nothing'})"
        f"\n{profile.capabilities.note}".rstrip()
    )


def flash_images_of(package: Package) -> FlashImages:
    """Return what a package says about its images.

    Raises
    ------
    PackageError
        If it carries none, or its list cannot be read.
    """
    if not package.has(FACTS_NAME):
        raise PackageError(
            f"{package.root} carries no image to flash\n"
            "convert links one for the boards in docs/serial-protocol.md, where a cross compiler "
            "is found (edgekit doctor)"
        )
    try:
        images = msgspec.json.decode(package.path(FACTS_NAME).read_bytes(), type=FlashImages)
    except msgspec.MsgspecError as error:
        raise PackageError(f"{FACTS_NAME}: {error}; convert the model again") from error
    if images.format != 1:
        raise PackageError(f"{FACTS_NAME} has format {images.format}, this edgekit reads format 1")
    return images


def flash_image_of(package: Package, protocol: str) -> tuple[bytes, ImageFacts]:
    """Return the image of a package for a protocol, and where it belongs.

    Raises
    ------
    PackageError
        If there is none, or it is not what the list says.
    """
    images = flash_images_of(package).images
    facts = next((image for image in images if image.protocol == protocol), None)
    if facts is None:
        others = ", ".join(image.protocol for image in images)
        raise PackageError(f"{package.root} carries no image for {protocol} (but for: {others})")
    content = package.path(facts.file).read_bytes()
    if len(content) != facts.size_bytes or hashlib.sha256(content).hexdigest() != facts.sha256:
        raise PackageError(f"{FACTS_NAME} and {facts.file} disagree; convert the model again")
    return content, facts
