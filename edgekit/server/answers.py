"""What the server says: JSON objects of the OpenAI API, whole or in chunks."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from edgekit.runtime.language.generate import Generation


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """How an answer is written.

    Parameters
    ----------
    model : str
    is_chat : bool
        A message, or plain text.
    """

    model: str
    is_chat: bool
    identifier: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, generation: Generation) -> dict[str, Any]:
        """Return a finished answer."""
        content: dict[str, Any] = (
            {"message": {"role": "assistant", "content": text}} if self.is_chat else {"text": text}
        )
        choice = {"index": 0, **content, "finish_reason": _reason(generation), "logprobs": None}
        return {**self._head(""), "choices": [choice], "usage": usage(generation)}

    def chunk(self, text: str, *, first: bool = False) -> dict[str, Any]:
        """Return a piece of an answer."""
        role = {"role": "assistant"} if first else {}
        content: dict[str, Any] = (
            {"delta": {**role, "content": text}} if self.is_chat else {"text": text}
        )
        choice = {"index": 0, **content, "finish_reason": None, "logprobs": None}
        return {**self._head(".chunk"), "choices": [choice]}

    def last(self, generation: Generation) -> dict[str, Any]:
        """Return the chunk that says why an answer ended."""
        content: dict[str, Any] = {"delta": {}} if self.is_chat else {"text": ""}
        choice = {"index": 0, **content, "finish_reason": _reason(generation), "logprobs": None}
        return {**self._head(".chunk"), "choices": [choice]}

    def counted(self, generation: Generation) -> dict[str, Any]:
        """Return the chunk that counts tokens."""
        return {**self._head(".chunk"), "choices": [], "usage": usage(generation)}

    def _head(self, suffix: str) -> dict[str, Any]:
        kind = f"chat.completion{suffix}" if self.is_chat else "text_completion"
        prefix = "chatcmpl" if self.is_chat else "cmpl"
        return {
            "id": f"{prefix}-{self.identifier}",
            "object": kind,
            "created": self.created,
            "model": self.model,
        }


def usage(generation: Generation) -> dict[str, Any]:
    """Return the numbers of tokens."""
    prompt, answer = generation.timings.prompt_tokens, len(generation.tokens)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": generation.timings.reused_tokens},
    }


def error_body(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """Return an error as clients expect it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _reason(generation: Generation) -> str:
    return "length" if generation.finish_reason == "length" else "stop"
