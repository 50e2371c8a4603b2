"""Bring arrays of calibration data to the inputs of a graph, or say why they cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from edgekit.dtypes import Array
from edgekit.errors import CalibrationError
from edgekit.graph import Graph, Tensor


def conform(sample: object, graph: Graph, *, where: str) -> Iterator[dict[str, Array]]:
    """Return one or more batches, as ``graph`` takes them, from one sample.

    Parameters
    ----------
    sample : mapping of name to array, sequence of arrays, or array
        A sequence is taken in the order of ``graph.inputs``; a single array feeds a single input.
        The leading axis may be missing, or be a multiple of the graph's batch; then the sample is
        cut into batches.
    graph : Graph
    where : str
        The file or the sample's number, for messages.

    Yields
    ------
    dict of name to array
        One array for each input, of its dtype and shape.

    Raises
    ------
    CalibrationError
        If a name, shape or dtype does not match, or a value is not finite.
    """
    arrays = {
        name: _as_declared(value, graph.tensors[name], where)
        for name, value in _by_name(sample, graph, where).items()
    }
    counts = {name: _batches_of(array, graph.tensors[name]) for name, array in arrays.items()}
    count = max(counts.values())
    for name, batches in counts.items():
        if batches != count:
            most = max(counts, key=lambda key: counts[key])
            raise CalibrationError(
                f"{where}: input {name} has {batches} samples, input {most} has {count}"
            )
    for index in range(count):
        yield {
            name: array if count == 1 else array[_batch(graph.tensors[name], index)]
            for name, array in arrays.items()
        }


def _by_name(sample: object, graph: Graph, where: str) -> dict[str, object]:
    expected = ", ".join(graph.inputs)
    if isinstance(sample, Mapping):
        named = {str(key): value for key, value in sample.items()}
        if len(named) == 1 and len(graph.inputs) == 1 and graph.inputs[0] not in named:
            (key,) = named
            if key != "arr_0":
                raise CalibrationError(f"{where}: no input '{key}'; the model takes: {expected}")
            return {graph.inputs[0]: named[key]}
        for name in graph.inputs:
            if name not in named:
                raise CalibrationError(f"{where}: input {name} is missing (found: {list(named)})")
        for key in named:
            if key not in graph.inputs:
                raise CalibrationError(f"{where}: no input '{key}'; the model takes: {expected}")
        return {name: named[name] for name in graph.inputs}
    values = list(sample) if isinstance(sample, list | tuple) else [sample]
    if len(values) != len(graph.inputs):
        raise CalibrationError(
            f"{where}: {len(values)} arrays for the {len(graph.inputs)} inputs {expected}"
        )
    return dict(zip(graph.inputs, values, strict=True))


def _as_declared(value: object, tensor: Tensor, where: str) -> Array:
    place = f"{where}: input {tensor.name}"
    try:
        array: Array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CalibrationError(f"{place}: not an array: {error}") from error
    if array.dtype.kind not in "biuf":
        raise CalibrationError(f"{place}: {array.dtype} is not a number type")
    array = _cast(array, tensor, place)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise CalibrationError(f"{place}: a value is not finite (NaN or infinite)")
    return _with_batch_axis(array, tensor, place)


def _cast(array: Array, tensor: Tensor, place: str) -> Array:
    target = tensor.dtype.numpy
    if array.dtype == target:
        return array
    if target.kind == "f":
        with np.errstate(over="ignore"):  # an overflow is found as a value that is not finite
            return array.astype(target)
    if array.dtype.kind == "f" or target.kind == "b":
        raise CalibrationError(f"{place}: expected {tensor.dtype.value}, got {array.dtype}")
    limits = np.iinfo(target.name)
    if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
        raise CalibrationError(
            f"{place}: values from {array.min()} to {array.max()} do not fit {tensor.dtype.value}"
        )
    return array.astype(target)


def _with_batch_axis(array: Array, tensor: Tensor, place: str) -> Array:
    shape = tensor.shape
    if array.ndim == len(shape) - 1 and (isinstance(shape[0], str) or shape[0] == 1):
        array = array[None]
    if array.ndim != len(shape) or not _matches(array.shape, shape):
        raise CalibrationError(
            f"{place}: expected {tensor.dtype.value}{_shown(shape)}, "
            f"got {array.dtype}{_shown(array.shape)}"
        )
    return array


def _matches(actual: tuple[int, ...], declared: Sequence[int | str]) -> bool:
    if not declared:
        return not actual
    if 0 in actual:
        return False
    first, rest = declared[0], declared[1:]
    whole_batches = isinstance(first, str) or actual[0] % first == 0
    return whole_batches and all(
        isinstance(dim, str) or dim == size for dim, size in zip(rest, actual[1:], strict=True)
    )


def _batches_of(array: Array, tensor: Tensor) -> int:
    if not tensor.shape:
        return 1
    first = tensor.shape[0]
    return 1 if isinstance(first, str) else int(array.shape[0]) // first


def _batch(tensor: Tensor, index: int) -> slice:
    first = tensor.shape[0]
    size = first if isinstance(first, int) else 1
    return slice(index * size, (index + 1) * size)


def _shown(shape: Sequence[int | str]) -> str:
    return f"[{', '.join(str(dim) for dim in shape)}]"
