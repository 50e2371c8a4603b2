"""GGUF headers: facts are read, and what is damaged, hostile or not computed is refused by name."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit import native
from edgekit.errors import EdgekitError, ModelFormatError
from edgekit.runtime.language.engine import open_model
from tests.language_reference import Shape, random_tensors, write_model

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(not native.has_library(), reason="libedgekit is not built"),
]


def refusal(path: Path) -> str:
    with pytest.raises(ModelFormatError) as caught:
        open_model(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message


def test_facts_are_those_of_the_file(tmp_path: Path) -> None:
    shape = Shape(layers=3, vocabulary=101, context=77, experts=4, experts_used=2, tied=True)
    with open_model(write_model(tmp_path / "m.gguf", shape)) as model:
        facts = model.facts
    assert facts.architecture == "llama"
    assert (facts.layers, facts.vocabulary_size, facts.context) == (3, 101, 77)
    assert (facts.width, facts.heads, facts.kv_heads, facts.head_width) == (64, 4, 2, 16)
    assert (facts.experts, facts.experts_used, facts.tied_embeddings) == (4, 2, True)
    assert facts.tensor_types == ("F32",)
    sizes = [tensor.size for tensor in random_tensors(shape, 1).values()]
    assert facts.parameters == sum(sizes)
    assert facts.weights_bytes == 4 * sum(sizes)


def test_fingerprints_tell_headers_apart(tmp_path: Path) -> None:
    prints = set()
    for index, vocabulary in enumerate((96, 97, 96)):
        path = write_model(tmp_path / f"{index}.gguf", Shape(vocabulary=vocabulary))
        with open_model(path) as model:
            prints.add(model.facts.fingerprint)
    assert len(prints) == 2


@pytest.mark.parametrize(
    ("settings_of_file", "named"),
    [
        ({"attention.sliding_window": 64}, "llama.attention.sliding_window"),
        ({"logit_scale": 2.0}, "llama.logit_scale"),
        ({"rope.scaling.type": "longrope"}, "longrope"),
        ({"rope.scaling.type": "yarn", "rope.scaling.yarn_log_multiplier": 0.1}, "yarn_log"),
        ({"attention.value_length": 8}, "values of 8 columns"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_that_are_not_computed_are_named(
    tmp_path: Path, settings_of_file: dict[str, Any], named: str
) -> None:
    path = write_model(tmp_path / "m.gguf", Shape(settings=settings_of_file))
    assert named in refusal(path)


@pytest.mark.parametrize("architecture", ["gemma3", "phi3", "gpt2"])
def test_architectures_that_are_not_computed_are_named(tmp_path: Path, architecture: str) -> None:
    path = write_model(tmp_path / "m.gguf", Shape(architecture=architecture))
    assert f"architecture {architecture}" in refusal(path)


def test_experts_of_other_architectures_are_refused(tmp_path: Path) -> None:
    shape = Shape(architecture="qwen3", experts=4, experts_used=2)
    assert "experts in qwen3" in refusal(write_model(tmp_path / "m.gguf", shape))


def test_types_that_are_not_computed_are_named(tmp_path: Path) -> None:
    kind = gguf.GGMLQuantizationType.Q5_0
    message = refusal(write_model(tmp_path / "m.gguf", Shape(), kind))
    assert "is Q5_0" in message
    assert "Q4_K" in message


def change(tensors: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    changed = dict(tensors)
    if value is None:
        del changed[name]
    else:
        changed[name] = value
    return changed


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("blk.1.attn_q.weight", None, "blk.1.attn_q.weight is missing"),
        ("output_norm.weight", None, "output_norm.weight is missing"),
        (
            "blk.0.ffn_up.weight",
            np.zeros((96, 65), np.float32),
            "blk.0.ffn_up.weight has the",
        ),
        ("blk.0.attn_norm.weight", np.zeros(63, np.float32), "blk.0.attn_norm.weight has the"),
        (
            "blk.0.attn_sinks.weight",
            np.zeros(4, np.float32),
            "attn_sinks.weight has no place",
        ),
        ("blk.2.attn_q.weight", np.zeros((64, 64), np.float32), "blk.2.attn_q.weight has no place"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tensors_that_do_not_belong_are_named(
    tmp_path: Path, name: str, value: Any, said: str
) -> None:
    tensors = change(random_tensors(Shape(), 1), name, value)
    assert said in refusal(write_model(tmp_path / "m.gguf", Shape(), tensors=tensors))


def test_qwen2_needs_its_biases(tmp_path: Path) -> None:
    shape = Shape(architecture="qwen2")
    assert "attn_q.bias is missing" in refusal(write_model(tmp_path / "m.gguf", shape))


def header(version: int = 3, tensors: int = 0, values: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, values) + rest


def named(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a GGUF file"),
        (b"GGML" + bytes(40), "not a GGUF file"),
        (header(1), "version 1"),
        (header(3 << 24), "big-endian"),
        (header(tensors=1 << 60), "tensors"),
        (header(values=(1 << 64) - 1), "key-value pairs"),
        (header(values=1, rest=struct.pack("<Q", 1 << 62) + bytes(99)), "name of"),
        (header(values=1, rest=named(b"a\0b") + bytes(99)), "zero byte"),
        (header(values=1, rest=named(b"key") + struct.pack("<I", 99) + bytes(99)), "unknown type"),
        (
            header(values=1, rest=named(b"k") + struct.pack("<IIQ", 9, 8, 1 << 40) + bytes(99)),
            "ends early",
        ),
        (
            header(values=1, rest=named(b"k") + struct.pack("<IIQ", 9, 9, 1) + bytes(99)),
            "unknown type",
        ),
        (
            header(values=1, rest=named(b"k") + struct.pack("<IIQ", 9, 12, 1 << 61) + bytes(99)),
            "ends early",
        ),
        (
            header(tensors=1, rest=named(b"t") + struct.pack("<IQIQ", 9, 1, 0, 0) + bytes(99)),
            "dimensions",
        ),
        (
            header(tensors=1, rest=named(b"t") + struct.pack("<IQIQ", 1, 1 << 62, 0, 0) + bytes(9)),
            "size",
        ),
        (
            header(tensors=1, rest=named(b"t") + struct.pack("<IQIQ", 1, 0, 0, 0) + bytes(99)),
            "size",
        ),
        (
            header(tensors=1, rest=named(b"t") + struct.pack("<IQIQ", 1, 4, 77, 0) + bytes(99)),
            "unknown type 77",
        ),
        (
            header(tensors=1, rest=named(b"t") + struct.pack("<IQIQ", 1, 33, 8, 0) + bytes(99)),
            "multiples of 32",
        ),
        (
            header(tensors=1, rest=named(b"t") + struct.pack("<IQIQ", 1, 4, 0, 1 << 63) + bytes(9)),
            "beyond the file's end",
        ),
        (
            header(tensors=1, rest=named(b"t") + struct.pack("<IQIQ", 1, 99, 0, 0) + bytes(99)),
            "not within the file",
        ),
        (header(), "general.architecture"),
    ],
)
def test_hostile_headers_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    assert said in refusal(path)


def test_duplicate_names_are_refused(tmp_path: Path) -> None:
    pair = named(b"general.name") + struct.pack("<I", 7) + b"\x01"
    path = tmp_path / "m.gguf"
    path.write_bytes(header(values=2, rest=pair + pair))
    assert "general.name occurs twice" in refusal(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_cut_files_are_refused(tmp_path: Path, share: float) -> None:
    path = write_model(tmp_path / "m.gguf", Shape())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert str(path) in refusal(path)


def test_folders_and_absent_files_are_refused(tmp_path: Path) -> None:
    assert "cannot be opened" in refusal(tmp_path)
    assert "cannot be opened" in refusal(tmp_path / "absent.gguf")


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "m.gguf", Shape(layers=1))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    damage=st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), min_size=1, max_size=4)
)
def test_damaged_headers_are_refused_or_harmless(
    small_file: Path, damage: list[tuple[int, int]]
) -> None:
    """Whatever opens can also be planned, and its facts are within bounds."""
    content = bytearray(small_file.read_bytes())
    for at, value in damage:
        content[at] = value
    path = small_file.with_name("damaged.gguf")
    path.write_bytes(content)
    try:
        model = open_model(path)
    except EdgekitError:
        return
    with model:
        assert 0 < model.facts.kv_heads <= model.facts.heads
        assert model.facts.weights_bytes <= len(content)
        assert model.plan(context=16).total_bytes > 0


def with_vocabulary(path: Path, kind: str, tokens: list[bytes], kinds: list[int]) -> Path:
    """Write a model with a vocabulary."""
    shape = Shape(vocabulary=len(tokens), layers=1)
    original: Callable[..., None] = gguf.GGUFWriter.write_header_to_file

    class Writer(gguf.GGUFWriter):  # type: ignore[misc]
        def write_header_to_file(self, *arguments: Any) -> None:
            self.add_tokenizer_model(kind)
            self.add_token_list(tokens)
            self.add_token_types(kinds)
            original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf, "GGUFWriter", Writer)
        return write_model(path, shape)


def test_tokens_stand_for_their_bytes(tmp_path: Path) -> None:
    spm = [b"<unk>", b"<s>", b"<0x0A>", "▁the".encode(), "é".encode(), b"x" * 700]
    path = with_vocabulary(tmp_path / "spm.gguf", "llama", spm, [2, 3, 6, 1, 1, 1])
    with open_model(path) as model:
        texts = [model.token_text(token) for token in range(6)]
        with pytest.raises(EdgekitError):
            model.token_text(6)
    assert texts == [b"", b"", b"\n", b" the", "é".encode(), b"x" * 700]
    bpe = ["Ġthe".encode(), "Ċ".encode(), "Ã©".encode(), b"a", b"<|end|>"]
    path = with_vocabulary(tmp_path / "bpe.gguf", "gpt2", bpe, [1, 1, 1, 1, 3])
    with open_model(path) as model:
        texts = [model.token_text(token) for token in range(5)]
    assert texts == [b" the", b"\n", "é".encode(), b"a", b""]


def test_models_without_a_vocabulary_have_no_token_text(small_file: Path) -> None:
    with open_model(small_file) as model, pytest.raises(ModelFormatError):
        model.token_text(0)
