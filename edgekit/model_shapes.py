"""Shapes of language models: what an estimate needs to know when there are no weights.

Numbers are those of the published configurations. ``llama2-70b-mha`` is not a model that exists: it
is Llama 2 70B with as many key and value heads as query heads, which some papers reckon with.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace

from edgekit.errors import UsageError


@dataclass(frozen=True, slots=True)
class WeightMatrix:
    """A matrix that is multiplied with one vector for each token.

    Parameters
    ----------
    name : str
        ``qkv``, ``o``, ``up`` (with the gate), ``down`` or ``head``.
    rows, columns : int
        Outputs and inputs.
    stored : int
        How many of it a layer has (experts).
    used : int
        How many of them one token needs.
    """

    name: str
    rows: int
    columns: int
    stored: int = 1
    used: int = 1

    @property
    def weights(self) -> int:
        """Number of weights of one of them."""
        return self.rows * self.columns


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder of equal layers.

    Parameters
    ----------
    name : str
    layers, width, heads, kv_heads, head_width, mlp_width, vocabulary : int
    gated : bool
        Whether the feed-forward part has a gate (three matrices) or not (two).
    experts, experts_used : int
        Feed-forward parts of a layer, and those that a token goes through; 0 where there is one.
    source : str
        Where the numbers are from.
    """

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    mlp_width: int
    vocabulary: int
    gated: bool = True
    experts: int = 0
    experts_used: int = 0
    source: str = ""

    @property
    def kv_width(self) -> int:
        """Width of the keys of one position, and of its values."""
        return self.kv_heads * self.head_width

    @property
    def attention_width(self) -> int:
        """Width of all query heads."""
        return self.heads * self.head_width

    @property
    def layer_matrices(self) -> tuple[WeightMatrix, ...]:
        """Matrices of one layer; those with the same input are one."""
        stored, used = max(1, self.experts), max(1, self.experts_used)
        up_rows = self.mlp_width * (2 if self.gated else 1)
        return (
            WeightMatrix("qkv", self.attention_width + 2 * self.kv_width, self.width),
            WeightMatrix("o", self.width, self.attention_width),
            WeightMatrix("up", up_rows, self.width, stored, used),
            WeightMatrix("down", self.width, self.mlp_width, stored, used),
        )

    @property
    def head(self) -> WeightMatrix:
        """The matrix that gives a score to each token of the vocabulary."""
        return WeightMatrix("head", self.vocabulary, self.width)

    @property
    def stored_weights(self) -> int:
        """Weights of all layers, every expert counted."""
        return self.layers * sum(item.weights * item.stored for item in self.layer_matrices)

    @property
    def used_weights(self) -> int:
        """Weights of all layers that one token needs."""
        return self.layers * sum(item.weights * item.used for item in self.layer_matrices)

    def kv_bytes(self, context: int, activation_bytes: int) -> int:
        """Return the size of keys and values of so many positions, in bytes."""
        return 2 * self.layers * self.kv_width * context * activation_bytes


_OPT = "OPT (arXiv 2205.01068), table 1"
_LLAMA2 = "Llama 2 (arXiv 2307.09288), published configuration"
_LLAMA3 = "Llama 3 (arXiv 2407.21783), table 3"


def _opt(name: str, layers: int, width: int, heads: int) -> ModelShape:
    return ModelShape(
        name,
        layers,
        width,
        heads,
        heads,
        width // heads,
        4 * width,
        50272,
        gated=False,
        source=_OPT,
    )


def _llama(
    name: str, layers: int, width: int, kv_heads: int, mlp: int, vocabulary: int, source: str
) -> ModelShape:
    heads = width // 128
    return ModelShape(name, layers, width, heads, kv_heads, 128, mlp, vocabulary, source=source)


_LLAMA2_70B = _llama("llama2-70b", 80, 8192, 8, 28672, 32000, _LLAMA2)
SHAPES: dict[str, ModelShape] = {
    shape.name: shape
    for shape in (
        _opt("opt-6.7b", 32, 4096, 32),
        _opt("opt-13b", 40, 5120, 40),
        _opt("opt-30b", 48, 7168, 56),
        _opt("opt-66b", 64, 9216, 72),
        _llama("llama2-7b", 32, 4096, 32, 11008, 32000, _LLAMA2),
        _llama("llama2-13b", 40, 5120, 40, 13824, 32000, _LLAMA2),
        _LLAMA2_70B,
        replace(_LLAMA2_70B, name="llama2-70b-mha", kv_heads=64),
        _llama("llama3-8b", 32, 4096, 8, 14336, 128256, _LLAMA3),
        _llama("llama3-70b", 80, 8192, 8, 28672, 128256, _LLAMA3),
        _llama("qwen2-7b", 28, 3584, 4, 18944, 152064, "Qwen2 (arXiv 2407.10671), table 1"),
        replace(
            _llama(
                "mixtral-8x7b", 32, 4096, 8, 14336, 32000, "Mixtral (arXiv 2401.04088), table 1"
            ),
            experts=8,
            experts_used=2,
        ),
    )
}
"""Published shapes by name."""


def find_shape(name: str) -> ModelShape:
    """Return a published shape by its name, in any case.

    Raises
    ------
    UsageError
        If none is called so, with the nearest names.
    """
    key = name.lower()
    if key in SHAPES:
        return SHAPES[key]
    near = difflib.get_close_matches(key, SHAPES, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(SHAPES)}"
    raise UsageError(f"there is no model shape {name!r}; {hint}\nA GGUF file also has a shape.")
