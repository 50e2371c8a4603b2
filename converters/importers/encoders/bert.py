"""The encoder of the BERT family, written in edgekit's operators.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
NAACL 2019, section 3; the layer is that of Vaswani et al., "Attention Is All You Need", NIPS 2017,
section 3, normalised after each residual addition.

Three things are rearranged, none of which changes a result beyond rounding: the ``1/sqrt(d)`` of
the attention is folded into the query projection, the row of the only token type into the position
table, and the unused head of a position table (RoBERTa) is cut off.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgekit.converters.importers.encoders.builder import BATCH, SEQUENCE, EncoderBuilder
from edgekit.converters.importers.encoders.checkpoint import Checkpoint, StoredTensor
from edgekit.converters.importers.encoders.config import GELU_FORMS, EncoderConfig
from edgekit.dtypes import DType
from edgekit.graph import Shape, Tensor, TensorKind

_MASKED_SCORE = -10000.0
"""Added to the score of a padding token: exp() of it is zero in float32 and float16 alike."""

_PREFIXES = ("", "bert.", "roberta.", "distilbert.", "model.", "0.auto_model.")
"""What libraries put before the names of an encoder that was saved as part of something."""

_FloatArray = npt.NDArray[np.float32]


def add_encoder(builder: EncoderBuilder, config: EncoderConfig, checkpoint: Checkpoint) -> str:
    """Add inputs, embeddings and all layers.

    Parameters
    ----------
    builder : EncoderBuilder
        Receives inputs ``input_ids``, ``attention_mask`` and, where the model has token types,
        ``token_type_ids``: int64, shape (batch, sequence). Padding is on the right.
    config : EncoderConfig
    checkpoint : Checkpoint

    Returns
    -------
    str
        ``last_hidden_state``, float32, shape (batch, sequence, hidden).

    Raises
    ------
    ModelFormatError
        If the checkpoint lacks a tensor, or has it in another shape.
    """
    return _Encoder(builder, config, checkpoint).build()


class _Encoder:
    def __init__(self, builder: EncoderBuilder, config: EncoderConfig, weights: Checkpoint) -> None:
        self.builder = builder
        self.config = config
        self.weights = weights
        self.prefix = next(
            (p for p in _PREFIXES if f"{p}embeddings.word_embeddings.weight" in weights.tensors), ""
        )
        self.state_shape: Shape = (BATCH, SEQUENCE, config.hidden)

    def build(self) -> str:
        hidden = self._embeddings()
        mask = self._score_mask()
        last = self.config.layers - 1
        for index in range(self.config.layers):
            layer = f"{self.config.layer_prefix}.{index}"
            output = "last_hidden_state" if index == last else f"{layer}.state"
            hidden = self._layer(layer, hidden, mask, output)
        return hidden

    # Embeddings

    def _embeddings(self) -> str:
        config, builder = self.config, self.builder
        tokens: Shape = (BATCH, SEQUENCE)
        ids = builder.input("input_ids", tokens, DType.INT64)
        builder.input("attention_mask", tokens, DType.INT64)
        words = self._table("embeddings.word_embeddings", config.vocabulary)
        total = builder.apply("gather", "embeddings.words", (words, ids), self.state_shape, axis=0)
        positions = builder.apply(
            "take_prefix",
            "embeddings.positions",
            (self._positions(), ids),
            (SEQUENCE, config.hidden),
            axis=0,
            like_axis=1,
        )
        total = self._add("embeddings.words_and_positions", total, positions)
        if config.token_types > 1:
            type_ids = builder.input("token_type_ids", tokens, DType.INT64)
            types = self._table("embeddings.token_type_embeddings", config.token_types)
            typed = builder.apply(
                "gather", "embeddings.token_types", (types, type_ids), self.state_shape, axis=0
            )
            total = self._add("embeddings.sum", total, typed)
        return self._norm("embeddings.LayerNorm", total, "embeddings.state")

    def _positions(self) -> str:
        config = self.config
        name = "embeddings.position_embeddings.weight"
        table = self._find(name, (config.positions, config.hidden))
        only_type = None
        if config.token_types == 1:
            type_name = "embeddings.token_type_embeddings.weight"
            only_type = self._find(type_name, (1, config.hidden))

        def load() -> _FloatArray:
            rows = table.read()[config.position_offset :]
            return rows if only_type is None else rows + only_type.read()

        return self._constant(name, (config.max_sequence, config.hidden), load)

    def _score_mask(self) -> str:
        """Return what is added to attention scores, shape (batch, 1, 1, sequence)."""
        builder = self.builder
        shape: Shape = (BATCH, SEQUENCE)
        mask = builder.apply(
            "cast", "attention_mask.float", ("attention_mask",), shape, dtype="float32"
        )
        one = builder.scalar("one", 1.0)
        padding = builder.apply("sub", "attention_mask.padding", (one, mask), shape)
        masked = builder.scalar("masked_score", _MASKED_SCORE)
        score = builder.apply("mul", "attention_mask.score", (padding, masked), shape)
        return builder.apply(
            "reshape",
            "attention_mask.scores",
            (score,),
            (BATCH, 1, 1, SEQUENCE),
            shape=(0, 1, 1, -1),
        )

    # One layer

    def _layer(self, layer: str, hidden: str, mask: str, output: str) -> str:
        config, names = self.config, self.config.layer_names
        square = (config.hidden, config.hidden)
        context = self._attention(layer, hidden, mask)
        attended = self._linear(f"{layer}.{names.attention_output}", context, square)
        total = self._add(f"{layer}.{names.attention_output}.residual", attended, hidden)
        hidden = self._norm(f"{layer}.{names.attention_norm}", total, f"{layer}.attended")

        wide: Shape = (BATCH, SEQUENCE, config.intermediate)
        raised = self._linear(
            f"{layer}.{names.intermediate}", hidden, (config.hidden, config.intermediate)
        )
        activation = f"{layer}.{names.intermediate}.activation"
        if config.activation == "relu":
            raised = self.builder.apply("relu", activation, (raised,), wide)
        else:
            form = GELU_FORMS[config.activation]
            raised = self.builder.apply("gelu", activation, (raised,), wide, approximate=form)
        lowered = self._linear(
            f"{layer}.{names.output}", raised, (config.intermediate, config.hidden)
        )
        total = self._add(f"{layer}.{names.output}.residual", lowered, hidden)
        return self._norm(f"{layer}.{names.output_norm}", total, output)

    def _attention(self, layer: str, hidden: str, mask: str) -> str:
        """Return the context, shape (batch, sequence, hidden), before the output projection."""
        config, names, builder = self.config, self.config.layer_names, self.builder
        heads, head_size = config.heads, config.head_size
        by_head: Shape = (BATCH, heads, SEQUENCE, head_size)
        transposed: Shape = (BATCH, heads, head_size, SEQUENCE)
        scores_shape: Shape = (BATCH, heads, SEQUENCE, SEQUENCE)
        scale = 1.0 / math.sqrt(head_size)
        query = self._heads(f"{layer}.{names.query}", hidden, (0, 2, 1, 3), by_head, scale=scale)
        key = self._heads(f"{layer}.{names.key}", hidden, (0, 2, 3, 1), transposed)
        value = self._heads(f"{layer}.{names.value}", hidden, (0, 2, 1, 3), by_head)
        attention = f"{layer}.attention"
        scores = builder.apply("matmul", f"{attention}.scores", (query, key), scores_shape)
        masked = builder.apply("add", f"{attention}.masked", (scores, mask), scores_shape)
        shares = builder.apply("softmax", f"{attention}.softmax", (masked,), scores_shape, axis=-1)
        context = builder.apply("matmul", f"{attention}.context", (shares, value), by_head)
        joined: Shape = (BATCH, SEQUENCE, heads, head_size)
        rows = builder.apply(
            "transpose", f"{attention}.context.rows", (context,), joined, perm=(0, 2, 1, 3)
        )
        return builder.apply(
            "reshape", f"{attention}.context.joined", (rows,), self.state_shape, shape=(0, 0, -1)
        )

    def _heads(
        self, name: str, hidden: str, perm: tuple[int, ...], shape: Shape, *, scale: float = 1.0
    ) -> str:
        """Project, then split into heads laid out as ``perm`` says."""
        config = self.config
        projected = self._linear(name, hidden, (config.hidden, config.hidden), scale=scale)
        split: Shape = (BATCH, SEQUENCE, config.heads, config.head_size)
        heads = self.builder.apply(
            "reshape",
            f"{name}.heads",
            (projected,),
            split,
            shape=(0, 0, config.heads, config.head_size),
        )
        return self.builder.apply("transpose", f"{name}.heads.rows", (heads,), shape, perm=perm)

    # Pieces

    def _add(self, name: str, first: str, second: str) -> str:
        return self.builder.apply("add", name, (first, second), self.state_shape)

    def _linear(self, name: str, x: str, sizes: tuple[int, int], *, scale: float = 1.0) -> str:
        """Multiply the last axis, ``sizes`` (inputs, outputs), by a weight matrix of the file."""
        inputs, outputs = sizes
        weights = self._weight(f"{name}.weight", (outputs, inputs), scale)
        bias = self._weight(f"{name}.bias", (outputs,), scale)
        shape: Shape = (BATCH, SEQUENCE, outputs)
        return self.builder.apply(
            "fully_connected", name, (x, weights, bias), shape, keep_dims=True
        )

    def _weight(self, name: str, shape: tuple[int, ...], scale: float) -> str:
        stored = self._find(name, shape)
        if scale == 1.0:
            return self._constant(name, shape, stored.read)
        factor = np.float32(scale)
        return self._constant(f"{name}.scaled", shape, lambda: stored.read() * factor)

    def _norm(self, name: str, x: str, output: str) -> str:
        shape = (self.config.hidden,)
        gamma = self._find(self._renamed(f"{name}.weight", f"{name}.gamma"), shape)
        beta = self._find(self._renamed(f"{name}.bias", f"{name}.beta"), shape)
        inputs = (
            x,
            self._constant(f"{name}.weight", shape, gamma.read),
            self._constant(f"{name}.bias", shape, beta.read),
        )
        return self.builder.apply(
            "layer_norm", output, inputs, self.state_shape, epsilon=self.config.epsilon, axis=-1
        )

    def _renamed(self, name: str, old_name: str) -> str:
        """Return the name that the file has: checkpoints of 2018 say gamma and beta."""
        return old_name if self.prefix + old_name in self.weights.tensors else name

    def _table(self, name: str, rows: int) -> str:
        shape = (rows, self.config.hidden)
        return self._constant(f"{name}.weight", shape, self._find(f"{name}.weight", shape).read)

    def _find(self, name: str, shape: tuple[int, ...]) -> StoredTensor:
        return self.weights.find(self.prefix + name, shape)

    def _constant(self, name: str, shape: tuple[int, ...], load: Callable[[], _FloatArray]) -> str:
        tensor = Tensor(name, shape, DType.FLOAT32, TensorKind.CONSTANT, None, load)
        return self.builder.constant(tensor)
