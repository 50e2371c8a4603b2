"""Instructions of layers on a Cortex-M, at whatever widths: which of two plans is faster.

``instructions = sum(amount x rate)`` over what a kernel does: multiply-accumulates (by the bits of
the weights), values gathered for them (by the bits of the input), outputs rescaled and stored (by
the bits of the output), runs of bytes copied, and the call itself. Rates are fitted to instructions
counted under QEMU; ``python -m tests.benchmarks.bench_instruction_model`` prints them, and how far
off they are on networks that they were not fitted to.

Times of a plan come from the rates of the device's profile (:mod:`edgekit.cost.roofline`), times
:func:`width_factor`. The instructions themselves are for choosing between plans for one device
whose layers differ in widths and in what is computed twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from edgekit.cost.instruction_rates import RATES, Rates
from edgekit.dtypes import DType
from edgekit.graph import Graph, Tensor
from edgekit.ops import spec_of
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView

_COPIES = frozenset({"slice", "paste", "concat", "pad", "blank"})
_POOLS = frozenset({"average_pool2d", "max_pool2d", "reduce_mean"})
_WEIGHTED = frozenset({"conv2d", "pointwise", "depthwise", "depthwise 3x3", "fully_connected"})
_OWN_RATES = _POOLS | {"fully_connected", "add", "quantize", "transpose", "outlier_test"}
_VIEWS = frozenset({"reshape", "identity"})


def instructions(graph: Graph, kernels: KernelSet) -> dict[str, float]:
    """Return the instructions of each node, by name.

    Parameters
    ----------
    graph : Graph
        Static shapes, channels last.
    kernels : KernelSet
        Whose kernels run it. Where they have no rates, those of the DSP extension stand in:
        portable kernels take more for each product, Helium less.

    Raises
    ------
    UnsupportedOpError
        If edgekit has no such operator.
    """
    rates = RATES.get(kernels, RATES[KernelSet.CORTEX_M_DSP])
    return {node.name: node_instructions(OpView.of(graph, node), rates) for node in graph.nodes}


def node_instructions(view: OpView, rates: Mapping[str, Rates]) -> float:
    """Return the instructions of one node, from the rates of its kind."""
    kind = kind_of(view)
    if kind == "view":
        return 0.0
    of_kind = rates[kind]
    return sum(amount * of_kind[what] for what, amount in amounts(view).items())


def width_factor(view: OpView) -> float:
    """Return the instructions of a node over those that it takes in int8; 1 without narrow values.

    Of the kernels for the DSP extension, which most cores have that fewer bits are for.
    """
    tensors = [tensor for tensor in (*view.inputs, *view.outputs) if tensor is not None]
    if not any(tensor.dtype.is_packed for tensor in tensors):
        return 1.0
    rates = RATES[KernelSet.CORTEX_M_DSP]
    wide = OpView(view.node, tuple(map(_widened, view.inputs)), tuple(map(_in_int8, view.outputs)))
    plain = node_instructions(wide, rates)
    return node_instructions(view, rates) / plain if plain else 1.0


def kind_of(view: OpView) -> str:
    """Return which rates hold for a node.

    ``view`` computes nothing. Operators without rates of their own are ``other``.
    """
    op = view.node.op
    if op in _VIEWS:
        return "view"
    if op == "conv2d":
        return "pointwise" if view.input(1).static_shape[1:3] == (1, 1) else "conv2d"
    if op == "depthwise_conv2d":
        return "depthwise 3x3" if view.input(1).static_shape[1:3] == (3, 3) else "depthwise"
    if op in _COPIES:
        return "copy"
    return op if op in _OWN_RATES else "other"


def amounts(view: OpView) -> dict[str, float]:
    """Return what a node does, by the names under which its kind has rates."""
    kind = kind_of(view)
    output = view.outputs[0]
    if kind in _WEIGHTED:
        return _of_weighted(view, kind)
    if kind in _POOLS:
        x = view.input(0)
        macs = max(spec_of(view.node).macs(view), x.elements)
        return {
            "calls": 1,
            f"gathered/{_bits(x)}": macs,
            f"outputs/{_bits(output)}": output.elements,
        }
    if kind == "copy":
        moved = _copied(view)
        return {"calls": 1, "pieces": _pieces(view, moved), "bytes": moved.size_bytes}
    if kind == "add":
        bits = _bits_of_sum(view)
        return {f"calls/{bits}": 1, f"outputs/{bits}": output.elements}
    if kind == "outlier_test":
        x = view.input(0)
        return {"calls": 1, f"gathered/{_bits(x)}": x.elements}
    return {"calls": 1, "outputs": output.elements}


def _of_weighted(view: OpView, kind: str) -> dict[str, float]:
    x, weights, output = view.input(0), view.input(1), view.outputs[0]
    found: dict[str, float] = {
        "calls": 1,
        f"macs/{_bits(weights)}": spec_of(view.node).macs(view),
        f"gathered/{_bits(x)}": x.elements,
        f"outputs/{_bits(output)}": output.elements,
    }
    if kind.startswith("depthwise"):
        batches, height, width, channels = output.static_shape
        found["rows"] = x.elements // x.static_shape[2]
        found["channels"] = channels
        found["fours"] = batches * height * -(-width // 4) * channels
    elif kind != "fully_connected":
        pixels = output.elements // output.static_shape[3]
        found[f"gathered/{_bits(x)}"] = pixels * math.prod(weights.static_shape[1:])
    return found


def _copied(view: OpView) -> Tensor:
    """Return the tensor whose bytes are moved: a paste writes its part in place."""
    return view.input(0) if view.node.op == "paste" else view.outputs[0]


def _pieces(view: OpView, moved: Tensor) -> int:
    """Return in how many runs of bytes a part of an image is moved, whole rows of it in one."""
    image = view.outputs[0] if view.node.op == "paste" else view.optional_input(0)
    if image is None or len(image.shape) != len(moved.shape):
        return 1
    run = 1
    for part, whole in zip(reversed(moved.static_shape), reversed(image.static_shape), strict=True):
        run *= min(part, whole)
        if part != whole:
            break
    return moved.elements // max(run, 1)


def _widened(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else _in_int8(tensor)


def _in_int8(tensor: Tensor) -> Tensor:
    return replace(tensor, dtype=DType.INT8) if tensor.dtype.is_packed else tensor


def _bits(tensor: Tensor) -> int:
    """Return the bits of a value, at most 8: those of wider ones are of the operator's kind."""
    return min(tensor.dtype.bits, 8)


def _bits_of_sum(view: OpView) -> int:
    """Return the bits that all tensors of a sum have; 8 where they differ.

    Kernels look sums of one width up two by two. All others take about what int8 takes, twice as
    much at most (of int8 to 4 bits).
    """
    widths = {_bits(tensor) for tensor in (*view.inputs, *view.outputs) if tensor is not None}
    return widths.pop() if len(widths) == 1 else 8
