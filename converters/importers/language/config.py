"""``config.json`` of a causal language model, as far as a Llama-shaped one needs it.

What is not understood is refused by name: a field left out silently would change the results.
Field names: https://huggingface.co/docs/transformers, "LlamaConfig" and its relatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from edgekit.errors import ModelFormatError

Positive = Annotated[int, msgspec.Meta(gt=0, lt=2**31)]

ARCHITECTURES: Mapping[str, str] = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "MixtralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "ArceeForCausalLM": "arcee",
}
"""GGUF architecture by the class that transformers calls the model."""

_ACTIVATIONS: Mapping[str, tuple[str, ...]] = {
    "llama": ("silu", "swish"),
    "qwen2": ("silu", "swish"),
    "qwen3": ("silu", "swish"),
    "arcee": ("relu2",),
}


class _Json(msgspec.Struct, frozen=True):
    architectures: tuple[str, ...]
    hidden_size: Positive
    intermediate_size: Positive
    num_hidden_layers: Positive
    num_attention_heads: Positive
    vocab_size: Positive
    max_position_embeddings: Positive
    rms_norm_eps: float = 1e-6
    num_key_value_heads: Positive | None = None
    head_dim: Positive | None = None
    hidden_act: str = "silu"
    rope_theta: float | None = None
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    sliding_window: int | None = None
    use_sliding_window: bool | None = None
    num_local_experts: int = 0
    num_experts_per_tok: int = 0
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """Sizes and constants of a Llama-shaped model.

    Parameters
    ----------
    architecture : str
        As GGUF calls it.
    hidden, feed_forward, layers, heads, kv_heads, head_width, vocabulary, context : int
    norm_epsilon, rope_base : float
    rope_scaling : mapping or None
        As in the file; of type ``linear`` or ``llama3``.
    is_tied : bool
        The output matrix is the embedding matrix.
    experts, experts_used : int
    bos, eos : int or None
    """

    architecture: str
    hidden: int
    feed_forward: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    context: int
    norm_epsilon: float
    rope_base: float
    rope_scaling: Mapping[str, Any] | None
    is_tied: bool
    experts: int
    experts_used: int
    bos: int | None
    eos: int | None


def architecture_of(folder: Path) -> str | None:
    """Return the GGUF architecture of a folder's model; None where it is none of ours."""
    try:
        data = msgspec.json.decode((folder / "config.json").read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    named = data.get("architectures")
    first = named[0] if isinstance(named, list) and named else None
    return ARCHITECTURES.get(first) if isinstance(first, str) else None


def read_llama_config(folder: Path) -> LlamaConfig:
    """Read and check ``config.json``.

    Raises
    ------
    ModelFormatError
        If it is damaged, or asks for what is not computed (the field is named).
    """
    path = folder / "config.json"
    try:
        stored = msgspec.json.decode(path.read_bytes(), type=_Json)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFormatError(f"cannot be used: {error}", path=str(path)) from error
    architecture = architecture_of(folder)
    if architecture is None:
        raise ModelFormatError(
            f"{', '.join(stored.architectures)} is not read (read: {', '.join(ARCHITECTURES)})",
            path=str(path),
        )
    _refuse_what_is_not_computed(stored, architecture, path)
    rope = {**(stored.rope_parameters or {}), **(stored.rope_scaling or {})}
    base = stored.rope_theta or rope.get("rope_theta") or 10_000.0
    eos = stored.eos_token_id
    return LlamaConfig(
        architecture=architecture,
        hidden=stored.hidden_size,
        feed_forward=stored.intermediate_size,
        layers=stored.num_hidden_layers,
        heads=stored.num_attention_heads,
        kv_heads=stored.num_key_value_heads or stored.num_attention_heads,
        head_width=stored.head_dim or stored.hidden_size // stored.num_attention_heads,
        vocabulary=stored.vocab_size,
        context=stored.max_position_embeddings,
        norm_epsilon=stored.rms_norm_eps,
        rope_base=float(base),
        rope_scaling=_rope_scaling(rope, path),
        is_tied=stored.tie_word_embeddings,
        experts=stored.num_local_experts,
        experts_used=stored.num_experts_per_tok if stored.num_local_experts else 0,
        bos=stored.bos_token_id,
        eos=eos[0] if isinstance(eos, list) and eos else eos if isinstance(eos, int) else None,
    )


def _refuse_what_is_not_computed(stored: _Json, architecture: str, path: Path) -> None:
    refused = ""
    window = stored.sliding_window
    if stored.hidden_act not in _ACTIVATIONS[architecture]:
        refused = f"hidden_act {stored.hidden_act}"
    elif stored.mlp_bias or (stored.attention_bias and architecture != "qwen2"):
        refused = "attention_bias or mlp_bias"
    elif (
        window is not None
        and stored.use_sliding_window is not False
        and window < stored.max_position_embeddings
    ):
        refused = f"sliding_window {window}"
    elif stored.num_attention_heads % (stored.num_key_value_heads or 1):
        refused = "a number of heads that is no multiple of num_key_value_heads"
    elif (stored.head_dim or stored.hidden_size // stored.num_attention_heads) % 2:
        refused = "an odd width of heads"
    if refused:
        raise ModelFormatError(f"{refused} is not computed for {architecture}", path=str(path))


def _rope_scaling(rope: Mapping[str, Any], path: Path) -> Mapping[str, Any] | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind in ("default", None):
        return None
    needed = {
        "linear": ("factor",),
        "llama3": (
            *("factor", "low_freq_factor", "high_freq_factor"),
            "original_max_position_embeddings",
        ),
    }.get(kind)
    if needed is None:
        raise ModelFormatError(f"rope scaling '{kind}' is not converted", path=str(path))
    values = {key: rope.get(key) for key in needed}
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ModelFormatError(f"rope scaling has no usable {key}", path=str(path))
    return {"type": kind, **values}
