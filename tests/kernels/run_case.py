"""Runs a test case of an operator on the reference."""

from __future__ import annotations

import numpy as np

from edgekit.dtypes import Array
from edgekit.graph import Node, Tensor, TensorKind
from edgekit.ops import registry
from edgekit.ops.evaluate import initial_state
from edgekit.ops.spec import OpCall, OpCase, OpView


def view_of(op: str, case: OpCase) -> OpView:
    """Return the node of a case with its tensors."""
    tensors = tuple(None if given is None else given[0] for given in case.inputs)
    names = tuple("" if tensor is None else tensor.name for tensor in tensors)
    outputs = tuple(tensor.name for tensor in case.outputs)
    return OpView(Node(case.id, op, names, outputs, case.attrs), tensors, case.outputs)


def fresh_arrays(case: OpCase, *, zero_states: bool = False) -> tuple[Array | None, ...]:
    """Return copies of the case's data; states at their initial value where asked for."""

    def fresh(tensor: Tensor, data: Array) -> Array:
        is_state = tensor.kind is TensorKind.STATE
        return initial_state(tensor) if zero_states and is_state else np.array(data)

    return tuple(None if given is None else fresh(*given) for given in case.inputs)


def run_reference(op: str, case: OpCase, *, zero_states: bool = False) -> list[Array]:
    """Return the outputs of the reference."""
    call = OpCall(view_of(op, case), fresh_arrays(case, zero_states=zero_states))
    return list(registry()[op].reference(call))
