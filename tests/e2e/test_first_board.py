"""docs/first-board.md, followed to the letter: its commands, and what it says that they print."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from edgekit.deploy.toolchain import find_toolchain
from edgekit.emulators.qemu_board import has_qemu
from tests.e2e.conftest import Edgekit

PAGE = Path(__file__).parents[2] / "docs" / "first-board.md"
PROMPT = "$ "
SIZES_AGREE = 0.03
"""What another release of the compiler may make of sizes and instructions."""
BACKGROUND = " &"


@dataclass(frozen=True)
class Step:
    """A command of the page, and the lines that it is said to print."""

    command: str
    lines: tuple[str, ...]


def steps_of(page: str) -> list[Step]:
    found: list[Step] = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        for part in block.removeprefix(PROMPT).split(f"\n{PROMPT}"):
            command, *lines = part.splitlines()
            found.append(Step(command, tuple(line for line in lines if line.strip())))
    return found


def agree(said: str, printed: str) -> bool:
    """Whether a line is what the page says, figures of four digits and more nearly so.

    These are sizes and instructions; times are those of another computer.
    """
    if masked(said) != masked(printed):
        return False
    toolchain = find_toolchain()
    if toolchain is None or not toolchain.reports_stack:
        return True
    expected, found = large_figures(said), large_figures(printed)
    return len(expected) == len(found) and all(
        math.isclose(a, b, rel_tol=SIZES_AGREE) for a, b in zip(expected, found, strict=True)
    )


def large_figures(line: str) -> list[int]:
    found = re.findall(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,])", line)
    return [int(figure.replace(",", "")) for figure in found]


def masked(line: str) -> str:
    """Return a line without figures, rules and spacing: compiler and terminal decide on these."""
    figures = re.sub(r"0x[0-9a-f]+|\d[\d,.]*", "#", line.replace("─", ""))
    return " ".join(re.sub(r"# [KMmun]?i?(s|J|B)\b", r"# \1", figures).split())


@pytest.fixture
def user(tmp_path: Path) -> dict[str, str]:
    """The environment of someone who installed edgekit, and an empty folder to work in."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, module in (("edgekit", "-m edgekit"), ("python", "")):
        script = tools / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        script.chmod(0o755)
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.mark.toolchain
@pytest.mark.emulated
@pytest.mark.slow
def test_the_page_does_what_it_says(user: dict[str, str], tmp_path: Path) -> None:
    if find_toolchain() is None or not has_qemu():
        pytest.skip("no cross compiler for Cortex-M, or qemu-system-arm is not installed")
    pytest.importorskip("serial", reason="pyserial is not installed")
    steps = steps_of(PAGE.read_text())
    used = {step.command.split()[1] for step in steps}
    assert used >= {"convert", "emulate", "flash", "monitor"}
    with ExitStack() as running:
        for step in steps:
            if step.command.endswith(BACKGROUND):
                printed = running.enter_context(started(step.command, tmp_path, user))
            else:
                printed = output_of(step.command, tmp_path, user)
            found = printed.splitlines()
            missing = [line for line in step.lines if not any(agree(line, out) for out in found)]
            assert not missing, f"{step.command}\n{printed}"


def output_of(command: str, folder: Path, user: dict[str, str]) -> str:
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=user,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@contextmanager
def started(command: str, folder: Path, user: dict[str, str]) -> Iterator[str]:
    """Run a command in the background; the value is the first line that it prints."""
    arguments = ["sh", "-c", f"exec {command.removesuffix(BACKGROUND)}"]
    with subprocess.Popen(
        arguments, cwd=folder, env=user, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline()
        finally:
            process.terminate()


def test_the_plan_of_a_package_shows_the_image_to_the_byte(
    edgekit: Edgekit, board_package: Path
) -> None:
    image = edgekit("plan", board_package, "--json").json["image"]
    if find_toolchain() is None:
        assert image == []
        return
    assert {memory["name"] for memory in image} == {"sram", "flash"}
    for memory in image:
        parts = sorted(memory["parts"], key=lambda part: part["address"])
        assert memory["used_bytes"] == sum(part["size_bytes"] for part in parts)
        assert memory["free_bytes"] == memory["capacity_bytes"] - memory["used_bytes"] > 0
        for part, following in pairwise(parts):
            assert part["address"] + part["size_bytes"] <= following["address"]


def test_the_report_maps_the_image(edgekit: Edgekit, board_package: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert edgekit("report", board_package, "--out", page).code == 0
    assert ("<h2>Firmware image</h2>" in page.read_text()) == (find_toolchain() is not None)


def test_every_estimate_for_a_board_comes_with_its_error(
    edgekit: Edgekit, board_package: Path
) -> None:
    assert "unvalidated" in edgekit("plan", board_package).out
    shown = edgekit("devices", "--show", "stm32l4r5").out
    assert "published rows" in shown
    assert "unvalidated" not in shown.rsplit("modelled", 1)[1]
    assert "unvalidated" in edgekit("devices", "--show", "stm32h743").out
