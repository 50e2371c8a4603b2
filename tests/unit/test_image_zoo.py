"""The image classifiers that ship: their files, and what one achieves on held-back regions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgekit import zoo
from edgekit.errors import UsageError

LARGEST_FILE_BYTES = 700_000


def test_unknown_classifier_is_refused_with_those_that_ship() -> None:
    with pytest.raises(UsageError, match="surfaces"):
        zoo.image_classifier_path("faces")


@pytest.mark.parametrize("name", zoo.IMAGE_CLASSIFIERS)
def test_file_is_small_valid_and_for_images(name: str) -> None:
    onnx = pytest.importorskip("onnx")
    path = zoo.image_classifier_path(name)
    assert path.stat().st_size < LARGEST_FILE_BYTES
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    (source,), (target,) = model.graph.input, model.graph.output
    assert (source.name, target.name) == ("image", "scores")
    assert [size.dim_value for size in source.type.tensor_type.shape.dim[1:]] == [3, 96, 96]
    assert 50_000 < sum(math.prod(item.dims) for item in model.graph.initializer) < 150_000
    kernels = {
        tuple(attribute.ints)
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.name == "kernel_shape"
    }
    assert kernels >= {(1, 1), (3, 3)}
    assert ((7, 7) in kernels) is (name == "surfaces")


def test_surfaces_are_told_apart_in_regions_that_were_not_trained_on() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    onnxruntime = pytest.importorskip("onnxruntime")
    from training.scenes import SURFACES, surface_scenes

    images = surface_scenes(training=False)(200, 7)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        zoo.image_classifier_path("surfaces"), options, providers=["CPUExecutionProvider"]
    )
    inputs = images.pixels.numpy().astype(np.float32) / np.float32(127.5) - np.float32(1)
    (scores,) = session.run(["scores"], {"image": inputs})
    assert scores.shape == (200, SURFACES)
    assert np.mean(scores.argmax(axis=1) == images.labels.numpy()) >= 0.8
