"""Resident memory of executors that allocate by rules of their own: onnxruntime and LiteRT.

Predicted is by how much the resident memory of a process grows from before the session is created
to the largest use, which may be while the model is loaded or during a run, with the options of
:mod:`edgekit.runtime.onnxruntime_executor`. The Python interpreter, NumPy and onnxruntime's own
import are there before and do not count; docs/runtime.md says how the growth is measured.

The parts:

- weights, once. (Kernels that repack a weight free the original, and the x86-only layout that
  would keep copies of convolution weights is switched off.)
- activations, planned with onnxruntime's rules: inputs and outputs are arrays of the caller, and
  fewer operators work in place.
- the library: pages of code and tables that the first session touches, and an amount for each
  node. Both are measured constants.
- while loading, the largest weight a second time.

For LiteRT: the file, which is mapped; the weights once more, which XNNPACK repacks; activations in
one arena; and again an amount for the library and for each node.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.errors import MissingDependencyError, ModelFormatError
from edgekit.graph import Graph
from edgekit.lifetimes import ReusePolicy
from edgekit.planner import ExecutorMemory

ONNXRUNTIME_POLICY = ReusePolicy(
    with_scratch=False,
    caller_owns_io=True,
    in_place_ops=frozenset(
        {
            *("add", "sub", "mul", "div", "relu", "relu6", "sigmoid", "tanh", "clip", "exp", "log"),
            *("sqrt", "erf", "abs", "neg", "floor", "leaky_relu", "elu", "gelu", "hard_sigmoid"),
            *("batch_norm", "softplus"),
        }
    ),
)
"""Operators whose onnxruntime kernels declare ``MayInplace`` (element-wise arithmetic and
activations), and batch normalization, which is folded into the convolution before it."""


@dataclass(frozen=True, slots=True)
class LibraryCost:
    """What a library takes for itself: once, and for each node of the model."""

    base_bytes: int
    node_bytes: int


ONNXRUNTIME_COST = LibraryCost(base_bytes=9_000_000, node_bytes=7_000)
"""Measured with onnxruntime 1.32.0 on x86-64 Linux: sessions of 1 to 800 tiny nodes (convolution
with sigmoid, matrix product with softmax) grow by 4.8 to 7.3 KB a node, and by 6.3 to 10.5 MB for
the library. Most of the latter are pages of its file, of which the kernel maps more or fewer
around each one that is touched, depending on how the file came into the page cache."""

ONNXRUNTIME_QDQ_NODE_BYTES = 12_300
"""For a node of a file whose layers stand between QuantizeLinear and DequantizeLinear: graph
rewriting replaces nearly all of them while the model is loaded. Measured on the face model in int8
(664 nodes)."""

LITERT_POLICY = ReusePolicy(with_scratch=False, in_place_ops=frozenset())
"""LiteRT plans one arena with inputs and outputs in it; kernels write to buffers of their own."""

LITERT_COST = LibraryCost(base_bytes=3_500_000, node_bytes=20_000)
"""Measured with ai-edge-litert on x86-64 Linux, one thread, int8 and float models of 3 to 164
nodes: the sum of all parts is within 8 % of the growth, but for two with many small layers, which
grow by 16 and 34 % more (docs/runtime.md)."""

POLICIES: Mapping[str, ReusePolicy] = {
    "onnxruntime": ONNXRUNTIME_POLICY,
    "litert": LITERT_POLICY,
}
"""How executors place activations that do not follow a plan to the byte."""


def litert_memory(file_bytes: int, constants_bytes: int, nodes: int) -> ExecutorMemory:
    """Return what LiteRT needs for a file beside the activations.

    Parameters
    ----------
    file_bytes : int
        Size of the model file, all of which is mapped.
    constants_bytes : int
        Size of its weights.
    nodes : int
    """
    return ExecutorMemory(
        weights_bytes=file_bytes,
        overhead_bytes=LITERT_COST.base_bytes + LITERT_COST.node_bytes * nodes + constants_bytes,
        policy=LITERT_POLICY,
    )


def onnxruntime_memory(graph: Graph) -> ExecutorMemory:
    """Return what an onnxruntime session of a float graph needs beside the activations."""
    sizes = [tensor.size_bytes for tensor in graph.constants()]
    return _memory(sizes, len(graph.nodes) * ONNXRUNTIME_COST.node_bytes)


def onnxruntime_file_memory(model: bytes) -> ExecutorMemory:
    """Return what an onnxruntime session of an ONNX file needs beside the activations.

    For files that hold other constants than the graph they were made from, such as models with
    dynamically quantized weights.

    Raises
    ------
    ModelFormatError
        If the bytes are no ONNX model.
    MissingDependencyError
        If onnx is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingDependencyError("onnx", library="onnx") from error
    try:
        graph = onnx.load_model_from_string(model).graph
    except DecodeError as error:
        raise ModelFormatError(f"no ONNX model: {error}") from error
    sizes = [
        math.prod(item.dims) * onnx.helper.tensor_dtype_to_np_dtype(item.data_type).itemsize
        for item in graph.initializer
    ]
    is_qdq = any(node.op_type == "QuantizeLinear" for node in graph.node)
    node_bytes = ONNXRUNTIME_QDQ_NODE_BYTES if is_qdq else ONNXRUNTIME_COST.node_bytes
    return _memory(sizes, len(graph.node) * node_bytes)


def _memory(constant_sizes_bytes: list[int], nodes_bytes: int) -> ExecutorMemory:
    return ExecutorMemory(
        weights_bytes=sum(constant_sizes_bytes),
        overhead_bytes=ONNXRUNTIME_COST.base_bytes + nodes_bytes,
        load_bytes=max(constant_sizes_bytes, default=0),
        policy=ONNXRUNTIME_POLICY,
    )
