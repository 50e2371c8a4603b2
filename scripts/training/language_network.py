"""The network: a small Llama with a squared-ReLU feed-forward network without a gate.

Pre-normalization by root mean square, rotary positions, grouped-query attention: the computation
that llama.cpp runs for the architecture ``arcee``. Squared ReLU after So et al., "Primer: Searching
for Efficient Transformers for Language Modeling" (arXiv:2109.08668): most of its activations are
exactly zero, so that most neurons need not be read.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.nn import functional

# Of the positions, one in so many tells how many neurons are at work: an estimate is enough.
SHARE_STRIDE = 8
EMBEDDING_DEVIATION = 0.3


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network, all that llama.cpp needs to know beside the weights.

    Attributes
    ----------
    vocabulary_size, width, layers, ffn_width, heads, kv_heads, context : int
    rope_base, norm_epsilon : float
    """

    vocabulary_size: int = 4096
    width: int = 256
    layers: int = 4
    ffn_width: int = 1280
    heads: int = 4
    kv_heads: int = 2
    context: int = 512
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        """Width of one head."""
        return self.width // self.heads

    def as_dict(self) -> dict[str, int | float]:
        """Fields by name."""
        return asdict(self)


def rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary position of neighbouring pairs: elements 2 i and 2 i + 1 turn together.

    Parameters
    ----------
    x : tensor, shape (batch, heads, positions, head_width)
    cosine, sine : tensor, shape (positions, head_width / 2)

    Notes
    -----
    Su et al., "RoFormer" (arXiv:2104.09864), section 3.2.2; llama.cpp's "norm" order.
    """
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    turned = (even * cosine - odd * sine, even * sine + odd * cosine)
    return torch.stack(turned, dim=-1).flatten(-2)


class Block(nn.Module):  # type: ignore[misc]
    """Attention and feed-forward network, each added to its input."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        kv_width = shape.kv_heads * shape.head_width
        self.attn_norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.attn_q = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_k = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_v = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_output = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.ffn_up = nn.Linear(shape.width, shape.ffn_width, bias=False)
        self.ffn_down = nn.Linear(shape.ffn_width, shape.width, bias=False)

    def attend(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        def heads(projected: torch.Tensor) -> torch.Tensor:
            return projected.unflatten(-1, (-1, self.shape.head_width)).transpose(1, 2)

        mixed = functional.scaled_dot_product_attention(
            rotate(heads(self.attn_q(x)), cosine, sine),
            rotate(heads(self.attn_k(x)), cosine, sine),
            heads(self.attn_v(x)),
            is_causal=True,
            enable_gqa=True,
        )
        projected: torch.Tensor = self.attn_output(mixed.transpose(1, 2).flatten(-2))
        return projected

    def forward(
        self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x = x + self.attend(self.attn_norm(x), cosine, sine)
        rectified = functional.relu(self.ffn_up(self.ffn_norm(x)))
        return x + self.ffn_down(rectified.square()), rectified


class LanguageNetwork(nn.Module):  # type: ignore[misc]
    """Scores of the next token."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary_size, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.output = nn.Linear(shape.width, shape.vocabulary_size, bias=False)
        pairs = torch.arange(0, shape.head_width, 2, dtype=torch.float64) / shape.head_width
        angles = torch.outer(torch.arange(shape.context).double(), shape.rope_base**-pairs)
        self.register_buffer("cosine", angles.cos().float(), persistent=False)
        self.register_buffer("sine", angles.sin().float(), persistent=False)
        nn.init.normal_(self.token_embd.weight, std=EMBEDDING_DEVIATION)
        nn.init.zeros_(self.output.weight)
        for block in self.blk:
            # Every block begins as the identity.
            nn.init.zeros_(block.attn_output.weight)
            nn.init.zeros_(block.ffn_down.weight)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Run a batch of sequences.

        Parameters
        ----------
        tokens : tensor of int64, shape (batch, positions)

        Returns
        -------
        logits : tensor of float32, shape (batch, positions, vocabulary_size)
        rectified : list of tensor of float32, shape (batch, positions, ffn_width)
            Of each layer's feed-forward network, after the ReLU and before the square.
        """
        positions = tokens.shape[1]
        cosine, sine = self.cosine[:positions], self.sine[:positions]
        x = self.token_embd(tokens)
        rectified = []
        for block in self.blk:
            x, positive = block(x, cosine, sine)
            rectified.append(positive)
        return self.output(self.output_norm(x)), rectified

    def score_pairs(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits by each token alone, as `forward` gives while every block is the identity.

        Parameters
        ----------
        tokens : tensor of int64, shape (batch, positions)

        Returns
        -------
        tensor of float32, shape (batch, positions, vocabulary_size)
        """
        logits: torch.Tensor = self.output(self.output_norm(self.token_embd(tokens)))
        return logits


def active_share(rectified: list[torch.Tensor]) -> float:
    """Share of the activations that are not zero, estimated from a part of the positions.

    Parameters
    ----------
    rectified : list of tensor, shape (batch, positions, ffn_width)
        From `LanguageNetwork`.
    """
    shares = [float((layer[:, ::SHARE_STRIDE] > 0).float().mean()) for layer in rectified]
    return sum(shares) / len(shares)
