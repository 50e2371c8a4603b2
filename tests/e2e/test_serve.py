"""The server, driven by the official ``openai`` client over real HTTP."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.runtime.language.engine import open_model
from tests.e2e.conftest import Edgekit

pytest.importorskip("openai")
pytest.importorskip("aiohttp")
pytest.importorskip("gguf")
pytest.importorskip("tokenizers")

import openai

from tests.e2e.language_server import Server, serving
from tests.tiny_language_models import bpe_words, write_language_model

pytestmark = pytest.mark.native

TOKEN = "not-a-secret"
LONG = 12_000
"""Tokens of an answer that takes much longer than any test waits."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("serve") / "tiny.gguf"
    return write_language_model(path, bpe_words(), context=2 * LONG, endless=True)


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    options = ("--token", TOKEN, "--sessions", "2", "--max-tokens", str(LONG))
    with serving(model, *options, "--context", str(LONG + 200), "--max-body", "200KiB") as own:
        yield own


@pytest.fixture(scope="module")
def narrow(model: Path) -> Iterator[Server]:
    """One conversation, one place in the queue, no token."""
    options = ("--sessions", "1", "--queue", "1", "--queue-timeout", "2")
    with serving(model, *options, "--max-tokens", str(LONG), "--context", str(LONG + 200)) as own:
        yield own


def client(server: Server, token: str = TOKEN) -> Any:
    return openai.OpenAI(base_url=f"{server.address}/v1", api_key=token, max_retries=0, timeout=60)


def complete(server: Server, **options: Any) -> Any:
    values = {"model": server.model, "prompt": "the and", "max_tokens": 24, "temperature": 0}
    return client(server).completions.create(**{**values, **options})


def chat(server: Server, **options: Any) -> Any:
    messages = [{"role": "user", "content": "the and"}]
    values = {"model": server.model, "messages": messages, "max_tokens": 24, "temperature": 0}
    return client(server).chat.completions.create(**{**values, **options})


def raw(
    server: Server, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, http.client.HTTPMessage, Any]:
    """Send a request as it is; return status, headers and body."""
    host, port = server.address.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}", **headers}
    try:
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        return answer.status, answer.headers, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def test_the_model_is_listed(server: Server) -> None:
    assert [entry.id for entry in client(server).models.list().data] == [server.model]


def test_a_text_is_continued_and_tokens_are_counted(server: Server) -> None:
    answer = complete(server)
    assert answer.choices[0].text
    assert answer.usage.completion_tokens <= 24
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_streamed_pieces_are_the_text(server: Server) -> None:
    whole = complete(server).choices[0].text
    chunks = list(complete(server, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole
    assert chunks[-1].usage.completion_tokens > 0
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] is not None


def test_a_chat_is_answered_and_streamed(server: Server) -> None:
    whole = chat(server)
    assert whole.choices[0].message.role == "assistant"
    chunks = list(chat(server, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content


def test_messages_may_come_in_parts(server: Server) -> None:
    parts = [{"type": "text", "text": "the "}, {"type": "text", "text": "and"}]
    answer = chat(server, messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content == chat(server).choices[0].message.content


def test_the_same_seed_gives_the_same_text(server: Server) -> None:
    texts = [complete(server, temperature=1.5, seed=s).choices[0].text for s in (3, 3, 4)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_a_stop_word_ends_the_text_across_pieces(server: Server) -> None:
    pieces = [c.choices[0].text for c in complete(server, stream=True, max_tokens=40) if c.choices]
    text = "".join(pieces)
    boundary = len("".join(pieces[: len(pieces) // 2]))
    stop = text[boundary - 1 : boundary + 1]
    answer = complete(server, max_tokens=40, stop=[stop, "never there"])
    assert answer.choices[0].text == text[: text.index(stop)]
    assert answer.choices[0].finish_reason == "stop"
    streamed = complete(server, max_tokens=40, stop=stop, stream=True)
    assert "".join(c.choices[0].text for c in streamed) == text[: text.index(stop)]


def test_two_clients_are_answered_at_once(server: Server) -> None:
    # Both have their first piece before either can have its last.
    both = threading.Barrier(2, timeout=60)
    finished: list[int] = []

    def work() -> None:
        stream = complete(server, stream=True, max_tokens=LONG)
        count = sum(1 for _, _ in zip(range(5), stream, strict=False))
        both.wait()
        stream.close()
        finished.append(count)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=90)
    assert finished == [5, 5]
    server.wait_until(running=0)


@pytest.mark.parametrize("token", ["wrong", "not-a-secret2", "ñ"])
def test_a_wrong_token_is_refused(server: Server, token: str) -> None:
    status, _, body = raw(
        server,
        "GET",
        "/v1/models",
        Authorization=f"Bearer {token}".encode().decode("latin-1"),
    )
    assert status == 401
    assert "token" in body["error"]["message"]


def test_no_token_is_refused(server: Server) -> None:
    with pytest.raises(openai.AuthenticationError):
        client(server, "x").chat.completions.create(
            model=server.model, messages=[{"role": "user", "content": "the"}]
        )


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "n": ({"n": 2}, "n is not supported"),
    "logprobs": ({"logprobs": 3}, "logprobs"),
    "suffix": ({"suffix": "x"}, "suffix"),
    "bias": ({"logit_bias": {"5": 10}}, "logit_bias"),
    "penalty": ({"presence_penalty": 0.5}, "presence_penalty"),
    "tokens": ({"max_tokens": LONG + 1}, f"{LONG:,} at most"),
    "temperature": ({"temperature": 9}, "temperature"),
    "stops": ({"stop": ["x" * 1000]}, "stop takes"),
    "prompt": ({"prompt": ""}, "no token"),
    "prompts": ({"prompt": ["a", "b"]}, "prompt"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_supported_is_refused_by_name(case: str, server: Server) -> None:
    options, word = REFUSED[case]
    with pytest.raises(openai.BadRequestError, match=word):
        complete(server, **options)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": []}, "messages"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "http://x"}}],
                    }
                ]
            },
            "image_url",
        ),
    ],
    ids=["tools", "format", "empty", "image"],
)
def test_chats_that_are_not_supported_are_refused(
    options: dict[str, Any], word: str, server: Server
) -> None:
    with pytest.raises(openai.BadRequestError, match=word):
        chat(server, **options)


def test_another_model_is_not_found(server: Server) -> None:
    with pytest.raises(openai.NotFoundError, match=server.model):
        complete(server, model="gpt-4o")


def test_an_oversized_prompt_is_refused(server: Server) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        complete(server, prompt="ab " * (LONG + 200))
    assert caught.value.code == "context_length_exceeded"


def test_an_oversized_body_is_refused(server: Server) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        complete(server, prompt="ab " * 100_000)
    assert caught.value.status_code == 413


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"prompt": "\\ud800"}', b"\xff", b'{"prompt":' + b"[" * 5000]
)
def test_a_damaged_body_is_refused(body: bytes, server: Server) -> None:
    status, _, answer = raw(server, "POST", "/v1/completions", body)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"


def test_a_form_of_a_web_page_is_refused(server: Server) -> None:
    body = json.dumps({"prompt": "the"}).encode()
    status, _, _ = raw(server, "POST", "/v1/completions", body, **{"Content-Type": "text/plain"})
    assert status == 415


def test_an_unknown_path_is_not_found(server: Server) -> None:
    status, _, answer = raw(server, "GET", "/v1/nothing")
    assert status == 404
    assert answer["error"]["message"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_ends_its_generation(server: Server, stream: bool) -> None:
    host, port = server.address.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    body = {"prompt": "the and", "max_tokens": LONG, "temperature": 0, "stream": stream}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    server.wait_until(running=0)
    cancelled = server.health()["cancelled"]
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    server.wait_until(running=1)
    connection.close()
    if connection.sock is not None:
        connection.sock.close()
    server.wait_until(running=0, cancelled=cancelled + 1)
    assert complete(server, max_tokens=3).choices[0].text is not None


def test_requests_beyond_the_queue_are_sent_away(narrow: Server) -> None:
    running = complete(narrow, stream=True, max_tokens=LONG)
    next(iter(running))
    waiting: list[Any] = []
    thread = threading.Thread(target=lambda: waiting.append(complete(narrow, max_tokens=3)))
    thread.start()
    narrow.wait_until(running=1, waiting=1)
    with pytest.raises(openai.RateLimitError) as caught:
        complete(narrow, max_tokens=3)
    assert caught.value.response.headers["Retry-After"] == "1"
    running.close()
    thread.join(timeout=30)
    assert len(waiting) == 1
    assert waiting[0].usage.completion_tokens <= 3


def test_a_request_that_waits_too_long_gets_unavailable(narrow: Server) -> None:
    narrow.wait_until(running=0, waiting=0)
    running = complete(narrow, stream=True, max_tokens=LONG)
    next(iter(running))
    with pytest.raises(openai.InternalServerError) as caught:
        complete(narrow, max_tokens=3)
    assert caught.value.status_code == 503
    running.close()
    narrow.wait_until(running=0, waiting=0)


def test_without_a_token_only_local_names_are_answered(narrow: Server) -> None:
    for host, expected in {"evil.example": 403, "localhost": 200, "127.0.0.1:80": 200}.items():
        status, _, _ = raw(narrow, "GET", "/v1/models", Host=host)
        assert status == expected


def test_listening_to_others_needs_a_token(edgekit: Edgekit, model: Path) -> None:
    answer = edgekit("serve", model, "--host", "0.0.0.0", "--port", "0", EDGEKIT_TOKEN="")
    assert answer.code == 2
    assert "--token" in answer.err


def test_the_server_ends_in_the_middle_of_an_answer(model: Path) -> None:
    with serving(model, "--max-tokens", str(LONG), "--context", str(LONG + 200)) as own:
        stream = complete(own, stream=True, max_tokens=LONG)
        next(iter(stream))
        own.process.terminate()
        assert own.process.wait(timeout=30) == 0
        stream.close()


def test_storage_that_fails_ends_the_answer_with_an_error(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    shutil.copyfile(model, copy)
    with open_model(copy) as header:
        smallest = header.plan(context=LONG + 200, sessions=1).minimum_bytes
    limits = ("--memory", str(smallest), "--sessions", "1", "--context", str(LONG + 200))
    with serving(copy, *limits, "--max-tokens", str(LONG)) as own:
        whole = complete(own).choices[0].text
        stream = complete(own, stream=True, max_tokens=LONG)
        pieces = [next(stream).choices[0].text for _ in range(5)]
        os.truncate(copy, 4096)
        with pytest.raises(openai.APIError, match="storage"):
            pieces += [chunk.choices[0].text for chunk in stream]
        text = "".join(pieces)
        assert text.startswith(whole[: len(text)])
        own.wait_until(running=0)
        assert client(own).models.list().data
