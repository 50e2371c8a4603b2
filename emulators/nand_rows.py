"""Published figures of flash that computes, and what the closed form gives for them.

Three kinds of comparison: plain; by the interval that a value with few digits was rounded from,
where the error is the distance to that interval; and by sign, where a paper's absolute figures are
not reproduced but who is faster is. No constant is fitted to any of them.

Left out: "8.9x" of Cambricon-LLM-S over FlexGen-SSD, which contradicts figure 9 of the same paper
(3.56 / 0.8), and the channel use of the full method, which the closed form takes to be all.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

from edgekit.converters.partitioning.flash_tiles import TileShape
from edgekit.cost.nand import nand_geometry, optimal_tile, request_times
from edgekit.cost.offload import offload_token
from edgekit.cost.price import price_usd
from edgekit.emulators.nand_chiplet import FlashPolicy, estimate_token
from edgekit.emulators.on_die_ecc import OutlierCopies
from edgekit.emulators.validation import ValidationRow, compare
from edgekit.model_shapes import find_shape
from edgekit.profiles import load_profile

_NAME = "nand_chiplet"
_PAPER = "Cambricon-LLM, arXiv 2409.15654"
_MODELS = ("opt-6.7b", "opt-13b", "opt-30b", "opt-66b", "llama2-7b", "llama2-13b", "llama2-70b-mha")
"""In the order of the paper's figures; the paper reckons 70B without shared heads."""
_DECODE = {
    "cambricon-llm-s": (3.56, 1.9, 0.8, 0.4, 3.55, 1.9, 0.3),
    "cambricon-llm-l": (36.34, 14.2, 7.6, 2.59, 34.0, 14.0, 3.44),
}
_ABLATIONS: dict[FlashPolicy, tuple[str, tuple[float, ...]]] = {
    "flash-only": ("figure 14: no tiling", (2.7, 1.4, 0.6, 0.3, 2.6, 1.4, 0.2)),
    "unsliced": ("figure 12: no read slicing", (2.2, 1.0, 0.4, 0.2, 2.2, 1.0, 0.2)),
}
_OFFLOAD = {
    "ssd": (0.8, 0.4, 0.2, 0.1),
    "dram": (3.5, 2.0, 0.8, 0.4),
}
"""FlexGen by where the weights lie, the OPT models."""


def published_rows() -> list[ValidationRow]:
    """Return every row, computed now."""
    return [
        *_request_rows(),
        *decode_rows(),
        *_gain_rows(),
        *_ablation_rows(),
        *_tile_rows(),
        *_bytes_and_price_rows(),
        *_offload_rows(),
        *_in_flash_rows(),
    ]


def decode_rows() -> list[ValidationRow]:
    """Return the speeds of decoding with 8-bit weights and activations."""
    return [
        compare(
            _NAME,
            f"{device}: {model} W8A8, tok/s",
            f"{_PAPER}, figure 9",
            published,
            tokens_per_s(device, model),
        )
        for device, speeds in _DECODE.items()
        for model, published in zip(_MODELS, speeds, strict=True)
    ]


def tokens_per_s(
    device: str,
    model: str,
    *,
    weight_bits: int = 8,
    policy: FlashPolicy = "sliced",
    tile: TileShape | None = None,
) -> float:
    """Return the speed of decoding at a context of 1,000 tokens."""
    estimate = estimate_token(
        find_shape(model),
        load_profile(device),
        weight_bits=weight_bits,
        activation_bytes=1 if weight_bits == 8 else 2,
        policy=policy,
        tile=tile,
    )
    return estimate.tokens_per_s


def rounded(
    quantity: str, source: str, published: float, computed: float, half: float = 0.05
) -> ValidationRow:
    """Return a row whose error is the distance to ``published +- half``, 0 within."""
    nearest = min(max(computed, published - half), published + half)
    error_percent = (computed - nearest) / published * 100
    return ValidationRow(
        _NAME, f"{quantity} (+- {half:g})", source, published, computed, error_percent, False
    )


def _request_rows() -> Iterator[ValidationRow]:
    """Yield tile and request times; what the paper prints, and what its formulas give by hand."""
    expected = {
        "cambricon-llm-s": (256.0, 2048.0, 30.256, 0.355, 16.67),
        "cambricon-llm-m": (362.04, 5792.6, 30.362, 0.356, 16.79),
        "cambricon-llm-l": (512.0, 16384.0, 30.512, 0.357, 16.96),
    }
    source = f"{_PAPER}, section V (formulas)"
    for device, (height, width, request_us, alpha, page_us) in expected.items():
        geometry = nand_geometry(load_profile(device))
        times = request_times(geometry)
        found = optimal_tile(geometry)
        yield rounded(f"{device}: H*", source, height, found[0], 0.005)
        yield rounded(f"{device}: W*", source, width, found[1], 0.05)
        us = times.read_compute_s * 1e6
        yield rounded(f"{device}: t_rc, us", source, request_us, us, 0.0005)
        yield rounded(f"{device}: alpha", source, alpha, times.compute_request_share, 0.0005)
        yield rounded(f"{device}: t_r, us", source, page_us, times.page_s * 1e6, 0.005)
    quantity, spare_bytes = "correction of a page of 16 KiB, bytes", OutlierCopies().spare_bits / 8
    yield rounded(quantity, f"{_PAPER}, section VI", 722, spare_bytes, 0.5)


def _gain_rows() -> Iterator[ValidationRow]:
    for device, published in (("cambricon-llm-s", 1.853), ("cambricon-llm-l", 1.479)):
        gain = fmean(
            tokens_per_s(device, model, weight_bits=4) / tokens_per_s(device, model)
            for model in _MODELS
        )
        quantity = f"{device}: W4A16 over W8A8, mean of 7 models"
        yield compare(_NAME, quantity, f"{_PAPER}, figure 11", published, gain)


def _ablation_rows() -> Iterator[ValidationRow]:
    device = "cambricon-llm-s"
    for policy, (where, speeds) in _ABLATIONS.items():
        for model, published in zip(_MODELS, speeds, strict=True):
            quantity = f"{device}: {model} {policy}, tok/s"
            computed = tokens_per_s(device, model, policy=policy)
            yield rounded(quantity, f"{_PAPER}, {where}", published, computed)
    ranges: tuple[tuple[FlashPolicy, str, float, float], ...] = (
        ("unsliced", "figure 12: 48-50 %", 49.0, 1.5),
        ("flash-only", "figure 14: 2-3 %", 2.5, 1.0),
    )
    for policy, where, published, half in ranges:
        shape, profile = find_shape("opt-6.7b"), load_profile(device)
        use = estimate_token(shape, profile, policy=policy).channel_use
        quantity = f"{device}: channel use {policy}, %"
        yield rounded(quantity, f"{_PAPER}, {where}", published, use * 100, half)


def _tile_rows() -> Iterator[ValidationRow]:
    device = "cambricon-llm-s"
    for tile in (TileShape(128, 4096), TileShape(4096, 128)):
        loss = fmean(
            1 - tokens_per_s(device, model, tile=tile) / tokens_per_s(device, model)
            for model in _MODELS
        )
        quantity = f"{device}: a tile of {tile.rows} x {tile.columns} is slower (1: yes)"
        source = f"{_PAPER}, figure 13, by sign"
        yield compare(_NAME, quantity, source, 1.0, 1.0 if loss > 0 else -1.0)


def _bytes_and_price_rows() -> Iterator[ValidationRow]:
    profile, shape = load_profile("cambricon-llm-s"), find_shape("llama2-70b-mha")
    moved = estimate_token(shape, profile).moved_bytes / 1e9
    quantity = "cambricon-llm-s: llama2-70b-mha W8A8, GB moved a token"
    yield compare(_NAME, quantity, f"{_PAPER}, figure 16", 24.2, moved)
    quantity = "cambricon-llm-s: price of DRAM and flash, dollars"
    # Prices a gigabyte are of the same table.
    price = price_usd(profile) or 0.0
    yield compare(_NAME, quantity, f"{_PAPER}, table V", 43.67, price, fitted=True)


def _offload_rows() -> Iterator[ValidationRow]:
    profile = load_profile("server-a100")
    for memory, speeds in _OFFLOAD.items():
        for model, published in zip(_MODELS, speeds, strict=False):
            rate = 1 / offload_token(find_shape(model), profile, weights_in=memory).seconds
            quantity = f"server-a100: {model} 8 bit, weights in {memory}, tok/s"
            yield rounded(quantity, f"{_PAPER}, figure 9: FlexGen", published, rate)
    token = offload_token(find_shape("llama2-70b"), profile, weights_in="ssd")
    quantity = "server-a100: llama2-70b 8 bit, weights in ssd, GB moved a token"
    source = f"{_PAPER}, figure 16: FlexGen-SSD"
    yield compare(_NAME, quantity, source, 210.7, token.moved_bytes / 1e9)
    token = offload_token(find_shape("llama2-7b"), load_profile("snapdragon8gen2"), weight_bits=4)
    quantity = "snapdragon8gen2: llama2-7b 4 bit, MLC-LLM, tok/s"
    source = f"{_PAPER}, section VIII-B"
    yield compare(_NAME, quantity, source, 7.58, 1 / token.seconds, fitted=True)
    phone = load_profile("snapdragon8gen2")
    token = offload_token(find_shape("llama2-70b"), phone, weights_in="storage")
    quantity = "snapdragon8gen2: llama2-70b 8 bit from UFS 4.0, tok/s"
    yield rounded(quantity, f"{_PAPER}, section II", 0.06, 1 / token.seconds, 0.005)


def _in_flash_rows() -> Iterator[ValidationRow]:
    profile = load_profile("aif")
    source = "AiF (ISCA 2025, 10.1145/3695053.3731073)"
    geometry = nand_geometry(profile)
    page_s = request_times(geometry).read_compute_s
    rate = geometry.cores * geometry.page_bytes / page_s / 1e9
    quantity = "aif: weights computed in flash, GB/s"
    # The profile's cores are as many as this rate needs.
    yield compare(_NAME, quantity, source, 102.4, rate, fitted=True)
    for model, published in (("llama2-7b", 13.1), ("llama3-70b", 1.6)):
        found = tokens_per_s("aif", model, policy="flash-only")
        yield compare(_NAME, f"aif: {model} 8 bit, flash only, tok/s", source, published, found)
