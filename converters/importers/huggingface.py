"""Reads Hugging Face folders: encoders of the BERT family with safetensors weights.

A folder holds ``config.json`` and ``model.safetensors`` (or several files with an index), and where
it is a sentence encoder ``modules.json``, which says how token states become one embedding. No code
of the folder is run and nothing is downloaded.

The graph's inputs are those of a transformers model exported to ONNX: ``input_ids``,
``attention_mask`` and, where the model has token types, ``token_type_ids``; int64, shape
(batch, sequence), padded on the right. Its output is ``sentence_embedding`` (batch, hidden), or
``last_hidden_state`` (batch, sequence, hidden) where no pooling is declared. Both dimensions stay
names; plans assume batch 1 and 128 tokens unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from edgekit.converters.importers.encoders.bert import add_encoder
from edgekit.converters.importers.encoders.builder import BATCH, SEQUENCE, EncoderBuilder
from edgekit.converters.importers.encoders.checkpoint import open_checkpoint
from edgekit.converters.importers.encoders.config import (
    EncoderConfig,
    decode_json,
    read_encoder_config,
)
from edgekit.converters.importers.encoders.pooling import (
    Pooling,
    add_pooling,
    encoder_folder,
    read_pooling,
)
from edgekit.converters.importers.language.config import architecture_of
from edgekit.errors import ModelFormatError, UsageError
from edgekit.graph import Graph

NAME = "Hugging Face folder"

DEFAULT_SEQUENCE = 128
"""Tokens that plans assume."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
"""Files that an app needs to turn text into token numbers, in the order of importance."""


class _SentenceJson(msgspec.Struct, frozen=True):
    max_seq_length: Annotated[int, msgspec.Meta(gt=0)] | None = None


def matches(path: Path, head: bytes) -> bool:
    """Whether ``path`` is a model folder, or a safetensors file that lies in one.

    Parameters
    ----------
    path : Path
    head : bytes
        The first bytes of a file, empty for a folder.
    """
    if path.is_dir():
        is_model = (path / "config.json").is_file() or (path / "modules.json").is_file()
        return is_model and architecture_of(path) is None  # language models are read elsewhere
    # Eight bytes of header length, then JSON: no other format starts so.
    return head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") < 1 << 32


def load(path: Path, dims: Mapping[str, int]) -> Graph:
    """Read a model folder, or the folder of a safetensors file.

    Parameters
    ----------
    path : Path
    dims : mapping
        Values of ``batch`` and ``sequence`` that plans assume.

    Returns
    -------
    Graph
        Weights are read from the files when they are asked for, as float32. Among its metadata:
        ``tokenizer_files`` (names in the folder, comma-separated), ``max_sequence``,
        ``pooling`` and ``normalized``.

    Raises
    ------
    ModelFormatError
        If a file is missing, damaged or contradicts the configuration, or the architecture, a
        task head or a pooling mode is not read.
    UnsupportedOpError
        If the activation or the kind of position embedding cannot be converted.
    UsageError
        If a dimension is unknown, or the sequence longer than the model's positions.
    """
    folder = path if path.is_dir() else path.parent
    encoder = encoder_folder(folder)
    config_path = encoder / "config.json"
    if not config_path.is_file():
        raise ModelFormatError(
            "weights alone are no model: config.json is missing beside them", path=str(encoder)
        )
    config = read_encoder_config(config_path)
    pooling = read_pooling(folder)
    checkpoint = open_checkpoint(encoder)
    max_sequence = _max_sequence(folder, encoder, config)
    builder = EncoderBuilder(folder.resolve().name)
    output = add_encoder(builder, config, checkpoint)
    if pooling is not None:
        output = add_pooling(builder, pooling, output, config.hidden)
    return builder.finish(
        output,
        _dims(dims, config, max_sequence),
        _metadata(encoder, config, pooling, max_sequence),
    )


def _max_sequence(folder: Path, encoder: Path, config: EncoderConfig) -> int:
    """Tokens at which the tokenizer should cut a text."""
    for path in (folder / "sentence_bert_config.json", encoder / "sentence_bert_config.json"):
        if path.is_file():
            declared = decode_json(path, _SentenceJson).max_seq_length
            return min(declared or config.max_sequence, config.max_sequence)
    return config.max_sequence


def _dims(dims: Mapping[str, int], config: EncoderConfig, max_sequence: int) -> dict[str, int]:
    unknown = sorted(set(dims) - {BATCH, SEQUENCE})
    if unknown:
        raise UsageError(f"no dimension is called '{unknown[0]}': there are {BATCH}, {SEQUENCE}")
    chosen = {BATCH: 1, SEQUENCE: min(DEFAULT_SEQUENCE, max_sequence), **dims}
    if chosen[SEQUENCE] > config.max_sequence:
        raise UsageError(
            f"{SEQUENCE} = {chosen[SEQUENCE]}: the model has positions for {config.max_sequence}"
        )
    return chosen


def _metadata(
    encoder: Path, config: EncoderConfig, pooling: Pooling | None, max_sequence: int
) -> dict[str, str]:
    found = [name for name in TOKENIZER_FILES if (encoder / name).is_file()]
    return {
        "format": NAME,
        "architecture": config.model_type,
        "max_sequence": str(max_sequence),
        "pooling": "none" if pooling is None else pooling.mode,
        "normalized": str(pooling is not None and pooling.normalized).lower(),
        "tokenizer_files": ",".join(found),
    }
