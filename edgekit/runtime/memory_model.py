"""Resident memory of executors that allocate by rules of their own: onnxruntime.

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
"""

from __future__ import annotations

from dataclasses import dataclass

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


ONNXRUNTIME_COST = LibraryCost(base_bytes=10_400_000, node_bytes=7_000)
"""Measured with onnxruntime 1.32.0 on x86-64 Linux: sessions of 1 to 800 tiny nodes (convolution
with sigmoid, matrix product with softmax) grow by 9.9 to 10.5 MB plus 4.8 to 7.3 KB a node."""


def onnxruntime_memory(graph: Graph) -> ExecutorMemory:
    """Return what an onnxruntime session needs beside the activations.

    Parameters
    ----------
    graph : Graph
        As it is written to ONNX.
    """
    sizes = [tensor.size_bytes for tensor in graph.constants()]
    overhead_bytes = ONNXRUNTIME_COST.base_bytes + ONNXRUNTIME_COST.node_bytes * len(graph.nodes)
    return ExecutorMemory(
        weights_bytes=sum(sizes),
        overhead_bytes=overhead_bytes,
        load_bytes=max(sizes, default=0),
        policy=ONNXRUNTIME_POLICY,
    )
