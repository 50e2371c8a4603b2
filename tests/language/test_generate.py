"""Generation: the same seed gives the same text; limits, stop words and going on behave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.errors import MemoryBudgetError, ModelFormatError, UsageError
from edgekit.runtime.language.chat_template import ChatTemplate
from edgekit.runtime.language.generate import (
    ContextLengthError,
    Conversation,
    GenerationSettings,
)
from edgekit.runtime.language.sampler import Sampler, Sampling
from edgekit.runtime.language.session import LanguageSession, LoadOptions, load_language_model
from edgekit.runtime.language.tokenizer import load_tokenizer
from tests.conftest import Find

pytest.importorskip("gguf")
pytest.importorskip("tokenizers")

from tests.tiny_language_models import CHAT_TEMPLATE, bpe_words, write_language_model

pytestmark = pytest.mark.native

GREEDY = Sampling(temperature=0.0)
CONTEXT = 128


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("generate") / "tiny.gguf", bpe_words())


@pytest.fixture(scope="module")
def session(model: Path) -> Iterator[LanguageSession]:
    with load_language_model(model, LoadOptions(sessions=3)) as loaded:
        yield loaded


@pytest.fixture
def conversation(session: LanguageSession) -> Iterator[Conversation]:
    opened = session.conversation()
    yield opened
    opened.close()


def settings(**options: object) -> GenerationSettings:
    values = {"max_tokens": 24, "sampling": GREEDY, **options}
    return GenerationSettings(**values)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_text(session: LanguageSession) -> None:
    hot = Sampling(temperature=1.5, seed=7)
    first = session.generate("the and", max_tokens=30, sampling=hot)
    again = session.generate("the and", max_tokens=30, sampling=hot)
    other = session.generate("the and", max_tokens=30, sampling=Sampling(temperature=1.5, seed=8))
    assert first.tokens == again.tokens
    assert first.text == again.text
    assert first.tokens != other.tokens


def test_pieces_together_are_the_text(session: LanguageSession) -> None:
    pieces = list(session.stream("the", max_tokens=30, sampling=GREEDY))
    assert "".join(pieces) == session.generate("the", max_tokens=30, sampling=GREEDY).text
    assert all(pieces)


def test_a_prompt_that_goes_on_is_not_evaluated_again(conversation: Conversation) -> None:
    prompt = conversation.tokenizer.encode("the and the")
    first = conversation.generate(prompt, settings())
    first.text()
    longer = [*prompt, *first.tokens, *conversation.tokenizer.encode(" and")]
    second = conversation.generate(longer, settings())
    second.text()
    assert second.timings.reused_tokens >= len(prompt) + len(first.tokens) - 1


def test_reusing_the_cache_changes_nothing(session: LanguageSession) -> None:
    used, fresh = session.conversation(), session.conversation()
    try:
        for text in ("the and the", "the and an", "on", "the and the"):
            prompt = session.tokenizer.encode(text)
            one = used.generate(prompt, settings())
            other = fresh.generate(prompt, settings())
            fresh.go_back_to([0])
            assert one.text() == other.text()
            assert one.tokens == other.tokens
    finally:
        used.close()
        fresh.close()


def test_a_stop_word_across_pieces_ends_the_text(conversation: Conversation) -> None:
    prompt = conversation.tokenizer.encode("the")
    pieces = list(conversation.generate(prompt, settings(max_tokens=40)))
    text = "".join(pieces)
    boundary = len("".join(pieces[: len(pieces) // 2]))
    stop = text[boundary - 1 : boundary + 1]
    ended = conversation.generate(prompt, settings(max_tokens=40, stop=("never there", stop)))
    assert ended.text() == text[: text.index(stop)]
    assert ended.finish_reason == "stop"


def test_max_tokens_is_kept_to_the_token(conversation: Conversation) -> None:
    prompt = conversation.tokenizer.encode("the")
    for limit in (1, 2, 5):
        generation = conversation.generate(prompt, settings(max_tokens=limit))
        generation.text()
        assert len(generation.tokens) == limit
        assert generation.finish_reason == "length"


def test_a_full_context_ends_the_text(conversation: Conversation) -> None:
    prompt = conversation.tokenizer.encode("th" * (CONTEXT - 8))
    assert len(prompt) == CONTEXT - 8
    generation = conversation.generate(prompt, settings(max_tokens=1000))
    generation.text()
    assert generation.finish_reason == "length"
    # The last token is chosen but need not be evaluated.
    assert len(generation.tokens) == 8 + 1


def test_a_prompt_longer_than_the_context_is_refused(conversation: Conversation) -> None:
    with pytest.raises(ContextLengthError, match="128"):
        conversation.generate([1] * CONTEXT, settings())
    with pytest.raises(UsageError, match="no token"):
        conversation.generate([], settings())


def test_cancelling_ends_before_the_next_token(conversation: Conversation) -> None:
    generation = conversation.generate(
        conversation.tokenizer.encode("the"), settings(max_tokens=100)
    )
    for count, _ in enumerate(generation, 1):
        if count == 3:
            generation.cancel()
    assert generation.finish_reason == "cancelled"
    assert len(generation.tokens) < 100
    again = conversation.generate(conversation.tokenizer.encode("the"), settings(max_tokens=3))
    assert again.text()


def test_conversations_do_not_disturb_each_other(session: LanguageSession) -> None:
    prompts = [session.tokenizer.encode(text) for text in ("the and", "on an")]
    alone = []
    for prompt in prompts:
        single = session.conversation()
        alone.append(single.generate(prompt, settings(max_tokens=40)).text())
        single.close()
    together = ["", ""]
    opened = [session.conversation() for _ in prompts]

    def work(index: int) -> None:
        together[index] = opened[index].generate(prompts[index], settings(max_tokens=40)).text()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for conversation in opened:
        conversation.close()
    assert together == alone


def test_timings_say_what_was_done(conversation: Conversation) -> None:
    prompt = conversation.tokenizer.encode("the and the")
    generation = conversation.generate(prompt, settings(max_tokens=5))
    generation.text()
    timings = generation.timings
    assert timings.prompt_tokens == len(prompt)
    assert timings.decoded == len(generation.tokens) - 1
    assert timings.prefill_s > 0
    assert timings.tokens_per_s > 0
    assert timings.read_bytes == 0


def test_chat_uses_the_template(session: LanguageSession) -> None:
    messages = [{"role": "user", "content": "the"}]
    tokens = session.template.tokens(messages)
    generation = session.stream_chat(messages, max_tokens=4, sampling=GREEDY)
    generation.text()
    assert generation.timings.prompt_tokens == len(tokens)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"top_k": -1},
        {"seed": -1},
        {"repetition_penalty": 0.0},
    ],
    ids=lambda value: next(iter(value)),
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Sampling(**wrong)  # type: ignore[arg-type]


def test_greedy_takes_the_largest_logit() -> None:
    import numpy as np

    logits = np.random.default_rng(1).standard_normal(50).astype(np.float32)
    sampler = Sampler(50, GREEDY)
    assert sampler.choose(logits) == int(logits.argmax())
    with pytest.raises(UsageError, match="shape"):
        sampler.choose(logits[:-1])
    sampler.close()


def test_a_budget_that_is_too_small_names_the_smallest(model: Path) -> None:
    with pytest.raises(MemoryBudgetError) as caught:
        load_language_model(model, LoadOptions(memory_bytes=1000))
    with load_language_model(model, LoadOptions(memory_bytes=caught.value.required_bytes)) as own:
        assert own.executor.budget is not None
        assert own.executor.budget.total_bytes <= caught.value.required_bytes
        assert own.generate("the", max_tokens=3).tokens


def test_a_damaged_file_is_refused(model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(model.read_bytes()[:-1000])
    with pytest.raises(ModelFormatError, match="damaged"):
        load_language_model(damaged)


@pytest.mark.full
def test_llama_cpp_runs_what_the_engine_does_not_and_that_is_said(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    path = write_language_model(
        tmp_path / "scaled.gguf", bpe_words(), settings={"logit_scale": 0.5}
    )
    with pytest.raises(ModelFormatError, match="logit_scale"):
        load_language_model(path, LoadOptions(executor="native"))
    with pytest.raises(ModelFormatError, match="logit_scale"):
        load_language_model(path, LoadOptions(memory_bytes=1 << 30))
    with load_language_model(path) as own:
        assert own.executor.name == "llama"
        assert "llama.cpp" in own.notes[0]
        assert "logit_scale" in own.notes[0]
        assert own.generate("the and", max_tokens=4, sampling=GREEDY).tokens
        messages = [{"role": "user", "content": "the<|end|>"}]
        ours = load_tokenizer(path)
        template = ChatTemplate(CHAT_TEMPLATE, ours)
        assert own.template.tokens(messages) == template.tokens(messages)
        template.close()


@pytest.mark.full
def test_greedy_text_is_that_of_llama_cpp(asset: Find) -> None:
    pytest.importorskip("llama_cpp")
    path = asset("llm/models/stories260K-f32.gguf")
    texts = []
    for executor in ("native", "llama"):
        with load_language_model(path, LoadOptions(executor=executor)) as own:  # type: ignore[arg-type]
            prompts = ("Once upon a time", "Lily and", "The big red ball", "One day, a dog")
            done = [own.generate(p, max_tokens=64, sampling=GREEDY) for p in prompts]
            texts.append([answer.text for answer in done])
    assert texts[0] == texts[1]
