"""Images inside a page: the values of a tensor as a PNG file in a ``data:`` address.

Format: Portable Network Graphics, W3C Recommendation, third edition; one IDAT chunk, no filters.
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array, DType
from edgekit.graph import Tensor

_COLOUR_TYPES = {1: 0, 3: 2}
"""By channels: grey and RGB."""


def picture_address(tensor: Tensor, array: Array, *, channels_axis: int) -> str:
    """Return an image as a ``data:`` address, or nothing where the tensor is no image.

    Parameters
    ----------
    tensor : Tensor
        An image has four axes, a batch of 1, and 1 or 3 channels.
    array : array, shape of the tensor
        Stored bytes span black to white; floats are spread from their least to their greatest.
    channels_axis : int
        1 or 3.
    """
    if array.ndim != 4 or array.shape[0] != 1 or array.shape[channels_axis] not in _COLOUR_TYPES:
        return ""
    image = np.moveaxis(_pixels(tensor, array)[0], channels_axis - 1, 2)
    return f"data:image/png;base64,{base64.b64encode(png(image)).decode('ascii')}"


def png(image: npt.NDArray[np.uint8]) -> bytes:
    """Return an image as a PNG file.

    Parameters
    ----------
    image : array of uint8, shape (height, width, channels)
        1 channel (grey) or 3 (red, green, blue).
    """
    height, width, channels = image.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = image.reshape(height, -1)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _pixels(tensor: Tensor, array: Array) -> npt.NDArray[np.uint8]:
    if tensor.dtype in (DType.INT8, DType.UINT8):
        lowest = -128 if tensor.dtype is DType.INT8 else 0
        return (array.astype(np.int16) - lowest).astype(np.uint8)
    values = np.nan_to_num(array.astype(np.float32)).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    return np.rint(255 * (values - low) / ((high - low) or 1.0)).astype(np.uint8)
