"""TensorFlow Lite models planned for microcontrollers, and inputs for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.converters.emitters.c_source import emit_c
from edgekit.converters.importers import load_model
from edgekit.converters.layout import to_layout
from edgekit.converters.passes import simplify
from edgekit.deploy.cores import CORES
from edgekit.deploy.firmware import build_image
from edgekit.deploy.memory_layout import MemoryLayout
from edgekit.deploy.toolchain import Toolchain
from edgekit.dtypes import Array
from edgekit.emulators.mcu import EmulatedBoard
from edgekit.emulators.qemu_board import machine_of
from edgekit.graph import Graph, Tensor
from edgekit.ops.evaluate import evaluate, initial_states
from edgekit.ops.kernel_set import KernelSet
from edgekit.plan import Plan
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.schedule import schedule
from edgekit.shapes import bind_dims

KWS = "mlperf_tiny/kws/kws_ref_model.tflite"
TINY = (
    KWS,
    "mlperf_tiny/ic/pretrainedResnet_quant.tflite",
    "mlperf_tiny/vww/vww_96_int8.tflite",
    "mlperf_tiny/ad/ad01_int8.tflite",
)
"""The four models of MLPerf Tiny."""

INT8_MODELS = (
    *TINY,
    "tflm/dtln/dtln_noise_suppression.tflite",
    "tflm/hello_world/hello_world_int8.tflite",
    "tflm/keyword/keyword_scrambled.tflite",
    "tflm/keyword/keyword_scrambled_8bit.tflite",
    "tflm/micro_speech/micro_speech_quantized.tflite",
    "tflm/mnist_lstm/trained_lstm_int8.tflite",
    "tflm/person_detection/person_detect.tflite",
    "tinyengine/vww.tflite",
)
LARGE_MODELS = (
    "tflm/xtensa_examples/mobilenet_v2_quantized_1x3x224x224.tflite",
    "tinyengine/mcunetv2_large.tflite",
)
"""Of 224 by 224 pixels."""


def planned(
    path: Path, device: str = "stm32h743", kernels: KernelSet = KernelSet.PORTABLE
) -> tuple[Graph, Plan]:
    """Return a model as it goes to a device, ordered, and its plan."""
    graph = to_layout(bind_dims(simplify(load_model(path))), "NHWC")
    ordered = schedule(graph, kernels=kernels).graph
    profile = load_profile(device)
    return ordered, build_plan(ordered, profile, executor="reference", kernels=kernels)


def board_of(
    path: Path, core_name: str, folder: Path, toolchain: Toolchain | None = None
) -> EmulatedBoard:
    """Build for all the memory that the machine has, whatever the device."""
    core = CORES[core_name]
    graph, plan = planned(path, kernels=core.kernels)
    machine = machine_of(core)
    layout = MemoryLayout(machine.name, machine.flash, machine.ram, vectors=machine.vectors)
    model = emit_c(graph, plan)
    image = build_image(
        model.files, core, layout, folder, toolchain=toolchain, uses_float=model.uses_float
    )
    return EmulatedBoard(graph, load_profile("stm32h743"), core, model, image)


def random_inputs(graph: Graph, seed: int) -> dict[str, Array]:
    """Return arrays that use the whole range of every input's type, or with odd seeds a part."""
    rng = np.random.default_rng(seed)
    return {name: random_array(graph.tensors[name], rng, seed) for name in graph.inputs}


def random_array(tensor: Tensor, rng: np.random.Generator, seed: int) -> Array:
    """Return one such array."""
    if tensor.dtype.is_float:
        middle, width = (rng.uniform(-1, 1), rng.uniform(0, 1)) if seed % 2 else (0, 1)
        real = middle + width * rng.normal(size=tensor.static_shape)
        return np.asarray(real).astype(tensor.dtype.numpy)
    limits = np.iinfo(tensor.dtype.value)
    low, high = int(limits.min), int(limits.max)
    if seed % 2:
        low, high = sorted(int(bound) for bound in rng.integers(low, high + 1, 2))
    return rng.integers(low, high + 1, tensor.static_shape).astype(tensor.dtype.numpy)


def expected_outputs(graph: Graph, inputs: list[dict[str, Array]]) -> list[bytes]:
    """Return the bytes of all outputs of each run, one after the other with state kept between."""
    states = initial_states(graph)
    found: list[bytes] = []
    for item in inputs:
        outputs = evaluate(graph, item, states)
        found.append(b"".join(outputs[name].tobytes() for name in graph.outputs))
    return found
