"""What is in a language model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.converters.importers.encoders.checkpoint import open_checkpoint
from edgekit.converters.importers.gguf import engine_refusal, facts_of
from edgekit.converters.importers.language.config import read_llama_config
from edgekit.language_plan import LanguageFacts
from edgekit.runtime.language.gguf_file import read_header
from edgekit.runtime.language.session import is_gguf


@dataclass(frozen=True, slots=True)
class LanguageReport:
    """Facts of a language model; the keys that other models have, and its own.

    Parameters
    ----------
    name, format : str
    parameters, weights_bytes : int
    macs : int
        Multiply-accumulates of one token.
    inputs, outputs : tuple
        Empty: tokens in, logits out.
    operators : mapping of str to int
        Number of tensors of each type.
    facts : LanguageFacts
    tokenizer : str
        Kind of the vocabulary.
    has_chat_template : bool
    refusal : str
        Why the native engine does not run it; empty where it does.
    """

    name: str
    format: str
    parameters: int
    macs: int
    weights_bytes: int
    peak_activation_bytes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: Mapping[str, int]
    facts: LanguageFacts
    tokenizer: str
    has_chat_template: bool
    refusal: str


def inspect_language_model(path: Path) -> LanguageReport:
    """Read the header of a GGUF file, or the configuration of a folder.

    Raises
    ------
    ModelFormatError
        If it is damaged.
    """
    return _gguf(path) if is_gguf(path) else _folder(path)


def _gguf(path: Path) -> LanguageReport:
    header = read_header(path)
    facts = facts_of(header)
    vocabulary = " ".join((header.text("tokenizer.ggml.model"), header.text("tokenizer.ggml.pre")))
    return LanguageReport(
        name=path.resolve().stem,
        format="GGUF",
        parameters=facts.parameters,
        macs=facts.parameters,
        weights_bytes=facts.weights_bytes,
        peak_activation_bytes=0,
        inputs=(),
        outputs=(),
        operators=header.tensor_types,
        facts=facts,
        tokenizer=vocabulary.strip() or "none",
        has_chat_template="tokenizer.chat_template" in header.metadata,
        refusal=engine_refusal(path),
    )


def _folder(path: Path) -> LanguageReport:
    config, checkpoint = read_llama_config(path), open_checkpoint(path)
    sizes = {"F32": 4, "F16": 2, "BF16": 2}
    parameters = weights_bytes = 0
    for tensor in checkpoint.tensors.values():
        elements = 1
        for size in tensor.shape:
            elements *= size
        parameters += elements
        weights_bytes += elements * sizes.get(tensor.dtype, 0)
    types = Counter(tensor.dtype for tensor in checkpoint.tensors.values())
    facts = LanguageFacts(
        architecture=config.architecture,
        parameters=parameters,
        weights_bytes=weights_bytes,
        vocabulary_size=config.vocabulary,
        layers=config.layers,
        width=config.hidden,
        heads=config.heads,
        kv_heads=config.kv_heads,
        context=config.context,
        experts=config.experts,
        experts_used=config.experts_used,
        tensor_types=tuple(sorted(types)),
    )
    has_template = (path / "chat_template.jinja").is_file()
    return LanguageReport(
        name=path.resolve().name,
        format="Hugging Face folder of a language model",
        parameters=parameters,
        macs=parameters,
        weights_bytes=weights_bytes,
        peak_activation_bytes=0,
        inputs=(),
        outputs=(),
        operators=dict(sorted(types.items())),
        facts=facts,
        tokenizer="tokenizer.model" if (path / "tokenizer.model").is_file() else "tokenizer.json",
        has_chat_template=has_template,
        refusal="",
    )
