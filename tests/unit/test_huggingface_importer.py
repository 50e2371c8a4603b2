"""Hugging Face folders: the graph computes what the model means, and bad folders are refused.

The independent encoder is in ``tests/tiny_encoders.py``. To cover another architecture, add a
function there that makes its folder, and a parameter to ``ENCODERS``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from edgekit.converters.importers import huggingface, importer_of, load_model
from edgekit.errors import ModelFormatError, UnsupportedOpError, UsageError
from edgekit.graph import Graph
from edgekit.ops.evaluate import evaluate
from edgekit.shapes import bind_dims
from tests import tiny_encoders
from tests.tiny_encoders import HIDDEN, VOCABULARY, Floats, Ints, TinyEncoder

ENCODERS = [tiny_encoders.bert, tiny_encoders.roberta, tiny_encoders.distilbert]
LENGTHS = (9, 4, 1)


def _tokens(graph: Graph, lengths: tuple[int, ...] = LENGTHS) -> dict[str, Ints]:
    """Random texts of these lengths, padded on the right with arbitrary tokens."""
    rng = np.random.default_rng(3)
    shape = (len(lengths), max(lengths))
    mask = (np.arange(shape[1]) < np.array(lengths)[:, None]).astype(np.int64)
    feed = {
        "input_ids": rng.integers(0, len(VOCABULARY), shape),
        "attention_mask": mask,
        "token_type_ids": rng.integers(0, 2, shape),
    }
    return {name: feed[name] for name in graph.inputs}


def _expected_states(encoder: TinyEncoder, feed: dict[str, Ints]) -> list[Floats]:
    types = feed.get("token_type_ids", np.zeros_like(feed["input_ids"]))
    return [
        tiny_encoders.token_states(encoder, ids[:length], kinds[:length])
        for ids, kinds, length in zip(feed["input_ids"], types, LENGTHS, strict=True)
    ]


def _pool(states: Floats, mode: str) -> Floats:
    pooled = {
        "mean": states.mean(axis=0),
        "max": states.max(axis=0),
        "cls": states[0],
        "mean_sqrt_len_tokens": states.sum(axis=0) / np.sqrt(len(states)),
    }
    return np.asarray(pooled[mode])


@pytest.mark.parametrize("make", ENCODERS)
def test_last_hidden_state_equals_an_independent_encoder(
    make: Callable[[], TinyEncoder], tmp_path: Path
) -> None:
    encoder = make()
    graph = load_model(encoder.write(tmp_path, pooling=None))
    feed = _tokens(graph)
    states = evaluate(graph, feed)["last_hidden_state"]
    for row, expected in zip(states, _expected_states(encoder, feed), strict=True):
        np.testing.assert_allclose(row[: len(expected)], expected, atol=2e-5)


@pytest.mark.parametrize("mode", tiny_encoders.LEGACY_POOLING)
@pytest.mark.parametrize("normalize", [True, False])
def test_pooling_equals_its_definition(mode: str, normalize: bool, tmp_path: Path) -> None:
    encoder = tiny_encoders.bert()
    graph = load_model(encoder.write(tmp_path, pooling=mode, normalize=normalize))
    feed = _tokens(graph)
    vectors = evaluate(graph, feed)["sentence_embedding"]
    expected = np.stack([_pool(states, mode) for states in _expected_states(encoder, feed)])
    if normalize:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, atol=2e-5)


def test_pooling_field_of_newer_files_is_understood(tmp_path: Path) -> None:
    folder = tiny_encoders.bert().write(tmp_path, pooling="max")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))
    assert load_model(folder).metadata["pooling"] == "cls"


def test_declared_shapes_equal_inferred_ones(tmp_path: Path) -> None:
    graph = load_model(tiny_encoders.bert().write(tmp_path))
    dims = {"batch": 2, "sequence": 7}
    declared, inferred = graph.bind(dims), bind_dims(graph, dims)
    assert {n: t.shape for n, t in declared.tensors.items()} == {
        n: t.shape for n, t in inferred.tensors.items()
    }


def test_dimensions_stay_names_and_plans_assume_what_was_asked(tmp_path: Path) -> None:
    folder = tiny_encoders.bert().write(tmp_path)
    graph = load_model(folder, {"sequence": 12})
    assert graph.tensors["input_ids"].shape == ("batch", "sequence")
    assert graph.dims == {"batch": 1, "sequence": 12}
    assert load_model(folder).dims["sequence"] == tiny_encoders.POSITIONS
    with pytest.raises(UsageError, match="positions for 20"):
        load_model(folder, {"sequence": 21})
    with pytest.raises(UsageError, match="width"):
        load_model(folder, {"width": 4})


def test_metadata_names_the_tokenizer(tmp_path: Path) -> None:
    folder = tiny_encoders.bert().write(tmp_path)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 10}')
    metadata = load_model(folder).metadata
    assert metadata["tokenizer_files"] == "tokenizer.json"
    assert metadata["max_sequence"] == "10"


def test_prefixes_and_old_names_do_not_matter(tmp_path: Path) -> None:
    encoder = tiny_encoders.bert()
    plain = load_model(encoder.write(tmp_path / "plain"))
    folder = encoder.write(tmp_path / "old", prefix="bert.")
    weights = load_file(folder / "model.safetensors")
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): data
        for name, data in weights.items()
    }
    save_file(renamed, folder / "model.safetensors")
    old = load_model(folder)
    assert [t.name for t in plain.constants()] == [t.name for t in old.constants()]
    for ours, theirs in zip(plain.constants(), old.constants(), strict=True):
        np.testing.assert_array_equal(ours.data, theirs.data)


def test_a_safetensors_file_stands_for_its_folder(tmp_path: Path) -> None:
    folder = tiny_encoders.bert().write(tmp_path)
    assert importer_of(folder / "model.safetensors") is huggingface
    by_file = load_model(folder / "model.safetensors")
    assert [node.name for node in by_file.nodes] == [node.name for node in load_model(folder).nodes]


def test_shards_give_the_same_weights_as_one_file(tmp_path: Path) -> None:
    folder = tiny_encoders.bert().write(tmp_path)
    whole = {t.name: t.data for t in load_model(folder).constants()}
    _shard(folder)
    assert not (folder / "model.safetensors").exists()
    for tensor in load_model(folder).constants():
        np.testing.assert_array_equal(tensor.data, whole[tensor.name])


def _shard(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for index in range(2):
        names = sorted(weights)[index::2]
        shard = f"model-{index + 1:05d}-of-00002.safetensors"
        save_file({name: weights[name] for name in names}, folder / shard)
        weight_map |= dict.fromkeys(names, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_half_precision_is_widened_exactly(tmp_path: Path) -> None:
    folder = tiny_encoders.bert().write(tmp_path)
    path = folder / "model.safetensors"
    weights = load_file(path)
    halves = {name: data.astype(np.float16) for name, data in weights.items()}
    save_file(halves, path)
    for tensor in load_model(folder).constants():
        if tensor.name in halves:
            np.testing.assert_array_equal(tensor.data, halves[tensor.name].astype(np.float32))


def test_bfloat16_is_widened_exactly(tmp_path: Path) -> None:
    folder = tiny_encoders.bert().write(tmp_path)
    path = folder / "model.safetensors"
    weights = load_file(path)
    upper = {name: (data.view(np.uint32) >> 16).astype(np.uint16) for name, data in weights.items()}
    save_file(upper, path)
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = raw[8 : 8 + length].replace(b'"U16"', b'"BF16"')
    path.write_bytes(struct.pack("<Q", len(header)) + header + raw[8 + length :])
    for tensor in load_model(folder).constants():
        if tensor.name in weights:
            cut = (weights[tensor.name].view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
            np.testing.assert_array_equal(tensor.data, cut)


# Folders that cannot be read


def test_missing_tensor_is_named_with_its_file(tmp_path: Path) -> None:
    folder = tiny_encoders.bert().write(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.bias"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelFormatError, match=r"model\.safetensors.*1\.output\.dense\.bias"):
        load_model(folder)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("hidden_size", 32, r"word_embeddings\.weight has shape \[32, 16\].*\[32, 32\]"),
        ("num_hidden_layers", 10**6, r"encoder\.layer\.2.*missing"),
        ("num_hidden_layers", 10**30, "config.json"),
        ("num_attention_heads", 3, "no multiple of 3 heads"),
        ("vocab_size", -4, "vocab_size"),
        ("hidden_size", "16", "hidden_size"),
        ("layer_norm_eps", float("1e300"), "layer_norm_eps"),
        ("max_position_embeddings", 2**24, "position_embeddings"),
    ],
)
def test_absurd_sizes_are_refused(field: str, value: object, message: str, tmp_path: Path) -> None:
    folder = tiny_encoders.bert(**{field: value}).write(tmp_path)
    with pytest.raises(ModelFormatError, match=message):
        load_model(folder)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model_type", "llama", "llama"),
        ("hidden_act", "quick_gelu", "quick_gelu"),
        ("position_embedding_type", "relative_key", "relative_key"),
        ("is_decoder", True, "is_decoder"),
        ("architectures", ["BertForSequenceClassification"], "BertForSequenceClassification"),
    ],
)
def test_what_cannot_be_converted_is_named(
    field: str, value: object, message: str, tmp_path: Path
) -> None:
    folder = tiny_encoders.bert(**{field: value}).write(tmp_path)
    with pytest.raises((ModelFormatError, UnsupportedOpError), match=message):
        load_model(folder)


def test_unknown_pooling_and_modules_are_named(tmp_path: Path) -> None:
    folder = tiny_encoders.bert().write(tmp_path)
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_lasttoken": true}')
    with pytest.raises(ModelFormatError, match="lasttoken"):
        load_model(folder)
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Dense"}]')
    with pytest.raises(ModelFormatError, match="Dense"):
        load_model(folder)


def test_paths_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    folder = tiny_encoders.bert().write(tmp_path / "model")
    modules = [{"type": "x.Transformer"}, {"type": "x.Pooling", "path": "../elsewhere"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelFormatError, match="leaves the folder"):
        load_model(folder)
    index = {"weight_map": {"embeddings.word_embeddings.weight": "../other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "modules.json").unlink()
    with pytest.raises(ModelFormatError, match=r"other\.safetensors"):
        load_model(folder)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = tiny_encoders.bert().write(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelFormatError, match="run code"):
        load_model(folder)


def test_weights_without_config_are_refused(tmp_path: Path) -> None:
    folder = tiny_encoders.bert().write(tmp_path, pooling=None)
    (folder / "config.json").unlink()
    with pytest.raises(ModelFormatError, match=r"config\.json is missing"):
        load_model(folder / "model.safetensors")


def test_every_damaged_header_is_a_format_error(tmp_path: Path) -> None:
    folder = tiny_encoders.bert().write(tmp_path)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    rng = np.random.default_rng(4)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for position in rng.integers(0, 400, 3):
            damaged[position] = rng.integers(0, 256)
        path.write_bytes(damaged[: len(whole) - int(rng.integers(0, 2)) * 7])
        try:
            tensors = load_model(folder).constants()
        except ModelFormatError:
            refused += 1
        else:
            assert all(tensor.data.dtype == np.float32 for tensor in tensors)
    assert refused > 30


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}'])
@pytest.mark.parametrize("name", ["config.json", "modules.json", "1_Pooling/config.json"])
def test_every_damaged_json_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    folder = tiny_encoders.bert().write(tmp_path)
    (folder / name).write_bytes(content)
    if (name, content) == ("modules.json", b"[]"):
        assert load_model(folder).metadata["pooling"] == "none"
        return
    with pytest.raises(ModelFormatError, match=r"config\.json|modules\.json"):
        load_model(folder)


def test_opening_reads_no_weights(tmp_path: Path) -> None:
    folder = tiny_encoders.bert().write(tmp_path)
    path = folder / "model.safetensors"
    graph = load_model(folder)
    with safe_open(path, framework="numpy") as file:
        assert graph.parameters == sum(
            int(np.prod(file.get_slice(name).get_shape()))
            for name in file.keys()  # noqa: SIM118
        ) + _added_scalars(graph)
    path.unlink()
    with pytest.raises(ModelFormatError, match=r"model\.safetensors"):
        _ = graph.tensors["embeddings.word_embeddings.weight"].data
    assert graph.tensors["embeddings.word_embeddings.weight"].shape == (len(VOCABULARY), HIDDEN)


def _added_scalars(graph: Graph) -> int:
    return sum(t.elements for t in graph.constants() if t.shape == (1,))
