"""What the native language-model engine says of itself: facts, budgets and counters."""

from __future__ import annotations

from dataclasses import dataclass

TENSOR_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    8: "Q8_0",
    12: "Q4_K",
    14: "Q6_K",
    30: "BF16",
}
"""ggml type numbers that the engine computes, with their names."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the header of a GGUF file says.

    Parameters
    ----------
    architecture : str
        ``general.architecture``.
    vocabulary_size, layers, width, heads, kv_heads, head_width, feed_forward_width : int
        Sizes; the feed-forward width is that of one expert where there are experts.
    context : int
        Tokens that the model was trained for.
    experts, experts_used : int
        0 where there are none.
    tied_embeddings : bool
        Whether the output matrix is the embedding matrix.
    weights_bytes, parameters : int
        Of all tensors.
    tensor_types : tuple of str
        Types that occur, for instance ``("F32", "Q4_0")``.
    fingerprint : str
        16 hexadecimal digits: of the header and the file's size.
    """

    architecture: str
    vocabulary_size: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    feed_forward_width: int
    context: int
    experts: int
    experts_used: int
    tied_embeddings: bool
    weights_bytes: int
    parameters: int
    tensor_types: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """What the engine holds in memory, to the byte (``ek_llm_budget``).

    Parameters
    ----------
    pinned_bytes : int
        Weights that stay in memory.
    stream_bytes : int
        Buffers for the weights that are read again for each token.
    kv_bytes, activation_bytes, table_bytes : int
        KV caches of all sessions; values between layers; tables.
    total_bytes : int
        The sum of the above.
    touched_bytes_per_token : int
        Weights that the computation of one token reads.
    read_bytes_per_token : int
        Of them, from storage.
    minimum_bytes : int
        Smallest budget that works with these options.
    """

    pinned_bytes: int
    stream_bytes: int
    kv_bytes: int
    activation_bytes: int
    table_bytes: int
    total_bytes: int
    touched_bytes_per_token: int
    read_bytes_per_token: int
    minimum_bytes: int


@dataclass(frozen=True, slots=True)
class Counters:
    """What a session has done since it was opened.

    Parameters
    ----------
    tokens : int
        Evaluated.
    read_bytes : int
        From storage, after loading.
    wait_ns, compute_ns : int
        Waiting for storage, and evaluating without the waits.
    """

    tokens: int
    read_bytes: int
    wait_ns: int
    compute_ns: int
