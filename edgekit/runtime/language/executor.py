"""What runs a language model: tokens in, logits out, with a KV cache to go back in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.runtime.language.engine_records import MemoryBudget


class TokenSession(Protocol):
    """One conversation of an executor."""

    @property
    def position(self) -> int:
        """Tokens in the KV cache."""

    def eval(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Evaluate tokens that follow the position; return the logits after the last one."""

    def truncate(self, position: int) -> None:
        """Forget the tokens from ``position`` on."""

    def read_bytes(self) -> int:
        """Bytes of weights read from storage since the session was opened."""

    def close(self) -> None:
        """Give the memory back."""


class LanguageExecutor(Protocol):
    """A loaded model."""

    @property
    def name(self) -> str:
        """``native`` or ``llama``."""

    @property
    def detail(self) -> str:
        """What computes, for people."""

    @property
    def context(self) -> int:
        """Positions of a session."""

    @property
    def batch(self) -> int:
        """Tokens that are computed at once while a prompt is read."""

    @property
    def vocabulary_size(self) -> int:
        """Number of logits."""

    @property
    def budget(self) -> MemoryBudget | None:
        """What is held in memory, where the executor says so."""

    def session(self) -> TokenSession:
        """Open a conversation with an empty KV cache."""

    def close(self) -> None:
        """Give the memory back."""
