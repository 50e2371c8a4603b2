#!/usr/bin/env python3
"""Write a GGUF file of a real model's shape with random weights, for measurements.

The weights are drawn directly in the block format, so that a file of 600 MB takes seconds. The
vocabulary is SentencePiece: control tokens, the 256 bytes, then made-up words.

    scripts/make_random_language_model.py OUT.gguf [--shape tinyllama-1.1b] [--type q4_0] [--seed 1]
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Shape:
    width: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int
    experts: int = 0
    experts_used: int = 0


SHAPES = {
    # TinyLlama/TinyLlama-1.1B-Chat-v1.0, config.json
    "tinyllama-1.1b": Shape(2048, 5632, 22, 32, 4, 32000, 2048),
    # A quarter of it, for quick runs.
    "small-100m": Shape(768, 2048, 12, 12, 4, 16384, 1024),
    # Sparse experts with few of them in use, as in mixtral-style models.
    "experts-400m": Shape(768, 1024, 12, 12, 4, 16384, 1024, experts=16, experts_used=2),
}

TYPES = {
    "q4_0": gguf.GGMLQuantizationType.Q4_0,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "f16": gguf.GGMLQuantizationType.F16,
    "f32": gguf.GGMLQuantizationType.F32,
    "q4_k": gguf.GGMLQuantizationType.Q4_K,
    "q6_k": gguf.GGMLQuantizationType.Q6_K,
}


def random_matrix(
    generator: np.random.Generator,
    sizes: tuple[int, ...],
    kind: gguf.GGMLQuantizationType,
    gain: float,
) -> NDArray[np.generic]:
    """Weights with a standard deviation of ``gain / sqrt(columns)``, rows packed in blocks."""
    deviation = gain / np.sqrt(sizes[-1])
    if kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
        values = generator.standard_normal(sizes, np.float32) * np.float32(deviation)
        return values.astype(np.float16 if kind == gguf.GGMLQuantizationType.F16 else np.float32)
    columns, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    blocks = np.frombuffer(
        generator.bytes(int(np.prod(sizes)) // columns * block_bytes), np.uint8
    ).reshape(-1, block_bytes)
    blocks = blocks.copy()

    def put_scale(at: int, spread: float) -> None:
        scale = np.float16(deviation / spread)
        blocks[:, at : at + 2] = np.frombuffer(scale.tobytes(), np.uint8)

    if kind == gguf.GGMLQuantizationType.Q4_0:
        # With a nibble for -8 and none for 8 the mean would not be 0: through the layers its
        # direction would grow until every token chose the same experts.
        low, high = blocks[:, 2:] & 15, blocks[:, 2:] >> 4
        low[low == 0], high[high == 0] = 8, 8
        blocks[:, 2:] = low | high << 4
        put_scale(0, 4.2)
    elif kind == gguf.GGMLQuantizationType.Q8_0:
        put_scale(0, 73.9)
    elif kind == gguf.GGMLQuantizationType.Q4_K:
        put_scale(0, 168.0)  # scales of 6 bits times nibbles
        put_scale(2, 22.4)  # minima that make the mean about 0
    else:
        put_scale(208, 73.9 * 18.5)  # int8 scales times 6 bits
    return blocks.reshape(*sizes[:-1], -1)


def add_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    tokens = [b"<unk>", b"<s>", b"</s>"] + [f"<0x{byte:02X}>".encode() for byte in range(256)]
    kinds = [2, 3, 3] + [6] * 256
    letters = "abcdefghijklmnopqrstuvwxyz"
    while len(tokens) < size:
        number, word = len(tokens), ""
        while number:
            number, digit = divmod(number, len(letters))
            word += letters[digit]
        tokens.append(("\u2581" + word).encode())
        kinds.append(1)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(number) for number in range(size)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def add_settings(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_vocab_size(shape.vocabulary)
    if shape.experts:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(shape.experts_used)


def write_model(path: Path, shape: Shape, kind: gguf.GGMLQuantizationType, *, seed: int) -> None:
    """Write the file to a temporary name, then rename it."""
    generator = np.random.default_rng(seed)
    temporary = path.with_name(path.name + ".part")
    writer = gguf.GGUFWriter(temporary, "llama")
    add_settings(writer, shape)
    add_vocabulary(writer, shape.vocabulary)
    key_width = shape.width // shape.heads * shape.kv_heads

    def matrix(name: str, *sizes: int, gain: float = 1.0) -> None:
        data = random_matrix(generator, sizes, kind, gain)
        writer.add_tensor(name, data, raw_dtype=kind)

    def ones(name: str) -> None:
        writer.add_tensor(name, np.ones(shape.width, np.float32))

    matrix("token_embd.weight", shape.vocabulary, shape.width, gain=8.0)
    ones("output_norm.weight")
    matrix("output.weight", shape.vocabulary, shape.width, gain=3.0)
    for layer in range(shape.layers):
        prefix = f"blk.{layer}."
        ones(prefix + "attn_norm.weight")
        ones(prefix + "ffn_norm.weight")
        matrix(prefix + "attn_q.weight", shape.width, shape.width)
        matrix(prefix + "attn_k.weight", key_width, shape.width)
        matrix(prefix + "attn_v.weight", key_width, shape.width)
        matrix(prefix + "attn_output.weight", shape.width, shape.width)
        count = (shape.experts,) if shape.experts else ()
        suffix = "_exps.weight" if shape.experts else ".weight"
        if shape.experts:
            router = generator.standard_normal((shape.experts, shape.width), np.float32)
            writer.add_tensor(prefix + "ffn_gate_inp.weight", router * np.float32(0.05))
        matrix(prefix + "ffn_gate" + suffix, *count, shape.inner, shape.width)
        matrix(prefix + "ffn_up" + suffix, *count, shape.inner, shape.width)
        matrix(prefix + "ffn_down" + suffix, *count, shape.width, shape.inner)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(temporary, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="tinyllama-1.1b")
    parser.add_argument("--type", choices=sorted(TYPES), default="q4_0")
    parser.add_argument("--layers", type=int, help="instead of the shape's")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    shape = SHAPES[arguments.shape]
    if arguments.layers:
        shape = replace(shape, layers=arguments.layers)
    write_model(arguments.out, shape, TYPES[arguments.type], seed=arguments.seed)
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
