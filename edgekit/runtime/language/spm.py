"""SentencePiece vocabularies of the BPE kind: neighbours are merged, the best score first.

Source: Kudo and Richardson, "SentencePiece", EMNLP 2018, section 3; the merge order (highest
score, then leftmost) and the byte tokens are those of the Llama tokenizer.
"""

from __future__ import annotations

import heapq
import re
from functools import lru_cache

from edgekit.errors import ModelFormatError
from edgekit.runtime.language.vocabulary import Vocabulary

SPACE = "\u2581"
"""Stands for a space in the vocabulary (LOWER ONE EIGHTH BLOCK)."""

_WORDS = re.compile(f"{SPACE}+[^{SPACE}]*|[^{SPACE}]+")
_CACHED_WORDS = 1 << 15
_LONGEST_CACHED = 64


class SentencePieceModel:
    """Cuts text into tokens.

    Parameters
    ----------
    vocabulary : Vocabulary

    Raises
    ------
    ModelFormatError
        If a byte has no token, so that some texts could not be written.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._numbers = vocabulary.numbers
        self._scores: list[float] = vocabulary.scores.tolist()
        found = [self._byte_token(byte) for byte in range(256)]
        # Vocabularies that were made for letters only have no byte tokens at all.
        self._bytes = [vocabulary.unknown if token is None else token for token in found]
        if min(self._bytes) < 0:
            missing = found.index(None)
            raise ModelFormatError(f"the vocabulary has no token for byte {missing}, nor <unk>")
        # No token goes on after the end of a word: words can be cut one by one.
        self._is_by_word = not any(SPACE in token.lstrip(SPACE) for token in vocabulary.tokens)
        self._cached = lru_cache(_CACHED_WORDS)(self._merge)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, its spaces being spaces."""
        text = text.replace(" ", SPACE)
        if not self._is_by_word:
            return list(self._merge(text))
        tokens: list[int] = []
        for word in _WORDS.findall(text):
            merge = self._cached if len(word) <= _LONGEST_CACHED else self._merge
            tokens += merge(word)
        return tokens

    def _merge(self, text: str) -> tuple[int, ...]:
        pieces: list[str] = list(text)
        last = len(pieces) - 1
        before, after = list(range(-1, last)), [*range(1, last + 1), -1]
        queue: list[tuple[float, int, int, str]] = []

        def propose(left: int, right: int) -> None:
            if left < 0 or right < 0:
                return
            merged = pieces[left] + pieces[right]
            number = self._numbers.get(merged)
            if number is not None:
                heapq.heappush(queue, (-self._scores[number], left, right, merged))

        for left in range(last):
            propose(left, left + 1)
        while queue:
            _, left, right, merged = heapq.heappop(queue)
            # Outdated where one side was merged with another neighbour since.
            if not pieces[left] or not pieces[right] or pieces[left] + pieces[right] != merged:
                continue
            pieces[left], pieces[right] = merged, ""
            after[left] = after[right]
            if after[right] >= 0:
                before[after[right]] = left
            propose(before[left], left)
            propose(left, after[left])
        return tuple(token for piece in pieces if piece for token in self._tokens_of(piece))

    def _tokens_of(self, piece: str) -> list[int]:
        number = self._numbers.get(piece)
        return [self._bytes[byte] for byte in piece.encode()] if number is None else [number]

    def _byte_token(self, byte: int) -> int | None:
        number = self._numbers.get(f"<0x{byte:02X}>")
        return self._numbers.get(chr(byte)) if number is None and byte < 128 else number
