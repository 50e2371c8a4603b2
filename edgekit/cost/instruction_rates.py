"""Instructions for each amount of work, by kernels and kind of node.

Fitted to counts under QEMU 7.2 of layers of the classifiers that ship, one by one, on a Cortex-M4
(``python -m tests.benchmarks.bench_instruction_model`` prints them). The names
are those of :func:`edgekit.cost.instructions.amounts`. Weights of 2 bits, of which none were
counted, take the rates of 8.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.ops.kernel_set import KernelSet

Rates = Mapping[str, float]
"""Instructions for one of each amount of work."""

RATES: Mapping[KernelSet, Mapping[str, Rates]] = {
    KernelSet.CORTEX_M_DSP: {
        "add": {  # 12 layers: 3.8% mean, 17.4% largest error
            "calls/2": 1643.0,
            "calls/4": 20750.0,
            "calls/8": 239.6,
            "outputs/2": 34.75,
            "outputs/4": 6.571,
            "outputs/8": 43.95,
        },
        "average_pool2d": {  # 3 layers: 0.0% mean, 0.0% largest error
            "calls": 0.004151,
            "gathered/2": 19.53,
            "gathered/4": 18.15,
            "gathered/8": 19.7,
            "outputs/2": 4.884,
            "outputs/4": 4.538,
            "outputs/8": 4.924,
        },
        "conv2d": {  # 29 layers: 1.7% mean, 4.3% largest error
            "calls": 4823.0,
            "gathered/2": 0.0,
            "gathered/4": 0.1135,
            "gathered/8": 0.1085,
            "macs/2": 0.8424,
            "macs/4": 0.955,
            "macs/8": 0.8424,
            "outputs/2": 38.94,
            "outputs/4": 37.86,
            "outputs/8": 38.65,
        },
        "copy": {  # 20 layers: 6.1% mean, 21.8% largest error
            "bytes": 0.7219,
            "calls": 101.8,
            "pieces": 87.96,
        },
        "depthwise": {  # 20 layers: 1.4% mean, 3.1% largest error
            "calls": 0.02271,
            "channels": 0.2179,
            "fours": 75.45,
            "gathered/2": 23.55,
            "gathered/4": 24.07,
            "gathered/8": 2.788,
            "macs/2": 10.67,
            "macs/4": 10.07,
            "macs/8": 10.67,
            "outputs/2": 115.5,
            "outputs/4": 122.4,
            "outputs/8": 133.9,
            "rows": 19.25,
        },
        "depthwise 3x3": {  # 20 layers: 5.4% mean, 14.9% largest error
            "calls": 0.0,
            "channels": 183.2,
            "fours": 89.5,
            "gathered/2": 11.53,
            "gathered/4": 10.22,
            "gathered/8": 0.0,
            "macs/2": 0.0,
            "macs/4": 0.3956,
            "macs/8": 0.0,
            "outputs/2": 11.53,
            "outputs/4": 10.22,
            "outputs/8": 0.0,
            "rows": 69.1,
        },
        "fully_connected": {  # 6 layers: 0.5% mean, 1.2% largest error
            "calls": 15.51,
            "gathered/2": 7.589,
            "gathered/4": 7.589,
            "gathered/8": 7.589,
            "macs/2": 1.094,
            "macs/4": 1.374,
            "macs/8": 1.094,
            "outputs/2": 54.58,
            "outputs/4": 54.58,
            "outputs/8": 54.58,
        },
        "max_pool2d": {  # 3 layers: 0.0% mean, 0.0% largest error
            "calls": 0.01838,
            "gathered/2": 22.2,
            "gathered/4": 20.91,
            "gathered/8": 20.41,
            "outputs/2": 5.55,
            "outputs/4": 5.226,
            "outputs/8": 5.102,
        },
        "other": {  # 3 layers: 0.1% mean, 0.1% largest error
            "calls": 16.27,
            "outputs": 8.997,
        },
        "outlier_test": {  # 6 layers: 0.1% mean, 0.1% largest error
            "calls": 21.81,
            "gathered/2": 22.01,
            "gathered/4": 22.01,
            "gathered/8": 21.57,
        },
        "pointwise": {  # 20 layers: 1.3% mean, 3.3% largest error
            "calls": 337.4,
            "gathered/2": 2.987,
            "gathered/4": 3.108,
            "gathered/8": 2.551,
            "macs/2": 0.7297,
            "macs/4": 0.8805,
            "macs/8": 0.7297,
            "outputs/2": 20.66,
            "outputs/4": 19.3,
            "outputs/8": 18.63,
        },
        "quantize": {  # 4 layers: 0.0% mean, 0.0% largest error
            "calls": 18.13,
            "outputs": 50.0,
        },
        "reduce_mean": {  # 9 layers: 3.3% mean, 9.5% largest error
            "calls": 51.15,
            "gathered/2": 2.897,
            "gathered/4": 2.401,
            "gathered/8": 21.44,
            "outputs/2": 66.9,
            "outputs/4": 66.9,
            "outputs/8": 66.9,
        },
        "transpose": {  # 4 layers: 0.0% mean, 0.0% largest error
            "calls": 95.0,
            "outputs": 30.0,
        },
    },
}
