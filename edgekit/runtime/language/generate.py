"""Generation: evaluate a prompt, then choose and evaluate token after token.

A :class:`Conversation` remembers which tokens lie in the KV cache, so that a prompt that goes on
where the last one ended (every turn of a chat) is not evaluated again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.runtime.language.executor import LanguageExecutor, TokenSession
from edgekit.runtime.language.sampler import MOST_RECENT, Sampler, Sampling
from edgekit.runtime.language.stop_words import StopFilter
from edgekit.runtime.language.tokenizer import Tokenizer

FinishReason = Literal["stop", "length", "cancelled"]


class ContextLengthError(UsageError):
    """A prompt is longer than the context.

    Parameters
    ----------
    tokens, context : int
    """

    def __init__(self, tokens: int, context: int) -> None:
        super().__init__(
            f"the prompt has {tokens:,} tokens, the context is {context:,} and one must be left "
            "for the answer; shorten the prompt or give --context"
        )
        self.tokens = tokens
        self.context = context


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """How to generate.

    Parameters
    ----------
    max_tokens : int
        Most tokens to generate.
    sampling : Sampling
    stop : tuple of str
        Texts that end the generation and are not part of it.
    """

    max_tokens: int = 256
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UsageError(f"max_tokens is {self.max_tokens}, use 1 or more")


@dataclass(slots=True)
class Timings:
    """What a generation took.

    Parameters
    ----------
    prompt_tokens, reused_tokens : int
        Of the prompt, and of them those that lay in the KV cache already.
    prefill_s : float
        Until the logits after the prompt.
    decode_s : float
        From there to the end.
    decoded : int
        Evaluations after the prompt.
    read_bytes : int
        Read from storage while decoding.
    """

    prompt_tokens: int = 0
    reused_tokens: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    decoded: int = 0
    read_bytes: int = 0

    @property
    def tokens_per_s(self) -> float:
        """Rate of decoding; 0 where nothing was decoded."""
        return self.decoded / self.decode_s if self.decode_s > 0 else 0.0

    @property
    def read_bytes_per_token(self) -> float:
        """Bytes from storage for each decoded token."""
        return self.read_bytes / self.decoded if self.decoded else 0.0


class Conversation:
    """A session of an executor, with the tokens that its KV cache holds.

    Used by one thread at a time.
    """

    def __init__(self, executor: LanguageExecutor, tokenizer: Tokenizer) -> None:
        self.executor = executor
        self.tokenizer = tokenizer
        self._session: TokenSession = executor.session()
        self._tokens: list[int] = []

    def generate(
        self, prompt: Sequence[int], settings: GenerationSettings | None = None
    ) -> Generation:
        """Return a generation, which runs as it is iterated.

        Raises
        ------
        UsageError
            If the prompt is empty or does not fit the context.
        """
        if not prompt:
            raise UsageError("the prompt has no token: give a text")
        if len(prompt) >= self.executor.context:
            raise ContextLengthError(len(prompt), self.executor.context)
        return Generation(self, list(prompt), settings or GenerationSettings())

    def evaluate(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Evaluate tokens that follow what is there and return the logits after the last."""
        try:
            logits = self._session.eval(tokens)
        finally:
            # After a failure the session is at its last complete position.
            self._tokens += tokens[: self._session.position - len(self._tokens)]
        return logits

    def in_common(self, prompt: Sequence[int]) -> int:
        """Return how many tokens of a prompt, but its last, the cache begins with."""
        shared = 0
        for ours, theirs in zip(self._tokens, prompt[:-1], strict=False):
            if ours != theirs:
                break
            shared += 1
        return shared

    def go_back_to(self, prompt: Sequence[int]) -> int:
        """Keep what the cache has in common with a prompt and return how many tokens that is."""
        shared = self.in_common(prompt)
        self._session.truncate(shared)
        del self._tokens[shared:]
        return shared

    @property
    def position(self) -> int:
        """Tokens in the KV cache."""
        return len(self._tokens)

    def read_bytes(self) -> int:
        """Bytes read from storage so far."""
        return self._session.read_bytes()

    def close(self) -> None:
        """Give the session back."""
        self._session.close()


class Generation:
    """One answer. Iterating over it gives its text, piece by piece.

    Attributes
    ----------
    tokens : list of int
        Generated so far, the one that ended it included.
    finish_reason : str or None
        ``stop`` (end token or stop word), ``length`` (limit or context), ``cancelled``; None while
        it runs.
    timings : Timings
    """

    def __init__(
        self, conversation: Conversation, prompt: list[int], settings: GenerationSettings
    ) -> None:
        self.tokens: list[int] = []
        self.finish_reason: FinishReason | None = None
        self.timings = Timings(prompt_tokens=len(prompt))
        self._conversation = conversation
        self._prompt = prompt
        self._settings = settings
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """End it before the next evaluation. Any thread may call it."""
        self._cancelled.set()

    def text(self) -> str:
        """Run to the end and return the whole text."""
        return "".join(self)

    def __iter__(self) -> Iterator[str]:
        """Yield pieces of text, never empty ones.

        Raises
        ------
        ExecutionError
            If an evaluation fails; text that was given before stays valid.
        """
        if self.finish_reason is not None:
            return
        logits = self._prefill()
        if logits is None:
            return
        started, read_bytes = time.perf_counter(), self._conversation.read_bytes()
        try:
            yield from self._decode(logits)
        finally:
            self.timings.decode_s = time.perf_counter() - started
            self.timings.read_bytes = self._conversation.read_bytes() - read_bytes
            if self.finish_reason is None:  # the reader went away, or an evaluation failed
                self.finish_reason = "cancelled"

    def _prefill(self) -> NDArray[np.float32] | None:
        started = time.perf_counter()
        self.timings.reused_tokens = self._conversation.go_back_to(self._prompt)
        rest = self._prompt[self.timings.reused_tokens :]
        batch = self._conversation.executor.batch
        logits: NDArray[np.float32] | None = None
        for first in range(0, len(rest), batch):
            if self._cancelled.is_set():
                self.finish_reason = "cancelled"
                return None
            logits = self._conversation.evaluate(rest[first : first + batch])
        self.timings.prefill_s = time.perf_counter() - started
        return logits

    def _decode(self, logits: NDArray[np.float32]) -> Iterator[str]:
        conversation, settings = self._conversation, self._settings
        decoder, stop = conversation.tokenizer.decoder(), StopFilter(settings.stop)
        sampler = Sampler(len(logits), settings.sampling)
        while self.finish_reason is None:
            token = sampler.choose(logits, self._recent())
            self.tokens.append(token)
            if token in conversation.tokenizer.end_tokens:
                self.finish_reason = "stop"
                break
            shown = stop.feed(decoder.feed(token))
            if shown:
                yield shown
            if stop.matched:
                self.finish_reason = "stop"
                return
            if len(self.tokens) >= settings.max_tokens or self._is_full():
                self.finish_reason = "length"
            elif self._cancelled.is_set():
                self.finish_reason = "cancelled"
            else:
                logits = conversation.evaluate([token])
                self.timings.decoded += 1
        last = stop.feed(decoder.finish()) + stop.finish()
        if last:
            yield last

    def _recent(self) -> list[int]:
        """Return the last tokens, of the prompt too."""
        missing = MOST_RECENT - len(self.tokens)
        before = self._prompt[-missing:] if missing > 0 else []
        return [*before, *self.tokens[-MOST_RECENT:]]

    def _is_full(self) -> bool:
        return self._conversation.position >= self._conversation.executor.context
