"""Published measurements of phones and single-board computers that the smartphone emulator claims.

Every row that the model can compute is here; docs/emulators.md lists the published figures that it
does not claim, and why. ``fitted`` marks the rows that a constant of a profile was made from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgekit.cost.roofline import node_cost
from edgekit.cost.work import OpClass, Work
from edgekit.emulators.published_networks import NETWORKS, Layer
from edgekit.emulators.storage import StorageModel
from edgekit.emulators.validation import ValidationRow, compare
from edgekit.estimate import idle_power_w
from edgekit.profiles import DeviceProfile, load_profile
from edgekit.units import parse_bytes

_NAME = "smartphone"
_POWERINFER = "PowerInfer-2, arXiv 2406.06282v3"
_EXECUTORCH = "executorch examples/models/llama/README.md"
_ITEM_BYTES = {"float32": 4, "float16": 2, "int8": 1}

LLAMA_1B = (0.973e9, 0.2627e9)
LLAMA_3B = (2.819e9, 0.394e9)
"""Weights of the linear layers and of the head (Llama 3.2 model cards, from the shapes)."""
SPINQUANT_BYTES = (0.5625, 1.0)
"""Bytes a weight: 4-bit groups of 32 with 16-bit scales, head 8-bit (Meta's announcement)."""


@dataclass(frozen=True, slots=True)
class _Decode:
    """A published token rate, and the bytes of weights that one token reads."""

    profile: str
    processor: str
    what: str
    source: str
    published: float
    weight_bytes: float


def _spinquant(weights: tuple[float, float]) -> float:
    return sum(count * size for count, size in zip(weights, SPINQUANT_BYTES, strict=True))


_LLAMA_8B_BYTES = 6.98e9 * (0.5 + 2 / 128) + 0.525e9 * 0.5
_BAMBOO_WEIGHTS = 7.11e9
_BITNET_3B_BYTES = 3.2e9 * 0.25 + 32002 * 3200 * 2
_BITNET_2B_BYTES = 2.08e9 * 0.25 + 128256 * 2560
_PI_READER = "PowerInfer smallthinker README"

_DECODE = (
    _Decode(
        "oneplus12",
        "cpu",
        "Llama-3.2-1B SpinQuant, ExecuTorch",
        _EXECUTORCH,
        50.2,
        _spinquant(LLAMA_1B),
    ),
    _Decode(
        "oneplus12",
        "cpu",
        "Llama-3.2-3B SpinQuant, ExecuTorch",
        _EXECUTORCH,
        19.7,
        _spinquant(LLAMA_3B),
    ),
    _Decode(
        "oneplus12",
        "cpu",
        "Llama-3.1-8B 4-bit g128, ExecuTorch",
        _EXECUTORCH,
        10.85,
        _LLAMA_8B_BYTES,
    ),
    _Decode(
        "oneplus12",
        "cpu",
        "Llama-3.1-8B 4-bit g128, ExecuTorch, Galaxy S24 (same chip)",
        _EXECUTORCH,
        10.91,
        _LLAMA_8B_BYTES,
    ),
    _Decode(
        "oneplus12",
        "cpu",
        "Gemma3-1B 4-bit, LiteRT-LM, Galaxy S24 Ultra (same chip)",
        "LiteRT-LM README",
        43.6,
        1.0e9 * 0.5,
    ),
    _Decode(
        "oneplus12",
        "cpu",
        "Bamboo-7B Q4_0 in memory, llama.cpp",
        f"{_POWERINFER}, section 7: 20 / 2.24",
        20 / 2.24,
        _BAMBOO_WEIGHTS * 4.5 / 8,
    ),
    _Decode(
        "oneplus12",
        "npu",
        "Bamboo-7B 4-bit in memory, QNN",
        f"{_POWERINFER}, section 7: 20 / 1.86",
        20 / 1.86,
        _BAMBOO_WEIGHTS / 2,
    ),
    _Decode(
        "oneplus12",
        "npu",
        "BitNet-2B-4T, T-MAN on the NPU (up to)",
        "T-MAC t-man/README",
        50.0,
        _BITNET_2B_BYTES,
    ),
    _Decode(
        "raspberrypi5",
        "cpu-one",
        "BitNet-3B 2-bit, T-MAC, 1 thread",
        "T-MAC docs/profiling_data.md",
        8.03,
        _BITNET_3B_BYTES,
    ),
    _Decode(
        "raspberrypi5",
        "cpu",
        "BitNet-3B 2-bit, T-MAC, 2 threads",
        "T-MAC docs/profiling_data.md",
        11.09,
        _BITNET_3B_BYTES,
    ),
    _Decode(
        "raspberrypi5",
        "cpu",
        "SmallThinker-4B-A0.6B Q4_0, in memory",
        _PI_READER,
        28.8,
        0.6e9 * 4.5 / 8,
    ),
    _Decode(
        "raspberrypi5",
        "cpu",
        "SmallThinker-21B-A3B Q4_0, in memory",
        _PI_READER,
        6.61,
        3.0e9 * 4.5 / 8,
    ),
)

_NCNN_FLOAT32 = "ncnn benchmark/README.md (b5997bc)"
_NCNN = "ncnn benchmark/README.md (08c2dac)"
_NETWORK_MS: dict[tuple[str, str], tuple[str, dict[str, float]]] = {
    ("cpu-big", "float32"): (
        _NCNN_FLOAT32,
        {"squeezenet": 18.22, "mobilenet": 29.98, "mobilenet_v2": 20.86, "googlenet": 63.45}
        | {"resnet18": 56.75, "alexnet": 70.62, "vgg16": 306.62, "resnet50": 145.38},
    ),
    ("cpu-big", "float16"): (
        _NCNN,
        {"squeezenet": 9.72, "mobilenet": 15.23, "mobilenet_v2": 10.61, "googlenet": 43.52}
        | {"resnet18": 23.73, "alexnet": 37.89, "vgg16": 138.53, "resnet50": 68.69},
    ),
    ("cpu-big", "int8"): (
        _NCNN,
        {"squeezenet": 10.30, "mobilenet": 12.31, "googlenet": 43.04, "resnet18": 46.91}
        | {"vgg16": 368.55, "resnet50": 87.92},
    ),
    ("cpu", "float32"): (
        _NCNN_FLOAT32,
        {"squeezenet": 8.87, "mobilenet": 11.40, "mobilenet_v2": 9.72, "googlenet": 27.95}
        | {"resnet18": 29.92, "alexnet": 30.81, "vgg16": 162.05, "resnet50": 64.24},
    ),
    ("cpu", "float16"): (
        _NCNN,
        {"squeezenet": 4.51, "mobilenet": 5.99, "mobilenet_v2": 5.13, "googlenet": 17.49}
        | {"resnet18": 11.63, "alexnet": 16.58, "vgg16": 66.40, "resnet50": 28.32},
    ),
    ("cpu", "int8"): (
        _NCNN,
        {"squeezenet": 5.21, "mobilenet": 5.12, "googlenet": 18.63, "resnet18": 18.27}
        | {"vgg16": 147.95, "resnet50": 34.88},
    ),
}
"""Average milliseconds on a OnePlus 7T by processor and dtype."""
_NETWORKS_FITTED = ("mobilenet", "mobilenet_v2", "vgg16", "resnet50")


def published_rows() -> list[ValidationRow]:
    """Return every row, computed now."""
    return [
        *_storage_rows(),
        *_network_rows(),
        *_decode_rows(),
        *_prefill_rows(),
        *_power_rows(),
    ]


def decode_seconds(profile: DeviceProfile, processor: str, weight_bytes: float) -> float:
    """Return the time of one token of a language model that reads all these weights."""
    weights = round(weight_bytes)
    work = Work("matmul", "matmul", "int8", weights, 0, 0, weights)
    return node_cost(work, profile, profile.processor(processor)).seconds


def prefill_seconds(profile: DeviceProfile, processor: str, weights: float) -> float:
    """Return the time of one token of a prompt of 512, where arithmetic is the limit."""
    tokens = 512
    work = Work("matmul", "matmul", "int8", round(weights) * tokens, 0, 0, round(weights))
    return node_cost(work, profile, profile.processor(processor)).seconds / tokens


def network_seconds(profile: DeviceProfile, processor: str, network: str, dtype: str) -> float:
    """Return the time of an image network: its convolutions and dense layers one by one."""
    chip = profile.processor(processor)
    layers = NETWORKS[network]()
    return sum(node_cost(_layer_work(layer, dtype), profile, chip).seconds for layer in layers)


def _layer_work(layer: Layer, dtype: str) -> Work:
    size = _ITEM_BYTES[dtype]
    op_class: OpClass = layer.op_class
    return Work(
        "fully_connected" if op_class == "matmul" else "conv2d",
        op_class,
        dtype,
        layer.macs,
        layer.output_elements,
        (layer.input_elements + layer.output_elements) * size,
        layer.weight_elements * size,
    )


def _storage_rows() -> Iterator[ValidationRow]:
    for name in ("oneplus12", "oneplus15r"):
        profile = load_profile(name)
        model = StorageModel(profile)
        for read in profile.storage.reads if profile.storage else ():
            computed = model.rate(
                parse_bytes(read.block),
                pattern=read.pattern,
                span_bytes=parse_bytes(read.span) if read.span else 0,
                issuer=read.issuer,
                lanes=int(read.lanes) if read.lanes else 0,
            )
            parts = [read.pattern, read.block]
            parts += [f"in {read.span}"] if read.span else []
            parts += [f"from {read.issuer}"] if read.issuer else []
            parts += [f"{read.lanes} in flight"] if read.lanes else []
            yield compare(
                _NAME,
                f"{name}: {' '.join(parts)}, MB/s",
                read.rate_bytes_per_s.source,
                read.rate_bytes_per_s.value / 1e6,
                computed / 1e6,
                fitted=read.anchor,
            )
    model = StorageModel(load_profile("oneplus12"))
    largest = model.rate(8 * 1024 * 1024)
    source = "Samsung launch figures of UFS 4.0"
    yield compare(_NAME, "oneplus12: sequential, large blocks, MB/s", source, 4200, largest / 1e6)
    source = "Cambricon-LLM, arXiv 2409.15654: 70B int8 from UFS 4.0"
    yield compare(_NAME, "oneplus12: 70B int8 from storage, tok/s", source, 0.06, largest / 70e9)


def _network_rows() -> Iterator[ValidationRow]:
    profile = load_profile("oneplus7t")
    for (processor, dtype), (source, times) in _NETWORK_MS.items():
        threads = 1 if processor == "cpu-big" else 4
        for network, published in times.items():
            yield compare(
                _NAME,
                f"oneplus7t: {network} {dtype}, {threads} threads, ms",
                source,
                published,
                network_seconds(profile, processor, network, dtype) * 1e3,
                fitted=network in _NETWORKS_FITTED,
            )


def _decode_rows() -> Iterator[ValidationRow]:
    for row in _DECODE:
        seconds = decode_seconds(load_profile(row.profile), row.processor, row.weight_bytes)
        quantity = f"{row.profile}: decode {row.what}, tok/s"
        yield compare(_NAME, quantity, row.source, row.published, 1 / seconds)
    scan = load_profile("raspberrypi5").ram.bandwidth_bytes_per_s.value
    source = "raspberrypi/firmware#1876 tables: copy, 8 GB"
    yield compare(_NAME, "raspberrypi5: copy, half of scan-64, GB/s", source, 5.6, scan / 2e9)


def _prefill_rows() -> Iterator[ValidationRow]:
    profile = load_profile("oneplus12")
    table = f"{_POWERINFER}, table 3"
    rows = (
        ("cpu", "Llama-3.2-1B, ExecuTorch", _EXECUTORCH, 260.5, LLAMA_1B[0], True),
        ("cpu", "Llama-3.2-3B, ExecuTorch", _EXECUTORCH, 89.7, LLAMA_3B[0], False),
        ("cpu", "Gemma3-1B, LiteRT-LM, S24 Ultra", "LiteRT-LM README", 243.0, 0.698e9, False),
        ("npu", "7B 4-bit", table, 770.0, 6.98e9, True),
        ("npu", "Bamboo-7B, QNN", f"{_POWERINFER}, section 7", 772.0, 6.98e9, True),
    )
    for processor, what, source, published, weights, fitted in rows:
        rate = 1 / prefill_seconds(profile, processor, weights)
        quantity = f"oneplus12: prefill {what} ({processor}), tok/s"
        yield compare(_NAME, quantity, source, published, rate, fitted=fitted)


def _power_rows() -> Iterator[ValidationRow]:
    profile = load_profile("oneplus12")
    source = f"{_POWERINFER}, section 7"
    rows = (
        ("cpu", "llama.cpp", 4.065, 0.672, _BAMBOO_WEIGHTS * 4.5 / 8),
        ("npu", "QNN", 5.133, 0.373, _BAMBOO_WEIGHTS / 2),
    )
    for processor, what, watts, joules, weight_bytes in rows:
        weights = round(weight_bytes)
        work = Work("matmul", "matmul", "int8", weights, 0, 0, weights)
        cost = node_cost(work, profile, profile.processor(processor))
        energy_j = cost.energy_j + idle_power_w(profile) * cost.seconds
        quantity = f"oneplus12: decode {what}"
        yield compare(_NAME, f"{quantity}, W", source, watts, energy_j / cost.seconds, fitted=True)
        yield compare(_NAME, f"{quantity}, J a token", source, joules, energy_j)
    thermal = load_profile("oneplus15r").thermal
    if thermal is not None:
        slowest = thermal.slowest_fraction.value
        source = "BigMoeOnEdge docs/benchmarks.md: 6.54 -> 3.93 tok/s"
        quantity = "oneplus15r: hot over cold token rate"
        yield compare(_NAME, quantity, source, 3.93 / 6.54, slowest, fitted=True)
