"""Layers that get weights of four bits: as few as flash needs, the largest first."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.converters.quantization.bit_widths import NARROW_WEIGHTS, with_bit_widths
from edgekit.converters.quantization.narrow_layers import CODE_BYTES, TABLE_BYTES, layers_for_flash
from edgekit.graph import Graph
from tests.narrow_networks import int8_network

GRAPH = int8_network()
LAYERS = [node for node in GRAPH.nodes if node.op in NARROW_WEIGHTS]
CHANNELS = sum(GRAPH.tensors[node.outputs[0]].static_shape[-1] for node in LAYERS)
OTHER_BYTES = CODE_BYTES + TABLE_BYTES * CHANNELS
ROWS_BYTES = sum(GRAPH.tensors[node.inputs[1]].elements // 8 for node in LAYERS)
"""More than rows of an odd number of weights lose by taking whole bytes."""


def narrowed(layers: dict[str, int]) -> Graph:
    return with_bit_widths(GRAPH, {}, layers)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, GRAPH.weights_bytes))
def test_constants_fit_where_they_can_and_small_layers_stay(most_bytes: int) -> None:
    layers = layers_for_flash(GRAPH, most_bytes + OTHER_BYTES)
    if len(layers) < len(LAYERS):
        assert narrowed(layers).weights_bytes <= most_bytes + ROWS_BYTES
    sizes = {node.name: GRAPH.tensors[node.inputs[1]].elements for node in LAYERS}
    kept = [sizes[name] for name in sizes if name not in layers]
    assert all(sizes[name] >= max(kept, default=0) for name in layers)
    if layers:
        smallest = min(layers, key=lambda name: sizes[name])
        without = {name: bits for name, bits in layers.items() if name != smallest}
        assert narrowed(without).weights_bytes > most_bytes


def test_what_fits_stays_as_it_is() -> None:
    assert layers_for_flash(GRAPH, GRAPH.weights_bytes + OTHER_BYTES) == {}
    assert set(layers_for_flash(GRAPH, 0)) == {node.name for node in LAYERS}
