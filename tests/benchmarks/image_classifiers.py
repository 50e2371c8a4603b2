"""Images and accuracies for benchmarks of image classifiers.

The labelled images are made by the training scripts, the same on every call: test images show
drawers and regions that no training image shows; calibration images are training images. Letters
need ``EDGEKIT_ASSETS``; all of it needs PyTorch, scikit-image and scikit-learn, and the folder
``scripts`` on ``PYTHONPATH``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from training.scenes import Maker, letter_scenes, surface_scenes

from edgekit.dtypes import Array
from edgekit.graph import Graph
from edgekit.ops import int8
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.native import NativeRunner

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

OMNIGLOT = Path("omniglot", "images_background_small1.zip")
"""Below the folder of assets."""
CALIBRATION_SEED, TEST_SEED = 1001, 2002
"""Those of scripts/train_image_classifiers.py."""


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Images of 8 bits and their classes.

    Attributes
    ----------
    pixels : array of uint8, shape (n, 3, height, width)
    labels : array of int64, shape (n,)
    """

    pixels: Bytes
    labels: npt.NDArray[np.int64]


def labelled_images(
    name: str, count: int, *, training: bool = False, assets: Path | None = None
) -> LabelledImages:
    """Make images of one classifier.

    Parameters
    ----------
    name : {"letters", "surfaces"}
    count : int
    training : bool
        Whether for calibration.
    assets : Path, optional
        Folder of assets, for letters.
    """
    images = _maker(name, training, assets)(count, CALIBRATION_SEED if training else TEST_SEED)
    return LabelledImages(images.pixels.numpy(), images.labels.numpy())


def with_bright_spots(pixels: Bytes, *, share: float, seed: int) -> Bytes:
    """Return images with saturated pixels, as reflections and broken sensors give.

    Parameters
    ----------
    pixels : array of uint8, shape (n, 3, height, width)
    share : float
        Of the pixels.
    seed : int
    """
    count, _, height, width = pixels.shape
    hit = np.random.default_rng(seed).random((count, 1, height, width)) < share
    return np.where(hit, np.uint8(255), pixels)


def with_bright_patch(pixels: Bytes, *, side: int, seed: int) -> Bytes:
    """Return images with one square, ``side`` pixels wide, of saturated and black pixels.

    Parameters
    ----------
    pixels : array of uint8, shape (n, 3, height, width)
    side : int
    seed : int
    """
    rng = np.random.default_rng(seed)
    changed = pixels.copy()
    _, _, height, width = pixels.shape
    for image in changed:
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        square = rng.integers(0, 2, (side, side), np.uint8) * np.uint8(255)
        image[:, top : top + side, left : left + side] = square
    return changed


def network_inputs(graph: Graph, pixels: Bytes) -> Iterator[dict[str, Array]]:
    """Yield each image as the input of a network that takes ``pixels / 127.5 - 1``.

    In the layout of the graph's input (channels first or last), and stored as the input stores.

    Parameters
    ----------
    graph : Graph
        Of one image input.
    pixels : array of uint8, shape (n, 3, height, width)
    """
    (name,) = graph.inputs
    tensor = graph.tensors[name]
    is_last = tensor.static_shape[-1] == pixels.shape[1]
    for image in pixels:
        real = (image[None].astype(np.float32) / 127.5 - 1.0).astype(np.float32)
        if is_last:
            real = np.ascontiguousarray(real.transpose(0, 2, 3, 1))
        yield {name: real if tensor.dtype.is_float else int8.stored_from_real(real, tensor)}


def predictions(graph: Graph, pixels: Bytes, *, device: str = "stm32h743") -> Sequence[int]:
    """Class of each image by the native kernels, which are those of the boards.

    Parameters
    ----------
    graph : Graph
        Int8, for microcontrollers; its batch is 1.
    pixels : array of uint8, shape (n, 3, height, width)
    device : str
        For whose memory it is planned.
    """
    runner = NativeRunner(graph, build_plan(graph, load_profile(device), executor="native"))
    (target,) = graph.outputs
    try:
        return [
            int(np.argmax(runner.run(inputs).outputs[target]))
            for inputs in network_inputs(graph, pixels)
        ]
    finally:
        runner.close()


def accuracy(graph: Graph, images: LabelledImages, *, device: str = "stm32h743") -> float:
    """Share of images that are classed right; see `predictions`."""
    found = np.array(predictions(graph, images.pixels, device=device))
    return float(np.mean(found == images.labels))


def _maker(name: str, training: bool, assets: Path | None) -> Maker:
    if name == "surfaces":
        return surface_scenes(training=training)
    if name != "letters":
        raise ValueError(f"{name}: choose letters or surfaces")
    if assets is None:
        raise ValueError("letters need the folder of assets (EDGEKIT_ASSETS)")
    return letter_scenes(assets / OMNIGLOT, training=training)
