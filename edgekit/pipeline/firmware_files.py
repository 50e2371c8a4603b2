"""What a package for a microcontroller carries below ``firmware/``: sources, image, sizes.

::

    model/            the generated model: model.h is its interface
    include/          headers of the kernels
    kernels/          the kernels of the core; they compile everywhere
    board/            start-up code, linker script, a loop around the model
    firmware.elf, firmware.bin, firmware.map    where a cross compiler was found
    image.bin, image.json                       for ``flash``: with the monitor, where boards have
                                                a port that there is a driver for

``model/*.c`` and ``kernels/*.c`` are all that an application compiles (apps/embed_c). The image
holds the model and a loop around it, nothing else; its sizes are what the model costs.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.converters.emitters.c_source import CModel, c_identifier, emit_c
from edgekit.deploy.cores import CORES, Core
from edgekit.deploy.elf_file import ElfFile
from edgekit.deploy.firmware import (
    ALWAYS,
    CSRC,
    PROGRAMS,
    FirmwareImage,
    build_image,
    kernel_sources,
)
from edgekit.deploy.image_map import ImageMemory, image_memories
from edgekit.deploy.link_overflow import budget_error
from edgekit.deploy.memory_layout import MemoryLayout, board_layout
from edgekit.deploy.monitor_firmware import FlashParts, has_monitor, monitor_parts
from edgekit.deploy.serial.image_facts import ImageFacts
from edgekit.deploy.toolchain import BuildError, find_toolchain
from edgekit.errors import UnsupportedOpError
from edgekit.graph import Graph
from edgekit.package import Package
from edgekit.plan import Plan
from edgekit.profiles import DeviceProfile

FOLDER = "firmware"
PROGRAM = "bare"
HEADERS = ("startup.h", "freestanding/string.h")


@dataclass(frozen=True, slots=True)
class FirmwareFiles:
    """Parts of a package, and what is known about the image.

    Parameters
    ----------
    files : mapping of part name to bytes
    sizes : mapping of name to bytes
        ``flash_bytes``, ``static_bytes``, ``arena_bytes``, ``stack_bytes`` of the image; empty
        where none was built.
    memories : tuple of ImageMemory
        What the image takes of each memory, part by part; empty where none was built.
    flash_images : tuple of ImageFacts
        What ``flash`` can write: the model with the monitor.
    notes : tuple of str
        Sentences for the user.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    memories: tuple[ImageMemory, ...] = ()
    flash_images: tuple[ImageFacts, ...] = ()
    notes: tuple[str, ...] = ()


def firmware_files(graph: Graph, plan: Plan, profile: DeviceProfile) -> FirmwareFiles:
    """Generate the sources of a planned model, and build the image where that is possible.

    Parameters
    ----------
    graph : Graph
        With static shapes and the data of its constants.
    plan : Plan
        That fits the device.
    profile : DeviceProfile

    Raises
    ------
    MemoryBudgetError
        If a memory overflows when everything is linked.
    BuildError
        If the compiler refuses.
    """
    try:
        model = emit_c(graph, plan, c_identifier(graph.name))
    except UnsupportedOpError as error:
        return FirmwareFiles(notes=(f"No firmware in the package: {error}",))
    files = _sources(model)
    if not profile.capabilities.build or profile.toolchain not in CORES:
        return FirmwareFiles(files, notes=(_not_built(profile),))
    if find_toolchain() is None:
        return FirmwareFiles(files, notes=("Sources, but no image: no cross compiler is here.",))
    layout = board_layout(profile)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        core = CORES[profile.toolchain]
        image = _linked(model, core, layout, profile, Path(name))
        files |= _image_parts(image)
        files[f"{FOLDER}/board/link.ld"] = layout.linker_script(image.stack_bytes).encode()
        memories = image_memories(ElfFile.read(image.elf), profile)
        flash = FlashParts({}, ())
        if has_monitor(graph, profile) and not plan.streamed:
            flash = monitor_parts(graph, model, profile, Path(name) / "monitor", image)
        notes = (*_stack_notes(image), *_stream_notes(plan), *flash.notes)
        files |= flash.parts
        return FirmwareFiles(files, _sizes(image), memories, flash.images, notes)


def _linked(
    model: CModel, core: Core, layout: MemoryLayout, profile: DeviceProfile, directory: Path
) -> FirmwareImage:
    try:
        return build_image(
            model.files,
            core,
            layout,
            directory,
            program=PROGRAM,
            uses_float=model.uses_float,
            kernels=model.kernels,
        )
    except BuildError as error:
        exceeded = budget_error(error, layout, profile)
        if exceeded is not None:
            raise exceeded from error
        raise


def _not_built(profile: DeviceProfile) -> str:
    """Return what there is for a device without firmware, and what is missing."""
    able = profile.capabilities
    commands = (("edgekit emulate", able.emulate), ("edgekit flash", able.flash))
    missing = ["an image", "its exact sizes", *(name for name, has in commands if not has)]
    return (
        f"edgekit builds no firmware for {profile.name}: "
        f"{able.note or 'no compiler for its core is known'}.\n"
        f"The package has the plan and the model as C11 sources (in {FOLDER}/), to be compiled "
        f"into a project of the maker's tools. Not possible: {', '.join(missing)}."
    )


def _stack_notes(image: FirmwareImage) -> tuple[str, ...]:
    if image.stack_bound_bytes is not None:
        return ()
    return (
        f"The stack of {image.stack_bytes:,} bytes is a reserve, not a bound: this compiler does "
        "not record what functions take (gcc does).",
    )


def _stream_notes(plan: Plan) -> tuple[str, ...]:
    if not plan.streamed:
        return ()
    return (
        f"The input {plan.streamed[0]} lies in no memory: your code hands it over part by part "
        "(model.h, edgekit/stream.h). The image stands in for it with a function that hands over "
        "nothing; there is none for flash, whose monitor takes whole inputs.",
    )


def packaged_image(package: Package) -> tuple[ImageMemory, ...]:
    """Return what the image of a package takes of each memory; empty where there is none.

    Raises
    ------
    PackageError
        If the image is damaged.
    """
    name = f"{FOLDER}/firmware.elf"
    if not package.has(name):
        return ()
    return image_memories(ElfFile.read(package.path(name)), package.profile())


def _sources(model: CModel) -> dict[str, bytes]:
    files = {f"{FOLDER}/model/{name}": content for name, content in model.files.items()}
    for path in sorted((CSRC / "include").rglob("*.h")):
        files[f"{FOLDER}/include/{path.relative_to(CSRC / 'include')}"] = path.read_bytes()
    for path in kernel_sources(model.kernels, "*.[ch]"):
        files[f"{FOLDER}/kernels/{path.name}"] = path.read_bytes()
    for name in (*ALWAYS, *PROGRAMS[PROGRAM], *HEADERS):
        files[f"{FOLDER}/board/{name}"] = (CSRC / "firmware" / name).read_bytes()
    return files


def _image_parts(image: FirmwareImage) -> dict[str, bytes]:
    _, binary = ElfFile.read(image.elf).binary()
    return {
        f"{FOLDER}/firmware.elf": image.elf.read_bytes(),
        f"{FOLDER}/firmware.bin": binary,
        f"{FOLDER}/firmware.map": image.map_file.read_bytes(),
    }


def _sizes(image: FirmwareImage) -> dict[str, int]:
    return {
        "flash_bytes": image.flash_bytes,
        "static_bytes": image.static_bytes,
        "arena_bytes": image.arena_bytes,
        "stack_bytes": image.stack_bytes,
    }
