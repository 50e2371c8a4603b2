"""One token of published models, every page simulated, beside the closed form.

    python -m tests.benchmarks.bench_nand_events [--weights w8a8|w4a16] [--context 1000]

First table: chip; model; tokens per second of the events and of the closed form, their difference;
use of the channels; most weights that wait at the processor; pages and events simulated; seconds
that the simulation took. Second table: what one change of the policy costs, in percent of the time
of a token (8 bit), on each chip for OPT-6.7B and for the largest model.
"""

from __future__ import annotations

import argparse
import time

from edgekit.cost.nand import nand_geometry
from edgekit.emulators.nand_chiplet import ChipletEstimate, estimate_token
from edgekit.emulators.nand_events import (
    EventPolicy,
    EventResult,
    simulate_token,
    token_products,
)
from edgekit.model_shapes import find_shape
from edgekit.profiles import load_profile

CHIPS = ("cambricon-llm-s", "cambricon-llm-m", "cambricon-llm-l")
LARGEST = "llama2-70b-mha"
MODELS = ("opt-6.7b", "opt-13b", "opt-30b", "opt-66b", "llama2-7b", "llama2-13b", LARGEST)
WEIGHTS = {"w8a8": (8, 1), "w4a16": (4, 2)}
CORE_S = 16384 * 2 / 1.6e9
"""A page of 16,384 weights on a core of 1.6 GOPS, the paper's size of a core (section IV)."""

POLICIES = {
    "slices of 64 B": EventPolicy(slice_bytes=64),
    "slices of 2 KiB": EventPolicy(slice_bytes=2048),
    "whole pages": EventPolicy(slice_bytes=16384),
    "held channel": EventPolicy("unsliced"),
    "flash only": EventPolicy("flash-only"),
    "no buffer": EventPolicy(buffer_bytes=0),
    "any buffer": EventPolicy(buffer_bytes=1 << 40),
    "core of 1.6 GOPS": EventPolicy(compute_s=CORE_S),
    "results of 2 B": EventPolicy(result_bytes=2),
    "stream while idle": EventPolicy(stream_while_idle=True, buffer_bytes=1 << 40),
}


def closed_form(chip: str, model: str, weights: str, context: int) -> ChipletEstimate:
    bits, activation_bytes = WEIGHTS[weights]
    return estimate_token(
        find_shape(model),
        load_profile(chip),
        weight_bits=bits,
        activation_bytes=activation_bytes,
        context=context,
    )


def simulate(
    chip: str, closed: ChipletEstimate, policy: EventPolicy | None = None
) -> tuple[EventResult, float]:
    """Return the token, and the seconds that simulating it took."""
    attention_s = closed.kv_s / closed.shape.layers
    token = token_products(closed.shape, weight_bits=closed.weight_bits, attention_s=attention_s)
    begin = time.perf_counter()
    result = simulate_token(token, nand_geometry(load_profile(chip)), policy)
    return result, time.perf_counter() - begin


def print_agreement(weights: str, context: int) -> None:
    worst = 0.0
    for chip in CHIPS:
        for model in MODELS:
            closed = closed_form(chip, model, weights, context)
            result, took_s = simulate(chip, closed)
            difference = result.seconds / closed.seconds - 1
            worst = max(worst, abs(difference))
            pages = result.flash_pages + result.streamed_pages
            print(
                f"{chip:16} {model:15} {1 / result.seconds:8.3f} {closed.tokens_per_s:8.3f} "
                f"{difference:+7.2%} {result.channel_use.total:6.1%} "
                f"{result.buffer_peak_bytes / 1e6:5.1f} MB {pages / 1e6:6.2f} M "
                f"{result.events / 1e6:6.2f} M {took_s:6.3f} s"
            )
    print(f"largest difference {worst:.2%}\n")


def print_policies(context: int) -> None:
    for model in ("opt-6.7b", LARGEST):
        closed = [closed_form(chip, model, "w8a8", context) for chip in CHIPS]
        plain = [simulate(*pair)[0] for pair in zip(CHIPS, closed, strict=True)]
        print(f"{model:20}", *(f"{chip:>24}" for chip in CHIPS))
        for name, policy in POLICIES.items():
            cells = []
            for chip, estimate, base in zip(CHIPS, closed, plain, strict=True):
                result, _ = simulate(chip, estimate, policy)
                change = result.seconds / base.seconds - 1
                cells.append(f"{change:+8.1%} (use {result.channel_use.total:5.1%})")
            print(f"{name:20}", *(f"{cell:>24}" for cell in cells))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", choices=sorted(WEIGHTS), default="w8a8")
    parser.add_argument("--context", type=int, default=1000)
    arguments = parser.parse_args()
    print_agreement(arguments.weights, arguments.context)
    print_policies(arguments.context)


if __name__ == "__main__":
    main()
