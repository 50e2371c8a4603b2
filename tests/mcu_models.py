"""TensorFlow Lite models planned for microcontrollers, and inputs for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.converters.importers import load_model
from edgekit.converters.layout import to_layout
from edgekit.converters.passes import simplify
from edgekit.dtypes import Array
from edgekit.graph import Graph, Tensor
from edgekit.ops.evaluate import evaluate, initial_states
from edgekit.plan import Plan
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.schedule import schedule
from edgekit.shapes import bind_dims


def planned(path: Path, device: str = "stm32h743") -> tuple[Graph, Plan]:
    """Return a model as it goes to a device, ordered, and its plan."""
    graph = to_layout(bind_dims(simplify(load_model(path))), "NHWC")
    ordered = schedule(graph).graph
    return ordered, build_plan(ordered, load_profile(device), executor="reference")


def random_inputs(graph: Graph, seed: int) -> dict[str, Array]:
    """Return arrays that use the whole range of every input's type."""
    rng = np.random.default_rng(seed)
    return {name: random_array(graph.tensors[name], rng) for name in graph.inputs}


def random_array(tensor: Tensor, rng: np.random.Generator) -> Array:
    """Return one such array."""
    if tensor.dtype.is_float:
        return rng.normal(size=tensor.static_shape).astype(tensor.dtype.numpy)
    limits = np.iinfo(tensor.dtype.numpy)
    return rng.integers(limits.min, limits.max + 1, tensor.static_shape).astype(tensor.dtype.numpy)


def expected_outputs(graph: Graph, inputs: list[dict[str, Array]]) -> list[bytes]:
    """Return the bytes of all outputs of each run, one after the other with state kept between."""
    states = initial_states(graph)
    found: list[bytes] = []
    for item in inputs:
        outputs = evaluate(graph, item, states)
        found.append(b"".join(outputs[name].tobytes() for name in graph.outputs))
    return found
