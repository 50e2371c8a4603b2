"""Read one calibration sample from a file: ``.npy``, ``.npz``, image or sound.

Files come from anywhere: sizes are read from the headers and checked before anything is
allocated, pickled objects are refused, images are decoded by format and only up to a size.
"""

from __future__ import annotations

import math
import os
import struct
import tokenize
import warnings
import wave
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array
from edgekit.errors import CalibrationError, MissingDependencyError

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".webp"})
SAMPLE_SUFFIXES = frozenset({".npy", ".npz", ".wav"}) | IMAGE_SUFFIXES

_MOST_BYTES = 2 << 30
"""Largest array that is read from a file."""
_MOST_PIXELS = 1 << 26
_IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "WEBP")
_CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}
_BROKEN_FILE = (
    *(OSError, EOFError, ValueError, SyntaxError, tokenize.TokenError, struct.error, zlib.error),
)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How image pixels become values: ``(pixel - mean) / std``, pixels from 0 to 255.

    Parameters
    ----------
    channel_order : {'rgb', 'bgr'}
    mean, std : tuple of float
        One number for all channels, or one a channel in ``channel_order``.

    Raises
    ------
    CalibrationError
        If a ``std`` is zero or a number is not finite.
    """

    channel_order: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if self.channel_order not in ("rgb", "bgr"):
            raise CalibrationError(f"channel order is 'rgb' or 'bgr', not {self.channel_order!r}")
        if not self.mean or not self.std:
            raise CalibrationError("pixel mean and std need at least one number")
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)) or 0.0 in self.std:
            raise CalibrationError("pixel mean and std must be finite, and std not zero")

    @property
    def is_identity(self) -> bool:
        """Whether the pixels are taken as they are."""
        return set(self.mean) == {0.0} and set(self.std) == {1.0}


def read_npy(path: Path) -> Array:
    """Return the array of a ``.npy`` file.

    Raises
    ------
    CalibrationError
        If the file is damaged, holds Python objects, or announces more than it contains.
    """
    try:
        with path.open("rb") as file:
            return _read_array(file, path.stat().st_size, str(path))
    except _BROKEN_FILE as error:
        raise CalibrationError(f"{path}: not a readable .npy file: {error}") from error


def read_npz(path: Path) -> dict[str, Array]:
    """Return the arrays of a ``.npz`` file by name.

    Raises
    ------
    CalibrationError
        If the file is damaged, holds Python objects, or announces more than it contains.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            total_bytes = sum(info.file_size for info in members)
            if total_bytes > _MOST_BYTES:
                raise CalibrationError(f"{path}: {total_bytes:,} bytes, more than {_MOST_BYTES:,}")
            arrays = {}
            for info in members:
                with archive.open(info) as file:
                    where = f"{path}: {info.filename}"
                    array = _read_array(file, info.file_size, where)
                arrays[info.filename.removesuffix(".npy")] = array
            return arrays
    except (*_BROKEN_FILE, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise CalibrationError(f"{path}: not a readable .npz file: {error}") from error


def _read_array(file: IO[bytes], available_bytes: int, where: str) -> Array:
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise CalibrationError(f"{where}: .npy version {version} is not supported")
    shape, is_fortran, dtype = read_header(file)
    if dtype.hasobject or dtype.kind not in "biuf":
        raise CalibrationError(f"{where}: elements of type {dtype} are not numbers")
    if any(size < 0 for size in shape):
        raise CalibrationError(f"{where}: shape {list(shape)} has a negative dimension")
    size_bytes = math.prod(shape) * dtype.itemsize
    if size_bytes > min(available_bytes, _MOST_BYTES):
        raise CalibrationError(
            f"{where}: announces {size_bytes:,} bytes, the file holds {available_bytes:,}"
        )
    data = file.read(size_bytes)
    if len(data) < size_bytes:
        raise CalibrationError(f"{where}: ends after {len(data):,} of {size_bytes:,} bytes")
    flat: Array = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))
    array: Array = flat.reshape(shape, order="F" if is_fortran else "C")
    return array


def read_image(
    path: Path, *, size: tuple[int, int], channels: int, preprocessing: Preprocessing
) -> Array:
    """Return an image as the model wants it.

    Parameters
    ----------
    path : Path
    size : (height, width)
        The picture is resized (bilinear) where it differs.
    channels : {1, 3, 4}
    preprocessing : Preprocessing

    Returns
    -------
    array of uint8 or float32, shape (height, width, channels)
        uint8 where preprocessing leaves the pixels as they are.

    Raises
    ------
    CalibrationError
        If the file is no image, is damaged, or has more than 67 million pixels.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError("codec", library="pillow") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(path, formats=_IMAGE_FORMATS) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise CalibrationError(
                        f"{path}: {image.width} x {image.height} pixels, "
                        f"more than {_MOST_PIXELS:,} are not read"
                    )
                picture = image.convert(_CHANNELS[channels])
                if picture.size != (size[1], size[0]):
                    picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    except (*_BROKEN_FILE, Warning, Image.DecompressionBombError) as error:
        raise CalibrationError(f"{path}: not a readable image: {error}") from error
    return _prepared(np.asarray(picture).reshape(*size, channels), preprocessing, str(path))


def _prepared(pixels: npt.NDArray[np.uint8], preprocessing: Preprocessing, where: str) -> Array:
    channels = pixels.shape[-1]
    if channels == 3 and preprocessing.channel_order == "bgr":
        pixels = pixels[..., ::-1]
    if preprocessing.is_identity:
        return np.ascontiguousarray(pixels)
    if not {len(preprocessing.mean), len(preprocessing.std)} <= {1, channels}:
        raise CalibrationError(f"{where}: pixel mean and std have 1 or {channels} numbers")
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    return np.asarray((pixels - mean) / std, np.float32)


def read_wav(path: Path) -> npt.NDArray[np.float32]:
    """Return a sound as mono samples.

    Parameters
    ----------
    path : Path
        PCM, 8, 16, 24 or 32 bits a sample; channels are averaged.

    Returns
    -------
    array of float32, shape (N,)
        From -1 to 1.

    Raises
    ------
    CalibrationError
        If the file is damaged or not PCM.
    """
    try:
        with wave.open(str(path), "rb") as sound:
            width_bytes, channels = sound.getsampwidth(), sound.getnchannels()
            frame_bytes = width_bytes * channels
            frames = min(sound.getnframes(), os.path.getsize(path) // max(frame_bytes, 1))
            data = sound.readframes(frames)
    except (*_BROKEN_FILE, wave.Error) as error:
        raise CalibrationError(f"{path}: not a readable PCM .wav file: {error}") from error
    if width_bytes not in (1, 2, 3, 4) or channels == 0:
        raise CalibrationError(f"{path}: {8 * width_bytes} bits a sample are not supported")
    data = data[: len(data) // frame_bytes * frame_bytes]
    samples = _pcm(data, width_bytes).reshape(-1, channels)
    return np.asarray(samples.mean(axis=1), np.float32)


def _pcm(data: bytes, width_bytes: int) -> npt.NDArray[np.float64]:
    if width_bytes == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float64) - 128.0) / 128.0
    padded = np.zeros((len(data) // width_bytes, 4), np.uint8)
    padded[:, 4 - width_bytes :] = np.frombuffer(data, np.uint8).reshape(-1, width_bytes)
    return padded.view("<i4")[:, 0] / 2.0**31


def listed_files(path: Path) -> Iterator[Path] | None:
    """Return the files that a text file lists, or None where it does not list files.

    Parameters
    ----------
    path : Path
        One path a line, relative to the text file's folder; empty lines and lines that begin with
        ``#`` are skipped. It is a list of files where its first entry ends like a sample file.

    Raises
    ------
    CalibrationError
        If the file is not UTF-8 text.
    """
    lines = [line for line in read_lines(path) if not line.startswith("#")]
    if not lines or Path(lines[0]).suffix.lower() not in SAMPLE_SUFFIXES:
        return None
    return (path.parent / line for line in lines)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 text file that are not blank, stripped.

    Raises
    ------
    CalibrationError
        If the file is not UTF-8 text or has more than 2 GiB.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise CalibrationError(f"{path}: longer than {_MOST_BYTES:,} bytes")
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise CalibrationError(
            f"{path}: neither UTF-8 text nor a known calibration file "
            f"({', '.join(sorted(SAMPLE_SUFFIXES))})"
        ) from error
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
