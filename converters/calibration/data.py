"""Calibration data in whatever form the user has it, as batches of ``{input name: array}``.

Accepted: an iterable of samples; an object with ``get_next()`` (onnxruntime); a pair or an object
of data and transform (``nncf.Dataset``); a folder of ``.npy``, ``.npz``, image or ``.wav`` files,
or a text file that lists such files; a callable that returns an iterable (TensorFlow Lite's
representative dataset); a text file whose lines go through the model's tokenizer. A ``.npz`` file
holds arrays named like the inputs, with the samples stacked along the first axis.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from edgekit.converters.calibration.conform import conform
from edgekit.converters.calibration.files import (
    IMAGE_SUFFIXES,
    SAMPLE_SUFFIXES,
    Preprocessing,
    listed_files,
    read_image,
    read_lines,
    read_npy,
    read_npz,
    read_wav,
)
from edgekit.dtypes import Array
from edgekit.errors import CalibrationError
from edgekit.graph import Graph, Tensor

Tokenizer = Callable[[str], Mapping[str, Array]]
"""From a line of text to the model's inputs."""


@runtime_checkable
class DataReader(Protocol):
    """Onnxruntime's ``CalibrationDataReader``."""

    def get_next(self) -> Mapping[str, Array] | None:
        """Return the next sample, None at the end."""


@runtime_checkable
class TransformedDataset(Protocol):
    """``nncf.Dataset``."""

    def get_inference_data(self) -> Iterable[object]:
        """Return the transformed samples."""


def calibration_batches(
    source: object,
    graph: Graph,
    *,
    limit: int | None = None,
    preprocessing: Preprocessing | None = None,
    tokenizer: Tokenizer | None = None,
) -> Iterator[dict[str, Array]]:
    """Return calibration data as the inputs of ``graph``, checked.

    Parameters
    ----------
    source : object
        Any of the forms that the module's documentation lists.
    graph : Graph
        Its inputs decide shapes and dtypes; named dimensions accept any size.
    limit : int, optional
        Most batches to return.
    preprocessing : Preprocessing, optional
        For images; by default pixels from 0 to 255 in RGB order.
    tokenizer : callable, optional
        For a text file of sentences.

    Yields
    ------
    dict of name to array
        One array for each input, of its dtype and shape.

    Raises
    ------
    CalibrationError
        If the source has no known form, a file cannot be read, an array does not match the input
        (message: file, input, expected, got), or there is no sample at all.
    """
    samples = _samples(source, graph, preprocessing or Preprocessing(), tokenizer)
    batches = (batch for where, sample in samples for batch in conform(sample, graph, where=where))
    count = 0
    for batch in islice(batches, limit):
        count += 1
        yield batch
    if count == 0 and limit != 0:
        raise CalibrationError("the calibration data holds no sample")


def _samples(
    source: object, graph: Graph, preprocessing: Preprocessing, tokenizer: Tokenizer | None
) -> Iterator[tuple[str, object]]:
    if isinstance(source, str | os.PathLike):
        paths = Path(source)
        yield from _file_samples(paths, graph, preprocessing, tokenizer)
        return
    for index, sample in enumerate(_in_memory(source)):
        yield f"calibration sample {index}", sample


def _in_memory(source: object) -> Iterable[object]:
    if isinstance(source, DataReader):
        return _read_all(source)
    if isinstance(source, TransformedDataset):
        return source.get_inference_data()
    if isinstance(source, tuple) and len(source) == 2 and callable(source[1]):
        data, transform = source
        return (transform(item) for item in data)
    if isinstance(source, Mapping | np.ndarray):
        return (source,)
    if isinstance(source, Iterable):
        return source
    if callable(source):
        made = source()
        if callable(made) and not isinstance(made, Iterable | DataReader):
            raise CalibrationError("the calibration callable returned another callable, not data")
        return _in_memory(made)
    raise CalibrationError(
        f"calibration data cannot be a {type(source).__name__}; give a .npz file, a folder of "
        ".npy, image or .wav files, an iterable of {input name: array}, an object with "
        "get_next(), a (data, transform) pair, a callable, or a text file"
    )


def _read_all(reader: DataReader) -> Iterator[object]:
    while (sample := reader.get_next()) is not None:
        yield sample


def _file_samples(
    path: Path, graph: Graph, preprocessing: Preprocessing, tokenizer: Tokenizer | None
) -> Iterator[tuple[str, object]]:
    if not path.exists():
        raise CalibrationError(f"{path}: no such calibration file or folder")
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SAMPLE_SUFFIXES)
        if not files:
            raise CalibrationError(
                f"{path}: the folder holds no {', '.join(sorted(SAMPLE_SUFFIXES))} file"
            )
        paths: Iterable[Path] = files
    elif path.suffix.lower() in SAMPLE_SUFFIXES:
        paths = (path,)
    else:
        listed = listed_files(path)
        if listed is None:
            yield from _text_samples(path, tokenizer)
            return
        paths = listed
    for file in paths:
        yield str(file), _file_sample(file, graph, preprocessing)


def _text_samples(path: Path, tokenizer: Tokenizer | None) -> Iterator[tuple[str, object]]:
    lines = read_lines(path)
    if lines and tokenizer is None:
        raise CalibrationError(
            f"{path}: line 1 names no sample file, and the model has no tokenizer to read it "
            "as text"
        )
    for number, line in enumerate(lines, start=1):
        if tokenizer is not None:
            yield f"{path}: line {number}", tokenizer(line)


def _file_sample(path: Path, graph: Graph, preprocessing: Preprocessing) -> object:
    if not path.is_file():
        raise CalibrationError(f"{path}: no such file")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return read_npz(path)
    if len(graph.inputs) != 1:
        raise CalibrationError(
            f"{path}: the model has {len(graph.inputs)} inputs "
            f"({', '.join(graph.inputs)}); give .npz files with one array for each"
        )
    tensor = graph.tensors[graph.inputs[0]]
    if suffix == ".npy":
        return read_npy(path)
    if suffix == ".wav":
        return _sound_for(path, tensor)
    if suffix in IMAGE_SUFFIXES:
        return _image_for(path, tensor, preprocessing)
    raise CalibrationError(f"{path}: '{suffix}' is not one of {', '.join(sorted(SAMPLE_SUFFIXES))}")


def _image_for(path: Path, tensor: Tensor, preprocessing: Preprocessing) -> Array:
    shape = tensor.shape[1:]
    height, width, channels, channels_first = _image_axes(shape, path, tensor)
    pixels = read_image(path, size=(height, width), channels=channels, preprocessing=preprocessing)
    return pixels.transpose(2, 0, 1)[None] if channels_first else pixels[None]


def _image_axes(
    shape: tuple[int | str, ...], path: Path, tensor: Tensor
) -> tuple[int, int, int, bool]:
    """Return height, width, channels and whether channels come first; channels are 1, 3 or 4."""
    match shape:
        case (int(height), int(width), 1 | 3 | 4 as channels):
            return height, width, channels, False
        case (1 | 3 | 4 as channels, int(height), int(width)):
            return height, width, channels, True
    raise CalibrationError(
        f"{path}: input {tensor.name} of shape {list(tensor.shape)} does not take a picture "
        "(batch, height, width, channels or batch, channels, height, width)"
    )


def _sound_for(path: Path, tensor: Tensor) -> Array:
    """Return a sound cut, or padded with silence, to the length that the input has."""
    samples = read_wav(path)
    lengths = [dim for dim in tensor.shape if dim != 1]
    if len(lengths) > 1:
        raise CalibrationError(
            f"{path}: input {tensor.name} of shape {list(tensor.shape)} does not take a sound "
            "(1, samples)"
        )
    if lengths and isinstance(lengths[0], int):
        samples = np.pad(samples, (0, max(0, lengths[0] - samples.size)))[: lengths[0]]
    return samples.reshape([-1 if dim in lengths else 1 for dim in tensor.shape])
