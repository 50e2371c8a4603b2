"""Language models on the command line, as docs/language-models.md describes them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.cli.language_options import terminal_text
from tests.e2e.conftest import Edgekit

pytest.importorskip("gguf")
pytest.importorskip("tokenizers")
pytest.importorskip("jinja2")

from tests.tiny_language_models import bpe_words, write_language_model

pytestmark = pytest.mark.native

GREEDY = ("--temperature", "0", "--max-tokens", "12")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "tiny.gguf"
    return write_language_model(path, bpe_words(), endless=True)


@pytest.fixture(scope="module")
def package(model: Path, tmp_path_factory: pytest.TempPathFactory, edgekit: Edgekit) -> Path:
    out = tmp_path_factory.mktemp("package") / "tiny.edgekit"
    answer = edgekit("convert", model, "--device", "oneplus12", "--out", out, "--quiet")
    assert answer.code == 0, answer.err
    return out


def test_generate_has_the_documented_keys(edgekit: Edgekit, package: Path) -> None:
    answer = edgekit("generate", package, "--prompt", "the and", *GREEDY, "--json")
    assert answer.code == 0, answer.err
    found = answer.json
    assert found["text"]
    assert found["tokens"] == 12
    assert found["tokens_per_s"] > 0
    assert found["prefill_s"] > 0
    assert found["bytes_read_per_token"] == 0
    assert found["peak_bytes"]["engine"] > 0
    assert found["executor"] == "native"
    assert found["kind"] == "measured"


def test_a_gguf_file_and_its_package_say_the_same(
    edgekit: Edgekit, model: Path, package: Path
) -> None:
    texts = [edgekit("generate", s, "--prompt", "the", *GREEDY).out for s in (model, package)]
    assert texts[0] == texts[1]
    assert texts[0].strip()


def test_the_prompt_may_come_from_standard_input(model: Path, edgekit: Edgekit) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "generate", str(model), "--prompt", "-", *GREEDY],
        input="the",
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), **_environment()},
    )
    assert done.stdout == edgekit("generate", model, "--prompt", "the", *GREEDY).out


def _environment() -> dict[str, str]:
    import os

    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def test_a_terminal_is_not_steered_by_what_a_model_writes() -> None:
    hostile = "a\x1b]0;title\x07\x1b[2J\x9b31m\x7f\n\tb é 🙂"
    shown = terminal_text(hostile)
    assert len(shown) == len(hostile)
    assert not set(shown) & {"\x1b", "\x07", "\x9b", "\x7f"}
    assert shown.endswith("\n\tb é 🙂")


def test_the_model_that_ships_writes_a_text(edgekit: Edgekit) -> None:
    answer = edgekit("generate", "--prompt", "Once upon a time", "--max-tokens", "20")
    assert answer.code == 0, answer.err
    assert "ships with edgekit" in answer.err
    assert len(answer.out.strip()) > 10


def test_convert_json_has_the_keys_of_other_models(
    edgekit: Edgekit, model: Path, tmp_path: Path
) -> None:
    answer = edgekit("convert", model, "--device", "oneplus12", "--out", tmp_path / "p", "--json")
    found = answer.json
    assert answer.code == 0
    for key in ("package", "device", "fits", "memories", "estimates", "seconds", "curve"):
        assert key in found
    memory = found["memories"][0]
    assert memory["peak_bytes"] <= memory["available_bytes"]
    assert found["estimates"]["kind"] == "modelled"
    assert found["curve"][-1]["read_bytes_per_token"] == 0


def test_a_limit_that_is_too_small_exits_3_and_names_the_smallest(
    edgekit: Edgekit, model: Path, tmp_path: Path
) -> None:
    options = ("--device", "oneplus12", "--out", tmp_path / "p.edgekit")
    refused = edgekit("convert", model, *options, "--memory", "20K")
    assert refused.code == 3
    smallest = refused.err.split("smallest limit that works is ")[1].split(" ")[0].replace(",", "")
    assert edgekit("convert", model, *options, "--memory", smallest).code == 0
    run = edgekit("generate", model, "--prompt", "the", "--memory", "20K")
    assert run.code == 3
    assert smallest.isdigit()


def test_plan_and_report_show_the_memory(edgekit: Edgekit, package: Path, tmp_path: Path) -> None:
    text = edgekit("plan", package)
    assert text.code == 0
    assert "KV cache" in text.out
    found = edgekit("plan", package, "--json").json
    assert found["memories"][0]["total_bytes"] > 0
    page = tmp_path / "report.html"
    assert edgekit("report", package, "--out", page).code == 0
    html = page.read_text()
    assert "tokens a second" in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    np.savez(tmp_path / "image.npz", x=np.zeros(3))
    answer = edgekit("report", package, "--input", tmp_path / "image.npz", "--out", page)
    assert answer.code == 2
    assert "leave out --input" in answer.err


def test_inspect_says_what_a_file_is(edgekit: Edgekit, model: Path) -> None:
    found = edgekit("inspect", model, "--json").json
    assert found["format"] == "GGUF"
    assert found["parameters"] > 0
    assert found["refusal"] == ""
    assert found["has_chat_template"]
    assert "native engine: runs it" in edgekit("inspect", model).out


def test_an_architecture_that_is_not_computed_is_refused_by_name(
    edgekit: Edgekit, model: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(
        model.read_bytes().replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0lxama", 1)
    )
    answer = edgekit("generate", other, "--prompt", "the", "--executor", "native")
    assert answer.code == 5
    assert "lxama" in answer.err
    assert "lxama" in edgekit("inspect", other).out


def test_bench_measures_tokens(edgekit: Edgekit, package: Path) -> None:
    found = edgekit("bench", package, "--runs", "2", "--json").json
    assert found["tokens_per_s"] > 0
    assert found["latency_s"]["min"] <= found["latency_s"]["median"] <= found["latency_s"]["p90"]


def test_chat_answers_line_by_line(model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "chat", str(model), "--json", "--max-tokens", "5"],
        input="the\n\n/reset\nand\n/quit\nnever\n",
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), **_environment()},
    )
    answers = list(_objects(done.stdout))
    assert len(answers) == 2
    assert all(answer["finish_reason"] == "length" for answer in answers)


def test_a_chat_goes_on_when_a_message_is_too_long(model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "chat", str(model), "--json", "--max-tokens", "5"],
        input="the " * 300 + "\nthe\n",
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), **_environment()},
    )
    refused, answer = _objects(done.stdout)
    assert "context" in json.dumps(refused["error"])
    assert answer["text"]


def _objects(text: str) -> list[dict[str, object]]:
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--calibration", "x.npz"), "--calibration"),
        (("--weights", "q4_0"), "folders"),
        (("--precision", "int8"), "--precision"),
    ],
    ids=["calibration", "weights", "precision"],
)
def test_options_that_mean_nothing_here_are_refused(
    arguments: tuple[str, ...], word: str, edgekit: Edgekit, model: Path
) -> None:
    answer = edgekit("convert", model, "--device", "oneplus12", "--dry-run", *arguments)
    assert answer.code == 2
    assert word in answer.err


def test_options_of_language_models_are_refused_for_others(edgekit: Edgekit) -> None:
    answer = edgekit("convert", "--device", "pixel8", "--memory", "1GiB", "--dry-run")
    assert answer.code == 2
    assert "language models" in answer.err


def test_run_and_emulate_point_to_generate(edgekit: Edgekit, package: Path) -> None:
    answer = edgekit("run", package, "--input", "x.npz")
    assert answer.code == 2
    assert "generate" in answer.err


@pytest.mark.parametrize("data", [b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 16, b"GGUF" + bytes(64)])
def test_a_damaged_file_exits_5(data: bytes, edgekit: Edgekit, tmp_path: Path) -> None:
    path = tmp_path / "damaged.gguf"
    path.write_bytes(data)
    for arguments in (
        ("inspect", path),
        ("convert", path, "--device", "oneplus12"),
        ("generate", path, "--prompt", "x"),
    ):
        answer = edgekit(*arguments)
        assert answer.code == 5, answer.err
        assert "damaged.gguf" in answer.err
