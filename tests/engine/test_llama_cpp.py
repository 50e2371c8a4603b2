"""The same models in llama.cpp: greedy text, perplexity, logits."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit import native
from edgekit.runtime.language.engine import open_model
from edgekit.runtime.language.likelihood import measure_likelihood, token_bits
from tests.engine.test_arithmetic import EXACT, QUANTIZED, tokens_for
from tests.language_reference import write_model
from tests.random_blocks import random_block_tensors

pytestmark = [
    pytest.mark.full,
    pytest.mark.native,
    pytest.mark.skipif(not native.has_library(), reason="libedgekit is not built"),
    pytest.mark.skipif(
        importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed"
    ),
]

BEGINNINGS = (
    "Once upon a time",
    "The little dog",
    "Lily and Ben",
    "One day, a boy",
    "There was a big",
    "A girl named Mia",
    "Tom had a red",
    "In the park",
    "The sun was",
    "Mom said",
    "Dad went to",
    "She was sad",
    "He found a",
    "They played",
    "The cat",
    "It was a cold",
    "A bird",
    "The old man",
    "Sam liked",
    "At night",
)
PERPLEXITY_BYTES = 20_000
ZOO = Path(__file__).resolve().parents[2] / "edgekit" / "zoo"


class Llama:
    """llama.cpp with a KV cache of 32 bits and no flash attention: its most exact arithmetic."""

    def __init__(self, path: Path, context: int) -> None:
        import llama_cpp

        self.api: Any = llama_cpp
        self.api.llama_log_set(LOG_NOTHING, None)
        self.api.llama_backend_init()
        settings = self.api.llama_model_default_params()
        self.model = self.api.llama_model_load_from_file(str(path).encode(), settings)
        assert self.model, f"llama.cpp does not load {path}"
        options = self.api.llama_context_default_params()
        options.n_ctx = context
        options.n_threads = options.n_threads_batch = 1
        options.type_k = options.type_v = 0
        options.flash_attn_type = 0
        self.context = self.api.llama_init_from_model(self.model, options)
        self.position = 0

    def eval(self, tokens: list[int]) -> NDArray[np.float32]:
        """Logits of every token."""
        vocabulary = self.api.llama_vocab_n_tokens(self.api.llama_model_get_vocab(self.model))
        rows = []
        for token in tokens:
            batch = self.api.llama_batch_init(1, 0, 1)
            batch.n_tokens = 1
            batch.token[0], batch.pos[0] = token, self.position
            batch.n_seq_id[0], batch.logits[0] = 1, True
            batch.seq_id[0][0] = 0
            assert self.api.llama_decode(self.context, batch) == 0
            self.api.llama_batch_free(batch)
            row = self.api.llama_get_logits_ith(self.context, -1)
            rows.append(np.ctypeslib.as_array(row, shape=(vocabulary,)).copy())
            self.position += 1
        return np.stack(rows)

    def clear(self) -> None:
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)
        self.position = 0

    def encode(self, text: bytes) -> list[int]:
        """Tokens, the first one for the beginning."""
        vocabulary = self.api.llama_model_get_vocab(self.model)
        tokens = (ctypes.c_int32 * (len(text) + 8))()
        count = self.api.llama_tokenize(
            vocabulary, text, len(text), tokens, len(tokens), True, False
        )
        return list(tokens[:count])

    def close(self) -> None:
        self.api.llama_free(self.context)
        self.api.llama_model_free(self.model)


LOG_NOTHING = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(
    lambda _level, _text, _data: None
)


@pytest.fixture
def llama() -> Iterator[Callable[[Path, int], Llama]]:
    opened: list[Llama] = []

    def load(path: Path, context: int) -> Llama:
        opened.append(Llama(path, context))
        return opened[-1]

    yield load
    for one in opened:
        one.close()


@pytest.fixture(scope="module")
def stories(asset: Callable[[str], Path]) -> Path:
    return asset("llm/models/stories260K-f32.gguf")


def test_greedy_text_is_llama_cpps(llama: Callable[[Path, int], Llama], stories: Path) -> None:
    """20 beginnings, 128 tokens each; a difference is allowed where two tokens are tied."""
    theirs = llama(stories, 512)
    with open_model(stories) as model, model.load(kv="f32") as engine, engine.session() as session:
        for beginning in BEGINNINGS:
            tokens = theirs.encode(beginning.encode())
            theirs.clear()
            session.truncate(0)
            wanted, found = theirs.eval(tokens)[-1], session.eval(tokens)
            for _ in range(128):
                best = int(wanted.argmax())
                gap = float(np.diff(np.sort(wanted)[-2:])[0])
                if int(found.argmax()) != best:
                    assert gap < 1e-3, f"{beginning}: gap {gap}"
                    break
                wanted, found = theirs.eval([best])[-1], session.eval([best])


def perplexities(theirs: Llama, path: Path, text: bytes) -> tuple[float, float]:
    """Theirs and ours, in windows of the model's context."""
    first, *tokens = theirs.encode(text)
    with open_model(path) as model, model.load() as engine, engine.session() as session:
        found = measure_likelihood(session, tokens, first=first)
        step = engine.context - 1
    assert found.tokens == len(tokens)
    bits = 0.0
    for start in range(0, len(tokens), step):
        ids = [first, *tokens[start : start + step]]
        theirs.clear()
        bits += float(token_bits(theirs.eval(ids[:-1]), np.array(ids[1:])).sum())
    return 2 ** (bits / len(tokens)), found.perplexity


def test_perplexity_is_llama_cpps(
    llama: Callable[[Path, int], Llama], stories: Path, asset: Callable[[str], Path]
) -> None:
    """Within 0.1 % on the first 20 kB of wikitext-2's validation text."""
    text = asset("llm/text/wikitext2_valid.txt").read_bytes()[:PERPLEXITY_BYTES]
    wanted, found = perplexities(llama(stories, 512), stories, text)
    assert found == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("name", ["tales_q8_0.gguf", "tales_q4_0.gguf"])
def test_perplexity_of_the_model_that_ships_is_llama_cpps(
    llama: Callable[[Path, int], Llama], asset: Callable[[str], Path], name: str
) -> None:
    """Within 0.5 %: both round activations to 8 bits, each in its own way."""
    text = asset("llm/text/wikitext2_valid.txt").read_bytes()[:PERPLEXITY_BYTES]
    path = ZOO / name
    wanted, found = perplexities(llama(path, 512), path, text)
    assert found == pytest.approx(wanted, rel=5e-3)


def compare(theirs: Llama, path: Path, tokens: list[int]) -> float:
    """Median over the tokens of the relative difference of logits."""
    wanted = theirs.eval(tokens)
    with open_model(path) as model, model.load(kv="f32") as engine, engine.session() as session:
        found = session.eval(tokens, all_logits=True)
    errors = np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
    return float(np.median(errors))


@pytest.mark.parametrize("name", EXACT)
def test_float_models_give_llama_cpps_logits(
    llama: Callable[[Path, int], Llama], tmp_path: Path, name: str
) -> None:
    path = write_model(tmp_path / "m.gguf", EXACT[name], tokenizer="none")
    tokens = tokens_for(EXACT[name])
    assert compare(llama(path, 128), path, tokens) < 1e-4


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_models_are_near_llama_cpps_logits(
    llama: Callable[[Path, int], Llama], tmp_path: Path, name: str
) -> None:
    """Both round activations to 8 bits, each in its own way."""
    kind, shape = QUANTIZED[name]
    shape = replace(shape, vocabulary=320)
    tensors = random_block_tensors(shape, kind)
    path = write_model(tmp_path / "m.gguf", shape, kind, tensors=tensors, tokenizer="none")
    assert compare(llama(path, 128), path, tokens_for(shape)) < 0.08
