"""How fast a language model will be on a device, from its storage and its processors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgekit.cost.decode import TokenCost, TokenWork, decoding_processor, token_cost
from edgekit.emulators.storage import Pattern, StorageModel
from edgekit.language_plan import LanguageFacts, TokenEstimate
from edgekit.profiles import DeviceProfile, Processor
from edgekit.runtime.language.engine_records import MemoryBudget

BLOCK_BYTES = 1 << 20
"""Of one read while streaming."""

_REACH = {"native": "native", "llama": "llama.cpp"}


@dataclass(frozen=True, slots=True)
class SpeedModel:
    """Rates of a device as far as a model is concerned.

    Parameters
    ----------
    profile : DeviceProfile
    processor : Processor
    storage_bytes_per_s : float
        Of reads of ``BLOCK_BYTES``; 0 where the profile does not say.
    macs_per_byte : float
        Multiply-accumulates for each byte of weights.
    calls : int
        Products of one evaluation.
    """

    profile: DeviceProfile
    processor: Processor
    storage_bytes_per_s: float
    macs_per_byte: float
    calls: int

    def decode(self, budget: MemoryBudget) -> TokenCost | None:
        """Return the cost of one token; None where the rate of the storage is not known."""
        return self._cost(budget, 1)

    def estimate(self, budget: MemoryBudget, *, batch: int) -> TokenEstimate | None:
        """Return the speed under a budget; None where the rate of the storage is not known."""
        one, many = self._cost(budget, 1), self._cost(budget, batch)
        if one is None or many is None:
            return None
        return TokenEstimate(
            tokens_per_s=1 / one.seconds,
            prefill_tokens_per_s=batch / many.seconds,
            bound=one.bound,
            processor=self.processor.name,
            compute_s=one.compute_s,
            read_s=one.read_s,
            storage_bytes_per_s=self.storage_bytes_per_s if budget.read_bytes_per_token else 0.0,
        )

    def _cost(self, budget: MemoryBudget, tokens: int) -> TokenCost | None:
        read_bytes = budget.read_bytes_per_token
        if read_bytes and not self.storage_bytes_per_s:
            return None
        touched = budget.touched_bytes_per_token
        work = TokenWork(touched, read_bytes, touched * self.macs_per_byte, self.calls, tokens)
        return token_cost(work, self.profile, self.processor, self.storage_bytes_per_s or math.inf)


def speed_model(profile: DeviceProfile, executor: str, facts: LanguageFacts) -> SpeedModel | None:
    """Return the rates for a model on a device; None where no CPU of it is reached."""
    processor = decoding_processor(profile, _REACH[executor])
    if processor is None or not facts.weights_bytes:
        return None
    return SpeedModel(
        profile,
        processor,
        storage_rate(profile, facts.weights_bytes),
        facts.parameters / facts.weights_bytes,
        product_calls(facts),
    )


def product_calls(facts: LanguageFacts) -> int:
    """Return how many matrix products one evaluation has: attention, feed-forward, output."""
    feed_forward = 3 * max(facts.experts_used, 1) + (1 if facts.experts else 0)
    return facts.layers * (4 + feed_forward) + 1


def storage_rate(profile: DeviceProfile, span_bytes: int) -> float:
    """Return the bytes a second of large reads spread over a file; 0 where nothing is known."""
    if profile.storage is not None and profile.storage.reads:
        patterns = {read.pattern for read in profile.storage.reads if read.anchor}
        pattern: Pattern = "random" if "random" in patterns else "sequential"
        model = StorageModel(profile)
        rate = model.rate(BLOCK_BYTES, pattern=pattern, span_bytes=span_bytes)
        # Beyond the largest block that was measured, no more than the storage ever gives.
        return min(rate, profile.memory(profile.storage.memory).bandwidth_bytes_per_s.value)
    rates = [m.bandwidth_bytes_per_s.value for m in profile.memories if m.kind == "storage"]
    return max(rates, default=0.0)
