"""Instructions of narrow layers: ``python -m tests.benchmarks.bench_packed_layers [KIND ...]``.

Kernels alone on random values, under QEMU on a Cortex-M4; each result is compared with that of the
kernel of int8 on the same values. The ratios say what values and weights below 8 bits cost in time
for the memory that they save.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.deploy.cores import CORES
from edgekit.deploy.firmware import build_image
from edgekit.deploy.host_program import build_kernel_library
from edgekit.deploy.memory_layout import MemoryLayout
from edgekit.dtypes import Array
from edgekit.emulators.qemu_board import machine_of, run_image
from edgekit.ops.kernel_set import KernelSet
from edgekit.runtime.lowering import SCRATCH, KernelCall
from edgekit.runtime.lowering.call import Field
from edgekit.runtime.lowering.weighted import lifted_channels, weights_in_order
from edgekit.runtime.native_kernels import scratch_bytes
from tests.kernels.test_packed_kernels import bounds, drawn, pack

CORE = CORES["cortex-m4"]
WIDTHS = {
    "int8": (8, 8),
    "4 bits": (4, 8),
    "2 bits": (2, 8),
    "4-bit weights": (8, 4),
    "4 bits, 4-bit weights": (4, 4),
}
"""Bits of values and of weights."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Shapes (H, W, C); ``kind`` is conv2d, depthwise_conv2d, add or average_pool2d."""

    name: str
    kind: str
    input_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    kernel: int = 1
    input_bits: int | None = None
    """Where the input keeps its bits, as that of a network does."""

    @property
    def stride(self) -> int:
        return -(-self.input_shape[0] // self.output_shape[0]) if self.output_shape[0] > 1 else 1


LAYERS = (
    Layer("stem 3x3, stride 2, int8 in", "conv2d", (48, 48, 3), (24, 24, 16), 3, 8),
    Layer("1x1, 16 to 96", "conv2d", (24, 24, 16), (24, 24, 96)),
    Layer("1x1, 96 to 16", "conv2d", (24, 24, 96), (24, 24, 16)),
    Layer("3x3, 16 to 16", "conv2d", (24, 24, 16), (24, 24, 16), 3),
    Layer("depthwise 3x3", "depthwise_conv2d", (24, 24, 32), (24, 24, 32), 3),
    Layer("depthwise 3x3, stride 2", "depthwise_conv2d", (24, 24, 32), (12, 12, 32), 3),
    Layer("add", "add", (24, 24, 16), (24, 24, 16)),
    Layer("average pool 6x6", "average_pool2d", (6, 6, 64), (1, 1, 64), 6),
)


def window(layer: Layer, channels: Mapping[str, Field]) -> dict[str, Field]:
    (height, width, _), (out_height, out_width, _) = layer.input_shape, layer.output_shape
    reach = (out_height - 1) * layer.stride + layer.kernel - height
    return {
        "batches": 1,
        "input_height": height,
        "input_width": width,
        **{name: value for name, value in channels.items() if name != "output_channels"},
        "output_height": out_height,
        "output_width": out_width,
        **{name: value for name, value in channels.items() if name == "output_channels"},
        "kernel_height": layer.kernel,
        "kernel_width": layer.kernel,
        "stride_height": layer.stride,
        "stride_width": layer.stride,
        "dilation_height": 1,
        "dilation_width": 1,
        "pad_top": reach // 2,
        "pad_left": reach // 2,
    }


def fields_of(layer: Layer, bits: int, weight_bits: int) -> dict[str, Field]:
    """Return what the kernel of int8 takes."""
    data = np.random.default_rng(1)
    low, high = bounds(bits)
    stage: dict[str, Field] = {"activation_min": low, "activation_max": high}
    channels, outputs = layer.input_shape[2], layer.output_shape[2]
    factor = 2**30 + 12345
    if layer.kind == "add":
        return {
            "dims": (1, 1, 1, 1, 1, int(np.prod(layer.output_shape))),
            "first_strides": (1,) * 6,
            "second_strides": (1,) * 6,
            "left_shift": 20,
            "first_zero_point": 0,
            "first_multiplier": factor,
            "first_shift": -1,
            "second_zero_point": 0,
            "second_multiplier": factor,
            "second_shift": -1,
            "output_zero_point": 0,
            "output_multiplier": factor,
            "output_shift": -19,
            **stage,
        }
    if layer.kind == "average_pool2d":
        return {**window(layer, {"channels": channels}), **stage}
    rows = np.zeros((outputs, 3), np.int32)
    rows[:, 0] = data.integers(-1000, 1000, outputs)
    rows[:, 1] = data.integers(2**30, 2**31 - 1, outputs)
    rows[:, 2] = -9
    matrix = matrix_of(layer, weight_bits)
    return {
        **window(layer, {"input_channels": channels, "output_channels": outputs}),
        "groups": channels if layer.kind == "depthwise_conv2d" else 1,
        "input_zero_point": 0,
        "output_zero_point": 0,
        **stage,
        "simple_rescale": 1,
        "weights": stored_weights(layer, matrix, 8),
        "channels": rows.reshape(-1),
    }


def matrix_of(layer: Layer, bits: int) -> npt.NDArray[np.int8]:
    """Return the layer's weights, a row for each channel of the output."""
    inputs = 1 if layer.kind == "depthwise_conv2d" else layer.input_shape[2]
    shape = layer.output_shape[2], layer.kernel**2 * inputs
    return drawn(np.random.default_rng(2), shape, bits)


def stored_weights(layer: Layer, matrix: npt.NDArray[np.int8], bits: int) -> npt.NDArray[np.int8]:
    """Return weights as they lie in flash."""
    if layer.kind == "depthwise_conv2d":
        return pack(np.ascontiguousarray(matrix.T), bits).view(np.int8).reshape(-1)
    return weights_in_order(matrix, CORE.kernels, bits=bits).reshape(-1)


def own_fields(
    layer: Layer, fields: Mapping[str, Field], bits: int, weight_bits: int
) -> dict[str, Field]:
    """Return what the kernel of packed values takes, beside or instead of that of int8."""
    input_bits = layer.input_bits or bits
    if layer.kind == "average_pool2d":
        return {"value_bits": bits}
    if layer.kind == "add":
        height, width, channels = layer.output_shape
        sizes = {"pixels": height * width, "channels": channels}
        return {**sizes, "first_bits": bits, "second_bits": bits, "output_bits": bits}
    matrix = matrix_of(layer, weight_bits)
    own: dict[str, Field] = {"input_bits": input_bits, "output_bits": bits}
    own |= {"weight_bits": weight_bits, "weights": stored_weights(layer, matrix, weight_bits)}
    if layer.kind == "conv2d":
        rows = np.asarray(fields["channels"], np.int32).reshape(-1, 3)
        own["channels"] = lifted_channels(rows, matrix, input_bits, CORE.kernels).reshape(-1)
    return own


def literal(value: Field) -> str:
    return "{" + ", ".join(map(str, value)) + "}" if isinstance(value, tuple) else str(value)


def sources(
    call: KernelCall, base: str | None, scratch: int, sizes: Mapping[str, int]
) -> dict[str, bytes]:
    """Return a program's model that calls one kernel; ``base`` is the part of int8, by its name."""
    arrays, members = [], []
    extra = {"pixels", "channels", *(name for name in call.fields if name.endswith("_bits"))}
    for name, value in call.fields.items():
        is_own = base is None or name.endswith("_bits") or (name in extra and "dims" in call.fields)
        member = name if is_own else f"{base}.{name}"
        if isinstance(value, np.ndarray):
            kind = "int8_t" if value.dtype == np.int8 else "int32_t"
            items = ", ".join(map(str, value.tolist()))
            arrays.append(
                f"static const {kind} {name}[] __attribute__((aligned(4))) = {{{items}}};"
            )
            members.append(f".{member} = {name},")
        else:
            members.append(f".{member} = {literal(value)},")
    memory = [
        f'static uint8_t {name}[{size}] __attribute__((aligned(16), section(".arena")));'
        for name, size in {**sizes, "scratch": max(scratch, 4)}.items()
    ]
    arguments = ", ".join(f"(void *){name}" for name in call.arguments)
    inputs = [name for name in sizes if name != "output"]
    model = [
        '#include "firmware_model.h"',
        '#include "edgekit/kernels.h"',
        *arrays,
        *memory,
        f"static const {call.params_type} params = {{" + " ".join(members) + "};",
        "ek_status model_init(void) { return EK_STATUS_OK; }",
        f"ek_status model_run(void) {{ return {call.function}(&params, {arguments}); }}",
        "void *model_tensor(uint32_t id) {",
        f"static uint8_t *const all[] = {{{', '.join(sizes)}}}; return all[id]; }}",
    ]
    header = [
        "#include <stdint.h>",
        '#include "edgekit/status.h"',
        "ek_status model_init(void); ek_status model_run(void); void *model_tensor(uint32_t id);",
        f"#define EK_MODEL_INPUTS {len(inputs)}u",
        "#define EK_MODEL_OUTPUTS 1u",
        "#define EK_MODEL_INIT model_init",
        "#define EK_MODEL_TENSOR model_tensor",
        "#define EK_MODEL_RUN model_run",
        "#define EK_MODEL_OUTPUT_TYPE int8_t",
        "static const uint32_t ek_model_tensor_bytes[] = "
        f"{{{', '.join(map(str, sizes.values()))}}};",
    ]
    guarded = ["#ifndef FIRMWARE_MODEL_H", "#define FIRMWARE_MODEL_H", *header, "#endif"]
    return {
        "firmware_model.h": ("\n".join(guarded) + "\n").encode(),
        "model.c": ("\n".join(model) + "\n").encode(),
    }


def run(
    library: ctypes.CDLL,
    function: str,
    fields: Mapping[str, Field],
    inputs: Mapping[str, Array],
    output_bytes: int,
) -> tuple[bytes, int]:
    """Return the output and the instructions of one call."""
    has_scratch = hasattr(library, f"{function}_scratch_bytes")
    names = (*inputs, *([SCRATCH] if has_scratch else []), "output")
    kind = function.removeprefix("ek_").removeprefix("depthwise_").removeprefix("average_")
    kind = "binary_s8" if kind == "add_s8" else kind
    call = KernelCall(function, f"ek_{kind}_params", dict(fields), names)
    needed = scratch_bytes(call, library)
    placed = tuple("scratch" if name == SCRATCH else name for name in names)
    named = KernelCall(function, call.params_type, call.fields, placed)
    sizes = {**{name: array.nbytes for name, array in inputs.items()}, "output": output_bytes}
    base = "base" if function.endswith("_packed") else None
    machine = machine_of(CORE)
    layout = MemoryLayout(machine.name, machine.flash, machine.ram, vectors=machine.vectors)
    with tempfile.TemporaryDirectory() as folder:
        files = sources(named, base, needed, sizes)
        image = build_image(files, CORE, layout, Path(folder), uses_float=False)
        data = [[array.tobytes() for array in inputs.values()]]
        done = run_image(image.elf, CORE, data, [output_bytes])
    return done.outputs[0][0], round(done.instructions)


def counted(library: ctypes.CDLL, layer: Layer, bits: int, weight_bits: int) -> int:
    """Return instructions of a layer, whose result has to be that of the kernel of int8."""
    input_bits = layer.input_bits or bits
    names = ("first", "second") if layer.kind == "add" else ("input",)
    data = np.random.default_rng(0)
    values = {name: drawn(data, layer.input_shape, input_bits) for name in names}
    fields = fields_of(layer, bits, weight_bits)
    plain, count = run(
        library, f"ek_{layer.kind}_s8", fields, values, int(np.prod(layer.output_shape))
    )
    if bits == weight_bits == 8:
        return count
    stored: npt.NDArray[np.int8] = np.frombuffer(plain, np.int8).reshape(layer.output_shape)
    expected = pack(stored, bits)
    packed = {name: pack(array, input_bits) for name, array in values.items()}
    function = f"ek_{layer.kind}_packed"
    own = own_fields(layer, fields, bits, weight_bits)
    found, count = run(library, function, {**fields, **own}, packed, expected.nbytes)
    if found != expected.tobytes():
        sys.exit(f"{layer.name}: {bits} bits, weights of {weight_bits} bits differ from int8")
    return count


def main() -> None:
    only = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        built = build_kernel_library(KernelSet.CORTEX_M_DSP, Path(folder), flags=("-O2",))
        library = ctypes.CDLL(str(built))
        print("| layer | " + " | ".join(WIDTHS) + " |\n|" + "---|" * (len(WIDTHS) + 1))
        for layer in LAYERS:
            if only and layer.kind not in only:
                continue
            counts = [
                counted(library, layer, bits, weight_bits)
                for bits, weight_bits in WIDTHS.values()
                if weight_bits == 8 or layer.kind.endswith("conv2d")
            ]
            cells = [f"{count:,} ({count / counts[0]:.2f}x)" for count in counts[1:]]
            print(f"| {layer.name} | {counts[0]:,} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
