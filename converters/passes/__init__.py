"""Rewrites of a graph that keep what it computes; each is a function from graph to graph."""

from __future__ import annotations

from edgekit.converters.passes.dead_nodes import remove_dead_nodes
from edgekit.converters.passes.fold_constants import fold_constants
from edgekit.converters.passes.fuse import fuse_activations, fuse_affine, fuse_padding
from edgekit.converters.passes.identities import remove_identities, share_duplicates
from edgekit.converters.passes.patterns import recognise_patterns
from edgekit.graph import Graph

_PASSES = (
    fold_constants,
    remove_identities,
    share_duplicates,
    recognise_patterns,
    fuse_affine,
    fuse_padding,
    fuse_activations,
    remove_dead_nodes,
)


def simplify(graph: Graph) -> Graph:
    """Return an equal graph of fewer nodes: constants folded, layers fused, dead nodes removed.

    Names, shapes and types of inputs and outputs stay. Float results differ by rounding only;
    quantized layers are left alone.
    """
    for rewrite in _PASSES:
        graph = rewrite(graph)
    return graph
