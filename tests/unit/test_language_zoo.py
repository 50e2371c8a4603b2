"""The language model that ships: its files, its vocabulary, and what it has learned."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import zoo
from edgekit.errors import UsageError
from edgekit.runtime.language.gguf_file import read_header
from edgekit.runtime.language.tokenizer import Tokenizer, load_tokenizer

LARGEST_FILE_BYTES = 8_000_000
VERSE = "What light is this that breaks the night?\n\nJULIET:\nIt is the sun, my lord.\n"
SPEECH = "We must work together for the peace and the freedom of all the people of the world.\n"


@pytest.fixture(params=zoo.LANGUAGE_MODEL_QUANTIZATIONS)
def path(request: pytest.FixtureRequest) -> Path:
    return zoo.language_model_path(request.param)


def test_unknown_quantization_is_refused_with_those_that_ship() -> None:
    with pytest.raises(UsageError, match="q8_0, q4_0"):
        zoo.language_model_path("q5_1")


def test_file_is_small_and_says_what_it_is(path: Path) -> None:
    header = read_header(path)
    assert header.size_bytes < LARGEST_FILE_BYTES
    assert header.architecture == "arcee"
    assert 5_000_000 <= header.parameters <= 7_000_000
    assert header.text("general.license") == "apache-2.0"
    assert header.text("general.name")
    assert "Shakespeare" in header.text("general.description")
    assert header.strings("edgekit.training_data")
    assert not [name for name in header.strings("edgekit.training_data") if "wiki" in name]


def test_matrices_are_quantized_and_their_rows_fit_every_block_format(path: Path) -> None:
    for tensor in read_header(path).tensors:
        if len(tensor.shape) == 1:
            assert tensor.type_name == "F32"
        else:
            assert tensor.type_name.lower() in path.stem
            assert tensor.shape[-1] % 256 == 0


def test_feed_forward_network_has_no_gate(path: Path) -> None:
    names = {tensor.name for tensor in read_header(path).tensors}
    assert {"blk.0.ffn_up.weight", "blk.0.ffn_down.weight"} <= names
    assert not [name for name in names if "gate" in name]


@cache
def tokenizer_of(path: Path) -> Tokenizer:
    pytest.importorskip("tokenizers")
    return load_tokenizer(path)


@given(text=st.text(max_size=120))
@settings(deadline=None)
def test_every_text_comes_back_from_its_tokens(text: str) -> None:
    tokenizer = tokenizer_of(zoo.language_model_path())
    tokens = tokenizer.encode(text)
    assert tokens[0] == tokenizer.vocabulary.bos
    assert tokenizer.decode(tokens) == text


def test_all_bytes_are_tokens() -> None:
    tokenizer = tokenizer_of(zoo.language_model_path())
    pieces = {tokenizer.piece(token) for token in range(len(tokenizer))}
    assert {bytes((byte,)) for byte in range(256)} <= pieces


@pytest.mark.full
@pytest.mark.parametrize("text", [VERSE, SPEECH], ids=["verse", "speech"])
def test_shipped_model_prefers_text_to_its_words_in_disorder(path: Path, text: str) -> None:
    generator = np.random.default_rng(0)
    disorder = [" ".join(generator.permutation(text.split())) for _ in range(5)]
    assert nats_by_torch(path, text) < min(nats_by_torch(path, other) for other in disorder)


@pytest.mark.full
@pytest.mark.parametrize("text", [VERSE, SPEECH], ids=["verse", "speech"])
def test_llama_cpp_finds_the_same_tokens_and_likelihood(path: Path, text: str) -> None:
    """It rounds activations to 8 bits before each matrix; in floats: test_language_training.py."""
    llama_cpp = pytest.importorskip("llama_cpp")
    model = llama_cpp.Llama(str(path), n_ctx=256, n_threads=1, logits_all=True, verbose=False)
    tokens = tokenizer_of(path).encode(text)
    assert model.tokenize(text.encode()) == tokens
    model.eval(tokens)
    scores = model.scores[: len(tokens) - 1].astype(np.float64)
    likelihood = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    nats = -float(likelihood[np.arange(len(tokens) - 1), tokens[1:]].sum())
    assert nats == pytest.approx(nats_by_torch(path, text), rel=5e-3)


@cache
def network_of(path: Path) -> Any:
    pytest.importorskip("torch")
    pytest.importorskip("gguf")
    from training.language_gguf import read_network

    return read_network(path)


def nats_by_torch(path: Path, text: str) -> float:
    """Cross-entropy of a text, summed over its tokens, by the network that was trained."""
    torch = pytest.importorskip("torch")
    tokens = torch.tensor([tokenizer_of(path).encode(text)])
    with torch.no_grad():
        logits, _ = network_of(path)(tokens[:, :-1])
    return float(torch.nn.functional.cross_entropy(logits[0], tokens[0, 1:], reduction="sum"))
