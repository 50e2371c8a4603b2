"""Tables of the plan of a language model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.cli.output import table
from edgekit.units import format_bytes

if TYPE_CHECKING:
    from edgekit.language_plan import LanguagePlan


def memory_table(plan: LanguagePlan) -> None:
    """Print what is held in memory."""
    memory = plan.memory
    rows = [
        ("weights that stay", memory.pinned_bytes),
        ("buffers of streamed weights", memory.stream_bytes),
        (f"KV cache, {plan.sessions} x {plan.context:,} tokens, {plan.kv}", memory.kv_bytes),
        ("activations", memory.activation_bytes),
        ("tables", memory.table_bytes),
        ("total", memory.total_bytes),
        (f"limit in {memory.name}", memory.limit_bytes),
    ]
    table(
        ("memory", "bytes", ""),
        [(name, f"{size:,}", format_bytes(size)) for name, size in rows],
    )


def curve_table(plan: LanguagePlan) -> None:
    """Print what other limits would give; nothing where that is not known."""
    if not plan.curve:
        return
    rows = [
        (
            f"{point.memory_bytes:,}",
            f"{point.read_bytes_per_token:,}",
            f"{point.tokens_per_s:.2f}",
            point.bound,
        )
        for point in plan.curve
    ]
    table(("memory limit", "read a token", "tokens/s", "limited by"), rows)


def speed_line(plan: LanguagePlan) -> str:
    """Return the prediction in one sentence."""
    estimate = plan.estimate
    if estimate is None:
        return "speed: not predicted, the profile has no rate of the storage or of a processor"
    rates = f"{estimate.tokens_per_s:.1f} tokens/s, prompts {estimate.prefill_tokens_per_s:.0f}"
    return (
        f"{estimate.kind}: {rates} tokens/s on {estimate.processor}, limited by "
        f"{estimate.bound}; not compared with a measurement on this device"
    )
