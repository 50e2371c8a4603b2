"""Random weights already in the block formats that the ``gguf`` package cannot quantize to."""

from __future__ import annotations

from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.language_reference import Shape, random_tensors

Type = gguf.GGMLQuantizationType


def random_blocks(
    generator: np.random.Generator, sizes: tuple[int, ...], kind: gguf.GGMLQuantizationType
) -> NDArray[np.uint8]:
    """Bytes of a Q4_K or Q6_K tensor whose weights are of the order of one over sqrt(columns)."""
    columns, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    count = int(np.prod(sizes)) // columns
    blocks = generator.integers(0, 256, (count, block_bytes), np.uint8)

    def put_scales(at: int, middle: float) -> None:
        scales = (middle * generator.uniform(0.5, 1.5, count)).astype(np.float16)
        blocks[:, at : at + 2] = scales[:, None].view(np.uint8)

    deviation = 1.0 / np.sqrt(sizes[-1])
    if kind == Type.Q4_K:
        put_scales(0, deviation / 168)
        put_scales(2, deviation / 22)
    else:
        put_scales(208, deviation / 1370)
    return blocks.reshape(*sizes[:-1], -1)


def random_block_tensors(
    shape: Shape, kind: gguf.GGMLQuantizationType
) -> dict[str, NDArray[Any]] | None:
    """Tensors for ``write_model``; None where the package quantizes itself."""
    if kind not in (Type.Q4_K, Type.Q6_K):
        return None
    generator = np.random.default_rng(5)
    return {
        name: tensor
        if tensor.ndim == 1 or "ffn_gate_inp" in name
        else random_blocks(generator, tensor.shape, kind)
        for name, tensor in random_tensors(shape, 1).items()
    }
