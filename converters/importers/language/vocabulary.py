"""The vocabulary of a Hugging Face folder as GGUF metadata.

``tokenizer.model`` (SentencePiece) gives a ``llama`` vocabulary, a byte-level BPE
``tokenizer.json`` a ``gpt2`` one. The result is compared with the folder's own ``tokenizer.json``
on difficult texts: a vocabulary that would cut them otherwise is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgekit.converters.importers.language.config import LlamaConfig
from edgekit.converters.importers.language.sentencepiece_file import read_sentencepiece
from edgekit.errors import MissingDependencyError, ModelFormatError
from edgekit.runtime.language.bpe import WORD_RULES
from edgekit.runtime.language.tokenizer import Tokenizer
from edgekit.runtime.language.vocabulary import NO_TOKEN, TokenKind, Vocabulary

DIFFICULT_TEXTS = (
    "Hello, world! It's 1234567 o'clock; we'LL see.",
    "  two  spaces\n\nand\r\nlines\t tabs   \n ",
    "naïve café — “quotes” … ñ Ünïcödé ﬁ",
    "日本語のテキスト 한국어 текст العربية हिन्दी",
    "🙂👩‍👩‍👧 \u200b\u00a0\u0301e\u0301 \U0001f1e9\U0001f1ea",
    "def f(x):\n    return x**2  # <b>&amp;</b> {[()]}",
    "x = 3.14e-10 + 0xFF_00 - 1_000_000;;;  !!??",
    "<s> </s> <unk> [INST] <|im_start|>",
)
"""What is compared; special tokens as plain text among it."""


@dataclass(frozen=True, slots=True)
class FolderVocabulary:
    """A vocabulary and the chat template that belongs to it."""

    vocabulary: Vocabulary
    chat_template: str


class _AddedToken(msgspec.Struct, frozen=True):
    id: int
    content: str
    special: bool = False


class _Json(msgspec.Struct, frozen=True):
    model: dict[str, Any]
    added_tokens: list[_AddedToken] = []
    pre_tokenizer: dict[str, Any] | None = None
    normalizer: dict[str, Any] | None = None


@dataclass(slots=True)
class _Draft:
    """Tokens by number while they are collected."""

    model: str
    pre: str = "default"
    tokens: dict[int, str] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    kinds: dict[int, TokenKind] = field(default_factory=dict)
    merges: list[str] = field(default_factory=list)
    add_space_prefix: bool = False


def read_folder_vocabulary(folder: Path, config: LlamaConfig) -> FolderVocabulary:
    """Read the vocabulary of a folder.

    Raises
    ------
    ModelFormatError
        If there is none, it is damaged, or GGUF has no vocabulary that cuts texts as it does.
    """
    settings = _json_object(folder / "tokenizer_config.json")
    stored = _tokenizer_json(folder)
    if (folder / "tokenizer.model").is_file():
        draft = _from_sentencepiece(folder / "tokenizer.model")
    elif stored is not None:
        draft = _from_bpe(stored, folder / "tokenizer.json")
    else:
        raise ModelFormatError("has neither tokenizer.model nor tokenizer.json", path=str(folder))
    for added in stored.added_tokens if stored else []:
        draft.tokens[added.id] = added.content
        plain = draft.kinds.get(added.id, TokenKind.NORMAL)
        if added.special and plain is not TokenKind.UNKNOWN:
            draft.kinds[added.id] = TokenKind.CONTROL
        elif plain is TokenKind.NORMAL and draft.model == "bpe":
            draft.kinds[added.id] = TokenKind.USER_DEFINED
    vocabulary = _finish(draft, config, settings, folder)
    if stored is not None:
        _compare(vocabulary, folder / "tokenizer.json")
    return FolderVocabulary(vocabulary, _chat_template(folder, settings))


def _from_sentencepiece(path: Path) -> _Draft:
    stored = read_sentencepiece(path)
    draft = _Draft("spm", add_space_prefix=stored.add_space_prefix)
    if stored.remove_extra_spaces:
        raise ModelFormatError("collapses spaces, which is not kept in GGUF", path=str(path))
    known = {kind.value: kind for kind in TokenKind}
    for number, piece in enumerate(stored.pieces):
        draft.tokens[number] = piece.text
        draft.scores[number] = piece.score
        draft.kinds[number] = known.get(piece.kind, TokenKind.UNDEFINED)
    return draft


def _from_bpe(stored: _Json, path: Path) -> _Draft:
    model = stored.model
    if model.get("type") != "BPE" or model.get("byte_fallback") or stored.normalizer is not None:
        raise ModelFormatError(
            "is no byte-level BPE vocabulary; a SentencePiece one needs tokenizer.model beside it",
            path=str(path),
        )
    vocabulary, merges = model.get("vocab"), model.get("merges")
    if not isinstance(vocabulary, dict) or not isinstance(merges, list):
        raise ModelFormatError("has no vocabulary or no merges", path=str(path))
    draft = _Draft("bpe", pre=_word_rule(stored.pre_tokenizer, path))
    draft.tokens = {number: text for text, number in vocabulary.items()}
    draft.merges = [m if isinstance(m, str) else " ".join(map(str, m)) for m in merges]
    return draft


def _word_rule(pre_tokenizer: Mapping[str, Any] | None, path: Path) -> str:
    """Return the name under which GGUF knows how words are cut."""
    steps = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer])
    rules: list[str] = []
    for step in steps:
        match step:
            case {"type": "Split", "pattern": {"Regex": str(rule)}, "behavior": "Isolated"}:
                rules.append(rule)
            case {"type": "Digits", "individual_digits": True}:
                rules.append(r"\p{N}")
            case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}:
                pass
            case {"type": "ByteLevel", "add_prefix_space": False}:
                rules.append(WORD_RULES["gpt-2"][0])
            case _:
                raise ModelFormatError("cuts words in a way GGUF has no name for", path=str(path))
    for name, known in WORD_RULES.items():
        if known == tuple(rules):
            return name
    raise ModelFormatError(f"cuts words by {rules}, which GGUF has no name for", path=str(path))


def _finish(
    draft: _Draft, config: LlamaConfig, settings: Mapping[str, Any], folder: Path
) -> Vocabulary:
    if draft.tokens and max(draft.tokens) >= config.vocabulary:
        raise ModelFormatError(
            f"the vocabulary has token {max(draft.tokens)}, config.json says {config.vocabulary}",
            path=str(folder),
        )
    count = config.vocabulary
    # Embeddings are often padded: tokens that no text gives.
    tokens = tuple(draft.tokens.get(n, f"[PAD{n}]") for n in range(count))
    kinds = tuple(
        draft.kinds.get(n, TokenKind.NORMAL if n in draft.tokens else TokenKind.UNUSED)
        for n in range(count)
    )
    numbers = {token: number for number, token in enumerate(tokens)}
    if len(numbers) != count:
        raise ModelFormatError("the vocabulary repeats a token", path=str(folder))
    bos = _token(settings.get("bos_token"), numbers, config.bos)
    eos = _token(settings.get("eos_token"), numbers, config.eos)
    spm = draft.model == "spm"
    return Vocabulary(
        model="spm" if spm else "bpe",
        pre=draft.pre,
        tokens=tokens,
        kinds=kinds,
        scores=np.array([draft.scores.get(n, 0.0) for n in range(count)], np.float32),
        merges=tuple(draft.merges),
        numbers=numbers,
        bos=bos,
        eos=eos,
        unknown=_token(settings.get("unk_token"), numbers, None),
        add_bos=bos != NO_TOKEN and bool(settings.get("add_bos_token", spm)),
        add_eos=eos != NO_TOKEN and bool(settings.get("add_eos_token", False)),
        add_space_prefix=draft.add_space_prefix,
        end_tokens=frozenset({eos} - {NO_TOKEN}),
    )


def _token(stored: object, numbers: Mapping[str, int], default: int | None) -> int:
    """Return the number of a special token that ``tokenizer_config.json`` names."""
    text = stored.get("content") if isinstance(stored, dict) else stored
    if isinstance(text, str) and text in numbers:
        return numbers[text]
    return default if default is not None and 0 <= default < len(numbers) else NO_TOKEN


def _compare(vocabulary: Vocabulary, path: Path) -> None:
    try:
        from tokenizers import Tokenizer as Reference
    except ImportError as error:
        raise MissingDependencyError("llm", library="tokenizers") from error
    try:
        reference = Reference.from_file(str(path))
    except Exception as error:  # the library raises a bare Exception for every damage
        raise ModelFormatError(f"cannot be read: {error}", path=str(path)) from error
    own = Tokenizer(replace(vocabulary, add_bos=False, add_eos=False))
    for text in DIFFICULT_TEXTS:
        theirs = reference.encode(text, add_special_tokens=False).ids
        ours = own.encode(text, parse_special=True)
        if ours != theirs:
            raise ModelFormatError(
                f"cuts {text!r} otherwise than the GGUF vocabulary would: {theirs[:12]} and not "
                f"{ours[:12]}",
                path=str(path),
            )


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> str:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text("utf-8")
    stored = settings.get("chat_template")
    if isinstance(stored, list):
        named = {entry.get("name"): entry.get("template") for entry in stored if entry}
        stored = named.get("default")
    return stored if isinstance(stored, str) else ""


def _tokenizer_json(folder: Path) -> _Json | None:
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Json)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFormatError(f"cannot be used: {error}", path=str(path)) from error


def _json_object(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFormatError(f"cannot be used: {error}", path=str(path)) from error
