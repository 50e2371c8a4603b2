"""Damaged and hostile files: a clear error with the documented exit code, and bounded memory.

The mutations are seeded, so that a failure can be repeated. Each set runs in one child process, so
that a crash or a leak would be seen; the child answers with exit code and message of every file.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.zoo import default_model

MUTANTS = 170
"""Files a set."""

CHILD = """
import contextlib, io, json, resource, sys
from edgekit.cli.main import run

results = []
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(json.loads(line))
    results.append((code, err.getvalue()))
print(json.dumps({"results": results, "kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""


def run_commands(commands: list[list[str]]) -> tuple[list[tuple[int, str]], int]:
    """Run command lines in one child; return (exit code, stderr) of each and the peak in KiB."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input="\n".join(json.dumps(command) for command in commands),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    return [(code, message) for code, message in answer["results"]], answer["kib"]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Return damaged bytes: truncated, flipped, overwritten, moved or inflated."""
    out = bytearray(data)
    at = rng.randrange(len(out))
    span = min(rng.choice((1, 2, 4, 8, 64, 512)), len(out) - at)
    match rng.choice(("truncate", "flip", "noise", "ones", "zeros", "move", "insert")):
        case "truncate":
            del out[at:]
        case "flip":
            for _ in range(rng.choice((1, 1, 4, 32))):
                out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
        case "noise":
            out[at : at + span] = rng.randbytes(span)
        case "ones":
            out[at : at + span] = b"\xff" * span
        case "zeros":
            out[at : at + span] = bytes(span)
        case "move":
            piece = bytes(out[at : at + span])
            target = rng.randrange(len(out))
            out[target : target + span] = piece
        case _:
            out[at:at] = rng.randbytes(span)
    return bytes(out)


def check(results: list[tuple[int, str]], allowed: set[int]) -> None:
    for code, message in results:
        assert code in allowed, message
        assert "Traceback" not in message
        assert code == 0 or message.startswith("error: "), message
    assert sum(code != 0 for code, _ in results) > len(results) // 10


def check_damaged_models(model: Path, folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    data = model.read_bytes()
    commands = []
    for index in range(MUTANTS):
        path = folder / f"{index}{model.suffix}"
        path.write_bytes(mutate(data, rng))
        commands.append(["inspect", str(path), "--json", "--quiet"])
    _, clean_kib = run_commands([["inspect", str(model), "--json"]])
    results, kib = run_commands(commands)
    check(results, {0, 1, 5})
    assert kib <= 2 * clean_kib


def test_damaged_onnx_is_refused(tmp_path: Path) -> None:
    check_damaged_models(default_model().path, tmp_path, seed=1)


def test_damaged_tflite_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    from edgekit.ops import registry
    from tests.kernels.tflite_writer import write_case

    case = next(case for case in registry()["conv2d"].cases() if case.id.startswith("int8_channel"))
    model = tmp_path / "layer.tflite"
    model.write_bytes(write_case("conv2d", case))
    check_damaged_models(model, tmp_path, seed=4)


def test_damaged_public_tflite_is_refused(tmp_path: Path, asset: Callable[[str], Path]) -> None:
    model = asset("mcu/tflm/micro_speech/micro_speech_quantized.tflite")
    check_damaged_models(model, tmp_path, seed=2)


@pytest.mark.parametrize("kind", ["phone", "board"])
def test_damaged_package_is_refused(
    kind: str, tmp_path: Path, phone_package: Path, board_package: Path, one_input: Path
) -> None:
    package = phone_package if kind == "phone" else board_package
    rng = random.Random(3)
    parts = sorted(path for path in package.rglob("*") if path.is_file())
    commands = []
    for index in range(MUTANTS // 2):
        copy = tmp_path / f"{index}.edgekit"
        shutil.copytree(package, copy)
        victim = copy / rng.choice(parts).relative_to(package)
        victim.write_bytes(mutate(victim.read_bytes(), rng))
        commands.append(["run", str(copy), "--input", str(one_input), "--json", "--quiet"])
    clean, clean_kib = run_commands([["run", str(package), "--input", str(one_input), "--json"]])
    assert clean[0][0] == 0, clean[0][1]
    results, kib = run_commands(commands)
    check(results, {0, 1, 5})
    assert kib <= 2 * clean_kib


@pytest.mark.parametrize("name", ["empty", "text", "zip", "folder"])
def test_what_is_no_model_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    match name:
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("this is not a model\n" * 20)
        case "zip":
            path.write_bytes(b"PK\x03\x04" + bytes(200))
        case _:
            path.mkdir()
    results, _ = run_commands([["inspect", str(path), "--json"]])
    assert results[0][0] == 5
    assert str(path) in results[0][1]
