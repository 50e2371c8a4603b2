"""The C core of the flash events as Python sees it: records and prototypes.

They are those of ``edgekit/csrc/include/edgekit/nand.h``.
"""

from __future__ import annotations

import ctypes

from edgekit.cost.nand import NandGeometry
from edgekit.cost.timeline import to_ns
from edgekit.errors import EmulatorError


class CGeometry(ctypes.Structure):
    """``ek_nand_geometry``."""

    _fields_ = (
        ("channels", ctypes.c_int64),
        ("dies", ctypes.c_int64),
        ("planes_per_die", ctypes.c_int64),
        ("cores_per_die", ctypes.c_int64),
        ("page_bytes", ctypes.c_int64),
        ("page_read_ns", ctypes.c_int64),
        ("channel_bytes_per_s", ctypes.c_int64),
    )


class CProduct(ctypes.Structure):
    """``ek_nand_product``."""

    _fields_ = (
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("tile_rows", ctypes.c_int64),
        ("tile_columns", ctypes.c_int64),
        ("weight_bits", ctypes.c_int64),
        ("delay_ns", ctypes.c_int64),
        ("streamed_share", ctypes.c_int64),
    )


class COptions(ctypes.Structure):
    """``ek_nand_options``."""

    _fields_ = (
        ("slice_bytes", ctypes.c_int64),
        ("input_bytes", ctypes.c_int64),
        ("result_bytes", ctypes.c_int64),
        ("compute_ns", ctypes.c_int64),
        ("buffer_pages", ctypes.c_int64),
        ("hold_channel", ctypes.c_int64),
        ("stream_idle", ctypes.c_int64),
        ("log_from_ns", ctypes.c_int64),
        ("log_until_ns", ctypes.c_int64),
    )


class CEvent(ctypes.Structure):
    """``ek_nand_event``."""

    _fields_ = (
        ("start_ns", ctypes.c_int64),
        ("end_ns", ctypes.c_int64),
        ("sequence", ctypes.c_int64),
        ("kind", ctypes.c_int32),
        ("channel", ctypes.c_int32),
        ("unit", ctypes.c_int32),
        ("product", ctypes.c_int32),
    )


class CResult(ctypes.Structure):
    """``ek_nand_result``."""

    _fields_ = (
        ("end_ns", ctypes.c_int64),
        ("input_ns", ctypes.c_int64),
        ("result_ns", ctypes.c_int64),
        ("page_ns", ctypes.c_int64),
        ("starved_ns", ctypes.c_int64),
        ("rounds", ctypes.c_int64),
        ("tiles", ctypes.c_int64),
        ("read_pages", ctypes.c_int64),
        ("result_pages", ctypes.c_int64),
        ("streamed_pages", ctypes.c_int64),
        ("moved_pages", ctypes.c_int64),
        ("flash_bytes", ctypes.c_int64),
        ("stream_bytes", ctypes.c_int64),
        ("buffer_peak_pages", ctypes.c_int64),
        ("events", ctypes.c_int64),
        ("logged", ctypes.c_int64),
    )


def to_c(geometry: NandGeometry) -> CGeometry:
    """Return what the core needs of a geometry."""
    return CGeometry(
        geometry.channels,
        geometry.dies_per_channel,
        geometry.planes_per_die,
        geometry.cores_per_die,
        geometry.page_bytes,
        to_ns(geometry.page_read_s),
        round(geometry.channel_bytes_per_s),
    )


def workspace_for(
    library: ctypes.CDLL, geometry: CGeometry, products: int
) -> tuple[ctypes.Array[ctypes.c_char], int, int]:
    """Return memory to keep alive, an address in it that is a multiple of 16, and its bytes."""
    size_bytes = library.ek_nand_workspace_bytes(ctypes.byref(geometry), products)
    if size_bytes == 0:
        raise EmulatorError(
            f"{products} products, {geometry.channels} channels of {geometry.dies} dies with pages "
            f"of {geometry.page_bytes} bytes are beyond what is simulated"
        )
    memory = ctypes.create_string_buffer(size_bytes + 16)
    return memory, (ctypes.addressof(memory) + 15) // 16 * 16, size_bytes


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Give the functions their prototypes and return the library."""
    geometry = ctypes.POINTER(CGeometry)
    library.ek_nand_workspace_bytes.argtypes = (geometry, ctypes.c_size_t)
    library.ek_nand_workspace_bytes.restype = ctypes.c_size_t
    library.ek_nand_simulate.argtypes = (
        geometry,
        ctypes.POINTER(CProduct),
        ctypes.c_size_t,
        ctypes.POINTER(COptions),
        ctypes.POINTER(CEvent),
        ctypes.c_size_t,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.POINTER(CResult),
    )
    library.ek_nand_simulate.restype = ctypes.c_int
    library.ek_nand_read_pages.argtypes = (
        geometry,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_int64),
    )
    library.ek_nand_read_pages.restype = ctypes.c_int
    return library
