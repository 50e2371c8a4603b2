"""The plan of a language model on one device: memory to the byte, and how fast it will be.

Stored as ``plan.json`` of a package (:mod:`edgekit.language_package`); the structs are its schema
(fields are only ever appended). Where :class:`edgekit.plan.Plan` has steps and buffers, a language
model has regions that stay for its whole life, and weights that are read again for each token.
"""

from __future__ import annotations

from typing import Literal

from edgekit.plan import EstimateKind, Record

KvType = Literal["f16", "q8", "f32"]
LanguageExecutorName = Literal["native", "llama"]
TokenBound = Literal["compute", "memory", "storage"]


class ModelReference(Record, frozen=True):
    """Where the GGUF file is.

    Parameters
    ----------
    size_bytes : int
    sha256 : str
    part : str
        Name in the package where it was linked or copied into it; empty otherwise.
    path : str
        Absolute path where the package only refers to it.
    """

    size_bytes: int
    sha256: str
    part: str = ""
    path: str = ""


class LanguageFacts(Record, frozen=True):
    """What the model is; sizes as its header says."""

    architecture: str
    parameters: int
    weights_bytes: int
    vocabulary_size: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    context: int
    experts: int = 0
    experts_used: int = 0
    tensor_types: tuple[str, ...] = ()


class LanguageMemory(Record, frozen=True):
    """What is held in memory, to the byte.

    Parameters
    ----------
    name : str
        Memory of the profile.
    available_bytes : int
        What the profile gives to one app.
    limit_bytes : int
        Hard limit that the plan keeps to: ``--memory``, or what is available.
    pinned_bytes : int
        Weights that stay.
    stream_bytes : int
        Buffers for weights that are read again for each token.
    kv_bytes, activation_bytes, table_bytes : int
        KV caches of all sessions; values between layers; tables.
    total_bytes : int
        The sum.
    touched_bytes_per_token, read_bytes_per_token : int
        Weights that one token needs, and of them those that are read from storage.
    minimum_bytes : int
        Smallest limit that works with these options.
    """

    name: str
    available_bytes: int
    limit_bytes: int
    pinned_bytes: int
    stream_bytes: int
    kv_bytes: int
    activation_bytes: int
    table_bytes: int
    total_bytes: int
    touched_bytes_per_token: int
    read_bytes_per_token: int
    minimum_bytes: int


class TokenEstimate(Record, frozen=True):
    """Modelled speed.

    Parameters
    ----------
    tokens_per_s : float
        Decoding, one session.
    prefill_tokens_per_s : float
        Reading a prompt.
    bound : str
        What limits decoding.
    processor : str
        Of the profile.
    compute_s, read_s : float
        Of one token; they overlap.
    storage_bytes_per_s : float
        Rate that was assumed; 0 where nothing is read.
    kind : str
    """

    tokens_per_s: float
    prefill_tokens_per_s: float
    bound: TokenBound
    processor: str
    compute_s: float
    read_s: float
    storage_bytes_per_s: float
    kind: EstimateKind = "modelled"


class BudgetPoint(Record, frozen=True):
    """What one memory limit would give."""

    memory_bytes: int
    total_bytes: int
    pinned_bytes: int
    read_bytes_per_token: int
    tokens_per_s: float
    bound: TokenBound


class LanguagePlan(Record, frozen=True):
    """The plan of a language model on one device.

    Parameters
    ----------
    device : str
    executor : str
        ``native`` or ``llama``.
    model : ModelReference
    facts : LanguageFacts
    memory : LanguageMemory
    context : int
        Positions of a session.
    batch : int
        Tokens computed at once while a prompt is read.
    sessions, threads : int
    kv : str
        Type of the KV cache.
    estimate : TokenEstimate or None
        None where the profile has no rates.
    curve : tuple of BudgetPoint
        By rising memory, from the smallest limit that works to all weights in memory.
    """

    device: str
    executor: LanguageExecutorName
    model: ModelReference
    facts: LanguageFacts
    memory: LanguageMemory
    context: int
    batch: int
    sessions: int
    threads: int
    kv: KvType
    estimate: TokenEstimate | None = None
    curve: tuple[BudgetPoint, ...] = ()
