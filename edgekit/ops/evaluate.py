"""Run a graph node by node with the reference functions: the plainest executor there is.

No plan, no arena: every tensor is an array of its own, dropped after its last use. Calibration and
the kernel tests use it, and everything faster is compared with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgekit.dtypes import Array
from edgekit.errors import ExecutionError, UsageError
from edgekit.graph import Graph, Node, Tensor, TensorKind
from edgekit.ops import spec_of
from edgekit.ops.spec import OpCall, OpView
from edgekit.shapes import bind_dims

Observer = Callable[[str, Array], None]
"""Called with the name and the array of each graph input and each computed tensor."""


def evaluate(
    graph: Graph,
    inputs: Mapping[str, Array],
    states: dict[str, Array] | None = None,
    *,
    observe: Observer | None = None,
) -> dict[str, Array]:
    """Return the outputs of one run.

    Parameters
    ----------
    graph : Graph
        Named dimensions take their values from the shapes of ``inputs``.
    inputs : mapping of name to array
        One array for each graph input, of its shape and dtype.
    states : dict of name to array, optional
        Arrays of the ``STATE`` tensors, updated in place; missing ones are added at their initial
        value. Without it every run starts from the initial state.
    observe : callable, optional
        Called for each graph input, then for each tensor as it is computed.

    Returns
    -------
    dict of name to array
        In the order of ``graph.outputs``.

    Raises
    ------
    UsageError
        If an input is missing, unknown, or of another shape or dtype.
    ExecutionError
        If an operator returns what its shape rule does not promise.
    """
    _check_names(graph, inputs)
    graph = _bound_to(graph, inputs)
    values = {name: _checked_input(graph.tensors[name], inputs[name]) for name in graph.inputs}
    if observe is not None:
        for name, array in values.items():
            observe(name, array)
    state_arrays = {} if states is None else states
    for name, array in initial_states(graph).items():
        state_arrays.setdefault(name, array)
    last_use = _last_uses(graph)
    for index, node in enumerate(graph.nodes):
        for name, array in zip(
            node.outputs, _run_node(graph, node, values, state_arrays), strict=True
        ):
            values[name] = array
            if observe is not None:
                observe(name, array)
        for name in (*node.inputs, *node.outputs):
            if last_use.get(name, index) <= index:
                values.pop(name, None)
    return {name: _array_of(graph, name, values, state_arrays) for name in graph.outputs}


def initial_states(graph: Graph) -> dict[str, Array]:
    """Return new arrays for the ``STATE`` tensors of a graph, each standing for real zero.

    A quantized int8 state starts at its zero point, as TensorFlow Lite Micro resets variables.
    """
    return {
        name: initial_state(tensor)
        for name, tensor in graph.tensors.items()
        if tensor.kind is TensorKind.STATE
    }


def initial_state(tensor: Tensor) -> Array:
    """Return the initial array of one ``STATE`` tensor (static shape)."""
    zero = 0
    if tensor.quantization is not None and tensor.dtype.numpy == np.int8:
        zero = int(tensor.quantization.zero_point[0])
    return np.full(tensor.static_shape, zero, tensor.dtype.numpy)


def _check_names(graph: Graph, inputs: Mapping[str, Array]) -> None:
    missing = [name for name in graph.inputs if name not in inputs]
    unknown = [name for name in inputs if name not in graph.inputs]
    if missing or unknown:
        problem = f"no array for input {missing[0]}" if missing else f"no input {unknown[0]}"
        raise UsageError(f"{problem}; the model's inputs are {', '.join(graph.inputs)}")


def _bound_to(graph: Graph, inputs: Mapping[str, Array]) -> Graph:
    """Give named dimensions the sizes that the input arrays have."""
    named = False
    dims: dict[str, int] = {}
    for name in graph.inputs:
        shape = graph.tensors[name].shape
        if len(shape) != inputs[name].ndim:
            raise UsageError(
                f"input {name} has {len(shape)} dimensions, the array {inputs[name].ndim}"
            )
        for dim, size in zip(shape, inputs[name].shape, strict=True):
            if isinstance(dim, str):
                named = True
                if dims.setdefault(dim, size) != size:
                    raise UsageError(f"dimension '{dim}' is both {dims[dim]} and {size}")
    return bind_dims(graph, dims) if named else graph


def _checked_input(tensor: Tensor, array: Array) -> Array:
    if tuple(array.shape) != tensor.shape or array.dtype != tensor.dtype.numpy:
        raise UsageError(
            f"input {tensor.name} takes {tensor.dtype.value}{list(tensor.shape)}, "
            f"not {array.dtype}{list(array.shape)}"
        )
    return array


def _last_uses(graph: Graph) -> dict[str, int]:
    """Return the index of the last node that reads each tensor; outputs live past the end."""
    last = {name: index for index, node in enumerate(graph.nodes) for name in node.inputs}
    last.update(dict.fromkeys(graph.outputs, len(graph.nodes)))
    return last


def _array_of(
    graph: Graph, name: str, values: Mapping[str, Array], states: Mapping[str, Array]
) -> Array:
    if name in values:
        return values[name]
    if name in states:
        return states[name]
    return graph.tensors[name].data


def _run_node(
    graph: Graph, node: Node, values: Mapping[str, Array], states: Mapping[str, Array]
) -> list[Array]:
    arrays = tuple(_array_of(graph, name, values, states) if name else None for name in node.inputs)
    # Infinity and NaN are values like others, as they are on devices.
    with np.errstate(all="ignore"):
        outputs = list(spec_of(node).reference(OpCall(OpView.of(graph, node), arrays)))
    for name, array in zip(node.outputs, outputs, strict=True):
        tensor = graph.tensors[name]
        if tuple(array.shape) != tensor.static_shape or array.dtype != tensor.dtype.numpy:
            raise ExecutionError(
                f"{node.op} computed {array.dtype}{list(array.shape)} for {name}, declared "
                f"{tensor.dtype.value}{list(tensor.shape)}",
                step=node.where,
            )
    return outputs
