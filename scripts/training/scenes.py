"""Labelled images for networks of microcontrollers: letters on photographs, and surfaces.

Letters are Omniglot's (MIT licence), drawn on photographs, lit, blurred and noisy: bare binary
glyphs would make low bit widths look better than they are. Drawers of the test letters and the
regions of photographs that test images show are not in the training images.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from training.photographs import (
    NAMES,
    Photograph,
    crop,
    cut_in_blocks,
    cut_in_two,
    photograph_again,
    read_photographs,
    uniform,
)

SIZE = 96
NO_SURFACES = ("astronaut", "camera", "moon")
"""Photographs whose parts look too little like each other, or like anything, to be told by."""
LETTERS, SURFACES = 26, len(NAMES) - len(NO_SURFACES)
"""Classes of each kind of image."""
ALPHABET = "Latin"
TRAINING_DRAWERS = 16
SURFACE_ZOOM = (0.8, 1.0)
"""Sides of squares as shares of a block's."""
LEAST_CONTRAST = 0.4
_MEMBER = re.compile(rf".*/{ALPHABET}/character(\d+)/\d+_(\d+)\.png$")


@dataclass(frozen=True, slots=True)
class Images:
    """Images and their classes.

    Attributes
    ----------
    pixels : tensor of uint8, shape (n, 3, 96, 96)
    labels : tensor of int64, shape (n,)
    """

    pixels: torch.Tensor
    labels: torch.Tensor


Maker = Callable[[int, int], Images]
"""Makes so many images from a seed; the same seed makes the same images."""


def read_letters(archive: Path, *, training: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Read the letters of one side's drawers.

    Parameters
    ----------
    archive : Path
        ``images_background_small1.zip`` of Omniglot.
    training : bool

    Returns
    -------
    strokes : tensor of float32, shape (n, 1, 105, 105)
        1 where there is ink.
    labels : tensor of int64, shape (n,)

    Raises
    ------
    ValueError
        If the archive has none.
    """
    strokes, labels = [], []
    with zipfile.ZipFile(archive) as members:
        for name in sorted(members.namelist()):
            found = _MEMBER.match(name)
            if found and (int(found[2]) <= TRAINING_DRAWERS) is training:
                image = Image.open(io.BytesIO(members.read(name))).convert("L")
                strokes.append(np.asarray(image, np.float32) < 128)
                labels.append(int(found[1]) - 1)
    if not strokes:
        raise ValueError(f"{archive}: no letters of {ALPHABET}")
    return torch.from_numpy(np.stack(strokes)[:, None]).float(), torch.tensor(labels)


def letter_scenes(archive: Path, *, training: bool) -> Maker:
    """Return what draws letters on photographs, 26 classes.

    Parameters
    ----------
    archive : Path
        ``images_background_small1.zip`` of Omniglot.
    training : bool
        Whether with the drawers and regions for training.

    Raises
    ------
    ValueError
        If the archive has no letters.
    """
    strokes, labels = read_letters(archive, training=training)
    photographs = [cut_in_two(photo, training=training) for photo in read_photographs()]

    def make(count: int, seed: int) -> Images:
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randint(len(labels), (count,), generator=generator)
        ink = _draw(strokes[chosen], generator)
        grounds = _grounds(photographs, count, generator)
        if training:
            grounds = _fade(grounds, generator)
        colours = _colours(grounds, ink, generator)
        images = grounds + ink * (colours[:, :, None, None] - grounds)
        return Images(photograph_again(images, generator), labels[chosen])

    return make


def surface_scenes(*, training: bool) -> Maker:
    """Return what cuts squares out of photographs; the class is the photograph, 17 classes.

    Parameters
    ----------
    training : bool
        Whether from the blocks for training.
    """
    photographs = [photo for photo in read_photographs() if photo.name not in NO_SURFACES]
    classes = [cut_in_blocks(photo, training=training) for photo in photographs]

    def make(count: int, seed: int) -> Images:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(len(classes), (count,), generator=generator)
        pixels = []
        for label in labels.tolist():
            blocks = classes[label]
            block = blocks[int(torch.randint(len(blocks), (1,), generator=generator))]
            pixels.append(crop(block, 1, SIZE, SURFACE_ZOOM, generator))
        return Images(photograph_again(torch.cat(pixels), generator), labels)

    return make


def _draw(strokes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Turn, size and shift strokes of random width; ink in [0, 1], shape (n, 1, 96, 96)."""
    count = len(strokes)
    angle = uniform(generator, count, -0.2, 0.2)
    scale = 1 / uniform(generator, count, 0.7, 0.95)
    shear = uniform(generator, count, -0.2, 0.2)
    shift_x, shift_y = uniform(generator, count, -0.2, 0.2), uniform(generator, count, -0.2, 0.2)
    rows = (
        torch.stack((scale * angle.cos(), scale * (shear - angle.sin()), shift_x), 1),
        torch.stack((scale * angle.sin(), scale * angle.cos(), shift_y), 1),
    )
    size = [count, 1, SIZE, SIZE]
    grid = functional.affine_grid(torch.stack(rows, 1), size, align_corners=False)
    thick = functional.max_pool2d(strokes, 3, stride=1, padding=1)
    width = uniform(generator, count, 0.0, 1.0)[:, None, None, None]
    return functional.grid_sample(strokes + (thick - strokes) * width, grid, align_corners=False)


def _grounds(photographs: list[Photograph], count: int, generator: torch.Generator) -> torch.Tensor:
    """Backgrounds from photographs in turn, shuffled."""
    each = -(-count // len(photographs))
    pixels = [crop(photo, each, SIZE, (0.3, 1.0), generator) for photo in photographs]
    return torch.cat(pixels)[torch.randperm(each * len(photographs), generator=generator)[:count]]


def _fade(grounds: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Take contrast from half of the backgrounds: without easy images training starts slowly."""
    share = (2 * torch.rand(len(grounds), generator=generator)).clamp(max=1.0)[:, None, None, None]
    mean = grounds.mean(dim=(2, 3), keepdim=True)
    return mean + (grounds - mean) * share


def _colours(grounds: torch.Tensor, ink: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Choose for each letter a colour that differs from what is below it, shape (n, 3)."""
    below = (grounds * ink).sum(dim=(2, 3)) / ink.sum(dim=(2, 3)).clamp(min=1.0)
    brightness = below.mean(dim=1, keepdim=True)
    contrast = uniform(generator, len(ink), LEAST_CONTRAST, 0.7)[:, None]
    sign = torch.where(brightness < 0.5, 1.0, -1.0)
    tint = 0.15 * (torch.rand(len(ink), 3, generator=generator) - 0.5)
    return (brightness + sign * contrast + tint).clamp(0, 1)
