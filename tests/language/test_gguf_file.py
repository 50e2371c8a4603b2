"""The GGUF header reader: what it says, and that no file can do worse than be refused."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from edgekit.errors import EdgekitError, ModelFormatError, UsageError
from edgekit.runtime.language.gguf_file import read_header

pytest.importorskip("gguf")

from tests.tiny_language_models import spm_words, write_language_model, write_vocabulary


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_header_says_what_the_writer_was_told(model: Path) -> None:
    header = read_header(model)
    words = spm_words()
    assert header.architecture == "llama"
    assert header.strings("tokenizer.ggml.tokens") == words.tokens
    kinds = header.numbers("tokenizer.ggml.token_type")
    assert kinds is not None
    assert kinds.tolist() == words.kinds
    assert header.integer("llama.block_count", 0) == 2
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    assert shapes["token_embd.weight"] == (len(words.tokens), 64)
    assert shapes["blk.1.ffn_down.weight"] == (64, 96)
    assert header.tensor_types.keys() == {"F32", "Q8_0"}
    assert 0 < header.weights_bytes < header.size_bytes


def test_every_truncation_is_refused_or_ends_after_the_header(model: Path, tmp_path: Path) -> None:
    data = model.read_bytes()
    whole = read_header(model)
    cut = tmp_path / "cut.gguf"
    for size in [*range(1, 64), *range(64, len(data), 997)]:
        cut.write_bytes(data[:size])
        refusal = None
        try:
            assert read_header(cut).metadata.keys() == whole.metadata.keys()
        except ModelFormatError as error:
            refusal = error
        assert refusal is None or refusal.path == str(cut)


def test_flipped_bytes_are_refused_or_read_but_never_crash(tmp_path: Path) -> None:
    data = bytearray(write_vocabulary(tmp_path / "v.gguf", spm_words()).read_bytes())
    generator = random.Random(3)
    path = tmp_path / "flipped.gguf"
    refused = 0
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(generator.randint(1, 4)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            read_header(path)
        except EdgekitError:
            refused += 1
    assert refused > 0


HEAD = b"GGUF" + struct.pack("<I", 3)
KEY = struct.pack("<Q", 1) + b"k"


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"GGML" + bytes(40), "begin"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (HEAD + struct.pack("<QQ", 2**63, 0), "tensors"),
        (HEAD + struct.pack("<QQ", 0, 2**63), "keys"),
        (HEAD + struct.pack("<QQ", 0, 1) + struct.pack("<Q", 2**63) + bytes(40), "bytes long"),
        (HEAD + struct.pack("<QQ", 0, 1) + KEY + struct.pack("<I", 99) + bytes(9), "type 99"),
        (HEAD + struct.pack("<QQ", 0, 1) + KEY + struct.pack("<IIQ", 9, 4, 2**62), "numbers"),
        (HEAD + struct.pack("<QQ", 0, 1) + KEY + struct.pack("<IIQ", 9, 8, 2**61), "strings"),
        (HEAD + struct.pack("<QQ", 0, 1) + KEY + struct.pack("<IIQ", 9, 9, 1), "array"),
        (
            HEAD + struct.pack("<QQ", 0, 2) + (KEY + struct.pack("<IB", 0, 1)) * 2,
            "twice",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_headers_are_refused(data: bytes, word: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelFormatError, match=word):
        read_header(path)


def test_missing_file_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no\.gguf"):
        read_header(tmp_path / "no.gguf")


def test_a_value_of_another_type_is_named(model: Path) -> None:
    header = read_header(model)
    with pytest.raises(ModelFormatError, match=r"general\.architecture is not a whole number"):
        header.integer("general.architecture", 0)
