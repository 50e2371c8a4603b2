"""What an encoder's ``config.json`` says, checked, and the names its checkpoint uses.

One record for the BERT family: BERT, RoBERTa, XLM-RoBERTa, CamemBERT and DistilBERT differ in the
names of a few fields and tensors, and in where positions start counting. The classes that define
them are those of the transformers library of the same names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from edgekit.errors import ModelFormatError, UnsupportedOpError

Record = TypeVar("Record")

MAX_JSON_BYTES = 16 * 1024 * 1024
"""Larger JSON files are no configuration."""

_Size = Annotated[int, msgspec.Meta(gt=0, le=1 << 24)]
_Epsilon = Annotated[float, msgspec.Meta(gt=0, lt=1)]

GELU_FORMS = {
    "gelu": "none",
    "gelu_python": "none",
    "gelu_new": "tanh",
    "gelu_fast": "tanh",
    "gelu_pytorch_tanh": "tanh",
}
"""Activations of transformers that are GELU, and the form of it."""


@dataclass(frozen=True, slots=True)
class LayerNames:
    """Names of the modules of one layer, relative to the layer's own name."""

    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    intermediate: str
    output: str
    output_norm: str


_BERT_LAYER = LayerNames(
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    intermediate="intermediate.dense",
    output="output.dense",
    output_norm="output.LayerNorm",
)
_DISTILBERT_LAYER = LayerNames(
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attention_output="attention.out_lin",
    attention_norm="sa_layer_norm",
    intermediate="ffn.lin1",
    output="ffn.lin2",
    output_norm="output_layer_norm",
)


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Sizes of an encoder and the names its checkpoint uses.

    Parameters
    ----------
    model_type : str
        As in ``config.json``.
    hidden, intermediate : int
        Width of the residual stream and of the feed-forward layer.
    layers, heads : int
    vocabulary, positions, token_types : int
        Rows of the three embedding tables; 0 token types where there is no such table.
    position_offset : int
        Row of the position table that the first token takes.
    epsilon : float
        Of every layer normalisation.
    activation : str
        Of the feed-forward layer: ``"relu"`` or a key of `GELU_FORMS`.
    layer_prefix : str
        Name of the list of layers.
    layer_names : LayerNames
    """

    model_type: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    vocabulary: int
    positions: int
    token_types: int
    position_offset: int
    epsilon: float
    activation: str
    layer_prefix: str
    layer_names: LayerNames

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def max_sequence(self) -> int:
        """Longest sequence that has positions, in tokens."""
        return self.positions - self.position_offset


class _Kind(msgspec.Struct, frozen=True):
    model_type: str = ""
    architectures: list[str] | None = None


class _BertJson(msgspec.Struct, frozen=True):
    hidden_size: _Size
    intermediate_size: _Size
    num_hidden_layers: _Size
    num_attention_heads: _Size
    vocab_size: _Size
    max_position_embeddings: _Size
    type_vocab_size: Annotated[int, msgspec.Meta(ge=0, le=1 << 24)] = 2
    layer_norm_eps: _Epsilon = 1e-12
    hidden_act: str = "gelu"
    pad_token_id: Annotated[int, msgspec.Meta(ge=0, le=1 << 24)] | None = None
    position_embedding_type: str = "absolute"
    is_decoder: bool = False


class _DistilBertJson(msgspec.Struct, frozen=True):
    dim: _Size
    hidden_dim: _Size
    n_layers: _Size
    n_heads: _Size
    vocab_size: _Size
    max_position_embeddings: _Size
    activation: str = "gelu"


_ROBERTA_TYPES = frozenset({"roberta", "xlm-roberta", "camembert"})


def decode_json(path: Path, kind: type[Record]) -> Record:
    """Read a JSON file as a record.

    Raises
    ------
    ModelFormatError
        If it cannot be read, is too large, is no JSON or lacks a field of the record.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ModelFormatError(f"larger than {MAX_JSON_BYTES:,} bytes", path=str(path))
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise ModelFormatError(str(error), path=str(path)) from error


def read_encoder_config(path: Path) -> EncoderConfig:
    """Read and check a ``config.json``.

    Raises
    ------
    ModelFormatError
        If a field is missing, absurd or contradicts another, or the architecture or a task head
        is not read.
    UnsupportedOpError
        If the activation or the kind of position embedding cannot be converted.
    """
    kind = decode_json(path, _Kind)
    _refuse_heads(path, kind)
    if kind.model_type == "bert" or kind.model_type in _ROBERTA_TYPES:
        config = _bert(path, kind.model_type)
    elif kind.model_type == "distilbert":
        config = _distilbert(path)
    else:
        raise ModelFormatError(
            f"model_type {kind.model_type!r} is not read from Hugging Face folders; read are "
            "bert, roberta, xlm-roberta, camembert, distilbert\nexport the model to ONNX first",
            path=str(path),
        )
    if config.hidden % config.heads:
        raise ModelFormatError(
            f"hidden size {config.hidden} is no multiple of {config.heads} heads", path=str(path)
        )
    if config.max_sequence < 1:
        raise ModelFormatError(f"{config.positions} positions are too few", path=str(path))
    if config.activation != "relu" and config.activation not in GELU_FORMS:
        raise UnsupportedOpError(config.activation, node="hidden_act", where=str(path))
    return config


def _refuse_heads(path: Path, kind: _Kind) -> None:
    """Refuse a head that would be lost silently; language-model heads are training aids."""
    for name in kind.architectures or ():
        if "For" in name and not name.endswith(("ForMaskedLM", "ForPreTraining")):
            raise ModelFormatError(
                f"{name} has a task head, which is not read from Hugging Face folders (encoders "
                "and sentence encoders are)\nexport the model to ONNX first",
                path=str(path),
            )


def _bert(path: Path, model_type: str) -> EncoderConfig:
    fields = decode_json(path, _BertJson)
    if fields.position_embedding_type != "absolute" or fields.is_decoder:
        what = "is_decoder" if fields.is_decoder else fields.position_embedding_type
        raise UnsupportedOpError(what, node="embeddings and attention", where=str(path))
    offset = 0
    if model_type in _ROBERTA_TYPES:
        # RobertaEmbeddings counts positions from padding_idx + 1 (fairseq's convention).
        offset = (1 if fields.pad_token_id is None else fields.pad_token_id) + 1
    return EncoderConfig(
        model_type=model_type,
        hidden=fields.hidden_size,
        intermediate=fields.intermediate_size,
        layers=fields.num_hidden_layers,
        heads=fields.num_attention_heads,
        vocabulary=fields.vocab_size,
        positions=fields.max_position_embeddings,
        token_types=fields.type_vocab_size,
        position_offset=offset,
        epsilon=fields.layer_norm_eps,
        activation=fields.hidden_act,
        layer_prefix="encoder.layer",
        layer_names=_BERT_LAYER,
    )


def _distilbert(path: Path) -> EncoderConfig:
    fields = decode_json(path, _DistilBertJson)
    return EncoderConfig(
        model_type="distilbert",
        hidden=fields.dim,
        intermediate=fields.hidden_dim,
        layers=fields.n_layers,
        heads=fields.n_heads,
        vocabulary=fields.vocab_size,
        positions=fields.max_position_embeddings,
        token_types=0,
        position_offset=0,
        epsilon=1e-12,
        activation=fields.activation,
        layer_prefix="transformer.layer",
        layer_names=_DISTILBERT_LAYER,
    )
