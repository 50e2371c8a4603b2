"""Small random encoders as Hugging Face folders, and an encoder written apart to compare with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import erf
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HIDDEN, HEADS, LAYERS, WIDE, POSITIONS = 16, 4, 2, 24, 20

VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz", "##a", "##e")

ROLES = ("query", "key", "value", "attention_output", "intermediate", "output")

LEGACY_POOLING = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
}

BERT_NAMES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_norm": "output.LayerNorm",
}
DISTILBERT_NAMES = {
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "attention_output": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "intermediate": "ffn.lin1",
    "output": "ffn.lin2",
    "output_norm": "output_layer_norm",
}


@dataclass(frozen=True, slots=True)
class TinyEncoder:
    """A folder's content: what to write, and what the independent forward pass needs."""

    config: Mapping[str, object]
    weights: Mapping[str, npt.NDArray[np.float32]]
    layer_names: Mapping[str, str]
    layer_prefix: str
    position_offset: int = 0
    gelu: bool = True

    def write(
        self,
        folder: Path,
        *,
        pooling: str | None = "mean",
        normalize: bool = True,
        prefix: str = "",
    ) -> Path:
        """Write config, weights and modules.json; ``pooling`` None leaves modules.json out."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config))
        named = {prefix + name: data for name, data in self.weights.items()}
        save_file(named, folder / "model.safetensors")
        if pooling is not None:
            write_modules(folder, pooling, normalize=normalize)
        return folder


def write_modules(folder: Path, pooling: str, *, normalize: bool) -> None:
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    paths = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": paths[kind],
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    fields = {field: mode == pooling for mode, field in LEGACY_POOLING.items()}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(fields))


def write_tokenizer(folder: Path) -> None:
    """Write a WordPiece tokenizer over `VOCABULARY` as tokenizer.json."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    numbers = {token: index for index, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def bert(seed: int = 0, **changes: object) -> TinyEncoder:
    config = _bert_config("bert") | changes
    return TinyEncoder(
        config, _weights(seed, BERT_NAMES, "encoder.layer", types=2), BERT_NAMES, "encoder.layer"
    )


def roberta(seed: int = 1) -> TinyEncoder:
    config = _bert_config("roberta") | {"type_vocab_size": 1, "pad_token_id": 1}
    weights = _weights(seed, BERT_NAMES, "encoder.layer", types=1)
    return TinyEncoder(config, weights, BERT_NAMES, "encoder.layer", position_offset=2)


def distilbert(seed: int = 2) -> TinyEncoder:
    config = {
        "model_type": "distilbert",
        "dim": HIDDEN,
        "hidden_dim": WIDE,
        "n_layers": LAYERS,
        "n_heads": HEADS,
        "vocab_size": len(VOCABULARY),
        "max_position_embeddings": POSITIONS,
        "activation": "relu",
    }
    weights = _weights(seed, DISTILBERT_NAMES, "transformer.layer", types=0)
    return TinyEncoder(config, weights, DISTILBERT_NAMES, "transformer.layer", gelu=False)


def _bert_config(model_type: str) -> dict[str, object]:
    return {
        "model_type": model_type,
        "architectures": ["BertModel"],
        "hidden_size": HIDDEN,
        "intermediate_size": WIDE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "vocab_size": len(VOCABULARY),
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    }


def _weights(
    seed: int, names: Mapping[str, str], prefix: str, *, types: int
) -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> npt.NDArray[np.float32]:
        return rng.normal(0.0, 0.5, shape).astype(np.float32)

    weights = {
        "embeddings.word_embeddings.weight": draw(len(VOCABULARY), HIDDEN),
        "embeddings.position_embeddings.weight": draw(POSITIONS, HIDDEN),
        "embeddings.LayerNorm.weight": 1 + draw(HIDDEN),
        "embeddings.LayerNorm.bias": draw(HIDDEN),
    }
    if types:
        weights["embeddings.token_type_embeddings.weight"] = draw(types, HIDDEN)
    sizes = dict.fromkeys(ROLES, (HIDDEN, HIDDEN))
    sizes |= {"intermediate": (WIDE, HIDDEN), "output": (HIDDEN, WIDE)}
    for index in range(LAYERS):
        for role, shape in sizes.items():
            weights[f"{prefix}.{index}.{names[role]}.weight"] = draw(*shape)
            weights[f"{prefix}.{index}.{names[role]}.bias"] = draw(shape[0])
        for role in ("attention_norm", "output_norm"):
            weights[f"{prefix}.{index}.{names[role]}.weight"] = 1 + draw(HIDDEN)
            weights[f"{prefix}.{index}.{names[role]}.bias"] = draw(HIDDEN)
    return weights


# The independent encoder: one text at a time, without padding, in float64.


def token_states(encoder: TinyEncoder, ids: Ints, types: Ints) -> Floats:
    """Last hidden state of one text, shape (tokens, hidden)."""
    w = {name: data.astype(np.float64) for name, data in encoder.weights.items()}
    first = encoder.position_offset
    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][first : first + len(ids)]
    if "embeddings.token_type_embeddings.weight" in w:
        x = x + w["embeddings.token_type_embeddings.weight"][types]
    x = _norm(x, w, "embeddings.LayerNorm")
    for index in range(LAYERS):
        names = {r: f"{encoder.layer_prefix}.{index}.{n}" for r, n in encoder.layer_names.items()}
        q, k, v = (_dense(x, w, names[role]) for role in ("query", "key", "value"))
        size = HIDDEN // HEADS
        context = np.empty_like(x)
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            scores = q[:, part] @ k[:, part].T / np.sqrt(size)
            share = np.exp(scores - scores.max(axis=1, keepdims=True))
            context[:, part] = share / share.sum(axis=1, keepdims=True) @ v[:, part]
        x = _norm(x + _dense(context, w, names["attention_output"]), w, names["attention_norm"])
        raised = _dense(x, w, names["intermediate"])
        gate = 0.5 * (1 + np.vectorize(erf)(raised / np.sqrt(2)))
        raised = raised * gate if encoder.gelu else np.maximum(raised, 0)
        x = _norm(x + _dense(raised, w, names["output"]), w, names["output_norm"])
    return x


def _dense(x: Floats, w: Mapping[str, Floats], name: str) -> Floats:
    return np.asarray(x @ w[f"{name}.weight"].T + w[f"{name}.bias"])


def _norm(x: Floats, w: Mapping[str, Floats], name: str) -> Floats:
    centred = x - x.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True))
    return np.asarray(centred / deviation * w[f"{name}.weight"] + w[f"{name}.bias"])
