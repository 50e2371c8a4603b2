"""An input on which a report shows which patches hold outliers: given, or recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from edgekit.dtypes import Array
from edgekit.errors import PackageError, UsageError
from edgekit.graph import Graph
from edgekit.package import Package
from edgekit.report.patch_areas import Finding, findings, patches_of, row_axis
from edgekit.report.picture import picture_address


@dataclass(frozen=True, slots=True)
class Example:
    """What the tests of patches find in one input.

    Parameters
    ----------
    findings : sequence of Finding or None
        Of each patch; None for patches that are not tested.
    origin : str
        Where the input comes from, as the end of a sentence.
    image : str
        Its ``data:`` address; empty where it is no image, or not at hand.
    """

    findings: Sequence[Finding | None]
    origin: str
    image: str = ""


class _Recorded(msgspec.Struct, frozen=True):
    """What ``accuracy.mixed`` of a manifest says about the first calibration sample."""

    example_shares: tuple[float, ...] = ()
    most_share: float = 0.0


def package_example(package: Package, inputs: Mapping[str, Array] | None) -> Example | None:
    """Return the example of a package: an input, else what its conversion recorded.

    Raises
    ------
    UsageError
        If an input does not fit the package, or the package has no patches of two precisions.
    PackageError
        If the package is damaged.
    """
    if inputs is None:
        return _recorded(package)
    if not any(patch.flag or patch.has_tiles for patch in patches_of(package.structure())):
        raise UsageError(
            f"{package.root} has no patches of two precisions, which a report would show on an "
            "input; leave out --input"
        )
    return example_of(package.graph(), inputs)


def example_of(graph: Graph, inputs: Mapping[str, Array]) -> Example:
    """Return what the tests of patches find in an input.

    Parameters
    ----------
    graph : Graph
        In patches, with the data of its constants.
    inputs : mapping of name to array

    Raises
    ------
    UsageError
        If an input is missing, unknown, or of another shape or dtype.
    """
    found = findings(graph, patches_of(graph), inputs)
    name = graph.inputs[0]
    axis = 1 if row_axis(graph) == 2 else 3
    image = picture_address(graph.tensors[name], inputs[name], channels_axis=axis)
    return Example(found, "the given input", image)


def recorded_example(shares: Sequence[float], most_share: float) -> Example:
    """Return what a conversion recorded of its first calibration sample.

    Parameters
    ----------
    shares : sequence of float
        Of the elements of each patch, those that are outliers.
    most_share : float
        Patches with a larger share are computed with 8 bits.
    """
    found = [Finding(share, most_share) for share in shares]
    return Example(found, "the first sample of the calibration data")


def _recorded(package: Package) -> Example | None:
    try:
        recorded = msgspec.convert(package.manifest.accuracy.get("mixed", {}), _Recorded)
    except msgspec.ValidationError as error:
        raise PackageError(f"{package.root}: accuracy.mixed: {error}") from error
    if not recorded.example_shares:
        return None
    return recorded_example(recorded.example_shares, recorded.most_share)
