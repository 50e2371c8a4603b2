"""Weights of a Llama-shaped Hugging Face folder under the names and in the order of GGUF.

GGUF rotates neighbouring pairs of a head (rope of the "norm" kind) where transformers rotates the
two halves: the rows of the query and key matrices of ``llama`` and ``arcee`` are interleaved
accordingly; ``qwen2`` and ``qwen3`` keep the halves. Source: rope types in
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and Su et al., "RoFormer", section 3.4.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgekit.converters.importers.encoders.checkpoint import Checkpoint
from edgekit.converters.importers.language.config import LlamaConfig
from edgekit.errors import ModelFormatError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NamedWeight:
    """One tensor for a GGUF file, which is read when it is written.

    Parameters
    ----------
    name : str
    shape : tuple of int
    read : callable
        Returns the data, float32.
    is_matrix : bool
        May be quantized; norms, biases and routers stay float32.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], Floats]
    is_matrix: bool


def llama_weights(config: LlamaConfig, checkpoint: Checkpoint) -> list[NamedWeight]:
    """Return the tensors of a model; no data are read yet.

    Raises
    ------
    ModelFormatError
        If a tensor is missing, left over, or of another shape than the configuration says.
    """
    source = _Source(config, checkpoint)
    weights = list(source.weights())
    tied = {"lm_head.weight"} if config.is_tied else set()
    ignored = {name for name in checkpoint.tensors if name.endswith("rotary_emb.inv_freq")}
    left = sorted(set(checkpoint.tensors) - source.used - tied - ignored)
    if left:
        raise ModelFormatError(
            f"tensor {left[0]} belongs to no part of a {config.architecture} model",
            path=str(checkpoint.path),
        )
    return weights


class _Source:
    """Tensors of a checkpoint; it remembers which were asked for."""

    def __init__(self, config: LlamaConfig, checkpoint: Checkpoint) -> None:
        self.config = config
        self.checkpoint = checkpoint
        self.used: set[str] = set()

    def find(self, name: str, *shape: int) -> Callable[[], Floats]:
        self.used.add(name)
        return self.checkpoint.find(name, shape).read

    def matrix(self, target: str, name: str, rows: int, columns: int) -> NamedWeight:
        return NamedWeight(target, (rows, columns), self.find(name, rows, columns), True)

    def vector(self, target: str, name: str, size: int) -> NamedWeight:
        return NamedWeight(target, (size,), self.find(name, size), False)

    def weights(self) -> Iterator[NamedWeight]:
        config, hidden, words = self.config, self.config.hidden, self.config.vocabulary
        yield self.matrix("token_embd.weight", "model.embed_tokens.weight", words, hidden)
        yield self.vector("output_norm.weight", "model.norm.weight", hidden)
        if not config.is_tied:
            yield self.matrix("output.weight", "lm_head.weight", words, hidden)
        for layer in range(config.layers):
            target, name = f"blk.{layer}.", f"model.layers.{layer}."
            yield from self.attention(target, name)
            yield self.vector(
                f"{target}ffn_norm.weight", f"{name}post_attention_layernorm.weight", hidden
            )
            parts = self.experts if config.experts else self.feed_forward
            yield from parts(target, name)
        if config.rope_scaling is not None and config.rope_scaling["type"] == "llama3":
            factors = llama3_frequency_factors(config)
            yield NamedWeight("rope_freqs.weight", factors.shape, lambda: factors, False)

    def attention(self, target: str, name: str) -> Iterator[NamedWeight]:
        config, hidden = self.config, self.config.hidden
        q_width = config.heads * config.head_width
        kv_width = config.kv_heads * config.head_width
        yield self.vector(f"{target}attn_norm.weight", f"{name}input_layernorm.weight", hidden)
        for letter, width, heads in (
            ("q", q_width, config.heads),
            ("k", kv_width, config.kv_heads),
            ("v", kv_width, 0),
        ):
            ours, theirs = f"{target}attn_{letter}", f"{name}self_attn.{letter}_proj"
            weight = self.matrix(f"{ours}.weight", f"{theirs}.weight", width, hidden)
            yield self.interleaved(weight, heads)
            if config.architecture == "qwen2":
                bias = self.vector(f"{ours}.bias", f"{theirs}.bias", width)
                yield self.interleaved(bias, heads)
        for letter in ("q", "k") if config.architecture == "qwen3" else ():
            ours, theirs = f"{target}attn_{letter}_norm", f"{name}self_attn.{letter}_norm"
            yield self.vector(f"{ours}.weight", f"{theirs}.weight", config.head_width)
        theirs = f"{name}self_attn.o_proj.weight"
        yield self.matrix(f"{target}attn_output.weight", theirs, hidden, q_width)

    def interleaved(self, weight: NamedWeight, heads: int) -> NamedWeight:
        """Return rows of each head in the order of neighbouring pairs; ``heads`` 0: as they are."""
        if not heads or self.config.architecture in ("qwen2", "qwen3"):
            return weight

        def read() -> Floats:
            rows = weight.read()
            halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
            return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)

        return replace(weight, read=read)

    def feed_forward(self, target: str, name: str) -> Iterator[NamedWeight]:
        inner, hidden = self.config.feed_forward, self.config.hidden
        shapes = {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, inner)}
        if self.config.architecture == "arcee":
            del shapes["gate"]
        for part, shape in shapes.items():
            yield self.matrix(f"{target}ffn_{part}.weight", f"{name}mlp.{part}_proj.weight", *shape)

    def experts(self, target: str, name: str) -> Iterator[NamedWeight]:
        config, moe = self.config, f"{name}block_sparse_moe."
        inner, hidden, count = config.feed_forward, config.hidden, config.experts
        router = self.matrix(f"{target}ffn_gate_inp.weight", f"{moe}gate.weight", count, hidden)
        yield replace(router, is_matrix=False)
        for part, theirs, shape in (
            ("gate", "w1", (inner, hidden)),
            ("down", "w2", (hidden, inner)),
            ("up", "w3", (inner, hidden)),
        ):
            reads = [
                self.find(f"{moe}experts.{index}.{theirs}.weight", *shape) for index in range(count)
            ]
            yield NamedWeight(
                f"{target}ffn_{part}_exps.weight", (count, *shape), _stacked(reads), True
            )


def _stacked(reads: list[Callable[[], Floats]]) -> Callable[[], Floats]:
    return lambda: np.stack([read() for read in reads])


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
