"""An int8 network made narrower, as a recipe asks for it: widths searched, weights rounded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from edgekit.converters.quantization.bit_search import WIDE, BitWidths, search_bit_widths
from edgekit.converters.quantization.bit_widths import (
    NARROW_WEIGHTS,
    width_groups,
    with_bit_widths,
)
from edgekit.converters.quantization.histograms import Histogram, observe_histograms
from edgekit.deploy.cores import kernels_of
from edgekit.dtypes import Array, DType
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.ops.kernel_set import KernelSet
from edgekit.pipeline.job import Job, Product
from edgekit.pipeline.kept_source import is_quantized
from edgekit.profiles import DeviceProfile

Inputs = Mapping[str, Array]

_MOST_FITTED = 32
"""Samples to which weights are fitted anew: the live tensors of all are held in memory."""

_KEPT_BACK = 4
"""Of so many samples in a row the last is not fitted to: what is lost is measured on it."""


def fitted_samples(samples: Sequence[Inputs]) -> list[Inputs]:
    """Return the samples that weights are fitted to."""
    fitted = [each for index, each in enumerate(samples, 1) if index % _KEPT_BACK]
    return fitted[:_MOST_FITTED]


def kept_back_samples(samples: Sequence[Inputs]) -> list[Inputs]:
    """Return the samples that nothing is fitted to; all of them where they are too few for that."""
    return list(samples[_KEPT_BACK - 1 :: _KEPT_BACK] or samples)


def narrow_kernels(product: Product, profile: DeviceProfile) -> KernelSet:
    """Return the kernels that compute fewer bits.

    Raises
    ------
    UsageError
        If the device or the model has no form with fewer bits.
    """
    if profile.kind != "mcu":
        raise UsageError(f"--mixed is for firmware, not {profile.name}")
    kernels = kernels_of(profile)
    if kernels is KernelSet.CORTEX_M_MVE:
        raise UsageError(f"--mixed: the kernels for Helium of {profile.name} compute 8 bits only")
    if not any(group.can_narrow for group in width_groups(product.graph)):
        hint = "" if is_quantized(product.graph) else "; it is not int8 (--precision int8)"
        raise UsageError(f"--mixed: no activation of this model can have fewer than 8 bits{hint}")
    return kernels


def searched_widths(
    graph: Graph,
    job: Job,
    *,
    allowed: Collection[str] | None = None,
    histograms: dict[str, Histogram] | None = None,
) -> BitWidths:
    """Return the widths that the recipe's lambda asks for.

    Parameters
    ----------
    graph : Graph
        In int8.
    job : Job
    allowed : collection of str, optional
        Tensors that may become narrower; all that can be, without it.
    histograms : dict, optional
        Of its activations, where they are known.
    """
    known = histograms or observe_histograms(graph, job.batches)
    return search_bit_widths(graph, known, lambda_=job.recipe.mixed_lambda, allowed=allowed)


def narrowed(
    graph: Graph,
    job: Job,
    found: BitWidths | None = None,
    *,
    layers: Mapping[str, int] | None = None,
) -> Graph:
    """Return a graph with the widths that were found and weights of few bits, fitted to data.

    Parameters
    ----------
    graph : Graph
        In int8.
    job : Job
    found : BitWidths, optional
        Activations keep their 8 bits without it.
    layers : mapping of node name to int, optional
        Bits of weights; without it all have those of the recipe.
    """
    widths = found.widths if found else {}
    bits = narrow_layers(graph, job.recipe.mixed_weights) if layers is None else layers
    if not widths and not bits:
        return graph
    return with_bit_widths(graph, widths, bits, samples=fitted_samples(job.batches))


def narrow_layers(graph: Graph, bits: int) -> dict[str, int]:
    """Return the bits of the weights of every layer that can have as few; empty for 8."""
    return {
        node.name: bits
        for node in graph.nodes
        if bits < WIDE
        and node.op in NARROW_WEIGHTS
        and graph.tensors[node.inputs[1]].dtype is DType.INT8
    }
