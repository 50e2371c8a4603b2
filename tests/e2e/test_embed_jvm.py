"""The binding for Java and Kotlin and its app: built as the README says, run beside Python."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest

from edgekit import native
from edgekit.runtime.language.engine import open_model
from edgekit.runtime.language.sampler import Sampling
from edgekit.runtime.language.session import LoadOptions, load_language_model
from tests.tiny_language_models import bpe_words, spm_words, write_language_model

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "apps" / "embed_jvm"
PROBE = Path(__file__).parent / "jvm" / "JvmProbe.java"
TALES = Path(str(files("edgekit.zoo") / "tales_q8_0.gguf"))
STATUS_HEADER = ROOT / "edgekit" / "csrc" / "include" / "edgekit" / "status.h"
EXCEPTION = ROOT / "edgekit" / "csrc" / "jni" / "java" / "edgekit" / "llm" / "EdgekitException.java"
CHECKS = (
    "cancel",
    "late_cancel",
    "listener",
    "close_inside",
    "close_outside",
    "close_each_other",
    "turns",
    "threads",
    "budget",
)
TEXTS = ("the and", "é 日本 🎉🏳️‍🌈", "", "𝄞 a\tb", "x" * 300)
QUIET_JAVA = ("-Xint", "-Xmx32m", "-XX:+UseSerialGC")
"""Java's own memory stops growing after a while."""
MOST_GROWN_BYTES = 100_000
"""In 200 rounds, of which each takes megabytes; the smallest part is a kilobyte."""

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(not native.has_library(), reason="libedgekit is not built"),
    pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is missing"),
    pytest.mark.skipif(shutil.which("javac") is None, reason="a JDK is missing"),
]


@dataclass(frozen=True)
class Jvm:
    """The app and the probe, built."""

    folder: Path

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        """Run Java with the checks of its native interface; they print to standard output."""
        command = ["java", "-Xcheck:jni", "-Xmx256m", f"-Djava.library.path={self.folder}"]
        done = subprocess.run(
            [*command, *map(str, arguments)],
            capture_output=True,
            check=False,
            timeout=300,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        for sign in (b"WARNING", b"FATAL ERROR"):
            assert sign not in done.stdout + done.stderr
        return done

    def app(self, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        return self.run("-jar", self.folder / "embed_jvm.jar", *arguments)

    def probe(self, name: str, *arguments: str | Path, options: tuple[str, ...] = ()) -> list[str]:
        """Run a check and return the lines that it printed."""
        path = os.pathsep.join([str(self.folder / "embed_jvm.jar"), str(self.folder / "probe")])
        done = self.run(*options, "-cp", path, "edgekit.llm.JvmProbe", name, *arguments)
        assert done.returncode == 0, done.stderr.decode()
        lines = done.stdout.decode().splitlines()
        assert lines[-1] == "done"
        return lines[:-1]


@pytest.fixture(scope="module")
def jvm(tmp_path_factory: pytest.TempPathFactory) -> Jvm:
    """Both, with the library that Python has loaded."""
    folder = tmp_path_factory.mktemp("embed_jvm")
    library = next(path for path in native.candidate_paths() if path.is_file())
    options = [f"-DEDGEKIT_LIBRARY={library}", "-DCMAKE_C_FLAGS=-Werror"]
    jar = str(folder / "embed_jvm.jar")
    for command in (
        ["cmake", "-S", str(APP), "-B", str(folder), *options],
        ["cmake", "--build", str(folder)],
        ["javac", "-encoding", "UTF-8", "-cp", jar, "-d", str(folder / "probe"), str(PROBE)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in done.stdout + done.stderr
    return Jvm(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that goes on for as long as it is let."""
    path = tmp_path_factory.mktemp("modèle 🎉") / "tiny.gguf"
    return write_language_model(path, spm_words(), context=4096, endless=True)


def test_text_is_that_of_python(jvm: Jvm) -> None:
    with load_language_model(TALES, LoadOptions(executor="native", context=512)) as session:
        for prompt in ("Once upon a time", "  É 日本 🎉\n12345"):
            done = jvm.app(TALES, prompt)
            assert done.returncode == 0, done.stderr
            greedy = Sampling(temperature=0.0)
            answer = session.generate(prompt, max_tokens=64, sampling=greedy)
            assert done.stdout.decode() == answer.text + "\n"


def test_a_budget_is_kept_and_leaves_the_text_as_it_is(jvm: Jvm) -> None:
    whole = jvm.app(TALES, "Once upon a time")
    with open_model(TALES) as model:
        least = model.plan(context=512).minimum_bytes
    done = jvm.app(TALES, "Once upon a time", str(least))
    assert done.stdout == whole.stdout
    assert int(done.stderr.split()[0]) <= least
    small = jvm.app(TALES, "Once upon a time", str(least - 1))
    assert (small.returncode, small.stdout) == (1, b"")
    assert str(least).encode() in small.stderr


def test_what_cannot_be_done_is_said(jvm: Jvm, tiny: Path, tmp_path: Path) -> None:
    missing = jvm.app(tmp_path / "absent.gguf", "a")
    assert (missing.returncode, b"cannot be opened" in missing.stderr) == (1, True)
    for arguments in ((TALES,), (TALES, "a", "much"), (TALES, "a", "-1")):
        wrong = jvm.app(*arguments)
        assert (wrong.returncode, b"usage" in wrong.stderr) == (2, True)
    damaged = tmp_path / "damaged 🎉.gguf"
    damaged.write_bytes(TALES.read_bytes()[:5000])
    assert jvm.probe("refusals", tiny, tmp_path / "fehlt 🎉.gguf", damaged) == []


def test_facts_and_plan_are_those_of_python(jvm: Jvm) -> None:
    lines = jvm.probe("facts", TALES, "5000000", "256")
    facts, plan = (dict(item.split("=") for item in line.split()) for line in lines[:2])
    assert lines[2:4] == lines[:2]
    with open_model(TALES) as model:
        budget = model.plan(memory_bytes=5_000_000, context=256)
        assert facts == java_fields(model.facts, set(facts))
    assert plan == java_fields(budget, set(plan))
    assert lines[4].split()[0] == "256"


def java_fields(record: object, names: set[str]) -> dict[str, str]:
    """Fields of a record of Python by their names in Java, as Java prints them."""
    found = {}
    for name in names:
        value = getattr(record, re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower())
        found[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("stop", [(), ("n", "日本", "hex")])
@pytest.mark.parametrize("words", ["spm", "bpe"])
def test_drawn_texts_are_those_of_python(
    jvm: Jvm, tmp_path: Path, words: str, stop: tuple[str, ...], penalty: float
) -> None:
    """Random weights draw bytes that are no characters, and halves of characters."""
    chosen = spm_words() if words == "spm" else bpe_words()
    path = write_language_model(tmp_path / "tiny.gguf", chosen, context=96)
    prompt = tmp_path / "prompt.txt"
    prompt.write_text(TEXTS[1], encoding="utf-8")
    lines = jvm.probe("answers", path, prompt, "12", "60", str(penalty), *stop)
    with load_language_model(path, LoadOptions(executor="native")) as session:
        for seed, line in enumerate(lines):
            sampling = Sampling(seed=seed, repetition_penalty=penalty)
            answer = session.generate(TEXTS[1], max_tokens=60, stop=stop, sampling=sampling)
            reason, tokens, *data = line.split()
            assert (reason.lower(), int(tokens)) == (answer.finish_reason, len(answer.tokens))
            assert bytes.fromhex("".join(data)).decode() == answer.text
    assert len(lines) == 12


def test_bytes_become_the_characters_of_python(jvm: Jvm, tmp_path: Path) -> None:
    """Bytes at every border of the definition of UTF-8, in random order, one by one."""
    generator = random.Random(1)
    borders = [0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1]
    borders += [0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]
    data = [bytes(generator.choices(borders, k=generator.randint(1, 12))) for _ in range(3000)]
    data.append("aé日🎉".encode())
    given = tmp_path / "bytes.txt"
    given.write_text("\n".join(item.hex() for item in data))
    lines = jvm.probe("characters", "", given)
    assert [bytes.fromhex(line).decode() for line in lines] == [
        item.decode("utf-8", "replace") for item in data
    ]


def test_prompts_have_the_tokens_that_python_cuts(jvm: Jvm, tiny: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS), encoding="utf-8")
    counts = [int(line) for line in jvm.probe("counts", tiny, texts)]
    with load_language_model(tiny, LoadOptions(executor="native")) as session:
        assert counts == [len(session.tokenizer.encode(text)) for text in TEXTS]


@pytest.mark.parametrize("check", CHECKS)
def test_the_binding_holds(jvm: Jvm, tiny: Path, check: str) -> None:
    assert jvm.probe(check, tiny) == []


def test_nothing_leaks(jvm: Jvm, tiny: Path) -> None:
    """What leaks in every round would grow every window."""
    grown = [int(line) for line in jvm.probe("leaks", tiny, options=QUIET_JAVA)]
    assert len(grown) > 3
    assert min(grown) < MOST_GROWN_BYTES


def test_every_status_of_c_is_known_in_java() -> None:
    c = re.findall(r"EK_STATUS_(\w+) = (\d+)", STATUS_HEADER.read_text())
    java = re.findall(r"^ {8}([A-Z_]+)\((\d+)\)[,;]$", EXCEPTION.read_text(), re.MULTILINE)
    assert java == c
