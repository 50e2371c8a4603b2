"""What the language-model engine computes: the reference's logits, in every variant the same."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit import native
from edgekit.runtime.language.engine import open_model
from tests.language_reference import Shape, logits_of, read_reference, write_model
from tests.random_blocks import random_block_tensors

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(not native.has_library(), reason="libedgekit is not built"),
]

Type = gguf.GGMLQuantizationType

EXACT = {
    "llama": Shape(),
    "llama-tied-odd-vocabulary": Shape(vocabulary=101, inner=92, tied=True),
    "llama-biases": Shape(biases=True),
    "llama-one-kv-head": Shape(kv_heads=1),
    "llama-linear-scaling": Shape(
        settings={"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
    ),
    "llama-yarn": Shape(
        width=256,
        heads=4,
        settings={
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 512,
        },
    ),
    "qwen2": Shape(architecture="qwen2", biases=True),
    "qwen3-wide-heads": Shape(architecture="qwen3", head_width=24),
    "arcee": Shape(architecture="arcee"),
    "experts": Shape(experts=6, experts_used=2),
}

QUANTIZED = {
    "q8_0": (Type.Q8_0, Shape(width=256, inner=512, vocabulary=301, heads=8)),
    "q4_0": (Type.Q4_0, Shape(width=256, inner=512, vocabulary=301, heads=8)),
    "q4_k": (Type.Q4_K, Shape(width=256, inner=512, vocabulary=301, heads=8)),
    "q6_k": (Type.Q6_K, Shape(width=256, inner=512, vocabulary=301, heads=8)),
    "f16": (Type.F16, Shape(inner=92, vocabulary=101)),
    "bf16": (Type.BF16, Shape(inner=92, vocabulary=101)),
    "q8_0-tied": (Type.Q8_0, Shape(vocabulary=101, tied=True)),
    "q4_0-experts": (Type.Q4_0, Shape(experts=5, experts_used=2)),
    "q6_k-experts": (Type.Q6_K, Shape(width=256, inner=256, experts=3, experts_used=2)),
}


def tokens_for(shape: Shape, count: int = 75) -> list[int]:
    return [int(t) for t in np.random.default_rng(3).integers(0, shape.vocabulary, count)]


def evaluate(path: Path, tokens: list[int], **options: object) -> NDArray[np.float32]:
    with (
        open_model(path) as model,
        model.load(**options) as engine,  # type: ignore[arg-type]
        engine.session() as session,
    ):
        return session.eval(tokens, all_logits=True)


def write_quantized(folder: Path, name: str) -> Path:
    kind, shape = QUANTIZED[name]
    return write_model(
        folder / "model.gguf", shape, kind, tensors=random_block_tensors(shape, kind)
    )


@pytest.mark.parametrize("name", EXACT)
def test_float_models_give_the_reference_logits(tmp_path: Path, name: str) -> None:
    path = write_model(tmp_path / "model.gguf", EXACT[name])
    tokens = tokens_for(EXACT[name])
    found = evaluate(path, tokens, kv="f32")
    wanted = logits_of(read_reference(path), tokens)
    np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize(("kv", "tolerance"), [("f16", 2e-3), ("q8", 3e-2)])
def test_narrow_caches_change_logits_little(
    tmp_path: Path, name: str, kv: str, tolerance: float
) -> None:
    path = write_model(tmp_path / "model.gguf", EXACT[name])
    tokens = tokens_for(EXACT[name])
    exact, narrow = evaluate(path, tokens, kv="f32"), evaluate(path, tokens, kv=kv)
    assert not np.array_equal(exact, narrow)
    assert np.abs(exact - narrow).max() < tolerance * np.abs(exact).max()


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_models_are_near_the_reference(tmp_path: Path, name: str) -> None:
    """Activations of 8 bits are the only difference: errors are small against the logits.

    The median over the tokens, because a token whose experts are nearly tied may take another one.
    """
    path = write_quantized(tmp_path, name)
    tokens = tokens_for(QUANTIZED[name][1])
    found = evaluate(path, tokens, kv="f32")
    wanted = logits_of(read_reference(path), tokens)
    errors = np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
    assert np.median(errors) < 0.05


@pytest.mark.parametrize("name", QUANTIZED)
@pytest.mark.parametrize("kv", ["f16", "q8"])
def test_variants_are_equal_to_the_bit(tmp_path: Path, name: str, kv: str) -> None:
    path = write_quantized(tmp_path, name)
    tokens = tokens_for(QUANTIZED[name][1])
    portable = evaluate(path, tokens, kernels="portable", kv=kv)
    best = evaluate(path, tokens, kernels="best", kv=kv)
    assert np.array_equal(portable, best)


@pytest.mark.parametrize("name", EXACT)
def test_float_variants_are_equal_to_the_bit(tmp_path: Path, name: str) -> None:
    path = write_model(tmp_path / "model.gguf", EXACT[name])
    tokens = tokens_for(EXACT[name])
    portable = evaluate(path, tokens, kernels="portable")
    assert np.array_equal(portable, evaluate(path, tokens, kernels="best"))


@pytest.mark.parametrize("name", [*QUANTIZED])
def test_results_do_not_depend_on_batches_or_threads(tmp_path: Path, name: str) -> None:
    """A token's logits are the same alone, in any batch, at any place in it, on any threads."""
    path = write_quantized(tmp_path, name)
    tokens = tokens_for(QUANTIZED[name][1], 40)
    whole = evaluate(path, tokens, batch=64)
    for options in ({"batch": 1}, {"batch": 7}, {"batch": 13, "threads": 3}, {"threads": 2}):
        assert np.array_equal(whole, evaluate(path, tokens, **options)), options


def test_one_call_for_each_token_gives_the_same_bits(tmp_path: Path) -> None:
    path = write_quantized(tmp_path, "q4_0")
    tokens = tokens_for(QUANTIZED["q4_0"][1], 50)
    whole = evaluate(path, tokens)
    with open_model(path) as model, model.load() as engine, engine.session() as session:
        alone = [session.eval([token]) for token in tokens]
        session.truncate(0)
        last = session.eval(tokens)
    assert np.array_equal(whole, np.stack(alone))
    assert np.array_equal(whole[-1], last)
