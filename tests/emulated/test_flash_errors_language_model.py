"""The language model that ships, read from flash with bit errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.emulators.flash_errors import BitErrors
from edgekit.native import has_library

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")
pytest.importorskip("gguf")

from tests.benchmarks.bench_flash_errors import (  # noqa: E402
    BETTER_RATES,
    KEPT_RATE,
    KEPT_SHARE,
    FlashModel,
    held_back,
)

pytestmark = pytest.mark.skipif(not has_library(), reason="the native core is not built")


@pytest.mark.full
@pytest.mark.parametrize("per_channel", [False, True], ids=["matrix", "channel"])
def test_corrected_weights_predict_nearly_as_well(
    assets: Path, tmp_path: Path, per_channel: bool
) -> None:
    assert assets.is_dir()
    tokens = held_back(1536)
    model = FlashModel(tmp_path, tokens, per_channel)
    exact = model.measure("none", None)
    assert exact.divergence == pytest.approx(0, abs=1e-6)
    assert np.all(tokens < model.network.shape.vocabulary_size)
    for name in ("copies", "planes"):
        kept = model.measure(name, BitErrors(KEPT_RATE, 1))
        assert kept.top1 >= KEPT_SHARE * exact.top1
    for rate in BETTER_RATES:
        far = {name: model.measure(name, BitErrors(rate, 1)) for name in model.images}
        assert far["planes"].divergence < far["copies"].divergence < far["none"].divergence
