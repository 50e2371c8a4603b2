"""The tokenizer of the native core: the same tokens as Python's, for every kind of vocabulary."""

from __future__ import annotations

import random
from importlib.resources import files
from pathlib import Path

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import native
from edgekit.errors import EdgekitError, ModelFormatError, UsageError
from edgekit.runtime.language.bpe import WORD_RULES
from edgekit.runtime.language.native_tokenizer import NativeTokenizer
from edgekit.runtime.language.tokenizer import Tokenizer, load_tokenizer
from tests.conftest import Find

pytest.importorskip("tokenizers")

from scripts import make_unicode_classes
from tests.language.test_tokenizer import hostile_text
from tests.tiny_language_models import NORMAL, Words, bpe_words, spm_words, write_vocabulary

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(not native.has_library(), reason="libedgekit is not built"),
]
VOCABULARIES = ("llama-spm", "llama-bpe", "gpt-2", "qwen2")
TALES = Path(str(files("edgekit.zoo") / "tales_q8_0.gguf"))
TEXTS = 150

Pair = tuple[Tokenizer, NativeTokenizer]


def pair(path: Path) -> Pair:
    return load_tokenizer(path), NativeTokenizer(path)


def assert_same(both: Pair, text: str) -> None:
    own, twin = both
    for parse in (False, True):
        expected = own.encode(text, parse_special=parse)
        assert twin.encode(text, parse_special=parse) == expected, repr(text)
        plain = own.encode(text, add_special=False, parse_special=parse)
        assert twin.encode(text, add_special=False, parse_special=parse) == plain, repr(text)


def assert_same_texts(both: Pair, seed: int, count: int) -> None:
    generator = random.Random(seed)
    for _ in range(count):
        assert_same(both, hostile_text(generator))


def with_rule(path: Path, rule: str) -> Path:
    """A byte-level vocabulary whose words show: a token for every two letters of a word."""
    words = bpe_words()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(rule)
    letters = words.tokens[:256]
    merges = [f"{a} {b}" for a in letters for b in letters if (ord(a) * 7 + ord(b)) % 3]
    tokens = [*letters, *(merge.replace(" ", "", 1) for merge in merges), "<|end|>"]
    writer.add_token_list(tokens)
    writer.add_token_merges(merges)
    writer.add_token_types([NORMAL] * len(tokens))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vocabularies")


@pytest.fixture(scope="module")
def spm(folder: Path) -> Pair:
    return pair(write_vocabulary(folder / "spm.gguf", spm_words()))


@pytest.fixture(scope="module")
def bpe(folder: Path) -> Pair:
    return pair(write_vocabulary(folder / "bpe.gguf", bpe_words()))


@pytest.fixture(scope="module")
def tales() -> Pair:
    return pair(TALES)


texts = st.text(max_size=60) | st.lists(
    st.sampled_from(
        ["the", " the", " and", "  ", "\n", "é", "日本", "🙂", "<|end|>", "<tool>", "▁", "<s>"]
    )
).map("".join)


@given(texts)
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("name", ["spm", "bpe", "tales"])
def test_tokens_are_those_of_python(name: str, request: pytest.FixtureRequest, text: str) -> None:
    assert_same(request.getfixturevalue(name), text)


def test_difficult_texts_of_the_model_that_ships(tales: Pair) -> None:
    assert_same_texts(tales, seed=3, count=TEXTS)
    assert_same(
        tales, "Once upon a time\n\nthere was a king's daughter.  She'd 12345 apples!\n" * 50
    )


@pytest.mark.parametrize("rule", WORD_RULES)
def test_every_word_rule_cuts_as_its_expression(folder: Path, rule: str) -> None:
    both = pair(with_rule(folder / f"{rule}.gguf", rule))
    assert_same_texts(both, seed=4, count=TEXTS)
    parts = ["'", "s", "S", "ll", "\u017f", "ʰ", "A", "b", "\u0301", "日", "1", "½", " ", "\n", "/"]
    generator = random.Random(5)
    for _ in range(TEXTS):
        assert_same(both, "".join(generator.choices([*parts, "-", "\r", "\t", "'Re"], k=9)))


@pytest.mark.full
def test_characters_are_of_the_classes_of_the_expressions() -> None:
    found = make_unicode_classes.classes()
    assert make_unicode_classes.table(found) == make_unicode_classes.TABLE.read_text()


@pytest.mark.parametrize("name", VOCABULARIES)
def test_tokens_of_real_vocabularies(name: str, asset: Find) -> None:
    both = pair(asset(f"llm/vocab/ggml-vocab-{name}.gguf"))
    assert_same_texts(both, seed=6, count=TEXTS)
    assert_same(both, asset("llm/text/grimm_tales.txt").read_text()[:20000])
    ends = {token for token in range(len(both[0])) if both[1].is_end(token)}
    assert ends == both[0].end_tokens


def test_end_tokens_are_those_of_python(spm: Pair, bpe: Pair, tales: Pair) -> None:
    for own, twin in (spm, bpe, tales):
        ends = {token for token in range(-2, len(own) + 2) if twin.is_end(token)}
        assert ends == own.end_tokens


@pytest.mark.parametrize(
    "text",
    [b"\x80", b"a\xc0\xafb", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x96", b"\xff", b"\xf8"],
)
def test_what_is_no_utf8_is_refused(spm: Pair, bpe: Pair, text: bytes) -> None:
    for _, twin in (spm, bpe):
        with pytest.raises(UsageError):
            twin.encode(text)


@given(st.binary(max_size=12))
@settings(max_examples=300, deadline=None)
def test_bytes_are_cut_where_python_can_decode_them(spm: Pair, data: bytes) -> None:
    own, twin = spm
    try:
        expected = own.encode(data.decode())
    except UnicodeDecodeError:
        with pytest.raises(UsageError):
            twin.encode(data)
    else:
        assert twin.encode(data) == expected


def test_a_text_without_an_end_is_cut_in_time(spm: Pair, bpe: Pair) -> None:
    for own, twin in (spm, bpe):
        for text in ("the" * 20000, "\n " * 20000, "1" * 20000, " " * 40000):
            assert twin.encode(text) == own.encode(text)


def refusal(path: Path) -> str:
    with pytest.raises(ModelFormatError) as caught:
        NativeTokenizer(path)
    return str(caught.value)


def test_unknown_kinds_are_refused_by_name(folder: Path) -> None:
    words = bpe_words()
    other = Words("bert", words.tokens, words.kinds, merges=words.merges)
    assert "'bert'" in refusal(write_vocabulary(folder / "bert.gguf", other))
    said = refusal(with_rule(folder / "odd.gguf", "odd-rule"))
    assert "'odd-rule'" in said
    assert all(rule in said for rule in WORD_RULES)


def test_contradictions_are_refused(folder: Path) -> None:
    words, bytewise = spm_words(), bpe_words()
    repeated = Words("llama", [*words.tokens[:-1], "the"], words.kinds, words.scores)
    assert "repeats" in refusal(write_vocabulary(folder / "a.gguf", repeated))
    short = Words("llama", words.tokens, words.kinds[:9], words.scores)
    assert "token_type" in refusal(write_vocabulary(folder / "b.gguf", short))
    wrong = Words("llama", words.tokens, words.kinds, [float("nan")] * len(words.tokens))
    assert "scores" in refusal(write_vocabulary(folder / "c.gguf", wrong))
    for merge, said in (("x y", "makes no token"), ("xy", "no merge")):
        odd = Words("gpt2", bytewise.tokens, bytewise.kinds, merges=[*bytewise.merges, merge])
        assert said in refusal(write_vocabulary(folder / "d.gguf", odd))


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(["spm", "bpe"]),
    damage=st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damaged_vocabularies_are_refused_or_harmless(
    folder: Path, spm: Pair, bpe: Pair, name: str, damage: list[tuple[int, int]]
) -> None:
    content = bytearray((folder / f"{name}.gguf").read_bytes())
    for at, value in damage:
        content[at % len(content)] = value
    path = folder / "damaged.gguf"
    path.write_bytes(content)
    try:
        twin = NativeTokenizer(path)
    except EdgekitError:
        return
    with twin:
        tokens = twin.encode("the and <tool> 日本\n", parse_special=True)
        assert all(0 <= token < 1 << 22 for token in tokens)
