"""Conversations that requests share, the queue before them, and threads that compute.

A request takes a free conversation, the one whose KV cache has most in common with its prompt.
Where none is free it waits; where too many wait already it is sent away at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from edgekit.errors import EdgekitError
from edgekit.runtime.language.generate import Conversation, Generation, GenerationSettings
from edgekit.runtime.language.session import LanguageSession


class QueueFullError(EdgekitError):
    """Too many requests wait already."""


class UnavailableError(EdgekitError):
    """The server ends, or a request waited too long."""


class ConversationPool:
    """As many conversations as were planned.

    Parameters
    ----------
    session : LanguageSession
    conversations : int
    most_waiting : int
        Requests that may wait at the same time.
    wait_s : float
        How long one waits at most.

    Attributes
    ----------
    finished, cancelled : int
        Answers so far that came to their end, and that did not.
    """

    def __init__(
        self, session: LanguageSession, *, conversations: int, most_waiting: int, wait_s: float
    ) -> None:
        self._free = [session.conversation() for _ in range(conversations)]
        self._waiting: deque[asyncio.Future[Conversation]] = deque()
        self._most_waiting = most_waiting
        self._wait_s = wait_s
        self._running: set[Generation] = set()
        self._threads = ThreadPoolExecutor(conversations, "edgekit-generate")
        self._is_closing = False
        self.finished = 0
        self.cancelled = 0

    @property
    def waiting(self) -> int:
        """Requests that wait now."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Generations that run now."""
        return len(self._running)

    async def pieces(
        self,
        prompt: Sequence[int],
        settings: GenerationSettings,
        started: Callable[[Generation], None],
    ) -> AsyncGenerator[str, None]:
        """Yield the text of an answer; closing the iterator, or cancelling, ends the generation.

        Parameters
        ----------
        prompt : sequence of int
        settings : GenerationSettings
        started : callable
            Told the generation when it begins.

        Raises
        ------
        QueueFullError, UnavailableError
            If there is no conversation for it.
        UsageError
            If the prompt does not fit the context.
        """
        conversation = await self._take(prompt)
        try:
            generation = conversation.generate(prompt, settings)
        except BaseException:
            self._give(conversation)
            raise
        self._running.add(generation)
        started(generation)
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[str | Exception | None] = asyncio.Queue()

        def put(item: str | Exception | None) -> None:
            with suppress(RuntimeError):  # the loop ended before the thread
                loop.call_soon_threadsafe(queue.put_nowait, item)

        def work() -> None:
            try:
                for text in generation:
                    put(text)
            except Exception as error:
                put(error)
            put(None)

        future = loop.run_in_executor(self._threads, work)
        # The thread, not the request, holds the conversation: it is free when the thread is done.
        future.add_done_callback(lambda _: self._finished(conversation, generation))
        try:
            while (item := await queue.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            generation.cancel()

    async def close(self) -> None:
        """End what runs, send away who waits, give the memory back."""
        self._is_closing = True
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(UnavailableError("the server ends"))
        for generation in self._running:
            generation.cancel()
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        await asyncio.sleep(0)  # lets callbacks of finished threads put conversations back
        for conversation in self._free:
            conversation.close()
        self._free.clear()

    async def _take(self, prompt: Sequence[int]) -> Conversation:
        if self._is_closing:
            raise UnavailableError("the server ends")
        if self._free:
            best = max(self._free, key=lambda conversation: conversation.in_common(prompt))
            self._free.remove(best)
            return best
        if len(self._waiting) >= self._most_waiting:
            raise QueueFullError(f"{len(self._waiting)} requests wait already; try again later")
        future: asyncio.Future[Conversation] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self._wait_s)
        except TimeoutError:
            self._leave(future)
            raise UnavailableError(f"no conversation was free for {self._wait_s:g} s") from None
        except asyncio.CancelledError:
            self._leave(future)
            raise

    def _leave(self, future: asyncio.Future[Conversation]) -> None:
        """Take a request off the queue; a conversation that it was just given goes to the next."""
        if future in self._waiting:
            self._waiting.remove(future)
            future.cancel()
        elif not future.cancelled() and future.exception() is None:
            self._give(future.result())

    def _finished(self, conversation: Conversation, generation: Generation) -> None:
        self._running.discard(generation)
        if generation.finish_reason == "cancelled":
            self.cancelled += 1
        else:
            self.finished += 1
        self._give(conversation)

    def _give(self, conversation: Conversation) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(conversation)
                return
        self._free.append(conversation)
