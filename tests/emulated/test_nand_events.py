"""One token of published models, every page simulated, beside the closed form."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import native
from edgekit.converters.partitioning.flash_tiles import rounds_of, tile_for
from edgekit.cost.nand import NandGeometry, nand_geometry
from edgekit.emulators.nand_chiplet import estimate_token
from edgekit.emulators.nand_events import (
    EventKind,
    EventPolicy,
    EventResult,
    FlashProduct,
    simulate_token,
    token_products,
)
from edgekit.model_shapes import find_shape
from edgekit.profiles import load_profile, with_quantity

pytestmark = [
    pytest.mark.emulated,
    pytest.mark.native,
    pytest.mark.skipif(not native.has_library(), reason="libedgekit is not built"),
]

MODELS = ("opt-6.7b", "opt-13b", "opt-30b", "opt-66b", "llama2-7b", "llama2-13b")
LARGEST = "llama2-70b-mha"
CHIPS = ("cambricon-llm-s", "cambricon-llm-m", "cambricon-llm-l")
WEIGHTS = {"w8a8": (8, 1), "w4a16": (4, 2)}
CONTEXT = 1000


def flash(chip: str) -> NandGeometry:
    return nand_geometry(load_profile(chip))


def products(chip: str, model: str, weights: str = "w8a8") -> tuple[FlashProduct, ...]:
    """A token as the closed form sees it: attention reads keys and values from DRAM."""
    weight_bits, activation_bytes = WEIGHTS[weights]
    shape = find_shape(model)
    estimate = estimate_token(
        shape,
        load_profile(chip),
        weight_bits=weight_bits,
        activation_bytes=activation_bytes,
        context=CONTEXT,
    )
    attention_s = estimate.kv_s / shape.layers
    return token_products(shape, weight_bits=weight_bits, attention_s=attention_s)


def simulate(chip: str, model: str, policy: EventPolicy | None = None) -> EventResult:
    return simulate_token(products(chip, model), flash(chip), policy)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("model", [*MODELS, LARGEST])
def test_events_agree_with_the_closed_form(chip: str, model: str, weights: str) -> None:
    weight_bits, activation_bytes = WEIGHTS[weights]
    closed = estimate_token(
        find_shape(model),
        load_profile(chip),
        weight_bits=weight_bits,
        activation_bytes=activation_bytes,
        context=CONTEXT,
    )
    result = simulate_token(products(chip, model, weights), flash(chip))
    assert result.seconds == pytest.approx(closed.seconds, rel=0.03)
    weight_bytes = find_shape(model).used_weights * weight_bits // 8
    assert result.flash_bytes + result.streamed_bytes == weight_bytes
    share = result.streamed_bytes / weight_bytes
    assert share == pytest.approx(closed.streamed_bytes / weight_bytes, abs=0.02)


def test_every_page_of_the_largest_model_is_simulated() -> None:
    chip = flash("cambricon-llm-l")
    token = products("cambricon-llm-l", LARGEST)
    result = simulate_token(token, chip)
    assert result.flash_pages + result.streamed_pages >= find_shape(LARGEST).used_weights // 16384
    assert result.tiles == sum(
        rounds_of(item.rows, item.columns, tile_for(item.rows, item.columns, chip))
        for item in token
    )
    # Input, read and result of a page in flash; read and move of a streamed one.
    assert result.events > 2 * (result.flash_pages + result.streamed_pages)


@pytest.mark.parametrize("model", MODELS)
def test_without_slices_channels_are_used_as_published(model: str) -> None:
    """48 to 50 %: requests hold their channel, so half of its time carries nothing."""
    result = simulate("cambricon-llm-s", model, EventPolicy("unsliced"))
    assert 0.48 <= round(result.channel_use.total, 2) <= 0.50
    assert 1.6 <= result.seconds / simulate("cambricon-llm-s", model).seconds <= 2.0


@pytest.mark.parametrize("model", MODELS)
def test_in_flash_alone_channels_are_used_as_published(model: str) -> None:
    """2 to 3 % if results take two bytes each; 1 to 2 % with the one byte of the closed form."""
    policy = EventPolicy("flash-only", result_bytes=2)
    assert 0.02 <= simulate("cambricon-llm-s", model, policy).channel_use.total <= 0.03
    narrow = simulate("cambricon-llm-s", model, EventPolicy("flash-only"))
    assert 0.01 <= narrow.channel_use.total <= 0.02
    assert narrow.streamed_pages == narrow.buffer_peak_bytes == 0


def test_in_flash_alone_a_token_is_its_rounds() -> None:
    chip = flash("cambricon-llm-s")
    token = products("cambricon-llm-s", "opt-6.7b")
    result = simulate_token(token, chip, EventPolicy("flash-only"))
    request_s = chip.page_read_s + 256 / chip.channel_bytes_per_s
    idle_s = sum(item.delay_s for item in token)
    assert result.seconds == pytest.approx(result.tiles * request_s + idle_s, rel=1e-3)


@pytest.mark.parametrize("chip", CHIPS)
def test_a_page_for_each_core_is_buffer_enough(chip: str) -> None:
    """More lets nothing finish sooner; with none, flash waits for pages where rounds are few."""
    geometry = flash(chip)
    ample = EventPolicy(buffer_bytes=1 << 40)
    none = EventPolicy(buffer_bytes=0)
    seconds = [simulate(chip, "opt-6.7b", policy).seconds for policy in (None, ample, none)]
    assert seconds[0] == pytest.approx(seconds[1], rel=0.005)
    assert seconds[2] >= seconds[0]
    result = simulate(chip, "opt-6.7b")
    assert 0 < result.buffer_peak_bytes <= geometry.cores * geometry.page_bytes


def test_without_a_buffer_the_largest_chip_loses_a_fifth() -> None:
    with_one = simulate("cambricon-llm-l", "opt-6.7b")
    without = simulate("cambricon-llm-l", "opt-6.7b", EventPolicy(buffer_bytes=0))
    assert without.seconds > 1.2 * with_one.seconds
    assert without.starved_s > with_one.starved_s


def test_slow_cores_cost_the_last_page_of_each_product() -> None:
    """As long as a core is faster than the array; 20.48 us is a page at 1.6 operations a ns."""
    token = products("cambricon-llm-m", "opt-6.7b")
    fast = simulate_token(token, flash("cambricon-llm-m"))
    slow = simulate_token(token, flash("cambricon-llm-m"), EventPolicy(compute_s=20.48e-6))
    assert slow.seconds - fast.seconds == pytest.approx(len(token) * 20.48e-6, rel=0.05)


def test_a_timeline_shows_how_requests_and_pages_share_a_channel() -> None:
    token = products("cambricon-llm-s", "opt-6.7b")
    window = (1_000_000, 1_100_000)
    result = simulate_token(token, flash("cambricon-llm-s"), window_ns=window)
    assert {event.channel for event in result.timeline} == set(range(8))
    assert all(window[0] <= event.start_ns < window[1] for event in result.timeline)
    inputs = [e for e in result.timeline if e.kind is EventKind.INPUT and e.channel == 0]
    assert len(inputs) in (3, 4)
    gaps = {event.kind for event in result.timeline if event.channel == 0}
    assert gaps >= {EventKind.COMPUTE_READ, EventKind.PAGE_READ, EventKind.PAGE_MOVE}


@settings(max_examples=40, deadline=None)
@given(
    page_read_us=st.integers(10, 150),
    channel_mb_per_s=st.integers(500, 5000),
    page_kib=st.sampled_from([4, 8, 16, 32]),
    chips=st.integers(1, 4),
    dies=st.integers(1, 4),
    planes=st.integers(1, 4),
)
def test_events_agree_with_the_closed_form_for_other_designs(
    page_read_us: int, channel_mb_per_s: int, page_kib: int, chips: int, dies: int, planes: int
) -> None:
    """Whether cores, channels, or the planes that pages stream from are the limit."""
    changes = {
        "nand.page_read_s": page_read_us * 1e-6,
        "nand.channel_bytes_per_s": channel_mb_per_s * 1e6,
        "nand.page_bytes": page_kib * 1024.0,
        "nand.chips_per_channel": float(chips),
        "nand.dies_per_chip": float(dies),
        "nand.planes_per_die": float(planes),
    }
    profile = load_profile("cambricon-llm-s")
    for key, value in changes.items():
        profile = with_quantity(profile, key, value)
    shape = find_shape("llama2-7b")
    closed_s = estimate_token(shape, profile).weights_s / shape.layers
    two_layers = token_products(replace(shape, layers=2))
    found_s = simulate_token(two_layers, nand_geometry(profile)).seconds / 2
    assert found_s == pytest.approx(closed_s, rel=0.05)
