"""The closed form of flash that computes: published figures, and what must hold for any design."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.converters.partitioning.flash_tiles import TileShape
from edgekit.emulators import emulator_names, stated_error
from edgekit.emulators.nand_chiplet import (
    POLICIES,
    ChipletEstimate,
    estimate_token,
    prefill_seconds,
)
from edgekit.emulators.nand_rows import decode_rows, tokens_per_s
from edgekit.emulators.validation import ValidationRow, device_errors, rows, summary
from edgekit.errors import MemoryBudgetError, ProfileError, UsageError
from edgekit.model_shapes import SHAPES, find_shape
from edgekit.profiles import load_profile, with_quantity

pytestmark = pytest.mark.emulated

CHIPLETS = ("cambricon-llm-s", "cambricon-llm-m", "cambricon-llm-l")
PUBLISHED = [row for row in rows("nand_chiplet") if not row.fitted]


def of(*words: str) -> list[ValidationRow]:
    found = [row for row in PUBLISHED if all(word in row.quantity for word in words)]
    assert found
    return found


def on(device: str, model: str = "llama2-7b", **options: object) -> ChipletEstimate:
    estimate: Callable[..., ChipletEstimate] = estimate_token
    return estimate(find_shape(model), load_profile(device), **options)


def test_published_decode_speeds_are_met_without_a_fitted_constant() -> None:
    found = decode_rows()
    assert len(found) == 14
    assert not any(row.fitted for row in found)
    total = summary(found)["nand_chiplet"]
    assert total["mean_abs_error_percent"] <= 6
    assert total["max_abs_error_percent"] <= 14


@pytest.mark.parametrize("word", ["H*", "W*", "t_rc", "alpha", "t_r,"])
def test_tiles_and_request_times_are_exact(word: str) -> None:
    assert [row.error_percent for row in of(word)] == [0, 0, 0]


@pytest.mark.parametrize("word", ["W4A16", "flash-only", "unsliced", "moved", "aif", "server-a100"])
def test_other_published_figures_are_within_15_percent(word: str) -> None:
    assert [row for row in of(word) if abs(row.error_percent) > 15] == []


def test_channel_use_of_the_variants_is_in_the_published_ranges() -> None:
    assert [row.error_percent for row in of("channel use")] == [0, 0]
    assert 0.475 <= on("cambricon-llm-s", policy="unsliced").channel_use <= 0.505
    assert on("cambricon-llm-s", policy="flash-only").channel_use <= 0.035


def test_other_tiles_are_slower_as_published() -> None:
    assert [row.error_percent for row in of("is slower")] == [0, 0]
    best = tokens_per_s("cambricon-llm-s", "opt-30b")
    assert tokens_per_s("cambricon-llm-s", "opt-30b", tile=TileShape(128, 4096)) < best


@pytest.mark.parametrize("model", ["opt-6.7b", "opt-66b", "llama2-13b", "llama2-70b-mha"])
def test_variants_are_in_the_published_order(model: str) -> None:
    speeds = [tokens_per_s("cambricon-llm-s", model, policy=policy) for policy in POLICIES]
    sliced, unsliced, flash_only = speeds
    assert sliced > flash_only > unsliced


def test_every_device_states_its_error() -> None:
    assert set(device_errors("nand_chiplet")) >= set(CHIPLETS)
    assert "published speeds" in stated_error(load_profile("cambricon-llm-s"))
    assert "nand_chiplet" not in emulator_names()


@settings(max_examples=40)
@given(
    model=st.sampled_from(sorted(SHAPES)),
    device=st.sampled_from(CHIPLETS),
    weight_bits=st.sampled_from([4, 8]),
    policy=st.sampled_from(POLICIES),
)
def test_bytes_and_times_add_up(model: str, device: str, weight_bits: int, policy: str) -> None:
    found = on(device, model, weight_bits=weight_bits, policy=policy)
    used_bytes = find_shape(model).used_weights * weight_bits / 8
    assert found.flash_bytes + found.streamed_bytes == pytest.approx(used_bytes)
    assert found.seconds == pytest.approx(sum(item.seconds for item in found.matrices) + found.kv_s)
    assert 0 < found.channel_use <= 1
    assert found.streamed_bytes <= found.moved_bytes * (1 + 1e-9)
    assert all(0 < item.filled <= 1 for item in found.matrices)
    assert found.energy_j == found.array_j + found.channel_j


@pytest.mark.parametrize(
    ("key", "factor"),
    [
        ("nand.page_read_s", 0.5),
        ("nand.channels", 2.0),
        ("nand.chips_per_channel", 2.0),
        ("nand.channel_bytes_per_s", 2.0),
        ("memories[dram].bandwidth_bytes_per_s", 2.0),
    ],
)
@pytest.mark.parametrize("device", CHIPLETS)
def test_a_better_part_makes_no_design_slower(device: str, key: str, factor: float) -> None:
    profile = load_profile(device)
    before = {"nand.page_read_s": 30e-6, "nand.channel_bytes_per_s": 1e9}
    nand = profile.nand
    assert nand is not None
    before |= {"nand.channels": nand.channels.value}
    before |= {"nand.chips_per_channel": nand.chips_per_channel.value}
    before |= {"memories[dram].bandwidth_bytes_per_s": 40e9}
    better = with_quantity(profile, key, before[key] * factor)
    shape = find_shape("llama2-70b")
    assert estimate_token(shape, better).seconds < estimate_token(shape, profile).seconds


def test_context_costs_what_dram_takes() -> None:
    short, long = on("cambricon-llm-l", context=0), on("cambricon-llm-l", context=4000)
    shape = find_shape("llama2-7b")
    assert short.kv_s == 0
    assert long.seconds - short.seconds == pytest.approx(shape.kv_bytes(4000, 1) / 40e9)
    assert on("cambricon-llm-l", context=100_000).limit == "reading keys and values from DRAM"


def test_shared_heads_make_70b_smaller() -> None:
    true, paper = on("cambricon-llm-s", "llama2-70b"), on("cambricon-llm-s", "llama2-70b-mha")
    assert true.kv_bytes * 8 == paper.kv_bytes
    assert true.tokens_per_s > paper.tokens_per_s


def test_the_head_is_one_more_matrix() -> None:
    without, with_head = on("cambricon-llm-s"), on("cambricon-llm-s", head=True)
    assert [item.name for item in with_head.matrices] == [
        *(item.name for item in without.matrices),
        "head",
    ]
    assert with_head.stored_bytes - without.stored_bytes == 32000 * 4096
    assert with_head.tokens_per_s < without.tokens_per_s


def test_experts_take_room_but_only_those_used_take_time() -> None:
    found = on("cambricon-llm-s", "mixtral-8x7b")
    assert found.stored_bytes > 3 * (found.flash_bytes + found.streamed_bytes)
    assert {item.name: item.calls for item in found.matrices}["up"] == 2 * 32


def test_a_prompt_is_limited_by_arithmetic_when_long_and_by_channels_when_short() -> None:
    shape, profile = find_shape("llama2-7b"), load_profile("cambricon-llm-s")
    one = prefill_seconds(shape, profile, tokens=1)
    assert one == pytest.approx(shape.stored_weights / 8e9, rel=0.01)
    assert prefill_seconds(shape, profile, tokens=0) == 0
    long = prefill_seconds(shape, profile, tokens=2000)
    assert long > 1.99 * prefill_seconds(shape, profile, tokens=1000)


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(MemoryBudgetError, match="nand of cambricon-llm-s"):
        on("cambricon-llm-s", "llama2-70b", weight_bits=16)
    with pytest.raises(UsageError, match="context"):
        on("cambricon-llm-s", context=-1)
    with pytest.raises(UsageError, match="5 bits"):
        on("cambricon-llm-s", weight_bits=5)
    with pytest.raises(ProfileError, match="no flash that computes"):
        on("pixel8")
