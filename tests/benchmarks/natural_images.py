"""Crops of photographs that scikit-image and scikit-learn carry, for networks without labels.

Calibration and evaluation take different photographs, so that no pixel is in both.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from training.photographs import read_photographs

from edgekit.dtypes import Array
from edgekit.graph import Graph
from tests.benchmarks.image_classifiers import Bytes

CALIBRATION_PERIOD = 3
"""Of so many photographs in a row one is for calibration."""
SMALLEST_SIDE = 0.4
"""Of a crop, as a share of the photograph's shorter side."""
_LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601, section 2.5.1."""


def natural_images(size: int, count: int, *, calibration: bool, seed: int = 0) -> Bytes:
    """Return random square crops, the photographs in turn.

    Parameters
    ----------
    size : int
        Height and width of the result.
    count : int
    calibration : bool
        Which of the photographs are cut.
    seed : int

    Returns
    -------
    array of uint8, shape (count, size, size, 3)
    """
    from skimage.transform import resize

    photographs = [
        np.asarray(photograph.pixels).transpose(1, 2, 0)
        for index, photograph in enumerate(read_photographs())
        if (index % CALIBRATION_PERIOD == 0) is calibration
    ]
    random = np.random.default_rng(seed)
    images = np.empty((count, size, size, 3), np.uint8)
    for index in range(count):
        photograph = photographs[index % len(photographs)]
        height, width = photograph.shape[:2]
        side = round(random.uniform(SMALLEST_SIDE, 1.0) * min(height, width))
        top, left = int(random.integers(height - side + 1)), int(random.integers(width - side + 1))
        part = photograph[top : top + side, left : left + side]
        crop = resize(part, (size, size), anti_aliasing=True)  # type: ignore[no-untyped-call]
        images[index] = np.rint(255 * crop)
    return images


def stored_inputs(graph: Graph, images: Bytes) -> Iterator[dict[str, Array]]:
    """Yield images as the input of an int8 network: black is -128, white 127.

    Parameters
    ----------
    graph : Graph
        Of one int8 image, channels first or last, grey or of three colours.
    images : array of uint8, shape (count, size, size, 3)
    """
    (name,) = graph.inputs
    shape = graph.tensors[name].static_shape
    for image in images:
        values = image.astype(np.int16)[None]
        if 1 in (shape[1], shape[3]):
            values = np.rint(values @ _LUMA).astype(np.int16)[..., None]
        if shape[1] == values.shape[3]:
            values = values.transpose(0, 3, 1, 2)
        yield {name: np.ascontiguousarray(values - 128).astype(np.int8)}
