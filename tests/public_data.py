"""Inputs for public models: labelled sounds, crops of photographs, spectrogram rows, faces.

Everything is read from the folder of outside assets or from scikit-image; nothing is copied.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.converters.calibration.files import read_wav
from edgekit.converters.importers.tflite import load_tflite
from edgekit.graph import Graph
from edgekit.ops import int8
from edgekit.ops.evaluate import evaluate

Floats = npt.NDArray[np.float32]

PHOTOGRAPHS = ("astronaut", "cat", "coffee", "rocket")
"""Of :mod:`skimage.data`: those that come with the package."""

FACE_REFERENCE = np.array(
    [(0.3156, 0.4616), (0.6826, 0.4616), (0.5003, 0.6405), (0.3495, 0.8247), (0.6534, 0.8247)]
)
"""Where eyes, nose and corners of the mouth belong, as shares of the aligned picture's side."""

_POINTS = ("leye", "reye", "nose", "lmouth", "rmouth")


@dataclass(frozen=True)
class PublishedPair:
    """A float model, the publisher's own int8 file, and inputs that both take."""

    float_graph: Graph
    int8_graph: Graph

    @classmethod
    def load(cls, folder: Path, float_file: str, int8_file: str) -> PublishedPair:
        return cls(load_tflite(folder / float_file), load_tflite(folder / int8_file))

    def float_output(self, x: Floats) -> Floats:
        return output(self.float_graph, x)

    def published_output(self, x: Floats) -> Floats:
        """Run the publisher's int8 file on a float input, and dequantize what it says."""
        graph = self.int8_graph
        source, target = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
        stored = int8.stored_from_real(x, source)
        return int8.real_from_stored(output(graph, stored), target)


def output(graph: Graph, x: npt.NDArray[np.generic]) -> Floats:
    """The first output of one run."""
    return np.asarray(evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]])


def keyword_samples(folder: Path, int8_graph: Graph) -> list[tuple[Floats, int]]:
    """The 400 labelled samples, dequantized as the int8 model's input says."""
    tensor = int8_graph.tensors[int8_graph.inputs[0]]
    with (folder / "y_labels.csv").open() as file:
        rows = [(row[0].strip(), int(row[2])) for row in csv.reader(file)]
    return [
        (
            int8.real_from_stored(
                np.fromfile(folder / name, np.int8).reshape(1, 49, 10, 1), tensor
            ),
            label,
        )
        for name, label in rows
    ]


def photograph_crops(size: int, count: int, seed: int) -> list[Floats]:
    """Random square crops of photographs as (1, size, size, 3), pixels from 0 to 255."""
    from skimage import data
    from skimage.transform import resize

    photographs = [getattr(data, name)() for name in PHOTOGRAPHS]
    random = np.random.default_rng(seed)
    crops = []
    for index in range(count):
        photograph = photographs[index % len(photographs)]
        height, width = photograph.shape[:2]
        side = int(random.integers(96, min(height, width) + 1))
        top, left = int(random.integers(height - side + 1)), int(random.integers(width - side + 1))
        part = photograph[top : top + side, left : left + side]
        crop = resize(part, (size, size), anti_aliasing=True, preserve_range=True)
        crops.append(np.rint(crop).astype(np.float32)[None])
    return crops


def spectrogram_rows(wav: Path, count: int, seed: int) -> list[Floats]:
    """Inputs of the anomaly detector from one sound: 5 frames of 128 log-mel bands, (1, 640).

    As the benchmark's training script: 1,024 samples a frame, 512 apart, in dB. Each row is taken
    at a random place, at a random loudness (-30 to 0 dB), which the one sound would not offer.
    """
    random = np.random.default_rng(seed)
    samples = read_wav(wav).astype(np.float64)
    starts = np.arange(0, samples.size - 1024, 512)
    frames = np.stack([samples[start : start + 1024] for start in starts]) * np.hanning(1024)
    mel = np.abs(np.fft.rfft(frames, axis=1)) ** 2 @ _mel_filters(16_000, 1024, 128).T
    decibel = 10.0 * np.log10(mel + np.finfo(float).eps)
    rows = []
    for _ in range(count):
        first = int(random.integers(decibel.shape[0] - 5 + 1))
        loudness = random.uniform(-30.0, 0.0)
        rows.append((decibel[first : first + 5] + loudness).reshape(1, 640).astype(np.float32))
    return rows


def _mel_filters(rate_hz: int, length: int, bands: int) -> npt.NDArray[np.float64]:
    """Triangles on the mel scale (O'Shaughnessy), shape (bands, length // 2 + 1)."""
    top = 2595.0 * np.log10(1.0 + rate_hz / 2 / 700.0)
    edges_hz = 700.0 * (10.0 ** (np.linspace(0.0, top, bands + 2) / 2595.0) - 1.0)
    bins_hz = np.fft.rfftfreq(length, 1.0 / rate_hz)
    rise = (bins_hz - edges_hz[:-2, None]) / (edges_hz[1:-1] - edges_hz[:-2])[:, None]
    fall = (edges_hz[2:, None] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])[:, None]
    return np.maximum(0.0, np.minimum(rise, fall))


@dataclass(frozen=True)
class Faces:
    """Portraits with five points each."""

    folder: Path
    points: dict[str, npt.NDArray[np.float64]]

    @classmethod
    def load(cls, folder: Path) -> Faces:
        with (folder / "landmarks.csv").open() as file:
            points = {
                row["image"]: np.array(
                    [(float(row[f"{name}_x"]), float(row[f"{name}_y"])) for name in _POINTS]
                )
                for row in csv.DictReader(file)
            }
        return cls(folder, points)

    def pairs(self) -> list[tuple[str, str, bool]]:
        """Two images, and whether they show one person."""
        with (self.folder / "pairs.csv").open() as file:
            return [(row["a"], row["b"], row["same"] == "1") for row in csv.DictReader(file)]

    def _image(self, name: str) -> npt.NDArray[np.uint8]:
        from PIL import Image

        with Image.open(self.folder / "london256" / f"{name}.png") as file:
            return np.asarray(file.convert("RGB"))

    def aligned(self, name: str) -> Floats:
        """The face at its reference place, BGR, whole pixel values, (1, 3, 128, 128)."""
        from skimage.transform import SimilarityTransform, warp

        place = SimilarityTransform.from_estimate(self.points[name], 128 * FACE_REFERENCE)
        assert place, name
        image = self._image(name)
        moved = warp(image, place.inverse, output_shape=(128, 128), preserve_range=True)
        return _bgr(np.rint(moved))

    def box(self, name: str) -> Floats:
        """A square around the face, 2.4 times as wide as the eyes' distance, (1, 3, 48, 48)."""
        from skimage.transform import SimilarityTransform, warp

        points = self.points[name]
        side = 2.4 * float(np.linalg.norm(points[1] - points[0]))
        corner = points[[0, 1, 3, 4]].mean(axis=0) - side / 2
        to_image = SimilarityTransform(scale=side / 48, translation=corner)
        image = self._image(name)
        return _bgr(np.rint(warp(image, to_image, output_shape=(48, 48), preserve_range=True)))


def _bgr(image: npt.NDArray[np.float64]) -> Floats:
    return np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)[None], np.float32)
