#!/usr/bin/env python3
"""Train two image classifiers for microcontrollers, from nothing.

``letters``: 26 handwritten letters (Omniglot) drawn on photographs, MobileNetV2 at 0.35.
``surfaces``: which of 17 photographs a square was cut from, depthwise kernels of 3, 5 and 7.
Drawers of the test letters and regions of the test squares are not trained on. The networks are
there to measure what low bit widths and patches cost in accuracy.

Needs ``edgekit[torch]``, scikit-image, scikit-learn and, for the letters, a zip archive of
Omniglot::

    python scripts/train_image_classifiers.py --out DIR --omniglot images_background_small1.zip

Takes some 35 minutes on one CPU core, and writes for each network the ONNX file, calibration
images and test images with labels, and ``report.json`` with the accuracies. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training import scenes
from training.mobile_net import LETTERS, SURFACES, Architecture, accuracy, train
from training.mobile_net_onnx import write_mobile_net
from training.scenes import Images, Maker, letter_scenes, surface_scenes

CALIBRATION_SEED, TEST_SEED = 1001, 2002
TEST_IMAGES = 2000
STEPS = {"letters": 2600, "surfaces": 300}


def main() -> int:
    """Train what was asked for; the exit status."""
    arguments = _parse()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    report: dict[str, Any] = {}
    if arguments.omniglot is not None:
        training, testing = (
            letter_scenes(arguments.omniglot, training=side) for side in (True, False)
        )
        report["letters"] = _make(
            arguments, "letters", LETTERS, (training, testing), scenes.LETTERS
        )
    training, testing = (surface_scenes(training=side) for side in (True, False))
    report["surfaces"] = _make(
        arguments, "surfaces", SURFACES, (training, testing), scenes.SURFACES
    )
    text = json.dumps(report, indent=1)
    (arguments.out / "report.json").write_text(text + "\n")
    print(text)
    return 0


def _make(
    arguments: argparse.Namespace,
    name: str,
    architecture: Architecture,
    sides: tuple[Maker, Maker],
    classes: int,
) -> dict[str, Any]:
    training, testing = sides
    start_s = time.monotonic()
    steps = max(1, round(STEPS[name] * arguments.scale))
    network = train(architecture, training, classes=classes, steps=steps, seed=arguments.seed)
    write_mobile_net(
        network,
        arguments.out / f"{name}.onnx",
        name=name,
        description=f"{name}: {classes} classes, trained by scripts/train_image_classifiers.py",
    )
    _save(arguments.out / f"{name}_calibration.npz", training(128, CALIBRATION_SEED))
    _save(arguments.out / f"{name}_test.npz", testing(500, TEST_SEED))
    return {
        "parameters": sum(weights.numel() for weights in network.parameters()),
        "steps": steps,
        "seconds": round(time.monotonic() - start_s),
        "test_accuracy": accuracy(network, testing, TEST_IMAGES, TEST_SEED),
        "training_accuracy": accuracy(network, training, TEST_IMAGES, CALIBRATION_SEED),
    }


def _save(path: Path, images: Images) -> None:
    """Write images as they are, 8 bits, and their labels."""
    temporary = path.with_suffix(".partial.npz")
    labels = images.labels.numpy().astype(np.uint8)
    np.savez_compressed(temporary, image=images.pixels.numpy(), labels=labels)
    temporary.replace(path)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train edgekit's image classifiers.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--omniglot", type=Path, help="zip archive with the Latin alphabet")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the steps to train")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
