"""The native language-model engine (``csrc/engine``, ``edgekit/llm.h``) from Python.

:func:`open_model` reads the header of a GGUF file; :meth:`LanguageModel.plan` says what would be
held in memory; :meth:`LanguageModel.load` takes that memory; :meth:`LanguageEngine.session` gives
a conversation with its own KV cache. Results are the same to the bit for every number of threads,
batch size, memory budget and processor variant.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.runtime.language import engine_abi as abi
from edgekit.runtime.language.engine_records import (
    TENSOR_TYPES,
    Counters,
    MemoryBudget,
    ModelFacts,
)
from edgekit.runtime.language.native_handle import NativeHandle


class _Message:
    """Buffer that a native call writes its message into."""

    def __init__(self) -> None:
        self.buffer = ctypes.create_string_buffer(abi.MESSAGE_BYTES)

    @property
    def arguments(self) -> tuple[ctypes.Array[ctypes.c_char], int]:
        return self.buffer, abi.MESSAGE_BYTES

    @property
    def text(self) -> str:
        return self.buffer.value.decode("utf-8", "replace")


class LanguageModel(NativeHandle):
    """A GGUF file whose header was read and checked. Made by :func:`open_model`."""

    _closer = "ek_llm_close"

    def __init__(self, handle: int, path: Path) -> None:
        super().__init__(handle)
        self.path = path
        self.facts = _describe(handle)

    def plan(
        self,
        *,
        memory_bytes: int | None = None,
        context: int | None = None,
        batch: int | None = None,
        sessions: int = 1,
        threads: int = 1,
        kv: str = "f16",
        block_bytes: int | None = None,
    ) -> MemoryBudget:
        """Say what :meth:`load` would hold in memory.

        Parameters
        ----------
        memory_bytes : int, optional
            Hard limit; without it every weight is pinned.
        context : int, optional
            Positions of a session; without it the model's.
        batch : int, optional
            Tokens computed at once while a prompt is read.
        sessions, threads : int
            Open at the same time; computing threads.
        kv : {"f16", "q8", "f32"}
            Type of the KV cache.
        block_bytes : int, optional
            Of one read while streaming.

        Raises
        ------
        MemoryBudgetError
            If the limit is below what the smallest plan needs (``required_bytes``).
        UsageError
            If an option is out of range.
        """
        options = _options(memory_bytes, context, batch, sessions, threads, kv, block_bytes, "best")
        return self._plan(options)

    def load(
        self,
        *,
        memory_bytes: int | None = None,
        context: int | None = None,
        batch: int | None = None,
        sessions: int = 1,
        threads: int = 1,
        kv: str = "f16",
        block_bytes: int | None = None,
        kernels: str = "best",
        storage_timeout_s: float = 30.0,
    ) -> LanguageEngine:
        """Take the memory and read the pinned weights. Options as for :meth:`plan`.

        Parameters
        ----------
        storage_timeout_s : float
            How long one read may take while streaming before an evaluation fails.
        kernels : {"best", "portable"}
            Variant of the kernels; results do not depend on it.

        Raises
        ------
        MemoryBudgetError
            If the limit is below what the smallest plan needs.
        ModelFormatError
            If the file cannot be read any more.
        ExecutionError
            If the machine has no such memory.
        """
        options = _options(
            memory_bytes, context, batch, sessions, threads, kv, block_bytes, kernels
        )
        options.storage_timeout_ms = max(round(storage_timeout_s * 1000), 1)
        budget = self._plan(options)
        message, handle = _Message(), ctypes.c_void_p()
        status = abi.language_library().ek_llm_load(
            self.handle, ctypes.byref(options), ctypes.byref(handle), *message.arguments
        )
        if status != 0 or handle.value is None:
            raise abi.error_of(status, message.text, path=str(self.path))
        return LanguageEngine(handle.value, self, budget, options.context or self.facts.context)

    def token_text(self, token: int) -> bytes:
        """Return the bytes that a token stands for; control tokens stand for nothing.

        Raises
        ------
        UsageError
            If the token is outside the vocabulary.
        ModelFormatError
            If the file has no vocabulary that the engine knows.
        """
        size = ctypes.c_size_t()
        library = abi.language_library()
        capacity = 256
        while True:
            buffer = ctypes.create_string_buffer(capacity)
            status = library.ek_llm_token_text(
                self.handle, token, buffer, capacity, ctypes.byref(size)
            )
            if status != 0:
                raise abi.error_of(status, f"token {token} has no text", path=str(self.path))
            if size.value <= capacity:
                return buffer.raw[: size.value]
            capacity = size.value

    def _plan(self, options: abi.COptions) -> MemoryBudget:
        message, budget = _Message(), abi.CBudget()
        status = abi.language_library().ek_llm_plan(
            self.handle, ctypes.byref(options), ctypes.byref(budget), *message.arguments
        )
        if status == abi.BUDGET_TOO_SMALL:
            raise abi.budget_error(budget.minimum_bytes, options.memory_bytes, message.text)
        if status != 0:
            raise abi.error_of(status, message.text)
        return MemoryBudget(**{name: getattr(budget, name) for name, _ in abi.CBudget._fields_})


class LanguageEngine(NativeHandle):
    """A loaded model. Made by :meth:`LanguageModel.load`.

    ``budget`` says what it holds, ``context`` how many positions a session has, ``kernels`` which
    variant computes.
    """

    _closer = "ek_llm_unload"

    def __init__(
        self, handle: int, model: LanguageModel, budget: MemoryBudget, context: int
    ) -> None:
        super().__init__(handle)
        self.model = model
        self.budget = budget
        self.context = context
        self.kernels: str = abi.language_library().ek_llm_kernels_name(handle).decode()

    def session(self) -> EngineSession:
        """Open a conversation with an empty KV cache.

        Raises
        ------
        ContextFullError
            If as many sessions as were planned are open.
        """
        handle = ctypes.c_void_p()
        status = abi.language_library().ek_llm_session_open(self.handle, ctypes.byref(handle))
        if status != 0 or handle.value is None:
            raise abi.error_of(status, "all sessions of this engine are open")
        return EngineSession(handle.value, self)


class EngineSession(NativeHandle):
    """One conversation. Made by :meth:`LanguageEngine.session`.

    It is used by one thread at a time, except :meth:`cancel`.
    """

    _closer = "ek_llm_session_close"

    def __init__(self, handle: int, engine: LanguageEngine) -> None:
        super().__init__(handle)
        self.engine = engine

    @property
    def position(self) -> int:
        """Tokens in the KV cache."""
        return int(abi.language_library().ek_llm_position(self.handle))

    def eval(
        self, tokens: Sequence[int] | NDArray[np.integer], *, all_logits: bool = False
    ) -> NDArray[np.float32]:
        """Evaluate tokens that follow the position.

        Parameters
        ----------
        tokens : sequence of int
            At least one.
        all_logits : bool
            Logits of every token instead of the last one.

        Returns
        -------
        array of float32, shape (vocabulary,) or (tokens, vocabulary)

        Raises
        ------
        UsageError
            If there is no token, or one is outside the vocabulary.
        ContextFullError
            If the context ends before the last token.
        EvaluationCancelledError
            If it was cancelled; the session is at its last complete position.
        ExecutionError
            If storage failed; likewise.
        """
        ids = np.ascontiguousarray(tokens, dtype=np.int32)
        vocabulary = self.engine.model.facts.vocabulary_size
        logits = np.empty((len(ids), vocabulary) if all_logits else vocabulary, np.float32)
        message = _Message()
        status = abi.language_library().ek_llm_eval(
            self.handle,
            ids.ctypes.data,
            len(ids),
            int(all_logits),
            logits.ctypes.data,
            *message.arguments,
        )
        if status != 0:
            raise abi.error_of(status, message.text)
        return logits

    def truncate(self, position: int) -> None:
        """Forget the tokens from ``position`` on.

        Raises
        ------
        UsageError
            If it is negative or beyond the present position.
        """
        status = abi.language_library().ek_llm_truncate(self.handle, position)
        if status != 0:
            raise abi.error_of(status, f"position {position} is not in 0..{self.position}")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the KV cache to a file.

        Raises
        ------
        ExecutionError
            If it cannot be written.
        """
        message = _Message()
        status = abi.language_library().ek_llm_save(
            self.handle, os.fsencode(path), *message.arguments
        )
        if status != 0:
            raise abi.error_of(status, message.text)

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Take the KV cache from a file; the session is unchanged where it is refused.

        Raises
        ------
        ModelFormatError
            If the file is missing, damaged, or of another model or KV type.
        ContextFullError
            If it has more tokens than the context.
        """
        message = _Message()
        status = abi.language_library().ek_llm_restore(
            self.handle, os.fsencode(path), *message.arguments
        )
        if status != 0:
            raise abi.error_of(status, message.text, path=os.fsdecode(path))

    def cancel(self) -> None:
        """End the evaluation in progress, or else the next one. Any thread may call it."""
        abi.language_library().ek_llm_cancel(self.handle)

    def counters(self) -> Counters:
        """Return what this session has done."""
        counters = abi.CCounters()
        abi.language_library().ek_llm_read_counters(self.handle, ctypes.byref(counters))
        return Counters(**{name: getattr(counters, name) for name, _ in abi.CCounters._fields_})


def open_model(path: str | os.PathLike[str]) -> LanguageModel:
    """Read and check the header of a GGUF file; no weight is touched.

    Raises
    ------
    ModelFormatError
        If the file cannot be read, is corrupt, or has an architecture, key, tensor or type that
        the engine does not compute exactly.
    MissingDependencyError
        If the native core is not built.
    """
    message, handle = _Message(), ctypes.c_void_p()
    status = abi.language_library().ek_llm_open(
        os.fsencode(path), ctypes.byref(handle), *message.arguments
    )
    if status != 0 or handle.value is None:
        raise abi.error_of(status, message.text, path=os.fsdecode(path))
    return LanguageModel(handle.value, Path(path))


def _describe(handle: int) -> ModelFacts:
    facts = abi.CFacts()
    abi.language_library().ek_llm_describe(handle, ctypes.byref(facts))
    named = ModelFacts.__dataclass_fields__.keys() - {
        "architecture",
        "tensor_types",
        "fingerprint",
        "tied_embeddings",
    }
    return ModelFacts(
        architecture=facts.architecture.decode("utf-8", "replace"),
        tensor_types=tuple(
            name for number, name in TENSOR_TYPES.items() if facts.tensor_types >> number & 1
        ),
        fingerprint=f"{facts.fingerprint:016x}",
        tied_embeddings=bool(facts.tied_embeddings),
        **{name: getattr(facts, name) for name in named},
    )


def _options(
    memory_bytes: int | None,
    context: int | None,
    batch: int | None,
    sessions: int,
    threads: int,
    kv: str,
    block_bytes: int | None,
    kernels: str,
) -> abi.COptions:
    if kv not in abi.KV_TYPES:
        raise UsageError(f"kv is {kv!r}, use one of {', '.join(abi.KV_TYPES)}")
    if kernels not in abi.KERNELS:
        raise UsageError(f"kernels is {kernels!r}, use one of {', '.join(abi.KERNELS)}")
    sizes = {"memory_bytes": memory_bytes, "context": context, "batch": batch}
    for name, value in sizes.items() | {"block_bytes": block_bytes}.items():
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}, use 1 or more")
    return abi.COptions(
        memory_bytes or 0,
        block_bytes or 0,
        context or 0,
        batch or 0,
        sessions,
        threads,
        abi.KV_TYPES[kv],
        abi.KERNELS[kernels],
    )
