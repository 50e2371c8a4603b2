"""How good a language model is on text that it was not trained on, and how sparse it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn import functional
from training.language_corpus import BOUNDARY_ID, TokenArray, encode
from training.language_network import LanguageNetwork

ROWS = 8
HOT_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Quality:
    """Cross-entropy on one text.

    Attributes
    ----------
    tokens, text_bytes : int
        Predicted, boundaries between documents among them; and bytes of the text, without.
    nats_per_token, perplexity, bits_per_byte : float
        Mean cross-entropy of a token, its exponential, and the sum over the bytes of the text:
        only the last can be compared between tokenizers.
    """

    tokens: int
    text_bytes: int
    nats_per_token: float
    perplexity: float
    bits_per_byte: float


@dataclass(frozen=True, slots=True)
class LayerActivity:
    """How busy the feed-forward network of one layer is.

    Attributes
    ----------
    zero_share : float
        Of the activations, those that are exactly zero.
    hot_take : float
        Share of all activations above zero that the most active 10 % of the neurons have.
    repeat_share : float
        Of the neurons above zero at a token, those that are so at the next token too.
    """

    zero_share: float
    hot_take: float
    repeat_share: float


def windows(tokens: TokenArray, context: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of inputs and targets: each token predicted once.

    Each window begins with the boundary token, as prompts do, and sees nothing before it.

    Parameters
    ----------
    tokens : array of uint16, shape (n,)
    context : int

    Yields
    ------
    inputs, targets : tensor of int64, shape (rows, positions)
        Rows of ``context`` positions, then one shorter row of what is left.
    """
    whole = len(tokens) // context * context
    rows = tokens[:whole].reshape(-1, context)
    for group in [*np.array_split(rows, math.ceil(len(rows) / ROWS) or 1), tokens[None, whole:]]:
        if group.size:
            targets = torch.from_numpy(group.astype(np.int64))
            yield functional.pad(targets[:, :-1], (1, 0), value=BOUNDARY_ID), targets


@torch.no_grad()  # type: ignore[untyped-decorator]
def measure_quality(
    network: LanguageNetwork, tokenizer: Tokenizer, documents: Sequence[str]
) -> Quality:
    """Predict each token of the documents once, in windows as long as the context."""
    tokens = encode(tokenizer, documents)
    device = network.token_embd.weight.device
    total_nats = 0.0
    for inputs, targets in windows(tokens, network.shape.context):
        logits, _ = network(inputs.to(device))
        loss = functional.cross_entropy(
            logits.flatten(0, 1), targets.to(device).flatten(), reduction="sum"
        )
        total_nats += float(loss)
    return _quality(total_nats, len(tokens), sum(len(text.encode()) for text in documents))


def combine(parts: Sequence[Quality]) -> Quality:
    """Quality on several texts together.

    Parameters
    ----------
    parts : sequence of Quality
        At least one.
    """
    tokens = sum(part.tokens for part in parts)
    text_bytes = sum(part.text_bytes for part in parts)
    return _quality(sum(p.tokens * p.nats_per_token for p in parts), tokens, text_bytes)


def _quality(total_nats: float, tokens: int, text_bytes: int) -> Quality:
    mean_nats = total_nats / tokens
    return Quality(
        tokens=tokens,
        text_bytes=text_bytes,
        nats_per_token=round(mean_nats, 4),
        perplexity=round(math.exp(mean_nats), 3),
        bits_per_byte=round(total_nats / math.log(2.0) / text_bytes, 4),
    )


@torch.no_grad()  # type: ignore[untyped-decorator]
def measure_activity(
    network: LanguageNetwork, tokenizer: Tokenizer, documents: Sequence[str]
) -> list[LayerActivity]:
    """Activity of each layer over all tokens of the documents, in windows as for the quality."""
    device = network.token_embd.weight.device
    layers = network.shape.layers
    counts = torch.zeros(layers, network.shape.ffn_width)
    repeats, followed = [0] * layers, [0] * layers
    positions = 0
    for inputs, _ in windows(encode(tokenizer, documents), network.shape.context):
        _, rectified = network(inputs.to(device))
        positions += inputs.numel()
        for index, layer in enumerate(rectified):
            above = layer > 0
            counts[index] += above.sum((0, 1)).cpu()
            repeats[index] += int((above[:, :-1] & above[:, 1:]).sum())
            followed[index] += int(above[:, :-1].sum())
    hot = math.ceil(HOT_SHARE * network.shape.ffn_width)
    return [
        LayerActivity(
            zero_share=round(1.0 - float(count.mean()) / positions, 4),
            hot_take=round(float(count.topk(hot).values.sum() / count.sum()), 4),
            repeat_share=round(repeat / max(before, 1), 4),
        )
        for count, repeat, before in zip(counts, repeats, followed, strict=True)
    ]


@torch.no_grad()  # type: ignore[untyped-decorator]
def sample(
    network: LanguageNetwork,
    tokenizer: Tokenizer,
    prompt: str,
    *,
    tokens: int = 120,
    temperature: float = 0.7,
    top_k: int = 40,
    seed: int = 1,
) -> str:
    """Continue a prompt.

    Parameters
    ----------
    network : LanguageNetwork
    tokenizer : Tokenizer
    prompt : str
    tokens : int
        Tokens to add at most, fewer where the text or the context ends.
    temperature : float
        Divides the logits.
    top_k : int
        So many of the likeliest tokens are considered.
    seed : int

    Returns
    -------
    str
        Prompt and continuation.
    """
    device = network.token_embd.weight.device
    generator = torch.Generator().manual_seed(seed)
    ids = [BOUNDARY_ID, *tokenizer.encode(prompt, add_special_tokens=False).ids]
    for _ in range(min(tokens, network.shape.context - len(ids))):
        logits, _ = network(torch.tensor([ids], device=device))
        best = (logits[0, -1].cpu() / temperature).topk(top_k)
        choice = torch.multinomial(best.values.softmax(-1), 1, generator=generator)
        ids.append(int(best.indices[choice]))
        if ids[-1] == BOUNDARY_ID:
            break
    return str(tokenizer.decode(ids[1:]))
