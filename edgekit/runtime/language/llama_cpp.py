"""llama.cpp as an executor, through llama-cpp-python: for models that fit into memory.

It reads architectures that the native engine does not, and keeps to no memory budget: weights are
mapped or copied as llama.cpp decides.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ExecutionError, MissingDependencyError, ModelFormatError, UsageError
from edgekit.runtime.language.engine_records import MemoryBudget
from edgekit.runtime.language.gguf_file import GgufHeader
from edgekit.runtime.language.tokenizer import Tokenizer, check_text
from edgekit.runtime.language.vocabulary import Vocabulary, read_vocabulary

_NO_SLOT = 1
"""Answer of ``llama_decode`` where the KV cache is full."""


def has_llama_cpp() -> bool:
    """Whether llama-cpp-python is installed."""
    from importlib.util import find_spec

    return find_spec("llama_cpp") is not None


def llama_library() -> Any:
    """Return the low-level binding of llama-cpp-python.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        import llama_cpp
    except ImportError as error:
        raise MissingDependencyError("llama", library="llama-cpp-python") from error
    logging.getLogger("llama-cpp-python").setLevel(logging.CRITICAL)
    return llama_cpp


class LlamaSession:
    """One conversation: a context of llama.cpp with its own KV cache."""

    def __init__(self, library: Any, context: Any, vocabulary_size: int) -> None:
        self._library = library
        self._context = context
        self._vocabulary_size = vocabulary_size
        self._position = 0

    @property
    def position(self) -> int:
        """Tokens in the KV cache."""
        return self._position

    def eval(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Evaluate tokens that follow the position; return the logits after the last one.

        Raises
        ------
        ExecutionError
            If llama.cpp refuses; the session stays where it was.
        """
        library = self._library
        array = (library.llama_token * len(tokens))(*tokens)
        status = library.llama_decode(
            self._context, library.llama_batch_get_one(array, len(tokens))
        )
        if status:
            self.truncate(self._position)
            what = "the context is full" if status == _NO_SLOT else f"llama_decode gave {status}"
            raise ExecutionError(f"llama.cpp: {what}")
        self._position += len(tokens)
        logits = library.llama_get_logits_ith(self._context, -1)
        found = np.ctypeslib.as_array(logits, (self._vocabulary_size,))
        return np.array(found, np.float32)

    def truncate(self, position: int) -> None:
        """Forget the tokens from ``position`` on."""
        memory = self._library.llama_get_memory(self._context)
        if not self._library.llama_memory_seq_rm(memory, 0, position, -1):
            raise ExecutionError("llama.cpp cannot go back in this model; start a new session")
        self._position = position

    def read_bytes(self) -> int:
        """Zero: what llama.cpp reads through the page cache is not counted here."""
        return 0

    def close(self) -> None:
        """Give the memory back."""
        if self._context is not None:
            self._library.llama_free(self._context)
            self._context = None

    def __del__(self) -> None:
        self.close()


class LlamaTokenizer(Tokenizer):
    """llama.cpp's own tokenizer, which knows more kinds of vocabularies."""

    def __init__(self, vocabulary: Vocabulary, library: Any, handle: Any) -> None:
        self.vocabulary = vocabulary
        self._library = library
        self._native = handle

    def encode(
        self, text: str, *, add_special: bool = True, parse_special: bool = False
    ) -> list[int]:
        """Return the tokens of a text; parameters as :meth:`Tokenizer.encode`."""
        check_text(text)
        data = text.encode()
        room = (ctypes.c_int32 * (len(data) + 16))()
        count = self._library.llama_tokenize(
            self._native, data, len(data), room, len(room), add_special, parse_special
        )
        if count < 0:
            raise ExecutionError("llama.cpp made more tokens than the text has bytes")
        return list(room[:count])

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """Return the bytes that a token stands for; parameters as :meth:`Tokenizer.piece`."""
        if not 0 <= token < len(self):
            raise UsageError(f"there is no token {token}: the vocabulary has {len(self)}")
        capacity = 256
        while True:
            room = ctypes.create_string_buffer(capacity)
            size = self._library.llama_token_to_piece(
                self._native, token, room, capacity, 0, special
            )
            if size >= 0:
                return room.raw[:size]
            capacity = -size


class LlamaExecutor:
    """A model that llama.cpp has loaded."""

    name = "llama"
    budget: MemoryBudget | None = None

    def __init__(
        self, library: Any, model: Any, *, context: int, batch: int, threads: int, kv: str
    ) -> None:
        self._library = library
        self._model = model
        self._threads = threads
        self._kv = kv
        self.context = context or int(library.llama_model_n_ctx_train(model))
        self.batch = batch
        vocabulary = library.llama_model_get_vocab(model)
        self.vocabulary_size = int(library.llama_vocab_n_tokens(vocabulary))
        self.detail = "llama.cpp (keeps to no memory budget)"

    def session(self) -> LlamaSession:
        """Open a conversation with an empty KV cache.

        Raises
        ------
        ExecutionError
            If llama.cpp cannot make one, for instance because memory is short.
        """
        params = self._library.llama_context_default_params()
        params.n_ctx = self.context
        params.n_batch = params.n_ubatch = max(self.batch, 32)
        params.n_threads = params.n_threads_batch = self._threads
        types = {"q8": "GGML_TYPE_Q8_0", "f32": "GGML_TYPE_F32", "f16": "GGML_TYPE_F16"}
        params.type_k = params.type_v = vars(self._library)[types[self._kv]]
        context = self._library.llama_init_from_model(self._model, params)
        if context is None:
            raise ExecutionError("llama.cpp made no context; is memory short?")
        return LlamaSession(self._library, context, self.vocabulary_size)

    def tokenizer(self, header: GgufHeader) -> LlamaTokenizer:
        """Return llama.cpp's own tokenizer of the model.

        Raises
        ------
        ModelFormatError
            If the file has no vocabulary.
        """
        vocabulary = self._library.llama_model_get_vocab(self._model)
        ends = (
            token
            for token in range(self.vocabulary_size)
            if self._library.llama_vocab_is_eog(vocabulary, token)
        )
        read = read_vocabulary(header, cut_here=False)
        return LlamaTokenizer(replace(read, end_tokens=frozenset(ends)), self._library, vocabulary)

    def close(self) -> None:
        """Give the memory back; sessions must be closed."""
        if self._model is not None:
            self._library.llama_model_free(self._model)
            self._model = None

    def __del__(self) -> None:
        self.close()


def load_llama(
    path: Path, *, context: int, batch: int, threads: int, kv: str, repack: bool = True
) -> LlamaExecutor:
    """Load a GGUF file into llama.cpp.

    Parameters
    ----------
    path : Path
    context : int
        Positions of a session; 0: the model's.
    batch, threads : int
    kv : {'f16', 'q8', 'f32'}
        Type of the KV cache.
    repack : bool
        Let llama.cpp copy weights into a layout that is faster to compute.

    Raises
    ------
    MissingDependencyError
        If llama-cpp-python is not installed.
    ModelFormatError
        If llama.cpp does not read the file.
    """
    library = llama_library()
    library.llama_backend_init()
    params = library.llama_model_default_params()
    params.use_extra_bufts = repack
    model = library.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise ModelFormatError("llama.cpp does not read this file", path=str(path))
    return LlamaExecutor(library, model, context=context, batch=batch, threads=threads, kv=kv)
