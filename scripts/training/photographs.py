"""Photographs that scikit-image and scikit-learn carry, cut in parts for training and testing.

Nothing is downloaded. A photograph is cut by a vertical line or into blocks like a chessboard;
every part is wholly for training or wholly for testing, so that no pixel is on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

TRAINING_SHARE = 0.7
"""Of the width of a photograph that is cut in two."""
BLOCK_ROWS = 4
"""Blocks along the shorter side of a photograph that is cut into blocks."""
TESTING_PERIOD = 5
"""Of so many blocks in a row one is for testing."""
NAMES = (
    *("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg"),
    *("ihc.png", "retina.jpg", "motorcycle_left.png", "brick.png", "grass.png", "gravel.png"),
    *("coins.png", "camera.png", "moon.png", "page.png", "cell.png", "text.png"),
    *("clock_motion.png", "china.jpg", "flower.jpg"),
)


@dataclass(frozen=True, slots=True)
class Photograph:
    """A photograph or a part of one.

    Attributes
    ----------
    name : str
        File name without its suffix.
    pixels : tensor of float32, shape (3, height, width)
        In [0, 1].
    """

    name: str
    pixels: torch.Tensor


def read_photographs() -> list[Photograph]:
    """Read every photograph, in the order of ``NAMES``.

    Raises
    ------
    FileNotFoundError
        If the installed packages lack one.
    """
    import skimage
    import sklearn  # type: ignore[import-untyped]
    from skimage.io import imread

    folders = (
        Path(skimage.__file__).parent / "data",
        Path(sklearn.__file__).parent / "datasets" / "images",
    )
    photographs = []
    for name in NAMES:
        path = next((path for folder in folders if (path := folder / name).exists()), None)
        if path is None:
            raise FileNotFoundError(f"{name}: neither scikit-image nor scikit-learn has it")
        values = np.asarray(imread(path))
        values = np.stack([values] * 3, axis=2) if values.ndim == 2 else values[:, :, :3]
        pixels = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1))).float() / 255.0
        photographs.append(Photograph(path.stem, pixels))
    return photographs


def cut_in_two(photograph: Photograph, *, training: bool) -> Photograph:
    """Return what is left (for training) or right (for testing) of a vertical line.

    Parameters
    ----------
    photograph : Photograph
    training : bool

    Returns
    -------
    Photograph
    """
    pixels = photograph.pixels
    line = round(pixels.shape[2] * TRAINING_SHARE)
    pixels = pixels[:, :, :line] if training else pixels[:, :, line:]
    return Photograph(photograph.name, pixels.contiguous())


def cut_in_blocks(photograph: Photograph, *, training: bool) -> list[Photograph]:
    """Return the blocks for training or for testing, about square, row by row.

    Of every five blocks in a row or in a column one is for testing; its neighbours are for
    training.

    Parameters
    ----------
    photograph : Photograph
    training : bool

    Returns
    -------
    list of Photograph
    """
    height, width = photograph.pixels.shape[1:]
    side = min(height, width) / BLOCK_ROWS
    rows = np.linspace(0, height, round(height / side) + 1).astype(int)
    columns = np.linspace(0, width, round(width / side) + 1).astype(int)
    return [
        Photograph(photograph.name, photograph.pixels[:, top:bottom, left:right].contiguous())
        for row, (top, bottom) in enumerate(pairwise(rows))
        for column, (left, right) in enumerate(pairwise(columns))
        if ((column + 2 * row) % TESTING_PERIOD != 0) is training
    ]


def uniform(generator: torch.Generator, count: int, low: float, high: float) -> torch.Tensor:
    """Return random numbers, shape (count,)."""
    return low + (high - low) * torch.rand(count, generator=generator)


def crop(
    photograph: Photograph, count: int, size: int, zoom: tuple[float, float], seed: torch.Generator
) -> torch.Tensor:
    """Cut random squares, turned by up to half a radian, and resize them.

    Parameters
    ----------
    photograph : Photograph
    count : int
    size : int
        Height and width of the result.
    zoom : (float, float)
        Smallest and largest side of a square, as a share of the part's shorter side.
    seed : torch.Generator

    Returns
    -------
    tensor of float32, shape (count, 3, size, size)
    """
    height, width = photograph.pixels.shape[1:]
    shorter = min(height, width)
    side = uniform(seed, count, *zoom) * shorter
    angle = uniform(seed, count, -0.5, 0.5)
    # A turned square must not reach beyond the part.
    reach = side * (angle.sin().abs() + angle.cos()) / 2
    side = side * torch.clamp(shorter / 2 / reach, max=1.0)
    reach = torch.clamp(reach, max=shorter / 2)
    middle_x = reach + torch.rand(count, generator=seed) * (width - 2 * reach)
    middle_y = reach + torch.rand(count, generator=seed) * (height - 2 * reach)
    cosine, sine = angle.cos() * side, angle.sin() * side
    affine = torch.stack(
        (
            torch.stack((cosine / width, -sine / width, 2 * middle_x / width - 1), 1),
            torch.stack((sine / height, cosine / height, 2 * middle_y / height - 1), 1),
        ),
        1,
    )
    grid = functional.affine_grid(affine, [count, 3, size, size], align_corners=False)
    source = photograph.pixels.expand(count, -1, -1, -1)
    return functional.grid_sample(source, grid, padding_mode="reflection", align_corners=False)


def photograph_again(images: torch.Tensor, seed: torch.Generator) -> torch.Tensor:
    """Return images as a small camera would see them: uneven light, blur, sensor noise, 8 bits.

    Parameters
    ----------
    images : tensor of float32, shape (n, 3, height, width)
        In [0, 1].
    seed : torch.Generator

    Returns
    -------
    tensor of uint8, shape (n, 3, height, width)
    """
    count, _, height, width = images.shape
    across = torch.linspace(-1, 1, width)
    down = torch.linspace(-1, 1, height)[:, None]
    slope_x, slope_y = uniform(seed, count, -0.4, 0.4), uniform(seed, count, -0.4, 0.4)
    light = 1 + slope_x[:, None, None] * across + slope_y[:, None, None] * down
    gain = uniform(seed, count, 0.6, 1.2)[:, None, None] * light
    blurred = functional.avg_pool2d(
        functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1
    )
    softness = uniform(seed, count, 0.0, 1.0)[:, None, None, None]
    lit = (images + (blurred - images) * softness) * gain[:, None]
    noise = torch.randn(images.shape, generator=seed)
    deviation = (0.01**2 + 0.02**2 * lit.clamp(0, 1)).sqrt() * uniform(seed, count, 0.5, 2.0)[
        :, None, None, None
    ]
    return (255 * (lit + noise * deviation)).round().clamp(0, 255).to(torch.uint8)
