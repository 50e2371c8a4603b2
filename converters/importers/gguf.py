"""Recognises GGUF language models and says what is in them.

Such a model is no graph of operators: it is referenced and planned as a whole
(:mod:`edgekit.pipeline.language_route`), never imported. The header is checked by the native
engine, which refuses by name what it does not compute exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgekit.errors import EdgekitError, ModelFormatError
from edgekit.graph import Graph
from edgekit.language_plan import LanguageFacts
from edgekit.runtime.language.engine import open_model
from edgekit.runtime.language.gguf_file import MAGIC, GgufHeader

NAME = "GGUF"


def matches(path: Path, head: bytes) -> bool:
    """Whether a file begins as GGUF files do."""
    return head[: len(MAGIC)] == MAGIC


def load(path: Path, dims: Mapping[str, int]) -> Graph:
    """Refuse: a language model is planned as a whole.

    Raises
    ------
    ModelFormatError
        Always, with what to use instead.
    """
    raise ModelFormatError(
        "is a language model, which has no graph of operators; use edgekit convert or generate, "
        "in Python edgekit.convert_language_model",
        path=str(path),
    )


def facts_of(header: GgufHeader) -> LanguageFacts:
    """Return what the metadata of a file say, whatever the architecture.

    Raises
    ------
    ModelFormatError
        If a value is of the wrong type, or there is no architecture.
    """
    kind = header.architecture
    if not kind:
        raise ModelFormatError("does not say its architecture", path=str(header.path))
    heads = header.integer(f"{kind}.attention.head_count", 0)
    vocabulary = len(header.strings("tokenizer.ggml.tokens"))
    return LanguageFacts(
        architecture=kind,
        parameters=header.parameters,
        weights_bytes=header.weights_bytes,
        vocabulary_size=header.integer(f"{kind}.vocab_size", vocabulary),
        layers=header.integer(f"{kind}.block_count", 0),
        width=header.integer(f"{kind}.embedding_length", 0),
        heads=heads,
        kv_heads=header.integer(f"{kind}.attention.head_count_kv", heads),
        context=header.integer(f"{kind}.context_length", 0),
        experts=header.integer(f"{kind}.expert_count", 0),
        experts_used=header.integer(f"{kind}.expert_used_count", 0),
        tensor_types=tuple(header.tensor_types),
    )


def engine_refusal(path: Path) -> str:
    """Return why the native engine does not run a file; empty where it does."""
    try:
        with open_model(path):
            return ""
    except EdgekitError as error:
        return str(error)
