"""Images that benchmarks of classifiers are measured on: outliers, and inputs of networks."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.dtypes import DType
from edgekit.graph import Graph, Quantization, Tensor, TensorKind

pytest.importorskip("torch")
pytest.importorskip("PIL")

from tests.benchmarks.image_classifiers import (
    labelled_images,
    network_inputs,
    with_bright_patch,
    with_bright_spots,
)

PIXELS = np.random.default_rng(1).integers(10, 240, (4, 3, 40, 30), np.uint8)


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_bright_spots_saturate_their_share_and_leave_the_rest(share: float) -> None:
    changed = with_bright_spots(PIXELS, share=share, seed=2)
    differs = changed != PIXELS
    assert (changed[differs] == 255).all()
    assert differs.mean() == pytest.approx(share, abs=0.03)
    assert (differs.all(axis=1) == differs.any(axis=1)).all()


def test_bright_patch_changes_one_square_of_each_image_alone() -> None:
    before = PIXELS.copy()
    changed = with_bright_patch(PIXELS, side=8, seed=2)
    np.testing.assert_array_equal(before, PIXELS)
    assert set(np.unique(changed[changed != PIXELS])) == {0, 255}
    for differs in (changed != PIXELS).all(axis=1):
        rows, columns = np.nonzero(differs)
        assert len(rows) == 64
        assert np.ptp(rows) == np.ptp(columns) == 7


@pytest.mark.parametrize("shape", [(1, 3, 40, 30), (1, 40, 30, 3)], ids=["first", "last"])
@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.INT8], ids=lambda dtype: dtype.value)
def test_network_inputs_are_in_layout_and_type_of_the_graph(
    shape: tuple[int, ...], dtype: DType
) -> None:
    scale = None if dtype.is_float else Quantization.per_tensor(1 / 127.5, 0)
    tensor = Tensor("image", shape, dtype, TensorKind.INPUT, scale)
    graph = Graph("nothing", {"image": tensor}, (), ("image",), ("image",))
    for pixels, inputs in zip(PIXELS, network_inputs(graph, PIXELS), strict=True):
        image = inputs["image"]
        assert image.shape == shape
        assert image.dtype == dtype.numpy
        units = image.astype(np.float64) * (127.5 if dtype.is_float else 1.0)
        if shape[-1] == 3:
            units = units.transpose(0, 3, 1, 2)
        np.testing.assert_allclose(units[0], pixels - 127.5, atol=0.51)


def test_unknown_classifier_is_refused() -> None:
    with pytest.raises(ValueError, match="faces: choose letters or surfaces"):
        labelled_images("faces", 1)
