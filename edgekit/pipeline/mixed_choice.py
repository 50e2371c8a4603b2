"""What ``convert --mixed`` chose, and what it says about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekit.converters.partitioning.selective_patches import Choice
from edgekit.converters.partitioning.selective_search import Work
from edgekit.converters.quantization.bit_search import WIDE, BitWidths


@dataclass(frozen=True, slots=True)
class Mixed:
    """What was chosen.

    Parameters
    ----------
    mode : str
        ``widths``, ``static``, ``runtime`` or ``auto``.
    search : BitWidths
    int8_bit_operations : int
        Of the layers whole with 8 bits.
    bit_operations : Work
        Of the network as it runs.
    choice : Choice or None
    outlier_share : float
        Of the patches of the calibration data.
    accuracy : mapping of str to float
        What is left of the int8 network.
    example_shares : tuple of float
        Of the first calibration sample: the share of each patch's elements that are outliers.
    weight_bits : mapping of layer to int
        Of the layers whose weights are narrower.
    """

    mode: str
    search: BitWidths
    int8_bit_operations: int
    bit_operations: Work
    choice: Choice | None = None
    outlier_share: float = 0.0
    accuracy: Mapping[str, float] = field(default_factory=dict)
    example_shares: tuple[float, ...] = ()
    weight_bits: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the plain values of ``accuracy.mixed``."""
        narrow = {name: bits for name, bits in self.search.bits.items() if bits < WIDE}
        found: dict[str, Any] = {
            "mode": self.mode,
            "lambda": self.search.lambda_,
            "bits": narrow,
            "weight_bits": dict(self.weight_bits),
            "bit_operations": self.bit_operations.worst,
            "expected_bit_operations": round(self.bit_operations.expected),
            "int8_bit_operations": self.int8_bit_operations,
            **self.accuracy,
        }
        if self.choice is not None:
            found |= {
                "tiles": list(self.choice.tiles),
                "tested": self.choice.tested,
                "most_share": self.choice.most_share,
                "outlier_share": self.outlier_share,
                "always": sorted(self.choice.always or ()),
                "example_shares": list(self.example_shares),
            }
        return found

    def note(self) -> str:
        """Return the sentence for the user."""
        work, whole = self.bit_operations, max(self.int8_bit_operations, 1)
        worst = f" ({work.worst / whole:.0%} at worst)" if work.worst > round(work.expected) else ""
        return (
            f"{'; '.join(self._narrowed())}: {work.expected / whole:.0%} of the bit operations of "
            f"whole int8 layers{worst}. Outputs change."
        )

    def _narrowed(self) -> list[str]:
        """Return what has fewer bits."""
        found = []
        if self.weight_bits:
            bits = min(self.weight_bits.values())
            found.append(f"Weights of {len(self.weight_bits)} layers have {bits} bits")
        narrow = [bits for bits in self.search.bits.values() if bits < WIDE]
        if narrow or not found:
            groups = f"{len(narrow)} of {len(self.search.bits)} groups of activations"
            found.append(f"{groups} have 4 or 2 bits")
        if self.mode == "static":
            found.append("some positions of patches always with 8")
        if self.mode == "runtime":
            found.append("patches with outliers with 8, as a test at run time says")
        return found
