"""A language model that is loaded and ready to answer.

::

    with load_language_model("model.oneplus12.edgekit") as session:
        answer = session.generate("Once upon a time", max_tokens=100)
        for text in session.stream_chat([{"role": "user", "content": "Hello"}]):
            print(text, end="")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from edgekit.errors import ModelFormatError, UsageError
from edgekit.language_package import (
    LanguagePackage,
    is_language_package,
    open_language_package,
)
from edgekit.language_plan import LanguagePlan
from edgekit.runtime.language.chat_template import ChatTemplate, Message
from edgekit.runtime.language.executor import LanguageExecutor
from edgekit.runtime.language.generate import (
    Conversation,
    FinishReason,
    Generation,
    GenerationSettings,
    Timings,
)
from edgekit.runtime.language.gguf_file import MAGIC, GgufHeader, read_header
from edgekit.runtime.language.llama_cpp import LlamaExecutor, has_llama_cpp, load_llama
from edgekit.runtime.language.native_executor import load_native
from edgekit.runtime.language.sampler import Sampling
from edgekit.runtime.language.tokenizer import Tokenizer
from edgekit.runtime.language.vocabulary import read_vocabulary

ExecutorChoice = Literal["auto", "native", "llama"]

DEFAULT_BATCH = 64
MOST_DEFAULT_CONTEXT = 4096
"""Positions where neither the user nor a package says: longer contexts cost memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How a model is loaded; None takes what the package plans, or the default.

    Parameters
    ----------
    executor : {'auto', 'native', 'llama'}
    memory_bytes : int, optional
        Hard limit of everything the engine holds.
    context : int, optional
        Positions of a session.
    batch : int, optional
        Tokens computed at once while a prompt is read.
    sessions : int
        Conversations at the same time.
    threads : int, optional
    kv : {'f16', 'q8', 'f32'}, optional
    """

    executor: ExecutorChoice = "auto"
    memory_bytes: int | None = None
    context: int | None = None
    batch: int | None = None
    sessions: int = 1
    threads: int | None = None
    kv: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer."""

    text: str
    finish_reason: FinishReason
    tokens: tuple[int, ...]
    timings: Timings


class LanguageSession:
    """A loaded model with its tokenizer and chat template.

    Made by :func:`load_language_model`. :meth:`generate`, :meth:`stream` and :meth:`stream_chat`
    share one conversation and are used by one thread at a time; :meth:`conversation` opens more.

    Attributes
    ----------
    name : str
    tokenizer : Tokenizer
    template : ChatTemplate
    executor : LanguageExecutor
    plan : LanguagePlan or None
        Of the package; None for a bare GGUF file.
    notes : tuple of str
        Decisions that the user should know of.
    """

    def __init__(
        self,
        name: str,
        header: GgufHeader,
        executor: LanguageExecutor,
        plan: LanguagePlan | None,
        notes: tuple[str, ...],
    ) -> None:
        self.name = name
        self.executor = executor
        self.plan = plan
        self.notes = notes
        self.tokenizer = _tokenizer(header, executor)
        self.template = ChatTemplate(header.text("tokenizer.chat_template"), self.tokenizer)
        self._own: Conversation | None = None

    def conversation(self) -> Conversation:
        """Open a conversation with its own KV cache; as many as were planned for."""
        return Conversation(self.executor, self.tokenizer)

    def generate(
        self,
        prompt: str,
        *,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        sampling: Sampling | None = None,
    ) -> Completion:
        """Continue a text.

        Parameters
        ----------
        prompt : str
        max_tokens : int
        stop : sequence of str
            Texts that end the answer.
        sampling : Sampling, optional

        Raises
        ------
        UsageError
            If the prompt is longer than the context, or a setting is out of range.
        ExecutionError
            If the model cannot be read while it is streamed.
        """
        generation = self.stream(prompt, max_tokens=max_tokens, stop=stop, sampling=sampling)
        return completion_of(generation)

    def stream(
        self,
        prompt: str,
        *,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        sampling: Sampling | None = None,
    ) -> Generation:
        """Continue a text piece by piece; parameters as :meth:`generate`."""
        tokens = self.tokenizer.encode(prompt)
        return self._start(tokens, max_tokens, stop, sampling)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        sampling: Sampling | None = None,
    ) -> Completion:
        """Answer the last message of a chat; parameters as :meth:`generate`."""
        generation = self.stream_chat(messages, max_tokens=max_tokens, stop=stop, sampling=sampling)
        return completion_of(generation)

    def stream_chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        sampling: Sampling | None = None,
    ) -> Generation:
        """Answer the last message of a chat piece by piece.

        Parameters
        ----------
        messages : sequence of mapping
            ``role`` and ``content`` of each.
        max_tokens, stop, sampling
            As :meth:`generate`.

        Raises
        ------
        UsageError
            If the model's chat template refuses the messages.
        ModelFormatError
            If the template itself is wrong.
        """
        tokens = self.template.tokens(messages)
        return self._start(tokens, max_tokens, (*stop, *self.template.stops), sampling)

    def close(self) -> None:
        """Give memory and processes back."""
        if self._own is not None:
            self._own.close()
            self._own = None
        self.template.close()
        self.executor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _start(
        self,
        tokens: list[int],
        max_tokens: int,
        stop: Sequence[str],
        sampling: Sampling | None,
    ) -> Generation:
        if self._own is None:
            self._own = self.conversation()
        settings = GenerationSettings(
            max_tokens=max_tokens, sampling=sampling or Sampling(), stop=tuple(stop)
        )
        return self._own.generate(tokens, settings)


def completion_of(generation: Generation) -> Completion:
    """Run a generation to its end."""
    text = generation.text()
    reason = generation.finish_reason or "cancelled"
    return Completion(text, reason, tuple(generation.tokens), generation.timings)


def load_language_model(
    source: str | Path | LanguagePackage, options: LoadOptions | None = None
) -> LanguageSession:
    """Load a package of a language model, or a GGUF file.

    Parameters
    ----------
    source : str, Path or LanguagePackage
    options : LoadOptions, optional

    Raises
    ------
    UsageError
        If there is no such file or package.
    PackageError, ModelFormatError
        If it is damaged, or no executor reads it.
    MemoryBudgetError
        If the memory limit is too small; ``required_bytes`` would do.
    MissingDependencyError
        If a library that the model needs is not installed.
    """
    options = options or LoadOptions()
    if options.sessions < 1:
        raise UsageError(f"sessions is {options.sessions}, use 1 or more")
    package = source if isinstance(source, LanguagePackage) else _package(Path(source))
    path = package.model_path if package else Path(str(source))
    header = read_header(path)
    plan = package.plan if package else None
    name = package.manifest.name if package else path.stem
    executor, notes = _load(path, header, plan, options)
    try:
        return LanguageSession(name, header, executor, plan, notes)
    except BaseException:
        executor.close()
        raise


def is_gguf(path: Path) -> bool:
    """Whether a file begins as GGUF files do."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def context_of(header: GgufHeader) -> int:
    """Positions that a model is loaded with where nobody says: its own, but not very many."""
    trained = header.integer(f"{header.architecture}.context_length", MOST_DEFAULT_CONTEXT)
    return max(1, min(trained, MOST_DEFAULT_CONTEXT))


def _package(path: Path) -> LanguagePackage | None:
    if path.is_dir():
        if not is_language_package(path):
            raise UsageError(f"{path} is no package of a language model, nor a GGUF file")
        return open_language_package(path)
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    return None


def _load(
    path: Path, header: GgufHeader, plan: LanguagePlan | None, options: LoadOptions
) -> tuple[LanguageExecutor, tuple[str, ...]]:
    context = options.context or (plan.context if plan else context_of(header))
    batch = options.batch or (plan.batch if plan else DEFAULT_BATCH)
    threads = options.threads or (plan.threads if plan else 1)
    kv = options.kv or (plan.kv if plan else "f16")
    memory_bytes = options.memory_bytes or (plan.memory.limit_bytes if plan else None)
    choice: ExecutorChoice = options.executor
    if choice == "auto" and plan is not None:
        choice = plan.executor
    if choice == "llama":
        if options.memory_bytes is not None:
            raise UsageError(
                "llama.cpp keeps to no memory budget: leave --memory or --executor out"
            )
        return load_llama(path, context=context, batch=batch, threads=threads, kv=kv), ()
    try:
        native = load_native(
            path,
            memory_bytes=memory_bytes,
            context=context,
            batch=batch,
            sessions=options.sessions,
            threads=threads,
            kv=kv,
        )
    except ModelFormatError as error:
        if choice == "native" or options.memory_bytes is not None or not has_llama_cpp():
            raise
        note = f"llama.cpp runs this model, without a memory budget; the native engine: {error}"
        return load_llama(path, context=context, batch=batch, threads=threads, kv=kv), (note,)
    return native, ()


def _tokenizer(header: GgufHeader, executor: LanguageExecutor) -> Tokenizer:
    if isinstance(executor, LlamaExecutor):
        return executor.tokenizer(header)
    try:
        return Tokenizer(read_vocabulary(header))
    except ModelFormatError as error:
        if error.path:
            raise
        raise ModelFormatError(str(error), path=str(header.path)) from error
