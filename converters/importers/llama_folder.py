"""Turns Hugging Face folders of Llama-shaped models into GGUF files.

Weights are read from safetensors one tensor at a time and written as they are or quantized;
vocabulary and chat template are kept. Read: Llama, Mistral, Mixtral, Qwen2, Qwen3 and Arcee models;
a folder that asks for anything that would not be computed exactly is refused.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.converters.importers.encoders.checkpoint import Checkpoint, open_checkpoint
from edgekit.converters.importers.language.config import (
    LlamaConfig,
    architecture_of,
    read_llama_config,
)
from edgekit.converters.importers.language.vocabulary import (
    FolderVocabulary,
    read_folder_vocabulary,
)
from edgekit.converters.importers.language.weights import Floats, NamedWeight, llama_weights
from edgekit.converters.recipes import GgufWeights
from edgekit.errors import MissingDependencyError, ModelFormatError, PackageError
from edgekit.graph import Graph
from edgekit.runtime.language.vocabulary import NO_TOKEN

NAME = "Hugging Face folder of a language model"

_MODELS = {"spm": "llama", "bpe": "gpt2"}
_BLOCK = 32
"""Weights of a block of Q8_0 and Q4_0."""


def matches(path: Path, head: bytes) -> bool:
    """Whether ``path`` is a folder of a Llama-shaped model."""
    return is_llama_folder(path)


def load(path: Path, dims: Mapping[str, int]) -> Graph:
    """Refuse: a language model is planned as a whole.

    Raises
    ------
    ModelFormatError
        Always, with what to use instead.
    """
    raise ModelFormatError(
        "is a language model, which has no graph of operators; use edgekit convert, in Python "
        "edgekit.convert_language_model",
        path=str(path),
    )


def is_llama_folder(path: Path) -> bool:
    """Whether a folder holds a model that :func:`write_gguf` reads, by its ``config.json``."""
    return path.is_dir() and architecture_of(path) is not None


def write_gguf(folder: Path, target: Path, *, weights: GgufWeights = "keep") -> tuple[str, ...]:
    """Write the GGUF file of a folder; it appears complete or not at all.

    Parameters
    ----------
    folder : Path
    target : Path
    weights : {'keep', 'f32', 'f16', 'q8_0', 'q4_0'}
        Type of the matrices; ``keep`` takes that of the folder. Norms and biases are float32.

    Returns
    -------
    tuple of str
        What the user should know: matrices that could not get the type.

    Raises
    ------
    ModelFormatError
        If the folder is damaged, or asks for what would not be computed exactly.
    PackageError
        If the file cannot be written.
    MissingDependencyError
        If the ``gguf`` library is not installed.
    """
    config = read_llama_config(folder)
    vocabulary = read_folder_vocabulary(folder, config)
    checkpoint = open_checkpoint(folder)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        left = _write(partial, folder, config, vocabulary, checkpoint, weights)
        partial.replace(target)
    except OSError as error:
        raise PackageError(f"{target} cannot be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)
    if not left:
        return ()
    return (
        f"{len(left)} matrices have rows that are no multiple of {_BLOCK} and stay float16, "
        f"the first is {left[0]}",
    )


def _write(
    path: Path,
    folder: Path,
    config: LlamaConfig,
    vocabulary: FolderVocabulary,
    checkpoint: Checkpoint,
    weights: GgufWeights,
) -> list[str]:
    gguf = _library()
    found = llama_weights(config, checkpoint)
    kept = _stored_type(checkpoint) if weights == "keep" else weights
    kinds = {weight.name: _type_of(weight, kept) for weight in found}
    writer = gguf.GGUFWriter(path, config.architecture)
    try:
        writer.add_name(folder.resolve().name)
        _add_config(writer, gguf, config)
        _add_vocabulary(writer, vocabulary)
        for weight in found:
            _declare(writer, gguf, weight, kinds[weight.name])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        # One tensor at a time is in memory.
        for weight in found:
            data = _finite(weight, checkpoint)
            quantization = gguf.GGMLQuantizationType[kinds[weight.name].upper()]
            writer.write_tensor_data(gguf.quants.quantize(data, quantization))
    finally:
        writer.close()
    return [weight.name for weight in found if weight.is_matrix and kinds[weight.name] != kept]


def _type_of(weight: NamedWeight, kept: str) -> str:
    if not weight.is_matrix:
        return "f32"
    return "f16" if kept in ("q8_0", "q4_0") and weight.shape[-1] % _BLOCK else kept


def _declare(writer: Any, gguf: Any, weight: NamedWeight, kind: str) -> None:
    quantization = gguf.GGMLQuantizationType[kind.upper()]
    is_plain = kind in ("f32", "f16")
    shape = weight.shape
    if not is_plain:
        shape = gguf.quants.quant_shape_to_byte_shape(shape, quantization)
    dtype: np.dtype[Any] = np.dtype({"f32": "<f4", "f16": "<f2"}.get(kind, "u1"))
    size_bytes = math.prod(shape) * dtype.itemsize
    raw = None if is_plain else quantization
    writer.add_tensor_info(weight.name, shape, dtype, size_bytes, raw_dtype=raw)


def _finite(weight: NamedWeight, checkpoint: Checkpoint) -> Floats:
    data = weight.read()
    if not np.isfinite(data).all():
        raise ModelFormatError(
            f"tensor {weight.name} has values that are not finite", path=str(checkpoint.path)
        )
    return data


def _add_config(writer: Any, gguf: Any, config: LlamaConfig) -> None:
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.hidden)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.feed_forward)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_layer_norm_rms_eps(config.norm_epsilon)
    writer.add_rope_freq_base(config.rope_base)
    writer.add_rope_dimension_count(config.head_width)
    writer.add_vocab_size(config.vocabulary)
    if config.head_width * config.heads != config.hidden:
        writer.add_key_length(config.head_width)
        writer.add_value_length(config.head_width)
    if config.experts:
        writer.add_expert_count(config.experts)
        writer.add_expert_used_count(config.experts_used)
    if config.rope_scaling is not None and config.rope_scaling["type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(config.rope_scaling["factor"]))


def _add_vocabulary(writer: Any, stored: FolderVocabulary) -> None:
    own = stored.vocabulary
    writer.add_tokenizer_model(_MODELS[own.model])
    writer.add_tokenizer_pre(own.pre)
    writer.add_token_list(list(own.tokens))
    writer.add_token_types([int(kind) for kind in own.kinds])
    if own.model == "spm":
        writer.add_token_scores(own.scores.tolist())
        writer.add_add_space_prefix(own.add_space_prefix)
    else:
        writer.add_token_merges(list(own.merges))
    for add, token in (
        (writer.add_bos_token_id, own.bos),
        (writer.add_eos_token_id, own.eos),
        (writer.add_unk_token_id, own.unknown),
    ):
        if token != NO_TOKEN:
            add(token)
    writer.add_add_bos_token(own.add_bos)
    writer.add_add_eos_token(own.add_eos)
    if stored.chat_template:
        writer.add_chat_template(stored.chat_template)


def _stored_type(checkpoint: Checkpoint) -> str:
    """Return the type of a folder's matrices."""
    kinds = {tensor.dtype for tensor in checkpoint.tensors.values() if len(tensor.shape) > 1}
    return {"F32": "f32", "F16": "f16", "BF16": "bf16"}.get(min(kinds, default="F32"), "f32")


def _library() -> Any:
    try:
        import gguf
        import gguf.quants
    except ImportError as error:
        raise MissingDependencyError("llm", library="gguf") from error
    return gguf
