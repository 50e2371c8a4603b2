"""A plain NumPy forward pass of the language models that the engine computes, and its GGUF writer.

The definition that engine tests compare with: no cache, no batches, float64, weights dequantized by
the ``gguf`` package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Reference:
    """A GGUF file with its weights as float64."""

    fields: dict[str, Any]
    tensors: dict[str, Array]

    @property
    def architecture(self) -> str:
        return str(self.fields["general.architecture"])

    def get(self, name: str, default: Any = None) -> Any:
        return self.fields.get(f"{self.architecture}.{name}", default)


def read_reference(path: Path) -> Reference:
    reader = gguf.GGUFReader(path)
    fields = {name: value.contents() for name, value in reader.fields.items()}
    tensors = {
        tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
        for tensor in reader.tensors
    }
    return Reference(fields, tensors)


def rms_norm(x: Array, weight: Array, epsilon: float) -> Array:
    return np.asarray(x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon) * weight)


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def frequencies(model: Reference, width: int) -> Array:
    base = model.get("rope.freq_base", 10000.0)
    pairs = np.arange(width // 2)
    found = base ** (-2.0 * pairs / width)
    if "rope_freqs.weight" in model.tensors:
        found = found / model.tensors["rope_freqs.weight"]
    factor = model.get("rope.scaling.factor", 1.0)
    if model.get("rope.scaling.type") == "linear":
        found = found / factor
    if model.get("rope.scaling.type") == "yarn":
        turns = model.get("rope.scaling.original_context_length") * found / (2 * np.pi)
        # The ramp of arXiv 2309.00071, section 3.2, between the pairs that turn 32 times and once.
        steps = np.log(base) * 2 / width
        first = np.log(model.get("rope.scaling.original_context_length") / (32 * 2 * np.pi)) / steps
        last = np.log(model.get("rope.scaling.original_context_length") / (2 * np.pi)) / steps
        low, high = max(np.floor(first), 0), min(np.ceil(last), width - 1)
        share = np.clip((pairs - low) / (high - low), 0, 1)
        assert np.all(share[turns > 33] == 0)
        found = found * (1 - share + share / factor)
    return np.asarray(found)


def magnitude(model: Reference) -> float:
    """Factor of cosine and sine: YaRN's temperature (arXiv 2309.00071, equation 22)."""
    if model.get("rope.scaling.type") != "yarn":
        return 1.0
    return 1.0 + 0.1 * float(np.log(model.get("rope.scaling.factor")))


def rotate(x: Array, model: Reference) -> Array:
    """Rotate heads, shape (tokens, heads, width), at positions 0, 1, ..."""
    width = model.get("rope.dimension_count", x.shape[-1])
    angles = np.arange(len(x))[:, None, None] * frequencies(model, width)
    cosine, sine = magnitude(model) * np.cos(angles), magnitude(model) * np.sin(angles)
    out = x.copy()
    if model.architecture in ("qwen2", "qwen3"):
        first, second = slice(0, width // 2), slice(width // 2, width)
    else:
        first, second = slice(0, width, 2), slice(1, width, 2)
    out[..., first] = x[..., first] * cosine - x[..., second] * sine
    out[..., second] = x[..., first] * sine + x[..., second] * cosine
    return out


def attention(model: Reference, prefix: str, x: Array) -> Array:
    heads = model.get("attention.head_count")
    kv_heads = model.get("attention.head_count_kv", heads)
    epsilon = model.get("attention.layer_norm_rms_epsilon")
    parts = {}
    for name, count in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
        part = x @ model.tensors[f"{prefix}attn_{name}.weight"].T
        part = part + model.tensors.get(f"{prefix}attn_{name}.bias", 0.0)
        part = part.reshape(len(x), count, -1)
        if f"{prefix}attn_{name}_norm.weight" in model.tensors:
            part = rms_norm(part, model.tensors[f"{prefix}attn_{name}_norm.weight"], epsilon)
        parts[name] = part
    query, key = rotate(parts["q"], model), rotate(parts["k"], model)
    key = np.repeat(key, heads // kv_heads, axis=1)
    value = np.repeat(parts["v"], heads // kv_heads, axis=1)
    scores = np.einsum("thd,shd->hts", query, key) / np.sqrt(query.shape[-1])
    scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
    mixed = np.einsum("hts,shd->thd", softmax(scores), value).reshape(len(x), -1)
    out = mixed @ model.tensors[f"{prefix}attn_output.weight"].T
    return np.asarray(out + model.tensors.get(f"{prefix}attn_output.bias", 0.0))


def silu(x: Array) -> Array:
    return np.asarray(x / (1.0 + np.exp(-x)))


def experts(model: Reference, prefix: str, x: Array) -> Array:
    used = model.get("expert_used_count")
    routing = softmax(x @ model.tensors[f"{prefix}ffn_gate_inp.weight"].T)
    chosen = np.argsort(-routing, axis=-1, kind="stable")[:, :used]
    gate, up, down = (
        model.tensors[f"{prefix}ffn_{name}_exps.weight"] for name in ("gate", "up", "down")
    )
    out = np.zeros_like(x)
    for token in range(len(x)):
        shares = routing[token, chosen[token]]
        for expert, share in zip(chosen[token], shares / shares.sum(), strict=True):
            inner = silu(gate[expert] @ x[token]) * (up[expert] @ x[token])
            out[token] += share * (down[expert] @ inner)
    return out


def feed_forward(model: Reference, prefix: str, x: Array) -> Array:
    if model.get("expert_count", 0):
        return experts(model, prefix, x)
    up = x @ model.tensors[f"{prefix}ffn_up.weight"].T
    if model.architecture == "arcee":
        inner = np.maximum(up, 0.0) ** 2
    else:
        inner = silu(x @ model.tensors[f"{prefix}ffn_gate.weight"].T) * up
    return np.asarray(inner @ model.tensors[f"{prefix}ffn_down.weight"].T)


def logits_of(model: Reference, tokens: list[int]) -> Array:
    """Logits of every token, shape (tokens, vocabulary)."""
    epsilon = model.get("attention.layer_norm_rms_epsilon")
    x = model.tensors["token_embd.weight"][tokens]
    for layer in range(model.get("block_count")):
        prefix = f"blk.{layer}."
        normed = rms_norm(x, model.tensors[f"{prefix}attn_norm.weight"], epsilon)
        x = x + attention(model, prefix, normed)
        normed = rms_norm(x, model.tensors[f"{prefix}ffn_norm.weight"], epsilon)
        x = x + feed_forward(model, prefix, normed)
    x = rms_norm(x, model.tensors["output_norm.weight"], epsilon)
    output = model.tensors.get("output.weight", model.tensors["token_embd.weight"])
    return np.asarray(x @ output.T)


@dataclass(frozen=True)
class Shape:
    """Sizes of a random model."""

    architecture: str = "llama"
    width: int = 64
    inner: int = 96
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    vocabulary: int = 96
    context: int = 128
    head_width: int | None = None
    experts: int = 0
    experts_used: int = 0
    tied: bool = False
    biases: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


def random_tensors(shape: Shape, seed: int) -> dict[str, NDArray[np.float32]]:
    """Weights that keep the residual stream of the order of one."""
    generator = np.random.default_rng(seed)
    head_width = shape.head_width or shape.width // shape.heads
    query, key = shape.heads * head_width, shape.kv_heads * head_width

    def matrix(*sizes: int) -> NDArray[np.float32]:
        return (generator.standard_normal(sizes) / np.sqrt(sizes[-1])).astype(np.float32)

    def vector(size: int, middle: float) -> NDArray[np.float32]:
        return (middle + 0.2 * generator.standard_normal(size)).astype(np.float32)

    tensors = {"token_embd.weight": matrix(shape.vocabulary, shape.width) * 8}
    tensors["output_norm.weight"] = vector(shape.width, 1.0)
    if not shape.tied:
        tensors["output.weight"] = matrix(shape.vocabulary, shape.width) * 2
    sizes = {"q": query, "k": key, "v": key}
    for layer in range(shape.layers):
        prefix = f"blk.{layer}."
        tensors[prefix + "attn_norm.weight"] = vector(shape.width, 1.0)
        tensors[prefix + "ffn_norm.weight"] = vector(shape.width, 1.0)
        for name, rows in sizes.items():
            tensors[f"{prefix}attn_{name}.weight"] = matrix(rows, shape.width)
            if shape.biases:
                tensors[f"{prefix}attn_{name}.bias"] = vector(rows, 0.0)
        if shape.architecture == "qwen3":
            tensors[prefix + "attn_q_norm.weight"] = vector(head_width, 1.0)
            tensors[prefix + "attn_k_norm.weight"] = vector(head_width, 1.0)
        tensors[prefix + "attn_output.weight"] = matrix(shape.width, query)
        count = (shape.experts,) if shape.experts else ()
        suffix = "_exps.weight" if shape.experts else ".weight"
        if shape.experts:
            tensors[prefix + "ffn_gate_inp.weight"] = matrix(shape.experts, shape.width) * 3
        if shape.architecture != "arcee":
            tensors[f"{prefix}ffn_gate{suffix}"] = matrix(*count, shape.inner, shape.width)
        tensors[f"{prefix}ffn_up{suffix}"] = matrix(*count, shape.inner, shape.width)
        tensors[f"{prefix}ffn_down{suffix}"] = matrix(*count, shape.width, shape.inner)
    return tensors


def write_model(
    path: Path,
    shape: Shape,
    quantization: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    *,
    seed: int = 1,
    tensors: Mapping[str, NDArray[Any]] | None = None,
    tokenizer: str | None = None,
) -> Path:
    """Write a random model; matrices in ``quantization``, vectors and routers F32.

    Matrices of uint8 are already packed in that type.
    """
    writer = gguf.GGUFWriter(path, shape.architecture)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    if shape.head_width:
        writer.add_key_length(shape.head_width)
        writer.add_value_length(shape.head_width)
    writer.add_rope_dimension_count(shape.head_width or shape.width // shape.heads)
    if tokenizer is not None:
        writer.add_tokenizer_model(tokenizer)
        writer.add_vocab_size(shape.vocabulary)
    if shape.experts:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(shape.experts_used)
    for key, value in shape.settings.items():
        name = f"{shape.architecture}.{key}"
        if isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        else:
            writer.add_uint32(name, value)
    for name, tensor in (tensors or random_tensors(shape, seed)).items():
        if tensor.ndim == 1 or "ffn_gate_inp" in name:
            writer.add_tensor(name, tensor)
        elif tensor.dtype == np.uint8:
            writer.add_tensor(name, tensor, raw_dtype=quantization)
        else:
            data = gguf.quantize(tensor, quantization)
            writer.add_tensor(name, data, raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
