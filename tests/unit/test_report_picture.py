"""Images inside a page: what another reader of PNG files sees in them."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from edgekit.dtypes import DType
from edgekit.graph import Tensor, TensorKind
from edgekit.report.picture import picture_address


def pixels_of(address: str) -> np.ndarray:
    kind, _, data = address.partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        return np.asarray(image)


def image(dtype: DType, *shape: int) -> Tensor:
    return Tensor("x", shape, dtype, TensorKind.INPUT)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("axis", [1, 3])
@pytest.mark.parametrize(("dtype", "lowest"), [(DType.INT8, -128), (DType.UINT8, 0)])
def test_stored_bytes_span_black_to_white(
    dtype: DType, lowest: int, axis: int, channels: int
) -> None:
    shape = (1, channels, 7, 5) if axis == 1 else (1, 7, 5, channels)
    array = np.random.default_rng(0).integers(lowest, lowest + 256, shape).astype(dtype.numpy)
    found = pixels_of(picture_address(image(dtype, *shape), array, channels_axis=axis))
    expected = np.moveaxis(array[0].astype(np.int64) - lowest, axis - 1, 2)
    assert np.array_equal(found.reshape(7, 5, channels), expected)


@pytest.mark.parametrize("values", [(-1.0, 1.0), (0.0, 255.0), (3.0, 3.0), (np.nan, np.inf)])
def test_floats_span_what_they_have(values: tuple[float, float]) -> None:
    array = np.full((1, 4, 4, 1), values[0], np.float32)
    array[0, 2] = values[1]
    found = pixels_of(picture_address(image(DType.FLOAT32, 1, 4, 4, 1), array, channels_axis=3))
    assert found[0].max() == 0
    assert found[2].min() == (0 if values[0] == values[1] else 255)


@pytest.mark.parametrize("shape", [(1, 10), (2, 4, 4, 3), (1, 4, 4, 2), (1, 4, 4, 8)])
def test_what_is_no_image_has_no_picture(shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, np.int8)
    assert picture_address(image(DType.INT8, *shape), array, channels_axis=3) == ""
