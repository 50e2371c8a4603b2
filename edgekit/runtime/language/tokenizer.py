"""From text to tokens and back.

Special tokens are found first, the longest before shorter ones; what lies between is cut by the
model of the vocabulary. Text goes back from tokens byte by byte: :class:`TextDecoder` holds back
an unfinished UTF-8 character until the token that completes it.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol

from edgekit.errors import ModelFormatError, UsageError
from edgekit.runtime.language.bpe import BytePairModel, byte_letters
from edgekit.runtime.language.gguf_file import read_header
from edgekit.runtime.language.spm import SPACE, SentencePieceModel
from edgekit.runtime.language.vocabulary import NO_TOKEN, TokenKind, Vocabulary, read_vocabulary

MOST_CHARACTERS: Final = 1 << 24
_HIDDEN = (TokenKind.CONTROL, TokenKind.UNKNOWN)
_FOUND_FIRST = (*_HIDDEN, TokenKind.USER_DEFINED)


class TextModel(Protocol):
    """What cuts text that has no special tokens in it."""

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text."""


class Tokenizer:
    """Turns text into tokens and tokens into text.

    Parameters
    ----------
    vocabulary : Vocabulary

    Raises
    ------
    ModelFormatError
        If the vocabulary cannot be used.
    MissingDependencyError
        If it needs a library that is not installed.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        if vocabulary.model == "other":
            raise ModelFormatError("only llama.cpp can cut texts for this vocabulary")
        self._is_spm = vocabulary.model == "spm"
        self._model: TextModel = (
            SentencePieceModel(vocabulary) if self._is_spm else BytePairModel(vocabulary)
        )
        self._letters = byte_letters()
        special = [n for n, kind in enumerate(vocabulary.kinds) if kind in _FOUND_FIRST]
        self._special = sorted(special, key=lambda n: -len(vocabulary.tokens[n].encode(*_BYTES)))

    def __len__(self) -> int:
        return len(self.vocabulary.tokens)

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end a generation."""
        return self.vocabulary.end_tokens

    def encode(
        self, text: str, *, add_special: bool = True, parse_special: bool = False
    ) -> list[int]:
        """Return the tokens of a text.

        Parameters
        ----------
        text : str
        add_special : bool
            Begin with BOS and end with EOS where the vocabulary says so.
        parse_special : bool
            Take the texts of control tokens for these tokens. For what a chat template wrote,
            never for what a user typed.

        Raises
        ------
        UsageError
            If the text is no Unicode text, or longer than ``MOST_CHARACTERS``.
        """
        check_text(text)
        own = self.vocabulary
        tokens = [own.bos] if add_special and own.add_bos and own.bos != NO_TOKEN else []
        after_special = True
        for part in self._partition(text, parse_special):
            if isinstance(part, int):
                tokens.append(part)
                after_special = True
                continue
            prefix = " " if own.add_space_prefix and after_special and self._is_spm else ""
            tokens += self._model.encode(prefix + part)
            after_special = False
        if add_special and own.add_eos and own.eos != NO_TOKEN:
            tokens.append(own.eos)
        return tokens

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """Return the bytes that a token stands for.

        Parameters
        ----------
        token : int
        special : bool
            Also the text of control tokens, which otherwise are nothing.

        Raises
        ------
        UsageError
            If there is no such token.
        """
        if not 0 <= token < len(self):
            raise UsageError(f"there is no token {token}: the vocabulary has {len(self)}")
        kind, text = self.vocabulary.kinds[token], self.vocabulary.tokens[token]
        if kind in _HIDDEN:
            return text.encode(*_BYTES) if special else b""
        if kind is TokenKind.USER_DEFINED:
            return text.encode(*_BYTES)
        if kind is TokenKind.BYTE:
            return _byte_of(text)
        if kind is not TokenKind.NORMAL:
            return b""
        if self._is_spm:
            return text.replace(SPACE, " ").encode(*_BYTES)
        return b"".join(self._letter(letter) for letter in text)

    def decode(self, tokens: Iterable[int], *, special: bool = False) -> str:
        """Return the text of tokens; bytes that are no UTF-8 become U+FFFD.

        The space that :meth:`encode` puts before a text of an SPM vocabulary stays.
        """
        data = b"".join(self.piece(token, special=special) for token in tokens)
        return data.decode("utf-8", "replace")

    def decoder(self, *, special: bool = False) -> TextDecoder:
        """Return a decoder for tokens that come one by one."""
        return TextDecoder(self, special=special)

    def _partition(self, text: str, parse_special: bool) -> list[str | int]:
        """Cut out special tokens: user-defined ones always, the others where they are meant."""
        parts: list[str | int] = [text] if text else []
        for number in self._special:
            if not parse_special and self.vocabulary.kinds[number] in _HIDDEN:
                continue
            mark = self.vocabulary.tokens[number]
            if mark in text:
                parts = list(_cut(parts, mark, number))
        return parts

    def _letter(self, letter: str) -> bytes:
        byte = self._letters.get(letter)
        return letter.encode(*_BYTES) if byte is None else bytes((byte,))


class TextDecoder:
    """Text of a stream of tokens, each character as soon as its last byte is there."""

    def __init__(self, tokenizer: Tokenizer, *, special: bool = False) -> None:
        self._tokenizer = tokenizer
        self._special = special
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """Return the text that a token completes; often empty in the middle of a character."""
        return self._decoder.decode(self._tokenizer.piece(token, special=self._special))

    def finish(self) -> str:
        """Return U+FFFD where the stream ended in the middle of a character."""
        return self._decoder.decode(b"", final=True)


_BYTES = ("utf-8", "surrogateescape")


def check_text(text: str) -> None:
    """Refuse what is no Unicode text, or too long to be cut (UsageError)."""
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"a text of {len(text):,} characters; {MOST_CHARACTERS:,} at most")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the text is no Unicode text: {error.reason}") from error


def load_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer of a GGUF file.

    Raises
    ------
    UsageError, ModelFormatError
        If the file cannot be read, or its vocabulary cannot be used.
    MissingDependencyError
        If the vocabulary needs a library that is not installed.
    """
    vocabulary = read_vocabulary(read_header(path))
    try:
        return Tokenizer(vocabulary)
    except ModelFormatError as error:
        if error.path:
            raise
        raise ModelFormatError(str(error), path=str(path)) from error


def _cut(parts: Sequence[str | int], mark: str, number: int) -> Iterable[str | int]:
    for part in parts:
        if isinstance(part, int) or mark not in part:
            yield part
            continue
        for index, between in enumerate(part.split(mark)):
            if index:
                yield number
            if between:
                yield between


def _byte_of(text: str) -> bytes:
    """Return the byte of a token such as ``<0x0A>``; nothing where the text has another form."""
    try:
        return bytes((int(text[3:5], 16),))
    except ValueError:
        return b""
