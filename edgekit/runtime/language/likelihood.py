"""How well a language model predicts a text: bits for each token, and perplexity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.errors import UsageError
from edgekit.runtime.language.engine import EngineSession

PIECE_TOKENS = 64
"""Tokens whose logits are held at once."""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """What a model gave a text.

    Parameters
    ----------
    tokens : int
        That were predicted.
    bits : float
        Negative log2 of the probability of all of them.
    """

    tokens: int
    bits: float

    @property
    def bits_per_token(self) -> float:
        """Bits for each predicted token."""
        return self.bits / self.tokens

    @property
    def perplexity(self) -> float:
        """``2 ** bits_per_token``."""
        return float(2.0**self.bits_per_token)


def token_bits(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the bits of each target under the softmax of its logits.

    Parameters
    ----------
    logits : array of float32, shape (count, vocabulary)
    targets : array of int, shape (count,)

    Returns
    -------
    array of float64, shape (count,)
    """
    wide = logits.astype(np.float64)
    maximum = wide.max(axis=1)
    total = np.log(np.exp(wide - maximum[:, None]).sum(axis=1)) + maximum
    chosen = wide[np.arange(len(targets)), targets]
    return np.asarray((total - chosen) / np.log(2.0))


def measure_likelihood(
    session: EngineSession,
    tokens: Sequence[int],
    *,
    window: int | None = None,
    first: int | None = None,
) -> Likelihood:
    """Let a model predict every token of a text from those before it in the same window.

    Parameters
    ----------
    session : EngineSession
        Its tokens are forgotten.
    tokens : sequence of int
        Of the text, without a token for its beginning.
    window : int, optional
        Tokens of a window, ``first`` included; without it the session's context. Windows do not
        overlap.
    first : int, optional
        A token that begins every window (``<s>``); without it the first token of each window is
        given, not predicted.

    Raises
    ------
    UsageError
        If there is nothing to predict, or the window is too small or larger than the context.
    """
    context = session.engine.context
    size = context if window is None else window
    if not 2 <= size <= context:
        raise UsageError(f"window is {size}, use 2..{context}")
    lead = [] if first is None else [first]
    step = size - len(lead)
    count, bits = 0, 0.0
    for start in range(0, len(tokens), step):
        ids = [*lead, *tokens[start : start + step]]
        session.truncate(0)
        for place in range(0, len(ids) - 1, PIECE_TOKENS):
            piece = ids[place : min(place + PIECE_TOKENS, len(ids) - 1)]
            targets = np.array(ids[place + 1 : place + 1 + len(piece)])
            bits += float(token_bits(session.eval(piece, all_logits=True), targets).sum())
            count += len(piece)
    session.truncate(0)
    if count == 0:
        raise UsageError(f"{len(tokens)} tokens leave nothing to predict")
    return Likelihood(count, bits)
