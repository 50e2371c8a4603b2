"""Tokenizers: exact, reversible, and special tokens only where they are meant."""

from __future__ import annotations

import ctypes
import logging
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import ModelFormatError, UsageError
from edgekit.runtime.language.gguf_file import read_header
from edgekit.runtime.language.tokenizer import Tokenizer, load_tokenizer
from edgekit.runtime.language.vocabulary import TokenKind, read_vocabulary
from tests.conftest import Find

pytest.importorskip("gguf")
pytest.importorskip("tokenizers")

from tests.tiny_language_models import Words, bpe_words, spm_words, write_vocabulary

VOCABULARIES = ("llama-spm", "llama-bpe", "gpt-2", "qwen2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vocabularies")


@pytest.fixture(scope="module")
def spm(folder: Path) -> Tokenizer:
    return load_tokenizer(write_vocabulary(folder / "spm.gguf", spm_words()))


@pytest.fixture(scope="module")
def bpe(folder: Path) -> Tokenizer:
    return load_tokenizer(write_vocabulary(folder / "bpe.gguf", bpe_words()))


texts = st.text(max_size=60) | st.lists(
    st.sampled_from(
        ["the", " the", " and", "  ", "\n", "é", "日本", "🙂", "<|end|>", "<tool>", "▁"]
    )
).map("".join)


@given(texts)
@settings(max_examples=100)
def test_bpe_text_comes_back(bpe: Tokenizer, text: str) -> None:
    assert bpe.decode(bpe.encode(text, add_special=False)) == text


@given(texts)
@settings(max_examples=100)
def test_spm_text_comes_back_with_the_space_before_it(spm: Tokenizer, text: str) -> None:
    # The stand-in of a space cannot be told from a space; a user-defined token takes no space.
    tokens = spm.encode(text, add_special=False)
    back = spm.decode(tokens)
    expected = text.replace("▁", " ")
    if "<tool>" not in text:
        assert back == (f" {expected}" if text else "")
    else:
        assert back.replace(" ", "") == expected.replace(" ", "")


@given(st.lists(st.integers(0, len(spm_words().tokens) - 1), max_size=40))
def test_pieces_one_by_one_are_the_text_at_once(spm: Tokenizer, tokens: list[int]) -> None:
    decoder = spm.decoder()
    shown = "".join(decoder.feed(token) for token in tokens) + decoder.finish()
    assert shown == spm.decode(tokens)


def test_half_a_character_is_held_back(spm: Tokenizer) -> None:
    tokens = spm.encode("🙂", add_special=False)[-4:]
    decoder = spm.decoder()
    assert [decoder.feed(token) for token in tokens] == ["", "", "", "🙂"]


@pytest.mark.parametrize("name", ["spm", "bpe"])
def test_control_tokens_are_text_unless_asked_for(
    name: str, request: pytest.FixtureRequest
) -> None:
    tokenizer: Tokenizer = request.getfixturevalue(name)
    number = tokenizer.vocabulary.numbers["<|end|>"]
    assert number not in tokenizer.encode("a<|end|>b")
    meant = tokenizer.encode("a<|end|>b", parse_special=True)
    assert meant.count(number) == 1
    assert tokenizer.piece(number) == b""
    assert tokenizer.piece(number, special=True) == b"<|end|>"


@pytest.mark.parametrize("name", ["spm", "bpe"])
def test_user_defined_tokens_are_always_found(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer: Tokenizer = request.getfixturevalue(name)
    number = tokenizer.vocabulary.numbers["<tool>"]
    assert tokenizer.encode("x<tool><tool>").count(number) == 2
    assert tokenizer.piece(number) == b"<tool>"


def test_spm_merges_the_best_score_first(spm: Tokenizer) -> None:
    numbers = spm.vocabulary.numbers
    # Were "he" merged before "th", then "▁t" and "he" would be left, which are no token together.
    assert spm.encode("the", add_special=False) == [numbers["▁the"]]


def test_bpe_merges_in_the_order_of_the_merges(bpe: Tokenizer) -> None:
    numbers = bpe.vocabulary.numbers
    assert bpe.encode("a the and", add_special=False) == [
        numbers["a"],
        numbers["Ġthe"],
        numbers["Ġand"],
    ]


def test_bytes_stand_in_for_letters_that_have_no_token(spm: Tokenizer) -> None:
    tokens = spm.encode("ß", add_special=False)
    assert [spm.piece(token) for token in tokens] == [b" ", b"\xc3", b"\x9f"]


def test_bos_stands_before_a_text_where_the_vocabulary_says_so(
    spm: Tokenizer, bpe: Tokenizer
) -> None:
    assert spm.encode("")[0] == spm.vocabulary.bos
    assert bpe.encode("") == []


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_half_a_surrogate_pair_is_refused(spm: Tokenizer, text: str) -> None:
    with pytest.raises(UsageError, match="Unicode"):
        spm.encode(text)


def test_a_token_that_does_not_exist_is_refused(spm: Tokenizer) -> None:
    for token in (-1, len(spm)):
        with pytest.raises(UsageError, match="no token"):
            spm.piece(token)


def test_a_vocabulary_that_repeats_a_token_is_refused(folder: Path) -> None:
    words = spm_words()
    repeated = Words("llama", [*words.tokens[:-1], "the"], words.kinds, words.scores)
    path = write_vocabulary(folder / "repeated.gguf", repeated)
    with pytest.raises(ModelFormatError, match="repeats"):
        load_tokenizer(path)


def test_a_merge_that_makes_no_token_is_refused(folder: Path) -> None:
    words = bpe_words()
    wrong = Words("gpt2", words.tokens, words.kinds, merges=[*words.merges, "x y"])
    with pytest.raises(ModelFormatError, match="makes no token"):
        load_tokenizer(write_vocabulary(folder / "merge.gguf", wrong))


def test_end_tokens_are_found_by_their_text_too(folder: Path) -> None:
    words = bpe_words()
    kinds = [TokenKind.NORMAL] * len(words.tokens)  # a file that calls everything plain text
    path = write_vocabulary(
        folder / "plain.gguf", Words("gpt2", words.tokens, list(map(int, kinds)), [], words.merges)
    )
    vocabulary = read_vocabulary(read_header(path))
    end = vocabulary.numbers["<|end|>"]
    assert end in vocabulary.end_tokens
    assert vocabulary.kinds[end] is TokenKind.CONTROL


@pytest.mark.full
@pytest.mark.parametrize("name", VOCABULARIES)
def test_tokens_are_those_of_llama_cpp(name: str, asset: Find) -> None:
    library = pytest.importorskip("llama_cpp")
    logging.getLogger("llama-cpp-python").setLevel(logging.CRITICAL)
    path = asset(f"llm/vocab/ggml-vocab-{name}.gguf")
    params = library.llama_model_default_params()
    params.vocab_only = True
    model = library.llama_model_load_from_file(str(path).encode(), params)
    peer = library.llama_model_get_vocab(model)
    own = load_tokenizer(path)
    generator = random.Random(1)
    for text in [hostile_text(generator) for _ in range(2000)]:
        for special in (False, True):
            data = text.encode()
            room = (ctypes.c_int32 * (len(data) + 16))()
            count = library.llama_tokenize(peer, data, len(data), room, len(room), special, special)
            found = own.encode(text, add_special=special, parse_special=special)
            assert found == list(room[:count]), repr(text)
    ends = {token for token in range(len(own)) if library.llama_vocab_is_eog(peer, token)}
    assert own.end_tokens == ends
    for token in range(len(own)):
        for special in (False, True):
            buffer = ctypes.create_string_buffer(1024)
            size = library.llama_token_to_piece(peer, token, buffer, 1024, 0, special)
            assert own.piece(token, special=special) == buffer.raw[:size]
    library.llama_model_free(model)


PARTS = (
    *(" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u200b", "a", "The", "the", "'s", "'LL"),
    *(
        "1",
        "23",
        "4567",
        "é",
        "e\u0301",
        "日本",
        "한국",
        "🙂",
        "👩‍👩‍👧",
        "\U0001f1e9",
        "ـ",
        "हि",
        "K",
    ),
    *("İ", "ß", "\u0085", "\u2028", "\ufeff", "\x00", "\x7f", "<s>", "</s>", "<unk>", "<0x0A>"),
    *("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>", "▁", "▁▁", "Ġ", "Ċ", "!", "..."),
    *("#$%", "_", "\\", "\U0001d518", "𠀀", "٣", "½", "Ⅷ", "x" * 40, " " * 33, "\n" * 7),
)


def hostile_text(generator: random.Random) -> str:
    """Return a short text of difficult parts, or of any characters there are."""
    length = generator.randint(0, 12)
    if generator.random() < 0.7:
        return "".join(generator.choice(PARTS) for _ in range(length))
    planes = ((0, 0x7F), (0, 0x7FF), (0, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF))
    return "".join(chr(generator.randint(*generator.choice(planes))) for _ in range(length))


@pytest.mark.full
@pytest.mark.parametrize("name", VOCABULARIES)
def test_text_comes_back_from_real_vocabularies(name: str, asset: Find) -> None:
    own = load_tokenizer(asset(f"llm/vocab/ggml-vocab-{name}.gguf"))
    generator = random.Random(2)
    for text in [hostile_text(generator) for _ in range(200)]:
        back = own.decode(own.encode(text, add_special=False))
        expected = f" {text}".replace("▁", " ") if name == "llama-spm" and text else text
        assert back == expected
