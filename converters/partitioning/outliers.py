"""Which patches hold outliers: the test of a :class:`Choice`, made from calibration data.

The test looks at the stored values of one map. Kept are the levels between which the central mass
of the calibration data lies; where the map's range is clipped, the levels at its ends hold what was
cut off and fall outside, unless much of the data lies there (zeros behind a ReLU). How many
elements of a patch may fall outside is set so that a given share of the calibration patches has
more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgekit.converters.partitioning.patch_builder import own_needs, parts_of
from edgekit.converters.partitioning.patches import PatchGrid, stage_length
from edgekit.converters.partitioning.receptive_fields import Region
from edgekit.converters.partitioning.selective_patches import Choice
from edgekit.dtypes import Array
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.ops.evaluate import evaluate


def calibrate_choice(
    low: Graph,
    grid: PatchGrid,
    samples: Sequence[Mapping[str, Array]],
    *,
    tested: str,
    tiles: tuple[int, int] = (1, 1),
    central_mass: float = 0.98,
    outlier_share: float = 0.25,
) -> Choice:
    """Return the choice at run time that calibration data asks for.

    Parameters
    ----------
    low : Graph
        The graph of few bits.
    grid : PatchGrid
    samples : sequence of mapping
        Inputs, in the type of the graph's.
    tested : str
        Tensor of the patch stage: the first map.
    tiles : (int, int)
        Rows and columns into which a patch of high precision is cut.
    central_mass : float
        Share of the values between the levels that are kept (phi); above 0, at most 1.
    outlier_share : float
        Share of the calibration patches that are to be outlier patches, at most.

    Raises
    ------
    UsageError
        If there are no samples, or the stage does not compute ``tested`` for every patch.
    """
    if not 0 < central_mass <= 1 or not 0 <= outlier_share <= 1:
        raise UsageError("central mass and share of outlier patches are between 0 and 1")
    maps = _tested_maps(low, samples, tested)
    values, counts = np.unique(np.concatenate([each.ravel() for each in maps]), return_counts=True)
    tail = (1 - central_mass) / 2 * counts.sum()
    below, above = np.cumsum(counts) - counts, counts.sum() - np.cumsum(counts)
    choice = Choice(tiles, tested, int(values[below <= tail][-1]), int(values[above <= tail][0]))
    shares = _shares_outside(low, grid, choice, maps)
    most = float(np.quantile(shares, 1 - outlier_share, method="higher"))
    return replace(choice, most_share=most)


def outlier_patches(
    low: Graph, grid: PatchGrid, choice: Choice, samples: Sequence[Mapping[str, Array]]
) -> npt.NDArray[np.bool_]:
    """Return which patches the test of a choice finds, shape (samples, patches)."""
    return outlier_shares(low, grid, choice, samples) > choice.most_share


def outlier_shares(
    low: Graph, grid: PatchGrid, choice: Choice, samples: Sequence[Mapping[str, Array]]
) -> npt.NDArray[np.float64]:
    """Return the share of elements of each patch that a choice counts, (samples, patches)."""
    return _shares_outside(low, grid, choice, _tested_maps(low, samples, choice.tested))


def fixed_choice(
    low: Graph,
    grid: PatchGrid,
    choice: Choice,
    samples: Sequence[Mapping[str, Array]],
    *,
    sample_share: float = 0.5,
) -> Choice:
    """Return the choice made once: positions that hold outliers in most samples, always.

    Parameters
    ----------
    choice : Choice
        With a test.
    sample_share : float
        A position is of high precision if it holds outliers in more than this share of samples.
    """
    found = outlier_patches(low, grid, choice, samples).mean(axis=0) > sample_share
    return replace(choice, always=frozenset(np.flatnonzero(found).tolist()))


def _tested_maps(low: Graph, samples: Sequence[Mapping[str, Array]], tested: str) -> list[Array]:
    """Return the map that is tested, whole, for every sample."""
    if not samples:
        raise UsageError("a choice needs calibration data; there is none")
    producer = low.producers().get(tested)
    if producer is None:
        raise UsageError(f"{tested or 'no tensor'} is not computed in the patch stage")
    count = low.nodes.index(producer) + 1
    first = low.replace(nodes=low.nodes[:count], outputs=(tested,))
    return [evaluate(first, sample)[tested] for sample in samples]


def _shares_outside(
    low: Graph, grid: PatchGrid, choice: Choice, maps: Sequence[Array]
) -> npt.NDArray[np.float64]:
    """Return the share of elements of each patch outside the kept levels, (samples, patches)."""
    stage = low.nodes[: stage_length(low, grid)]
    whole = Region.whole(low.tensors[stage[-1].outputs[0]])
    needs = own_needs(low, stage, parts_of(whole, grid.rows, grid.columns))
    if not all(choice.tested in patch.made for patch in needs):
        raise UsageError(f"{choice.tested} is not computed in the patch stage")
    shares = np.empty((len(maps), len(needs)))
    for row, stored in enumerate(maps):
        values = stored.astype(np.int64)
        outside = (values < choice.low) | (values > choice.high)
        for column, patch in enumerate(needs):
            part = patch.made[choice.tested]
            shares[row, column] = outside[:, part.top : part.bottom, part.left : part.right].mean()
    return shares
