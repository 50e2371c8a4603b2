"""The native engine as an executor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.runtime.language.engine import EngineSession, LanguageEngine, LanguageModel, open_model
from edgekit.runtime.language.engine_records import MemoryBudget


class NativeSession:
    """One conversation of the native engine."""

    def __init__(self, session: EngineSession) -> None:
        self._session = session

    @property
    def position(self) -> int:
        """Tokens in the KV cache."""
        return self._session.position

    def eval(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Evaluate tokens that follow the position; return the logits after the last one."""
        return self._session.eval(tokens)

    def truncate(self, position: int) -> None:
        """Forget the tokens from ``position`` on."""
        self._session.truncate(position)

    def read_bytes(self) -> int:
        """Bytes of weights read from storage since the session was opened."""
        return self._session.counters().read_bytes

    def close(self) -> None:
        """Give the session back to the engine."""
        self._session.close()


class NativeExecutor:
    """A model that the native engine has loaded.

    Parameters
    ----------
    model : LanguageModel
    engine : LanguageEngine
    batch : int
    """

    name = "native"

    def __init__(self, model: LanguageModel, engine: LanguageEngine, batch: int) -> None:
        self._model = model
        self._engine = engine
        self.batch = batch
        self.context = engine.context
        self.vocabulary_size = model.facts.vocabulary_size
        self.budget: MemoryBudget | None = engine.budget
        self.detail = f"native engine, {engine.kernels} kernels"

    def session(self) -> NativeSession:
        """Open a conversation with an empty KV cache."""
        return NativeSession(self._engine.session())

    def close(self) -> None:
        """Give the memory back; sessions must be closed."""
        self._engine.close()
        self._model.close()


def load_native(
    path: Path,
    *,
    memory_bytes: int | None,
    context: int,
    batch: int,
    sessions: int,
    threads: int,
    kv: str,
) -> NativeExecutor:
    """Load a GGUF file; parameters as :meth:`LanguageModel.load`.

    Raises
    ------
    ModelFormatError
        If the file is damaged, or the engine does not compute it exactly.
    MemoryBudgetError
        If the budget is too small; ``required_bytes`` would do.
    MissingDependencyError
        If the native core is not built.
    """
    model = open_model(path)
    engine = model.load(
        memory_bytes=memory_bytes,
        context=context,
        batch=batch,
        sessions=sessions,
        threads=threads,
        kv=kv,
    )
    return NativeExecutor(model, engine, batch)
