"""The chat page in a real browser, with a real model behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("gguf")
pytest.importorskip("tokenizers")

from tests.e2e.browser import Page, find_browser, open_page
from tests.e2e.language_server import Server, serving
from tests.tiny_language_models import bpe_words, write_language_model

pytestmark = pytest.mark.native

PAGE = Path(__file__).resolve().parents[2] / "apps" / "phone_chat" / "index.html"
LONG = 12_000
ASSISTANT = "document.querySelector('.assistant')?.textContent"
IDLE = "!document.getElementById('send').disabled"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    find_browser()
    path = tmp_path_factory.mktemp("chat") / "tiny.gguf"
    return write_language_model(path, bpe_words(), context=2 * LONG, endless=True)


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    options = ("--max-tokens", str(LONG), "--context", str(LONG + 200), "--sessions", "1")
    with serving(model, *options, "--page", str(PAGE)) as own:
        yield own


def in_browser(address: str, folder: Path, scenario: Callable[[Page], Awaitable[None]]) -> None:
    async def run() -> None:
        async with open_page(address, folder) as page:
            await scenario(page)

    asyncio.run(run())


async def say(page: Page, text: str) -> None:
    await page.evaluate("document.getElementById('text').focus()")
    await page.type(text)
    await page.press_enter()


def test_a_message_is_answered_piece_by_piece_and_can_be_stopped(
    server: Server, tmp_path: Path
) -> None:
    async def scenario(page: Page) -> None:
        await page.wait_for(f"document.getElementById('model').textContent === '{server.model}'")
        await say(page, "the <b>and</b>")
        assert await page.wait_for("document.querySelector('.user').textContent") == (
            "the <b>and</b>"
        )
        short = await page.wait_for(ASSISTANT)
        await page.wait_for(f"({ASSISTANT}).length > {len(short)}")
        assert server.health()["running"] == 1
        await page.evaluate("document.getElementById('stop').click()")
        await page.wait_for(IDLE)
        await asyncio.to_thread(server.wait_until, running=0)
        # What the model wrote is text, whatever it wrote.
        assert await page.evaluate("document.querySelectorAll('.message *').length") == 0

    cancelled = server.health()["cancelled"]
    in_browser(server.address, tmp_path, scenario)
    assert server.health()["cancelled"] == cancelled + 1


def test_closing_the_page_ends_the_answer(server: Server, tmp_path: Path) -> None:
    async def scenario(page: Page) -> None:
        await page.wait_for("document.getElementById('model').textContent !== 'connecting …'")
        await say(page, "the")
        await page.wait_for(ASSISTANT)

    server.wait_until(running=0)
    cancelled = server.health()["cancelled"]
    in_browser(server.address, tmp_path, scenario)
    server.wait_until(running=0, cancelled=cancelled + 1)
    assert server.health()["cancelled"] == cancelled + 1


def test_a_new_chat_forgets_the_old_one(server: Server, tmp_path: Path) -> None:
    async def scenario(page: Page) -> None:
        await say(page, "the")
        await page.wait_for(ASSISTANT)
        await page.evaluate("document.getElementById('new').click()")
        await page.wait_for(IDLE)
        assert await page.evaluate("document.querySelectorAll('.message').length") == 0
        assert await page.evaluate("messages.length") == 0

    in_browser(server.address, tmp_path, scenario)


def test_the_page_asks_for_a_token(model: Path, tmp_path: Path) -> None:
    async def scenario(page: Page) -> None:
        await page.wait_for("!document.getElementById('token').hidden")
        await page.evaluate("document.getElementById('token').focus()")
        await page.type("right")
        await page.press_enter()
        await page.evaluate("document.getElementById('token').blur()")
        await page.wait_for(f"document.getElementById('model').textContent === '{model.stem}'")
        await say(page, "the")
        assert await page.wait_for(ASSISTANT)

    with serving(model, "--token", "right", "--max-tokens", "8", "--page", str(PAGE)) as own:
        in_browser(own.address, tmp_path, scenario)


def test_a_failure_is_shown(model: Path, tmp_path: Path) -> None:
    async def scenario(page: Page) -> None:
        await page.wait_for(f"document.getElementById('model').textContent === '{model.stem}'")
        await say(page, "the " * 200)
        text = await page.wait_for("document.querySelector('.error')?.textContent")
        assert "context" in text
        assert await page.evaluate("messages.length") == 0

    with serving(model, "--context", "64", "--max-tokens", "8", "--page", str(PAGE)) as own:
        in_browser(own.address, tmp_path, scenario)
