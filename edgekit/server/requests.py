"""What clients ask: bodies of /v1/completions and /v1/chat/completions, checked.

Fields and their meaning: https://platform.openai.com/docs/api-reference. A field that would change
the answer and is not supported is refused by name; fields without effect on it are passed over.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from edgekit.errors import UsageError
from edgekit.runtime.language.generate import GenerationSettings
from edgekit.runtime.language.sampler import Sampling

MOST_MESSAGES = 1000
MOST_STOPS = 16
LONGEST_STOP = 256

Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class StreamOptions(msgspec.Struct, frozen=True):
    """``include_usage``: a last chunk that counts tokens."""

    include_usage: bool = False


class _Common(msgspec.Struct, frozen=True, kw_only=True):
    model: str = ""
    max_tokens: Count | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0.0, le=2.0)] | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    min_p: Probability | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0.0, le=10.0)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None

    def settings(self, limit: int, stops: tuple[str, ...] = ()) -> GenerationSettings:
        """Return how to generate.

        Parameters
        ----------
        limit : int
            Most tokens of an answer.
        stops : tuple of str
            Further stop words.

        Raises
        ------
        UsageError
            If a field is refused.
        """
        wanted = self._wanted_tokens()
        if wanted is not None and wanted > limit:
            raise UsageError(f"max_tokens is {wanted:,}, this server gives {limit:,} at most")
        own = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(own) > MOST_STOPS or any(len(word) > LONGEST_STOP for word in own):
            raise UsageError(f"stop takes {MOST_STOPS} texts of {LONGEST_STOP} characters at most")
        default = Sampling()
        return GenerationSettings(
            max_tokens=wanted or limit,
            stop=(*own, *stops),
            sampling=Sampling(
                temperature=_or(self.temperature, default.temperature),
                top_p=_or(self.top_p, default.top_p),
                min_p=_or(self.min_p, default.min_p),
                top_k=default.top_k if self.top_k is None else self.top_k,
                repetition_penalty=_or(self.repetition_penalty, default.repetition_penalty),
                # A negative seed asks for any; ours are unsigned.
                seed=(self.seed or 0) % 2**64,
            ),
        )

    def refused(self) -> str:
        """Return the name of a field that is set and not supported; empty where there is none."""
        unsupported = {
            "n": self.n not in (None, 1),
            "presence_penalty": bool(self.presence_penalty),
            "frequency_penalty": bool(self.frequency_penalty),
            "logit_bias": bool(self.logit_bias),
        }
        return next((name for name, is_set in unsupported.items() if is_set), "")

    def _wanted_tokens(self) -> int | None:
        return self.max_tokens


class CompletionRequest(_Common, frozen=True, kw_only=True):
    """Body of ``POST /v1/completions``."""

    prompt: str
    suffix: str | None = None
    echo: bool | None = None
    best_of: int | None = None
    logprobs: int | None = None

    def refused(self) -> str:
        """Return the name of a field that is set and not supported."""
        unsupported = {
            "suffix": bool(self.suffix),
            "echo": bool(self.echo),
            "best_of": self.best_of not in (None, 1),
            "logprobs": bool(self.logprobs),
        }
        own = next((name for name, is_set in unsupported.items() if is_set), "")
        return own or super().refused()


class ContentPart(msgspec.Struct, frozen=True):
    """A part of a message; only texts are read."""

    type: str
    text: str = ""


class ChatMessage(msgspec.Struct, frozen=True):
    """One message of a chat."""

    role: str
    content: str | list[ContentPart] | None = None

    def plain(self) -> dict[str, str]:
        """Return role and text (UsageError for images and other parts)."""
        if isinstance(self.content, list):
            other = next((part.type for part in self.content if part.type != "text"), None)
            if other is not None:
                raise UsageError(f"content of type '{other}' is not supported, only text")
            return {"role": self.role, "content": "".join(p.text for p in self.content)}
        return {"role": self.role, "content": self.content or ""}


class ChatRequest(_Common, frozen=True, kw_only=True):
    """Body of ``POST /v1/chat/completions``."""

    messages: Annotated[list[ChatMessage], msgspec.Meta(min_length=1, max_length=MOST_MESSAGES)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: dict[str, Any] | None = None

    def refused(self) -> str:
        """Return the name of a field that is set and not supported."""
        form = (self.response_format or {}).get("type", "text")
        unsupported = {
            "logprobs": bool(self.logprobs),
            "tools": bool(self.tools),
            "functions": bool(self.functions),
            "response_format": form != "text",
        }
        own = next((name for name, is_set in unsupported.items() if is_set), "")
        return own or super().refused()

    def _wanted_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


Request = CompletionRequest | ChatRequest


def decode_request(data: bytes, kind: type[Request]) -> Request:
    """Read a body.

    Raises
    ------
    UsageError
        If it is no JSON, a field is missing or wrong (named), or one is not supported.
    """
    try:
        request = msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the body cannot be used: {error}") from error
    refused = request.refused()
    if refused:
        raise UsageError(f"{refused} is not supported by this server")
    return request


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
