"""Byte-level BPE vocabularies, by the ``tokenizers`` library.

A text is cut into words by a regular expression that belongs to the vocabulary, each byte becomes
a printable letter, and letters are merged in the order of the merges. Sources: Radford et al.,
"Language Models are Unsupervised Multitask Learners", 2019, section 2.2; the expressions are those
of each model's published ``tokenizer.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.errors import MissingDependencyError, ModelFormatError
from edgekit.runtime.language.vocabulary import Vocabulary

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_SHORT}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_TAIL}"
_QWEN2 = rf"{_SHORT}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_TAIL}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*%s"
_CASED_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN = rf"{_CASED % ('', '')}|\p{{N}}|{_CASED_TAIL}"
_GPT4O = rf"{_CASED % (_SHORT + '?', _SHORT + '?')}|\p{{N}}{{1,3}}|{_CASED_TAIL}"

WORD_RULES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais"), (_GPT2,)),
    **dict.fromkeys(("starcoder", "refact", "command-r", "smollm", "codeshell"), (r"\p{N}", _GPT2)),
    **dict.fromkeys(
        ("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "dbrx", "smaug-bpe"), (_LLAMA3,)
    ),
    **dict.fromkeys(("qwen2", "stablelm2", "deepseek-r1-qwen", "megrez"), (_QWEN2,)),
    "tekken": (_TEKKEN,),
    **dict.fromkeys(("gpt-4o", "llama4"), (_GPT4O,)),
}
"""Expressions that cut a text into words, one after the other, by ``tokenizer.ggml.pre``."""

WHOLE_WORDS_FIRST = frozenset({"llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "tekken"})
"""Rules under which a word that is a token stays whole, whatever the merges say."""


class BytePairModel:
    """Cuts text into tokens.

    Parameters
    ----------
    vocabulary : Vocabulary

    Raises
    ------
    ModelFormatError
        If the rule that cuts words is not known, or merges do not fit the tokens.
    MissingDependencyError
        If the ``tokenizers`` library is not installed.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        rules = WORD_RULES.get(vocabulary.pre)
        if rules is None:
            raise ModelFormatError(
                f"the word rule '{vocabulary.pre[:40]}' of the vocabulary is not known "
                f"(known: {', '.join(WORD_RULES)}); llama.cpp may know it: --executor llama"
            )
        self._tokenizer = _build(vocabulary, rules)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return tokens


def byte_letters() -> dict[str, int]:
    """Return the byte that each letter of GPT-2's printable alphabet stands for."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in plain}
    others = [byte for byte in range(256) if byte not in plain]
    return letters | {chr(256 + index): byte for index, byte in enumerate(others)}


def _build(vocabulary: Vocabulary, rules: tuple[str, ...]) -> Any:
    try:
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    except ImportError as error:
        raise MissingDependencyError("llm", library="tokenizers") from error
    merges = [_pair(merge) for merge in vocabulary.merges]
    for left, right in merges:
        if left + right not in vocabulary.numbers:
            raise ModelFormatError(f"the merge of {left[:40]!r} and {right[:40]!r} makes no token")
    model = models.BPE(
        vocab=dict(vocabulary.numbers),
        merges=merges,
        ignore_merges=vocabulary.pre in WHOLE_WORDS_FIRST,
    )
    tokenizer = Tokenizer(model)
    splits = [pre_tokenizers.Split(Regex(rule), "isolated") for rule in rules]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return tokenizer


def _pair(merge: str) -> tuple[str, str]:
    # A piece may itself begin with a space in odd files; the separator is the first one after it.
    at = merge.find(" ", 1)
    if at < 0:
        raise ModelFormatError(f"{merge[:40]!r} is no merge of two pieces")
    return merge[:at], merge[at + 1 :]
