"""The language-model app in C: built and run as its README says, beside Python."""

from __future__ import annotations

import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from edgekit import native
from edgekit.runtime.language.engine import open_model
from edgekit.runtime.language.sampler import Sampling
from edgekit.runtime.language.session import LoadOptions, load_language_model
from tests.tiny_language_models import spm_words, write_language_model

APP = Path(__file__).resolve().parents[2] / "apps" / "embed_llm_c"
TALES = Path(str(files("edgekit.zoo") / "tales_q8_0.gguf"))
MOST_TOKENS = 64
CONTEXT = 512

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(not native.has_library(), reason="libedgekit is not built"),
    pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is missing"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app, linked with the library that Python has loaded."""
    folder = tmp_path_factory.mktemp("embed_llm")
    library = next(path for path in native.candidate_paths() if path.is_file())
    options = [f"-DEDGEKIT_LIBRARY={library}", "-DCMAKE_C_FLAGS=-Werror"]
    for command in (["-S", str(APP), "-B", str(folder), *options], ["--build", str(folder)]):
        done = subprocess.run(["cmake", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "embed_llm"


def run(program: Path, *arguments: str | bytes | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program, *arguments], capture_output=True, check=False, timeout=120)


def greedy(path: Path, prompt: str) -> str:
    with load_language_model(path, LoadOptions(executor="native", context=CONTEXT)) as session:
        answer = session.generate(
            prompt, max_tokens=MOST_TOKENS, sampling=Sampling(temperature=0.0)
        )
    return answer.text


@pytest.mark.parametrize("prompt", ["Once upon a time", "To be, or not", "  É 日本\n12345"])
def test_text_is_that_of_python(program: Path, prompt: str) -> None:
    done = run(program, TALES, prompt)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("utf-8", "replace") == greedy(TALES, prompt) + "\n"


def test_a_budget_is_kept_and_leaves_the_text_as_it_is(program: Path) -> None:
    whole = run(program, TALES, "Once upon a time")
    with open_model(TALES) as model:
        least = model.plan(context=CONTEXT).minimum_bytes
    for memory_bytes in (least, least * 3 // 2):
        done = run(program, TALES, "Once upon a time", str(memory_bytes))
        assert done.returncode == 0, done.stderr
        assert done.stdout == whole.stdout
        held = int(done.stderr.split(b": ")[1].split()[0])
        assert held <= memory_bytes
    small = run(program, TALES, "Once upon a time", str(least - 1))
    assert small.returncode == 1
    assert str(least).encode() in small.stderr
    assert small.stdout == b""


def test_a_full_context_ends_the_text(program: Path, tmp_path: Path) -> None:
    path = write_language_model(tmp_path / "tiny.gguf", spm_words(), context=24, endless=True)
    done = run(program, path, "the and")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"\n")


def test_what_cannot_be_done_is_said(program: Path, tmp_path: Path) -> None:
    missing = run(program, tmp_path / "absent.gguf", "a")
    assert (missing.returncode, b"cannot be opened" in missing.stderr) == (1, True)
    broken = run(program, TALES, b"\xff")
    assert (broken.returncode, b"UTF-8" in broken.stderr) == (1, True)
    for arguments in ((TALES,), (TALES, "a", "much"), (TALES, "a", "-1")):
        assert run(program, *arguments).returncode == 2
