"""The HTTP side: routes, who may ask, limits, and answers in one piece or as server-sent events.

Without a token the server listens on this computer only, answers only requests that name it by a
local address (so that no web page reaches it by rebinding a name), and never allows other origins.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import msgspec
from aiohttp import web

from edgekit.errors import EdgekitError, UsageError
from edgekit.runtime.language.generate import ContextLengthError, Generation, GenerationSettings
from edgekit.runtime.language.session import LanguageSession
from edgekit.server.answers import AnswerForm, error_body
from edgekit.server.pool import ConversationPool, QueueFullError, UnavailableError
from edgekit.server.requests import ChatRequest, CompletionRequest, Request, decode_request
from edgekit.server.settings import ServerSettings

logger = logging.getLogger(__name__)

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
)
"""The page may talk to this server and to nobody else."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(session: LanguageSession, settings: ServerSettings) -> web.Application:
    """Return the application; it closes its conversations, not the session, when it ends."""
    server = _Server(session, settings)
    app = web.Application(
        client_max_size=settings.most_body_bytes, middlewares=[server.errors, server.guard]
    )
    app.router.add_get("/v1/models", server.models)
    app.router.add_post("/v1/completions", server.completions)
    app.router.add_post("/v1/chat/completions", server.chat)
    app.router.add_get("/health", server.health)
    if settings.page is not None:
        app.router.add_get("/", server.page)
    app.on_startup.append(server.start)
    app.on_shutdown.append(server.stop)
    return app


class _Server:
    def __init__(self, session: LanguageSession, settings: ServerSettings) -> None:
        self.session = session
        self.settings = settings
        self.pool: ConversationPool | None = None
        self._page = settings.page.read_bytes() if settings.page else b""

    async def start(self, app: web.Application) -> None:
        own = self.settings
        self.pool = ConversationPool(
            self.session,
            conversations=own.conversations,
            most_waiting=own.most_waiting,
            wait_s=own.wait_s,
        )

    async def stop(self, app: web.Application) -> None:
        await self.open_pool.close()

    @property
    def open_pool(self) -> ConversationPool:
        assert self.pool is not None
        return self.pool

    @web.middleware
    async def errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer every failure with a body that OpenAI clients understand."""
        try:
            return await handler(request)
        except web.HTTPRequestEntityTooLarge:
            limit = self.settings.most_body_bytes
            return _error(413, f"the body is larger than {limit:,} bytes", "invalid_request_error")
        except web.HTTPException as error:
            if error.status < 400:
                raise
            return _error(error.status, error.reason, "invalid_request_error")
        except EdgekitError as error:
            return _answer_of(error)
        except Exception:
            logger.exception("a request failed")
            return _error(500, "internal error of the server", "server_error")

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who may ask."""
        token = self.settings.token
        if token:
            sent = request.headers.get("Authorization", "")
            is_open = request.path in ("/health", "/")
            if not is_open and not hmac.compare_digest(sent.encode(), f"Bearer {token}".encode()):
                return _error(401, "the bearer token is missing or wrong", "authentication_error")
        elif not _is_local(request.host):
            return _error(403, "without a token only local addresses answer", "permission_error")
        if request.method == "POST" and request.content_type != "application/json":
            # A form of another page's cannot send this type without asking first.
            return _error(415, "send application/json", "invalid_request_error")
        return await handler(request)

    async def models(self, request: web.Request) -> web.StreamResponse:
        entry = {"id": self.session.name, "object": "model", "created": 0, "owned_by": "edgekit"}
        return _json({"object": "list", "data": [entry]})

    async def health(self, request: web.Request) -> web.StreamResponse:
        pool = self.open_pool
        return _json(
            {
                "status": "ok",
                "running": pool.running,
                "waiting": pool.waiting,
                "finished": pool.finished,
                "cancelled": pool.cancelled,
            }
        )

    async def page(self, request: web.Request) -> web.StreamResponse:
        headers = {"Content-Security-Policy": PAGE_POLICY, "X-Content-Type-Options": "nosniff"}
        return web.Response(
            body=self._page, content_type="text/html", charset="utf-8", headers=headers
        )

    async def completions(self, request: web.Request) -> web.StreamResponse:
        asked = decode_request(await request.read(), CompletionRequest)
        assert isinstance(asked, CompletionRequest)
        tokens = await asyncio.to_thread(self.session.tokenizer.encode, asked.prompt)
        return await self._answer(request, asked, tokens, is_chat=False)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        asked = decode_request(await request.read(), ChatRequest)
        assert isinstance(asked, ChatRequest)
        messages = [message.plain() for message in asked.messages]
        tokens = await asyncio.to_thread(self.session.template.tokens, messages)
        return await self._answer(request, asked, tokens, is_chat=True)

    async def _answer(
        self, request: web.Request, asked: Request, tokens: list[int], *, is_chat: bool
    ) -> web.StreamResponse:
        if asked.model not in ("", self.session.name):
            message = f"there is no model '{asked.model}', only '{self.session.name}'"
            return _error(404, message, "invalid_request_error", "model_not_found")
        stops = self.session.template.stops if is_chat else ()
        settings = asked.settings(self.settings.most_tokens, stops)
        form = AnswerForm(self.session.name, is_chat)
        if not asked.stream:
            return await self._whole(form, tokens, settings)
        counts = asked.stream_options is not None and asked.stream_options.include_usage
        return await self._stream(request, form, tokens, settings, counts=counts)

    async def _whole(
        self, form: AnswerForm, tokens: list[int], settings: GenerationSettings
    ) -> web.StreamResponse:
        begun: list[Generation] = []
        async with aclosing(self.open_pool.pieces(tokens, settings, begun.append)) as pieces:
            text = "".join([piece async for piece in pieces])
        return _json(form.whole(text, begun[0]))

    async def _stream(
        self,
        request: web.Request,
        form: AnswerForm,
        tokens: list[int],
        settings: GenerationSettings,
        *,
        counts: bool,
    ) -> web.StreamResponse:
        response: web.StreamResponse | None = None
        begun: list[Generation] = []
        try:
            async with aclosing(self.open_pool.pieces(tokens, settings, begun.append)) as pieces:
                async for piece in pieces:
                    is_first = response is None
                    response = response or await _open_stream(request)
                    await _send(response, form.chunk(piece, first=is_first))
            response = response or await _open_stream(request)
            await _send(response, form.last(begun[0]))
            if counts:
                await _send(response, form.counted(begun[0]))
            await response.write(b"data: [DONE]\n\n")
        except EdgekitError as error:
            if response is None:
                raise
            await _send(response, error_body(str(error), "server_error"))
        except ConnectionResetError:  # the client hung up; the generation has ended already
            assert response is not None
            return response
        await response.write_eof()
        return response


async def _open_stream(request: web.Request) -> web.StreamResponse:
    headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    return response


async def _send(response: web.StreamResponse, body: object) -> None:
    await response.write(b"data: " + msgspec.json.encode(body) + b"\n\n")


def _json(body: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


def _error(status: int, message: str, kind: str, code: str | None = None) -> web.Response:
    response = _json(error_body(message, kind, code))
    response.set_status(status)
    if status in (429, 503):
        response.headers["Retry-After"] = "1"
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _answer_of(error: EdgekitError) -> web.Response:
    if isinstance(error, QueueFullError):
        return _error(429, str(error), "rate_limit_error", "queue_full")
    if isinstance(error, UnavailableError):
        return _error(503, str(error), "server_error", "unavailable")
    if isinstance(error, ContextLengthError):
        return _error(400, str(error), "invalid_request_error", "context_length_exceeded")
    if isinstance(error, UsageError):
        return _error(400, str(error), "invalid_request_error")
    return _error(500, str(error), "server_error")


def _is_local(host: str) -> bool:
    """Whether a Host header names this computer."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name.strip("[]").lower() in LOCAL_HOSTS
