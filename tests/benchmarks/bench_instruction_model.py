"""Rates of :mod:`edgekit.cost.instruction_rates`, and how far off they are.

Every layer of the classifiers that ship, with 8, 4 and 2 bits and with weights of 8 and 4, runs
alone under QEMU; rates are fitted to the relative error, none below zero. ``--check`` predicts
whole networks with the rates that the project has and prints how far off they are; visual wake
words is none of those that rates are fitted to (``EDGEKIT_ASSETS``)::

    python -m tests.benchmarks.bench_instruction_model [--core cortex-m3] [--check]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from edgekit import zoo
from edgekit.converters.calibration.ranges import calibrate
from edgekit.converters.emitters.c_source import emit_c
from edgekit.converters.importers import load_model
from edgekit.converters.layout import to_layout
from edgekit.converters.partitioning.patches import PatchGrid, patch_stages, split_into_patches
from edgekit.converters.partitioning.selective_patches import Choice, split_selectively
from edgekit.converters.passes import simplify
from edgekit.converters.quantization.bit_widths import WIDTHS, width_groups, with_bit_widths
from edgekit.converters.quantization.fallback import quantize_with_gate
from edgekit.converters.quantization.static import quantize_static
from edgekit.cost.instructions import amounts, instructions, kind_of
from edgekit.deploy.cores import CORES
from edgekit.deploy.firmware import build_image
from edgekit.deploy.memory_layout import MemoryLayout
from edgekit.emulators.qemu_board import machine_of, run_image
from edgekit.graph import Attr, Graph, Node, Tensor
from edgekit.ops import int8
from edgekit.ops.spec import OpView
from edgekit.planner import build_plan
from edgekit.shapes import bind_dims
from tests.benchmarks.bench_mcu_layers import PROFILE, alone
from tests.narrow_networks import BlockNetwork, samples_of

WEIGHTED = ("conv2d", "depthwise_conv2d", "fully_connected")
LAYERS_OF_A_KIND = 4
"""Counted of every kind and combination of widths."""


def int8_network(path: Path) -> Graph:
    """Return a network in int8; ranges are those of noise, which changes no count."""
    graph = to_layout(bind_dims(simplify(load_model(path))), "NHWC")
    if any(tensor.dtype.is_float for tensor in graph.tensors.values()):
        noise = np.random.default_rng(0).normal(size=graph.tensors[graph.inputs[0]].static_shape)
        graph = quantize_with_gate(graph, [{graph.inputs[0]: noise.astype(np.float32)}] * 2).graph
    return graph


def at_widths(graph: Graph, bits: int, weight_bits: int = 8) -> Graph:
    """Return a network with every activation and weight of as few bits as are possible."""
    widths = {
        group.tensors[0]: (WIDTHS[bits], int8.quantization_of(graph.tensors[group.tensors[0]]))
        for group in width_groups(graph)
        if bits in group.narrow_bits
    }
    layers = {n.name: weight_bits for n in graph.nodes if n.op in WEIGHTED and weight_bits < 8}
    return with_bit_widths(graph, widths, layers)


def count(graph: Graph, core_name: str) -> float:
    """Return the instructions of one inference; packed inputs are random bytes."""
    core = CORES[core_name]
    machine = machine_of(core)
    layout = MemoryLayout(machine.name, machine.flash, machine.ram, vectors=machine.vectors)
    model = emit_c(graph, build_plan(graph, PROFILE, executor="reference", kernels=core.kernels))
    data = [given_bytes(graph.tensors[name]) for name in graph.inputs]
    with tempfile.TemporaryDirectory() as folder:
        image = build_image(model.files, core, layout, Path(folder), uses_float=model.uses_float)
        return run_image(image.elf, core, [data], model.outputs).instructions


def given_bytes(tensor: Tensor) -> bytes:
    random = np.random.default_rng(0)
    if tensor.dtype.is_float:
        return random.normal(size=tensor.elements).astype(tensor.dtype.numpy).tobytes()
    return random.bytes(tensor.size_bytes)


def forms(graph: Graph) -> Iterator[Graph]:
    for bits, weight_bits in ((8, 8), (4, 8), (2, 8), (8, 4), (4, 4)):
        yield at_widths(graph, bits, weight_bits)


def signature(view: OpView) -> str:
    tensors = [(t.dtype.value, t.shape) for t in (*view.inputs, *view.outputs) if t is not None]
    return str((view.node.op, tensors, sorted(view.node.attrs.items(), key=str)))


def layers(networks: list[Graph]) -> list[tuple[Graph, Node]]:
    """Return layers of different shapes and types, whole and of patches, some of each kind."""
    found: dict[str, dict[str, tuple[Graph, Node]]] = {}
    for graph in (part for whole in networks for form in forms(whole) for part in parts(form)):
        for node in graph.nodes:
            view = OpView.of(graph, node)
            # A paste alone copies its canvas, in whose place it writes in a plan.
            if kind_of(view) != "view" and node.op != "paste":
                group = found.setdefault(group_of(view), {})
                group.setdefault(signature(view), (graph, node))
    chosen = []
    for group in found.values():
        some = list(group.values())
        places = np.linspace(0, len(some) - 1, min(len(some), LAYERS_OF_A_KIND)).astype(int)
        chosen += [some[place] for place in places]
    return chosen


def parts(graph: Graph) -> Iterator[Graph]:
    """Yield a network whole and in patches, with and without kept rows."""
    yield graph
    first = next(node for node in graph.nodes if node.op == "conv2d")
    yield split_into_patches(graph, PatchGrid(first.name, 4, 4))
    yield split_into_patches(graph, PatchGrid(first.name, 4, 1, cached=True))
    choice = Choice(tested=first.outputs[0], low=-90, high=90, most_share=0.1)
    yield split_selectively(graph, graph, PatchGrid(first.name, 4, 4), choice)


def group_of(view: OpView) -> str:
    """Return what tells layers apart whose rates differ."""
    bits = [t.dtype.bits for t in (*view.inputs[:2], *view.outputs) if t is not None]
    return f"{kind_of(view)} {view.node.op} {bits}"


def fitted(rows: Sequence[tuple[Mapping[str, float], float]]) -> dict[str, float]:
    """Return the rates of one kind with the least relative error, none below zero."""
    names = sorted({name for amount, _ in rows for name in amount})
    matrix = np.array([[float(amount.get(name, 0)) for name in names] for amount, _ in rows])
    matrix /= np.array([number for _, number in rows])[:, None]
    kept = list(range(len(names)))
    found = np.zeros(len(names))
    while kept:
        found[:] = 0.0
        found[kept] = np.linalg.lstsq(matrix[:, kept], np.ones(len(rows)), rcond=None)[0]
        if found.min() >= 0.0:
            break
        kept.remove(int(np.argmin(found)))
    return dict(zip(names, found.tolist(), strict=True))


def windows_network() -> Graph:
    """Return an int8 network of 3x3 convolutions, pools and a join, which classifiers lack."""
    net = BlockNetwork(1)
    x = net.conv(net.input("x", 1, 24, 24, 16), 16, 16, size=3, activation="relu6")
    x = net.conv(x, 16, 24, size=3, activation="relu6")
    pool: dict[str, Attr] = {"kernel": (2, 2), "strides": (2, 2), "padding": ((0, 0), (0, 0))}
    for op in ("average_pool2d", "max_pool2d"):
        x = net.node(op, x, **pool, layout="NHWC", activation="none")
        x = net.conv(x, 24, 24, size=3, activation="relu6")
    x = net.node("concat", x, net.conv(x, 24, 8), axis=3, activation="none")
    x = net.node("reduce_mean", x, axes=(1, 2), keep_dims=False)
    graph = net.graph(net.dense(x, 32, 5))
    return quantize_static(graph, calibrate(graph, samples_of(graph)))


def counted(core: str, cache: Path) -> list[tuple[str, dict[str, float], float]]:
    """Return kind, amounts and instructions of every layer; those in the file are not run again."""
    known = json.loads(cache.read_text()) if cache.exists() else {}
    graphs = [int8_network(zoo.image_classifier_path(name)) for name in zoo.IMAGE_CLASSIFIERS]
    rows = []
    for graph, node in layers([*graphs, windows_network()]):
        view = OpView.of(graph, node)
        key = f"{core} {signature(view)}"
        if key not in known:
            known[key] = count(alone(graph, node), core)
            cache.write_text(json.dumps(known))
        rows.append((kind_of(view), amounts(view), known[key]))
    return rows


def print_rates(core: str, cache: Path) -> None:
    rows = counted(core, cache)
    for kind in sorted({kind for kind, _, _ in rows}):
        own = [(amount, number) for of, amount, number in rows if of == kind]
        rates = fitted(own)
        errors = [
            sum(amount[name] * rates[name] for name in amount) / number - 1
            for amount, number in own
        ]
        spread = f"{np.mean(np.abs(errors)):.1%} mean, {np.max(np.abs(errors)):.1%} largest error"
        print(f'"{kind}": {{  # {len(own)} layers: {spread}')
        for name, rate in rates.items():
            print(f'    "{name}": {rate:.4g},')
        print("},", flush=True)


def check(core: str) -> None:
    """Print what is predicted and what is counted of whole networks."""
    paths = [zoo.image_classifier_path(name) for name in zoo.IMAGE_CLASSIFIERS]
    held_out = Path(os.environ["EDGEKIT_ASSETS"], "mcu/mlperf_tiny/vww/vww_96_int8.tflite")
    print("| network | form | predicted | counted | error |\n|---|---|---|---|---|")
    for path in (held_out, *paths):
        for name, graph in checked_forms(int8_network(path)):
            predicted = sum(instructions(graph, CORES[core].kernels).values())
            found = count(graph, core)
            row = f"{path.stem} | {name} | {predicted:,.0f} | {found:,.0f}"
            print(f"| {row} | {predicted / found - 1:+.1%} |", flush=True)


def checked_forms(whole: Graph) -> Iterator[tuple[str, Graph]]:
    """Yield a network whole and in patches, with 8 and with 4 bits."""
    for bits, weight_bits in ((8, 8), (4, 8), (8, 4), (4, 4)):
        form = at_widths(whole, bits, weight_bits)
        name = f"{bits}-bit activations, {weight_bits}-bit weights"
        yield name, form
        if (bits, weight_bits) in ((8, 8), (4, 8)):
            last = patch_stages(form)[len(patch_stages(form)) // 2]
            yield f"{name}, 2x2 patches", split_into_patches(form, PatchGrid(last, 2, 2))
            kept = PatchGrid(last, 6, 1, cached=True)
            yield f"{name}, 6x1 patches", split_into_patches(form, kept)


def main() -> None:
    """Print rates, or what they are off."""
    parser = argparse.ArgumentParser(description="Instructions of layers, and rates that fit them.")
    parser.add_argument("--core", default="cortex-m4", choices=sorted(CORES))
    parser.add_argument(
        "--counts", type=Path, default=Path("layer_counts.json"), help="kept counts"
    )
    parser.add_argument("--check", action="store_true", help="predict whole networks instead")
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments.core)
    else:
        print_rates(arguments.core, arguments.counts)


if __name__ == "__main__":
    main()
