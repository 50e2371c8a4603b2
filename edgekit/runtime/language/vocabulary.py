"""The vocabulary of a language model, as a GGUF file carries it.

Token kinds and the meaning of the ``tokenizer.ggml.*`` keys:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, "Tokenizer". Files in circulation mark
some control tokens as plain text; those that are known by their text are taken for control tokens,
as llama.cpp (src/llama-vocab.cpp) does, so that both end a generation at the same place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

import numpy as np

from edgekit.dtypes import Array
from edgekit.errors import ModelFormatError
from edgekit.runtime.language.gguf_file import GgufHeader

VocabularyModel = Literal["spm", "bpe", "other"]

_MODELS: Mapping[str, VocabularyModel] = {"llama": "spm", "gpt2": "bpe"}
NO_TOKEN: Final = -1

END_TEXTS: Final = frozenset(
    {
        *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>"),
        *("<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<eos>"),
        *("<|end_of_text|>", "<end_of_utterance>", "<\uff5cend▁of▁sentence\uff5c>"),
        *("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
        *("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>", "<|file_sep|>"),
    }
)
"""Texts of tokens that end a generation, whatever kind the file gives them."""

CONTROL_TEXTS: Final = END_TEXTS | {
    *(
        "<|fim_prefix|>",
        "<fim-prefix>",
        "<fim_prefix>",
        "<\uff5cfim▁begin\uff5c>",
        "<PRE>",
        "▁<PRE>",
    ),
    *(
        "<|fim_suffix|>",
        "<fim-suffix>",
        "<fim_suffix>",
        "<\uff5cfim▁hole\uff5c>",
        "<SUF>",
        "▁<SUF>",
    ),
    *("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<\uff5cfim▁end\uff5c>", "<MID>", "▁<MID>"),
}


class TokenKind(IntEnum):
    """What a token is, by its number in ``tokenizer.ggml.token_type``."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """All tokens and how text is cut into them.

    Parameters
    ----------
    model : {'spm', 'bpe', 'other'}
        SentencePiece with scores, byte-level BPE with merges, or one that is not cut here.
    pre : str
        Name of the rule that cuts a text into words (BPE).
    tokens : tuple of str
        By number. BPE tokens are in the printable alphabet of GPT-2.
    kinds : tuple of TokenKind
    scores : array of float32, shape (tokens,)
        For SPM; zeros otherwise.
    merges : tuple of str
        Pairs with one space between, the first merged first (BPE).
    numbers : mapping of str to int
        Number of each token.
    bos, eos, unknown : int
        ``NO_TOKEN`` where there is none.
    add_bos, add_eos, add_space_prefix : bool
        What an encoded text begins and ends with.
    end_tokens : frozenset of int
        Tokens that end a generation.
    """

    model: VocabularyModel
    pre: str
    tokens: tuple[str, ...]
    kinds: tuple[TokenKind, ...]
    scores: Array
    merges: tuple[str, ...]
    numbers: Mapping[str, int]
    bos: int
    eos: int
    unknown: int
    add_bos: bool
    add_eos: bool
    add_space_prefix: bool
    end_tokens: frozenset[int]

    def text(self, token: int) -> str:
        """Return the text of a special token; empty for ``NO_TOKEN``."""
        return self.tokens[token] if 0 <= token < len(self.tokens) else ""


def read_vocabulary(header: GgufHeader, *, cut_here: bool = True) -> Vocabulary:
    """Return the vocabulary of a file.

    Parameters
    ----------
    header : GgufHeader
    cut_here : bool
        Refuse vocabularies whose texts only llama.cpp can cut.

    Raises
    ------
    ModelFormatError
        If there is none, it contradicts itself, or is of a kind that is not read.
    """
    name = header.text("tokenizer.ggml.model")
    model = _MODELS.get(name, "other")
    if model == "other" and (cut_here or not name):
        what = f"the tokenizer '{name[:40]}' is not read" if name else "there is no vocabulary"
        raise ModelFormatError(
            f"{what} (read: {', '.join(_MODELS)}); llama.cpp may: --executor llama",
            path=str(header.path),
        )
    tokens = tuple(t or f"[EMPTY_{i}]" for i, t in enumerate(header.strings(_KEY + "tokens")))
    numbers = {token: number for number, token in enumerate(tokens)}
    if not tokens or len(numbers) != len(tokens):
        raise ModelFormatError("the vocabulary is empty or repeats a token", path=str(header.path))
    spm, pre = model == "spm", header.text(_KEY + "pre", "default")
    eos = _special(header, "eos_token_id", len(tokens), 2 if spm else 11)
    kinds = _kinds(header, tokens)
    ends = {number for text, number in numbers.items() if text in END_TEXTS}
    ends |= {
        _special(header, key, len(tokens), NO_TOKEN) for key in ("eot_token_id", "eom_token_id")
    }
    return Vocabulary(
        model=model,
        pre=pre,
        tokens=tokens,
        kinds=kinds,
        scores=_scores(header, len(tokens)),
        merges=tuple(header.strings(_KEY + "merges")),
        numbers=numbers,
        bos=_special(header, "bos_token_id", len(tokens), 1 if spm else 11),
        eos=eos,
        unknown=_special(header, "unknown_token_id", len(tokens), 0 if spm else NO_TOKEN),
        add_bos=header.truth(_KEY + "add_bos_token", spm or pre in BOS_BY_DEFAULT),
        add_eos=header.truth(_KEY + "add_eos_token", False),
        add_space_prefix=header.truth(_KEY + "add_space_prefix", spm),
        end_tokens=frozenset((ends | {eos}) - {NO_TOKEN}),
    )


_KEY = "tokenizer.ggml."
BOS_BY_DEFAULT: Final = frozenset(
    {"llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "tekken"}
)
"""Word rules whose models begin every text with BOS although their files may not say so."""


def _special(header: GgufHeader, key: str, count: int, default: int) -> int:
    """Return the number of a special token; one that is out of range counts as missing."""
    number = header.integer(_KEY + key, default)
    if not 0 <= number < count:
        return default if 0 <= default < count else NO_TOKEN
    return number


def _kinds(header: GgufHeader, tokens: tuple[str, ...]) -> tuple[TokenKind, ...]:
    stored = header.numbers(_KEY + "token_type")
    if stored is None:
        kinds = [TokenKind.NORMAL] * len(tokens)
    else:
        if len(stored) < len(tokens):
            raise ModelFormatError("there are fewer kinds than tokens", path=str(header.path))
        known = {kind.value: kind for kind in TokenKind}
        kinds = [known.get(n, TokenKind.UNDEFINED) for n in stored[: len(tokens)].tolist()]
    for number, text in enumerate(tokens):
        if text in CONTROL_TEXTS:
            kinds[number] = TokenKind.CONTROL
    return tuple(kinds)


def _scores(header: GgufHeader, count: int) -> Array:
    stored = header.numbers(_KEY + "scores")
    if stored is None:
        return np.zeros(count, np.float32)
    if len(stored) < count or not np.isfinite(stored).all():
        raise ModelFormatError("scores are missing or not finite", path=str(header.path))
    return stored[:count].astype(np.float32)
