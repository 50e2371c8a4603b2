"""Damaged and hostile language models: a clear error with the documented exit code."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

pytest.importorskip("gguf")
pytest.importorskip("tokenizers")

from tests.e2e.test_fuzz import check, mutate, run_commands
from tests.language.test_llama_folder import CONFIG, write_folder
from tests.tiny_language_models import bpe_words, spm_words, write_language_model

pytestmark = pytest.mark.native

MUTANTS = 120
HEAD_BYTES = 9_000
"""Of the file; about where metadata and the list of tensors end."""


@pytest.mark.parametrize("words", ["spm", "bpe"])
def test_damaged_gguf_files_are_refused_or_run(words: str, tmp_path: Path) -> None:
    model = write_language_model(
        tmp_path / "model.gguf", spm_words() if words == "spm" else bpe_words()
    )
    data, rng = model.read_bytes(), random.Random(11)
    commands = []
    for index in range(MUTANTS):
        path = tmp_path / f"{index}.gguf"
        # Damage where it decides something, and now and then among the weights.
        head = data if index % 4 == 0 else data[:HEAD_BYTES]
        path.write_bytes(mutate(head, rng) + (b"" if index % 4 == 0 else data[HEAD_BYTES:]))
        verb = ("generate", str(path), "--prompt", "the and", "--max-tokens", "3", "--quiet")
        look = ("inspect", str(path), "--json")
        plan = ("convert", str(path), "--device", "oneplus12", "--dry-run", "--quiet")
        commands.append(list((verb, look, plan)[index % 3]))
    clean = ["generate", str(model), "--prompt", "the", "--max-tokens", "3", "--quiet"]
    results, clean_kib = run_commands([clean])
    assert results[0][0] == 0, results[0][1]
    results, kib = run_commands(commands)
    # 1: weights that give no numbers; 3: a header that asks for more than the device has.
    check(results, {0, 1, 2, 3, 5})
    assert kib <= 2 * clean_kib + 200_000


def test_damaged_packages_are_refused(tmp_path: Path) -> None:
    model = write_language_model(tmp_path / "model.gguf", bpe_words())
    package = tmp_path / "good.edgekit"
    convert = ["convert", str(model), "--device", "oneplus12", "--out", str(package), "--quiet"]
    results, _ = run_commands([[*convert, "--store", "copy"]])
    assert results[0][0] == 0, results[0][1]
    rng, commands = random.Random(5), []
    names = ["manifest.json", "plan.json", "profile.toml", "model.gguf"]
    for index in range(60):
        damaged = tmp_path / f"{index}.edgekit"
        shutil.copytree(package, damaged)
        part = damaged / names[index % len(names)]
        part.write_bytes(mutate(part.read_bytes(), rng))
        if index % 2:
            commands.append(["plan", str(damaged), "--json"])
        else:
            commands.append(["generate", str(damaged), "--prompt", "the", "--max-tokens", "2"])
    results, _ = run_commands(commands)
    check(results, {0, 1, 2, 5})


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    rng, commands = random.Random(6), []
    names = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
    good = write_folder(tmp_path / "good", CONFIG)
    for index in range(60):
        folder = tmp_path / f"folder{index}"
        shutil.copytree(good, folder)
        part = folder / names[index % len(names)]
        part.write_bytes(mutate(part.read_bytes(), rng))
        options = ("--device", "oneplus12", "--out", str(tmp_path / f"{index}.edgekit"), "--quiet")
        commands.append(["convert", str(folder), *options])
    results, _ = run_commands(commands)
    check(results, {0, 2, 3, 5})
    assert not list(tmp_path.glob("*.gguf*"))
    assert not list(tmp_path.glob(".*"))
