"""Weights of a Llama-shaped Hugging Face folder under the names and in the order of GGUF.

GGUF rotates neighbouring pairs of a head (rope of the "norm" kind) where transformers rotates the
two halves: the rows of the query and key matrices of ``llama`` and ``arcee`` are interleaved
accordingly; ``qwen2`` keeps the halves. Source: rope types in
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and Su et al., "RoFormer", section 3.4.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.converters.importers.encoders.checkpoint import Checkpoint
from edgekit.converters.importers.language.config import LlamaConfig
from edgekit.errors import ModelFormatError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NamedWeight:
    """One tensor for a GGUF file.

    Parameters
    ----------
    name : str
    data : array of float32
    is_matrix : bool
        May be quantized; norms, biases and routers stay float32.
    """

    name: str
    data: Floats
    is_matrix: bool


def llama_weights(config: LlamaConfig, checkpoint: Checkpoint) -> Iterator[NamedWeight]:
    """Yield the tensors of a model, one after the other, so that memory holds one at a time.

    Raises
    ------
    ModelFormatError
        If a tensor is missing, left over, or of another shape than the configuration says.
    """
    used: set[str] = set()

    def read(name: str, *shape: int) -> Floats:
        used.add(name)
        return checkpoint.find(name, shape).read()

    hidden, vocabulary = config.hidden, config.vocabulary
    yield NamedWeight(
        "token_embd.weight", read("model.embed_tokens.weight", vocabulary, hidden), True
    )
    yield NamedWeight("output_norm.weight", read("model.norm.weight", hidden), False)
    if not config.is_tied:
        yield NamedWeight("output.weight", read("lm_head.weight", vocabulary, hidden), True)
    for layer in range(config.layers):
        source = _Layer(config, checkpoint, f"model.layers.{layer}.", used)
        yield from source.weights(f"blk.{layer}.")
    if config.rope_scaling is not None and config.rope_scaling["type"] == "llama3":
        yield NamedWeight("rope_freqs.weight", llama3_frequency_factors(config), False)
    tied = {"lm_head.weight"} if config.is_tied else set()
    ignored = {name for name in checkpoint.tensors if name.endswith("rotary_emb.inv_freq")}
    left = sorted(set(checkpoint.tensors) - used - tied - ignored)
    if left:
        raise ModelFormatError(
            f"tensor {left[0]} belongs to no part of a {config.architecture} model",
            path=str(checkpoint.path),
        )


class _Layer:
    def __init__(
        self, config: LlamaConfig, checkpoint: Checkpoint, prefix: str, used: set[str]
    ) -> None:
        self.config = config
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.used = used

    def read(self, name: str, *shape: int) -> Floats:
        self.used.add(self.prefix + name)
        return self.checkpoint.find(self.prefix + name, shape).read()

    def weights(self, target: str) -> Iterator[NamedWeight]:
        config, hidden = self.config, self.config.hidden
        q_width = config.heads * config.head_width
        kv_width = config.kv_heads * config.head_width
        norms = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
        for name, source in norms.items():
            yield NamedWeight(
                f"{target}{name}.weight", self.read(f"{source}.weight", hidden), False
            )
        for name, width, heads in (
            ("q", q_width, config.heads),
            ("k", kv_width, config.kv_heads),
            ("v", kv_width, 0),
        ):
            source = f"self_attn.{name}_proj"
            data = self.interleaved(self.read(f"{source}.weight", width, hidden), heads)
            yield NamedWeight(f"{target}attn_{name}.weight", data, True)
            if config.architecture == "qwen2":
                bias = self.interleaved(self.read(f"{source}.bias", width), heads)
                yield NamedWeight(f"{target}attn_{name}.bias", bias, False)
        output = self.read("self_attn.o_proj.weight", hidden, q_width)
        yield NamedWeight(f"{target}attn_output.weight", output, True)
        yield from self.experts(target) if config.experts else self.feed_forward(target)

    def interleaved(self, rows: Floats, heads: int) -> Floats:
        """Return rows of each head in the order of neighbouring pairs; ``heads`` 0: as they are."""
        if not heads or self.config.architecture == "qwen2":
            return rows
        halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
        return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)

    def feed_forward(self, target: str) -> Iterator[NamedWeight]:
        inner, hidden = self.config.feed_forward, self.config.hidden
        if self.config.architecture != "arcee":
            gate = self.read("mlp.gate_proj.weight", inner, hidden)
            yield NamedWeight(f"{target}ffn_gate.weight", gate, True)
        up = self.read("mlp.up_proj.weight", inner, hidden)
        yield NamedWeight(f"{target}ffn_up.weight", up, True)
        down = self.read("mlp.down_proj.weight", hidden, inner)
        yield NamedWeight(f"{target}ffn_down.weight", down, True)

    def experts(self, target: str) -> Iterator[NamedWeight]:
        inner, hidden, count = self.config.feed_forward, self.config.hidden, self.config.experts
        router = self.read("block_sparse_moe.gate.weight", count, hidden)
        yield NamedWeight(f"{target}ffn_gate_inp.weight", router, False)
        shapes = {"gate": ("w1", inner, hidden), "down": ("w2", hidden, inner)}
        shapes["up"] = ("w3", inner, hidden)
        for name, (source, rows, columns) in shapes.items():
            parts = [
                self.read(f"block_sparse_moe.experts.{index}.{source}.weight", rows, columns)
                for index in range(count)
            ]
            yield NamedWeight(f"{target}ffn_{name}_exps.weight", np.stack(parts), True)


def llama3_frequency_factors(config: LlamaConfig) -> Floats:
    """Return what each rotation's frequency is divided by.

    Returns
    -------
    array of float32, shape (head_width / 2,)

    References
    ----------
    ``_compute_llama3_parameters`` in transformers' modeling_rope_utils: wavelengths beyond
    ``context / low_freq_factor`` are stretched by ``factor``, those below
    ``context / high_freq_factor`` stay, and between them the two are blended.
    """
    scaling = config.rope_scaling or {}
    factor, low = float(scaling["factor"]), float(scaling["low_freq_factor"])
    high = float(scaling["high_freq_factor"])
    context = float(scaling["original_max_position_embeddings"])
    factors = []
    for index in range(0, config.head_width, 2):
        wavelength = 2 * math.pi * config.rope_base ** (index / config.head_width)
        if wavelength < context / high:
            factors.append(1.0)
        elif wavelength > context / low:
            factors.append(factor)
        else:
            smooth = (context / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, np.float32)
