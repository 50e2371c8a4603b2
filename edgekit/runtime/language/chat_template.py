"""From messages of a chat to the text, and the tokens, that a model was trained on.

The template is jinja2 in ``tokenizer.chat_template`` of the GGUF file, rendered in a child process
(:mod:`edgekit.runtime.language.template_child`). Control tokens that the template writes are
tokens; the same characters in what a user typed stay plain text.
"""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from edgekit.errors import ExecutionError, MissingDependencyError, ModelFormatError, UsageError
from edgekit.runtime.language.tokenizer import Tokenizer
from edgekit.runtime.language.vocabulary import NO_TOKEN, TokenKind

Message = Mapping[str, Any]
"""``role`` (system, user, assistant, tool) and ``content``, a text."""

PLAIN_TEMPLATE: Final = (
    "{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ m['content'] }}\n"
    "{% else %}{{ m['role'] | capitalize }}: {{ m['content'] }}\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""For models that bring no template; they were trained on plain text."""

PLAIN_STOPS: Final = ("\nUser:",)
"""Where the answer of a model without a template ends."""

TIME_LIMIT_S: Final = 5.0
_START_LIMIT_S: Final = 60.0


class ChatTemplate:
    """A chat template with its child process. Threads may share it.

    Parameters
    ----------
    source : str
        jinja2; empty for :data:`PLAIN_TEMPLATE`.
    tokenizer : Tokenizer
    """

    def __init__(self, source: str, tokenizer: Tokenizer) -> None:
        self.is_plain = not source
        self._source = source or PLAIN_TEMPLATE
        self._tokenizer = tokenizer
        self._child: _Child | None = None
        self._lock = threading.Lock()
        own = tokenizer.vocabulary
        special = (TokenKind.CONTROL, TokenKind.UNKNOWN)
        hidden = [own.tokens[n] for n, kind in enumerate(own.kinds) if kind in special]
        marks = sorted((re.escape(text) for text in hidden), key=len, reverse=True)
        self._marks = re.compile("|".join(marks)) if marks else None

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end an answer beside the model's own end tokens."""
        return PLAIN_STOPS if self.is_plain else ()

    def render(
        self, messages: Sequence[Message], *, tools: Sequence[Any] = (), **variables: Any
    ) -> str:
        """Return the text of a chat, ready for the assistant's answer.

        Parameters
        ----------
        messages : sequence of mapping
        tools : sequence
            Descriptions of tools, for templates that know such.
        **variables
            Further variables of the template.

        Raises
        ------
        UsageError
            If the template refuses these messages.
        ModelFormatError
            If the template is wrong, or takes too much time or memory.
        MissingDependencyError
            If jinja2 is not installed.
        """
        own = self._tokenizer.vocabulary
        values = {
            "messages": list(messages),
            "add_generation_prompt": True,
            "bos_token": own.text(own.bos),
            "eos_token": own.text(own.eos),
            **({"tools": list(tools)} if tools else {}),
            **variables,
        }
        answer = self._ask({"template": self._source, "variables": values})
        if "refused" in answer:
            raise UsageError(f"the model's chat template refuses: {answer['refused']}")
        if "error" in answer:
            raise ModelFormatError(f"the model's chat template fails: {answer['error']}")
        return str(answer["text"])

    def tokens(
        self, messages: Sequence[Message], *, tools: Sequence[Any] = (), **variables: Any
    ) -> list[int]:
        """Return the tokens of a chat, ready for the assistant's answer; raises as `render`."""
        kept: list[str] = []
        guarded = [self._guard(message, kept) for message in messages]
        text = self.render(guarded, tools=tools, **variables)
        own = self._tokenizer.vocabulary
        bos = own.text(own.bos)
        add_special = not (own.bos != NO_TOKEN and bos and text.startswith(bos))
        tokens: list[int] = []
        for part, is_trusted in _parts(text, kept):
            tokens += self._tokenizer.encode(
                part, add_special=add_special and not tokens, parse_special=is_trusted
            )
        if own.add_eos and tokens and tokens[-1] == own.eos:
            tokens.pop()  # the answer is still to come
        return tokens

    def close(self) -> None:
        """End the child process."""
        with self._lock:
            if self._child is not None:
                self._child.close()
                self._child = None

    def _guard(self, message: Message, kept: list[str]) -> Message:
        """Put stand-ins for texts of control tokens that a message contains.

        Raises
        ------
        UsageError
            If the role is no plain word: templates write it between control tokens.
        """
        role = message.get("role")
        if not isinstance(role, str) or not _ROLE.fullmatch(role):
            raise UsageError(f"a role is a word such as user or assistant, not {role!r:.60}")

        def stand_in(match: re.Match[str]) -> str:
            kept.append(match.group())
            return _stand_in(len(kept) - 1)

        def guarded(value: Any) -> Any:
            if isinstance(value, str):
                # Somebody's own stand-in would be taken for ours: it is kept as it is, too.
                text = _STAND_IN.sub(stand_in, value)
                return text if self._marks is None else self._marks.sub(stand_in, text)
            if isinstance(value, Mapping):
                return {key: guarded(inner) for key, inner in value.items()}
            return [guarded(inner) for inner in value] if isinstance(value, list) else value

        return {**guarded(message), "role": role}

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            if self._child is None:
                _check_jinja()
                self._child = _Child()
            try:
                return self._child.ask(request)
            except ExecutionError as error:
                self._child.close()
                self._child = None
                raise ModelFormatError(f"the model's chat template {error}") from error


_ROLE = re.compile("[A-Za-z_]{1,32}")
_STAND_IN = re.compile("\ue0f0[0-9]+\ue0f1")


def _stand_in(index: int) -> str:
    return f"\ue0f0{index}\ue0f1"


def _parts(text: str, kept: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield pieces of a rendered text and whether the template wrote them."""
    at = 0
    for match in _STAND_IN.finditer(text):
        index = int(match.group()[1:-1])
        if index >= len(kept):
            continue
        if match.start() > at:
            yield text[at : match.start()], True
        yield kept[index], False
        at = match.end()
    if at < len(text):
        yield text[at:], True


def _check_jinja() -> None:
    from importlib.util import find_spec

    if find_spec("jinja2") is None:
        raise MissingDependencyError("llm", library="jinja2")


class _Child:
    """The process that renders."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgekit.runtime.language.template_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            },
        )
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        # A first answer shows that it has started; its time is no fault of the template.
        self._exchange({"template": "", "variables": {}}, _START_LIMIT_S)

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return self._exchange(request, TIME_LIMIT_S)

    def close(self) -> None:
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        self._process.wait()
        self._reader.join()

    def _exchange(self, request: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=limit_s)
        except queue.Empty:
            raise ExecutionError(f"took more than {limit_s:g} s and was ended") from None
        except OSError as error:
            raise ExecutionError("ended its process") from error
        if not line:
            raise ExecutionError("ended its process (out of memory?)")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _read(self) -> None:
        assert self._process.stdout is not None
        with suppress(OSError, ValueError):
            for line in self._process.stdout:
                self._answers.put(line)
        self._answers.put(b"")
