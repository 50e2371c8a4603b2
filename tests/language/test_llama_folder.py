"""Folders of Llama-shaped models become GGUF files that compute the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from edgekit.converters.importers import importer_of, load_model
from edgekit.converters.importers.language.sentencepiece_file import read_sentencepiece
from edgekit.converters.importers.llama_folder import is_llama_folder, write_gguf
from edgekit.errors import ModelFormatError
from edgekit.runtime.language.engine import open_model
from edgekit.runtime.language.gguf_file import read_header
from edgekit.runtime.language.tokenizer import load_tokenizer
from tests.conftest import Find

pytest.importorskip("gguf")
pytest.importorskip("tokenizers")

Weights = dict[str, NDArray[np.float32]]
HIDDEN, INNER, HEADS, KV_HEADS, LAYERS, WORDS = 64, 96, 4, 2, 2, 300

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "vocab_size": WORDS,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "llama": {},
    "tied": {"tie_word_embeddings": True},
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": False},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"], "head_dim": 16},
    "arcee": {"architectures": ["ArceeForCausalLM"], "hidden_act": "relu2"},
    "llama3 rope": {"rope_scaling": LLAMA3_ROPE},
    "linear rope": {"rope_scaling": {"type": "linear", "factor": 4.0}},
    "mixtral": {
        "architectures": ["MixtralForCausalLM"],
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    },
}


def make_weights(config: dict[str, Any], seed: int = 5) -> Weights:
    generator = np.random.default_rng(seed)
    kind = config["architectures"][0]
    width = HIDDEN // HEADS

    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return (generator.standard_normal((rows, columns)) / columns**0.5).astype(np.float32)

    def vector(size: int, middle: float) -> NDArray[np.float32]:
        return (middle + 0.2 * generator.standard_normal(size)).astype(np.float32)

    weights: Weights = {
        "model.embed_tokens.weight": matrix(WORDS, HIDDEN) * 8,
        "model.norm.weight": vector(HIDDEN, 1),
    }
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = matrix(WORDS, HIDDEN)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{prefix}{name}.weight"] = vector(HIDDEN, 1)
        for name, rows in {
            "q": HEADS * width,
            "k": KV_HEADS * width,
            "v": KV_HEADS * width,
        }.items():
            weights[f"{prefix}self_attn.{name}_proj.weight"] = matrix(rows, HIDDEN)
            if kind.startswith("Qwen2"):
                weights[f"{prefix}self_attn.{name}_proj.bias"] = vector(rows, 0)
        if kind.startswith("Qwen3"):
            weights[f"{prefix}self_attn.q_norm.weight"] = vector(width, 1)
            weights[f"{prefix}self_attn.k_norm.weight"] = vector(width, 1)
        weights[f"{prefix}self_attn.o_proj.weight"] = matrix(HIDDEN, HEADS * width)
        if kind.startswith("Mixtral"):
            moe = f"{prefix}block_sparse_moe."
            weights[f"{moe}gate.weight"] = matrix(4, HIDDEN) * 3
            for expert in range(4):
                for name, shape in {"w1": (INNER, HIDDEN), "w2": (HIDDEN, INNER)}.items():
                    weights[f"{moe}experts.{expert}.{name}.weight"] = matrix(*shape)
                weights[f"{moe}experts.{expert}.w3.weight"] = matrix(INNER, HIDDEN)
            continue
        if not kind.startswith("Arcee"):
            weights[f"{prefix}mlp.gate_proj.weight"] = matrix(INNER, HIDDEN)
        weights[f"{prefix}mlp.up_proj.weight"] = matrix(INNER, HIDDEN)
        weights[f"{prefix}mlp.down_proj.weight"] = matrix(HIDDEN, INNER)
    return weights


def write_folder(
    folder: Path, config: dict[str, Any], weights: Weights | None = None, **changes: Any
) -> Path:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    from edgekit.runtime.language.bpe import WORD_RULES
    from tests.tiny_language_models import bpe_words

    folder.mkdir(exist_ok=True)
    words = bpe_words()
    plain = [token for token, kind in zip(words.tokens, words.kinds, strict=True) if kind == 1]
    vocabulary = {token: number for number, token in enumerate(plain)}
    merges = [(a, b) for a, b in (merge.split(" ") for merge in words.merges)]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_RULES["qwen2"][0]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens(["<|endoftext|>", "<|user|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<|endoftext|>", "chat_template": "{{ messages[0]['content'] }}"})
    )
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    save_file(weights or make_weights(config), folder / "model.safetensors")
    return folder


def rotations(config: dict[str, Any], count: int) -> NDArray[np.float64]:
    """Angles of each position, shape (count, head_width / 2), as transformers defines them."""
    width = HIDDEN // HEADS
    frequencies = 1.0 / config["rope_theta"] ** (np.arange(0, width, 2) / width)
    scaling = config.get("rope_scaling") or {}
    if scaling.get("type") == "linear":
        frequencies = frequencies / scaling["factor"]
    if scaling.get("rope_type") == "llama3":
        context = scaling["original_max_position_embeddings"]
        wavelengths = 2 * np.pi / frequencies
        slow = context / scaling["low_freq_factor"]
        fast = context / scaling["high_freq_factor"]
        smooth = (context / wavelengths - scaling["low_freq_factor"]) / (
            scaling["high_freq_factor"] - scaling["low_freq_factor"]
        )
        blended = (1 - smooth) * frequencies / scaling["factor"] + smooth * frequencies
        stretched = np.where(wavelengths > slow, frequencies / scaling["factor"], blended)
        frequencies = np.where(wavelengths < fast, frequencies, stretched)
    return np.arange(count)[:, None] * frequencies


def reference_logits(config: dict[str, Any], stored: Weights, tokens: list[int]) -> Any:
    """The last logits, by the definition of transformers: halves of each head are rotated."""
    weights = {name: data.astype(np.float64) for name, data in stored.items()}
    width, count = HIDDEN // HEADS, len(tokens)
    kind = config["architectures"][0]
    angles = np.concatenate([rotations(config, count)] * 2, axis=1)
    cos, sin = np.cos(angles), np.sin(angles)

    def norm(x: Any, name: str) -> Any:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config["rms_norm_eps"]) * weights[name]

    def silu(x: Any) -> Any:
        return x / (1 + np.exp(-x))

    def turn(x: Any) -> Any:
        halves = np.concatenate([-x[..., width // 2 :], x[..., : width // 2]], axis=-1)
        return x * cos + halves * sin

    def softmax(x: Any) -> Any:
        grown = np.exp(x - x.max(-1, keepdims=True))
        return grown / grown.sum(-1, keepdims=True)

    is_normed = kind.startswith("Qwen3")

    def attention(x: Any, prefix: str) -> Any:
        def heads(name: str, number: int) -> Any:
            y = x @ weights[f"{prefix}{name}_proj.weight"].T
            y = y + weights.get(f"{prefix}{name}_proj.bias", 0.0)
            y = y.reshape(count, number, width).swapaxes(0, 1)
            return norm(y, f"{prefix}{name}_norm.weight") if name != "v" and is_normed else y

        query, key, value = (
            turn(heads("q", HEADS)),
            turn(heads("k", KV_HEADS)),
            heads("v", KV_HEADS),
        )
        key, value = np.repeat(key, HEADS // KV_HEADS, 0), np.repeat(value, HEADS // KV_HEADS, 0)
        scores = query @ key.swapaxes(1, 2) / width**0.5
        scores = np.where(np.tri(count, dtype=bool), scores, -np.inf)
        mixed = (softmax(scores) @ value).swapaxes(0, 1).reshape(count, -1)
        return mixed @ weights[f"{prefix}o_proj.weight"].T

    def mlp(x: Any, prefix: str) -> Any:
        if kind.startswith("Mixtral"):
            moe = prefix.replace("mlp.", "block_sparse_moe.")
            out = np.zeros_like(x)
            probabilities = softmax(x @ weights[f"{moe}gate.weight"].T)
            for row, chances in enumerate(probabilities):
                best = np.argsort(-chances)[:2]
                for expert in best:
                    own = f"{moe}experts.{expert}."
                    inner = silu(weights[f"{own}w1.weight"] @ x[row])
                    inner = inner * (weights[f"{own}w3.weight"] @ x[row])
                    share = chances[expert] / chances[best].sum()
                    out[row] += share * (weights[f"{own}w2.weight"] @ inner)
            return out
        up = x @ weights[f"{prefix}up_proj.weight"].T
        if kind.startswith("Arcee"):
            inner = np.maximum(up, 0) ** 2
        else:
            inner = silu(x @ weights[f"{prefix}gate_proj.weight"].T) * up
        return inner @ weights[f"{prefix}down_proj.weight"].T

    x = weights["model.embed_tokens.weight"][tokens]
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        x = x + attention(norm(x, f"{prefix}input_layernorm.weight"), f"{prefix}self_attn.")
        x = x + mlp(norm(x, f"{prefix}post_attention_layernorm.weight"), f"{prefix}mlp.")
    head = "lm_head.weight" if "lm_head.weight" in weights else "model.embed_tokens.weight"
    return norm(x[-1], "model.norm.weight") @ weights[head].T


@pytest.mark.native
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_gguf_file_computes_what_the_folder_defines(variant: str, tmp_path: Path) -> None:
    config = {**CONFIG, **VARIANTS[variant]}
    weights = make_weights(config)
    folder = write_folder(tmp_path / "model", config, weights)
    target = tmp_path / "model.gguf"
    assert write_gguf(folder, target) == ()
    tokens = list(np.random.default_rng(2).integers(0, WORDS, 40))
    expected = reference_logits(config, weights, [int(token) for token in tokens])
    with open_model(target) as model, model.load() as engine, engine.session() as session:
        found = session.eval(tokens)
    assert np.abs(found - expected).max() < 2e-3 * np.abs(expected).max()


SHARED = {
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "vocab_size": WORDS,
    "max_position_embeddings": 64,
}
TRANSFORMERS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "tied": ("Llama", {"tie_word_embeddings": True}),
    "llama3 rope": ("Llama", {"rope_parameters": {**LLAMA3_ROPE, "rope_theta": 500_000.0}}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "mixtral": (
        "Mixtral",
        {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    ),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "arcee": ("Arcee", {}),
}


@pytest.mark.full
@pytest.mark.native
@pytest.mark.parametrize("case", TRANSFORMERS)
@pytest.mark.filterwarnings("ignore")
def test_the_gguf_file_computes_what_transformers_computes(case: str, tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    name, options = TRANSFORMERS[case]
    torch.manual_seed(0)
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
    config = getattr(transformers, f"{name}Config")(**SHARED, **special, **options)
    model = getattr(transformers, f"{name}ForCausalLM")(config).float().eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.15)
    folder = write_folder(tmp_path / "model", CONFIG)
    (folder / "config.json").unlink()
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder)
    target = tmp_path / "model.gguf"
    write_gguf(folder, target, weights="f32")
    tokens = [int(token) for token in np.random.default_rng(0).integers(0, WORDS, 40)]
    with torch.no_grad():
        expected = model(torch.tensor([tokens])).logits[0, -1].numpy()
    with open_model(target) as own, own.load(kv="f32") as engine, engine.session() as session:
        found = session.eval(tokens)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("weights", ["f32", "f16", "q8_0", "q4_0"])
def test_matrices_get_the_type_that_was_asked_for(weights: Any, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", CONFIG)
    target = tmp_path / "model.gguf"
    write_gguf(folder, target, weights=weights)
    header = read_header(target)
    for tensor in header.tensors:
        is_matrix = len(tensor.shape) > 1
        assert tensor.type_name == (weights.upper() if is_matrix else "F32"), tensor.name


def test_rows_that_are_no_multiple_of_a_block_stay_float16(tmp_path: Path) -> None:
    config = {**CONFIG, "intermediate_size": 100}
    weights = make_weights(CONFIG)
    generator = np.random.default_rng(0)
    for layer in range(LAYERS):
        for name, shape in {"gate": (100, 64), "up": (100, 64), "down": (64, 100)}.items():
            data = generator.standard_normal(shape).astype(np.float32)
            weights[f"model.layers.{layer}.mlp.{name}_proj.weight"] = data
    folder = write_folder(tmp_path / "model", config, weights)
    target = tmp_path / "model.gguf"
    notes = write_gguf(folder, target, weights="q4_0")
    types = {tensor.name: tensor.type_name for tensor in read_header(target).tensors}
    assert types["blk.0.ffn_down.weight"] == "F16"
    assert types["blk.0.ffn_up.weight"] == "Q4_0"
    assert "blk.0.ffn_down.weight" in notes[0]


def test_vocabulary_and_template_are_kept(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    folder = write_folder(tmp_path / "model", CONFIG)
    target = tmp_path / "model.gguf"
    write_gguf(folder, target)
    theirs = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ours = load_tokenizer(target)
    for text in ("the and 123", "é  \n\n日本 🙂", "<|user|>on</s>"):
        expected = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, add_special=False, parse_special=True) == expected
    assert ours.vocabulary.pre == "qwen2"
    assert read_header(target).text("tokenizer.chat_template") == "{{ messages[0]['content'] }}"
    assert len(ours) == WORDS


def test_a_folder_is_recognised_by_its_content(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "anything", CONFIG)
    assert is_llama_folder(folder)
    assert importer_of(folder).NAME == "Hugging Face folder of a language model"
    with pytest.raises(ModelFormatError, match="convert_language_model"):
        load_model(folder)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "activation": ({"hidden_act": "gelu"}, "gelu"),
    "bias": ({"attention_bias": True}, "bias"),
    "window": ({"sliding_window": 16}, "sliding_window 16"),
    "rope": ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "yarn"),
    "rope factor": ({"rope_scaling": {"type": "linear", "factor": "x"}}, "factor"),
    "heads": ({"num_key_value_heads": 3}, "num_key_value_heads"),
    "size": ({"hidden_size": -1}, "hidden_size"),
    "shape": ({"intermediate_size": 128}, "gate_proj"),
    "tied": ({"tie_word_embeddings": True, "vocab_size": 301}, "embed_tokens"),
    "vocabulary": ({"vocab_size": 10}, "token"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_computed_is_refused_by_name(case: str, tmp_path: Path) -> None:
    changes, word = REFUSED[case]
    folder = write_folder(tmp_path / "model", CONFIG, **changes)
    with pytest.raises(ModelFormatError, match=word):
        write_gguf(folder, tmp_path / "model.gguf")
    assert not list(tmp_path.glob("*.gguf*"))


Damage = Callable[[Path], object]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors"),
    "cut": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:-9]
        ),
        "safetensors",
    ),
    "no words": (lambda f: (f / "tokenizer.json").unlink(), "neither"),
    "no json": (lambda f: (f / "tokenizer.json").write_text("{"), "cannot be used"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_folder_is_refused(case: str, tmp_path: Path) -> None:
    damage, word = DAMAGES[case]
    folder = write_folder(tmp_path / "model", CONFIG)
    damage(folder)
    with pytest.raises(ModelFormatError, match=word):
        write_gguf(folder, tmp_path / "model.gguf")


def test_a_tensor_that_belongs_nowhere_is_refused(tmp_path: Path) -> None:
    weights = {**make_weights(CONFIG), "model.layers.0.adapter.weight": np.ones((2, 2), np.float32)}
    folder = write_folder(tmp_path / "model", CONFIG, weights)
    with pytest.raises(ModelFormatError, match="adapter"):
        write_gguf(folder, tmp_path / "model.gguf")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    weights = make_weights(CONFIG)
    weights["model.norm.weight"][3] = np.nan
    folder = write_folder(tmp_path / "model", CONFIG, weights)
    with pytest.raises(ModelFormatError, match="output_norm"):
        write_gguf(folder, tmp_path / "model.gguf")


def test_a_real_sentencepiece_file_is_read(asset: Find) -> None:
    stored = read_sentencepiece(asset("llm/models/tok512.model"))
    own = load_tokenizer(asset("llm/models/stories260K-f32.gguf"))
    texts = [piece.text for piece in stored.pieces]
    assert len(texts) == len(own) == 512
    # Byte tokens have other names in some converters; words have the same everywhere.
    assert texts[259:] == list(own.vocabulary.tokens[259:])
    assert stored.add_space_prefix


def test_no_sentencepiece_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    for data in (b"", b"\x0a\xff", bytes(100), b"hello world"):
        path.write_bytes(data)
        with pytest.raises(ModelFormatError):
            read_sentencepiece(path)
