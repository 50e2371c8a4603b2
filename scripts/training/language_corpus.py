"""Texts of the language model: reading, cleaning, the split, and the tokenizer.

A source is one file: plain text, or an archive whose members, in order of name, count as one text.
The last 5 % of each source, from the start of a line on, is its validation part; the rest is for
training, the tokenizer's merges included.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

VALIDATION_SHARE = 0.05
EVALUATION_BYTES = 20_000
# The play is in the collection of plays and in the excerpts from plays: its lines would be on both
# sides of the split.
REPEATED_MEMBERS = ("r_and_j.xml",)
BOUNDARY_TOKEN = "<|endoftext|>"  # begins every sequence, and separates documents
BOUNDARY_ID = 0
# The pattern that llama.cpp applies under the name "llama-bpe" (src/llama-vocab.cpp).
PRE_TOKENIZER_NAME = "llama-bpe"
PRE_TOKENIZER_PATTERN = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

TokenArray = npt.NDArray[np.uint16]


class CorpusError(Exception):
    """A text that cannot be read, or is too short to be split."""


@dataclass(frozen=True, slots=True)
class Source:
    """One source after cleaning and splitting.

    Attributes
    ----------
    name : str
        The file's name without its ending.
    training, validation : tuple of str
        Documents of each part, in order. Joined they are the whole source.
    """

    name: str
    training: tuple[str, ...]
    validation: tuple[str, ...]


def read_source(path: Path) -> Source:
    """Read and split one file.

    Raises
    ------
    CorpusError
        If the file cannot be read, holds no text, or is too short to be split.
    """
    try:
        if zipfile.is_zipfile(path):
            documents = tuple(_read_members(path))
        else:
            documents = (_clean(path.read_bytes()),)
    except (OSError, zipfile.BadZipFile, ElementTree.ParseError) as error:
        raise CorpusError(f"{path}: cannot be read ({error})") from error
    training, validation = split_documents([text for text in documents if text])
    if not training or not validation:
        raise CorpusError(f"{path}: too little text to hold a part back for validation")
    return Source(path.stem, training, validation)


def read_text(path: Path) -> str:
    """Read the beginning of a plain text that is only measured on, unchanged.

    Returns
    -------
    str
        `EVALUATION_BYTES` at most.

    Raises
    ------
    CorpusError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(EVALUATION_BYTES).decode(errors="ignore")
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error})") from error


def split_documents(documents: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split at the first start of a line after 95 % of the bytes.

    Parameters
    ----------
    documents : sequence of str

    Returns
    -------
    training, validation : tuple of str
        The documents before the split and after it; the one that it falls into is cut in two.
    """
    sizes = [len(text.encode()) for text in documents]
    left_bytes = int(sum(sizes) * (1.0 - VALIDATION_SHARE))
    for index, (text, size_bytes) in enumerate(zip(documents, sizes, strict=True)):
        if left_bytes < size_bytes:
            characters = len(text.encode()[:left_bytes].decode(errors="ignore"))
            cut = text.find("\n", characters) + 1 or len(text)
            head, tail = text[:cut], text[cut:]
            training = (*documents[:index], *([head] if head else []))
            return training, (*([tail] if tail else []), *documents[index + 1 :])
        left_bytes -= size_bytes
    return tuple(documents), ()


def train_tokenizer(sources: Sequence[Source], vocabulary_size: int) -> Tokenizer:
    """Learn byte-level pair merges from the training parts.

    All 256 bytes are in the vocabulary, so that every text has tokens and comes back unchanged.
    """
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKENIZER_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[BOUNDARY_TOKEN],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for item in sources for text in item.training), trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, documents: Sequence[str]) -> TokenArray:
    """Tokens of all documents in order, a boundary token before each.

    Returns
    -------
    array of uint16, shape (n,)
    """
    parts = [
        np.array([BOUNDARY_ID, *encoding.ids], dtype=np.uint16)
        for encoding in tokenizer.encode_batch(list(documents), add_special_tokens=False)
    ]
    return np.concatenate(parts)


def _read_members(path: Path) -> Iterator[str]:
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if Path(name).name in REPEATED_MEMBERS:
                continue
            if name.endswith(".txt"):
                yield _clean(archive.read(name))
            elif name.endswith(".xml"):
                yield _dialogue(archive.read(name))


def _clean(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    text = text.replace("\r\n", "\n").replace("\xa0", " ")
    # Project Gutenberg's lines around the text, and its notes where a picture was.
    text = re.sub(r"\A.*?^\*\*\* START OF [^\n]*\n", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^(End of the Project|\*\*\* END OF) .*\Z", "", text, flags=re.DOTALL | re.M)
    text = re.sub(r"\[Illustration[^\]]*\]", "", text)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n" if text.strip() else ""


def _dialogue(data: bytes) -> str:
    """Speeches of a play in J. Bosak's markup: the speaker's name and a colon, then the lines."""
    speeches = []
    for speech in ElementTree.fromstring(data).iter("SPEECH"):
        speakers = [(item.text or "").strip() for item in speech.iter("SPEAKER")]
        lines = ["".join(item.itertext()).strip() for item in speech.iter("LINE")]
        speeches.append("\n".join([f"{', '.join(speakers)}:", *filter(None, lines)]))
    return "\n\n".join(speeches) + "\n"
