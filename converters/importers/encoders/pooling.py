"""From token states to one vector a text: the modules of a sentence-transformers folder.

Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", EMNLP 2019,
section 3 (pooling). ``modules.json`` lists the modules that follow the encoder; those that pool and
normalise are read, others refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgekit.converters.importers.encoders.builder import BATCH, SEQUENCE, EncoderBuilder
from edgekit.converters.importers.encoders.config import decode_json
from edgekit.errors import ModelFormatError
from edgekit.graph import Shape

_LEGACY_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Truth-value fields of configurations before sentence-transformers 5, and the mode they mean."""

_MODES = ("cls", "mean", "max", "mean_sqrt_len_tokens")

_MASKED_STATE = 1e9
"""Subtracted from the states of padding tokens before the maximum is taken."""


@dataclass(frozen=True, slots=True)
class Pooling:
    """How a folder turns token states into an embedding.

    Parameters
    ----------
    mode : str
        ``cls``, ``mean``, ``max`` or ``mean_sqrt_len_tokens``.
    normalized : bool
        Whether the embedding is scaled to unit length.
    """

    mode: str
    normalized: bool


class _Module(msgspec.Struct, frozen=True):
    type: str
    path: str = ""


def encoder_folder(folder: Path) -> Path:
    """Return the folder of the encoder itself: modules.json may keep it in a subfolder."""
    for module in _modules(folder):
        if _kind(module) == "Transformer":
            return _inside(folder, module.path)
    return folder


def read_pooling(folder: Path) -> Pooling | None:
    """Read ``modules.json`` and what it refers to; None where the folder declares no pooling.

    Raises
    ------
    ModelFormatError
        If a file is damaged or points outside the folder, or a module or mode is not read.
    """
    mode = ""
    normalized = False
    for module in _modules(folder):
        kind = _kind(module)
        if kind == "Pooling" and not mode:
            mode = _pooling_mode(_inside(folder, module.path) / "config.json")
        elif kind == "Normalize" and mode:
            normalized = True
        elif kind not in ("Transformer", "Dropout"):
            raise ModelFormatError(
                f"module {module.type} is not read; read are Transformer, Pooling and Normalize, "
                "in this order",
                path=str(folder / "modules.json"),
            )
    return Pooling(mode, normalized) if mode else None


def _modules(folder: Path) -> list[_Module]:
    path = folder / "modules.json"
    return decode_json(path, list[_Module]) if path.is_file() else []


def _kind(module: _Module) -> str:
    """Name of the class: its package has moved over the years."""
    return module.type.rpartition(".")[2]


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelFormatError(
            f"path {name!r} leaves the folder", path=str(folder / "modules.json")
        )
    return path


def _pooling_mode(path: Path) -> str:
    fields = decode_json(path, dict[str, object])
    declared = fields.get("pooling_mode")
    if isinstance(declared, str):
        modes = [declared]
    elif isinstance(declared, list):
        modes = [str(mode) for mode in declared]
    else:
        modes = [mode for key, mode in _LEGACY_MODES.items() if fields.get(key) is True]
    if len(modes) != 1 or modes[0] not in _MODES:
        raise ModelFormatError(
            f"pooling {' + '.join(modes) or 'of no mode'} is not read; read is one of "
            f"{', '.join(_MODES)}",
            path=str(path),
        )
    return modes[0]


def add_pooling(builder: EncoderBuilder, pooling: Pooling, hidden: str, width: int) -> str:
    """Add pooling, and normalisation where declared.

    Parameters
    ----------
    builder : EncoderBuilder
        Has the tensor ``attention_mask.float``, shape (batch, sequence).
    pooling : Pooling
    hidden : str
        Token states, float32, shape (batch, sequence, width).
    width : int

    Returns
    -------
    str
        ``sentence_embedding``, float32, shape (batch, width).
    """
    name = "pooled" if pooling.normalized else "sentence_embedding"
    if pooling.mode == "cls":
        pooled = _first_token(builder, hidden, width, name)
    elif pooling.mode == "max":
        pooled = _maximum(builder, hidden, width, name)
    else:
        pooled = _mean(builder, hidden, width, name, by_root=pooling.mode != "mean")
    if not pooling.normalized:
        return pooled
    length = builder.apply(
        "reduce_l2", "pooled.length", (pooled,), (BATCH, 1), axes=(1,), keep_dims=True
    )
    # torch.nn.functional.normalize divides by no less than this.
    least = builder.scalar("pooled.least_length", 1e-12)
    length = builder.apply("maximum", "pooled.safe_length", (length, least), (BATCH, 1))
    return builder.apply("div", "sentence_embedding", (pooled, length), (BATCH, width))


def _first_token(builder: EncoderBuilder, hidden: str, width: int, name: str) -> str:
    first = builder.apply(
        "slice",
        "pooling.first_token",
        (hidden,),
        (BATCH, 1, width),
        begin=(0, 0, 0),
        end=(2**31 - 1, 1, width),
        strides=(1, 1, 1),
    )
    return builder.apply("reshape", name, (first,), (BATCH, width), shape=(0, width))


def _maximum(builder: EncoderBuilder, hidden: str, width: int, name: str) -> str:
    shape: Shape = (BATCH, SEQUENCE, width)
    weights = _token_weights(builder)
    one = builder.scalar("pooling.one", 1.0)
    tokens: Shape = (BATCH, SEQUENCE, 1)
    padding = builder.apply("sub", "pooling.padding", (one, weights), tokens)
    masked = builder.scalar("pooling.masked_state", _MASKED_STATE)
    penalty = builder.apply("mul", "pooling.penalty", (padding, masked), tokens)
    states = builder.apply("sub", "pooling.states", (hidden, penalty), shape)
    return builder.apply("reduce_max", name, (states,), (BATCH, width), axes=(1,), keep_dims=False)


def _mean(builder: EncoderBuilder, hidden: str, width: int, name: str, *, by_root: bool) -> str:
    weights = _token_weights(builder)
    states = builder.apply("mul", "pooling.states", (hidden, weights), (BATCH, SEQUENCE, width))
    total = builder.apply(
        "reduce_sum", "pooling.sum", (states,), (BATCH, width), axes=(1,), keep_dims=False
    )
    count = builder.apply(
        "reduce_sum", "pooling.tokens", (weights,), (BATCH, 1), axes=(1,), keep_dims=False
    )
    # As sentence-transformers: no division by zero for a text without tokens.
    least = builder.scalar("pooling.least_tokens", 1e-9)
    count = builder.apply("maximum", "pooling.safe_tokens", (count, least), (BATCH, 1))
    if by_root:
        count = builder.apply("sqrt", "pooling.root_tokens", (count,), (BATCH, 1))
    return builder.apply("div", name, (total, count), (BATCH, width))


def _token_weights(builder: EncoderBuilder) -> str:
    """Return the attention mask as float32, shape (batch, sequence, 1)."""
    return builder.apply(
        "reshape",
        "pooling.token_weights",
        ("attention_mask.float",),
        (BATCH, SEQUENCE, 1),
        shape=(0, -1, 1),
    )
