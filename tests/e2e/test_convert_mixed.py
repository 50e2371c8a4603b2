"""``convert --mixed``: fewer bits, less memory, and the package runs on an emulated board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import zoo
from edgekit.cli.main import run
from edgekit.converters.importers import load_model
from tests.public_data import photograph_crops

BOARD = ("--device", "stm32l4r5", "--patch", "3x2", "--stream-input")


@pytest.fixture(scope="module")
def visual_wake_words(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model with calibration data."""
    model = assets / "mcu/mlperf_tiny/vww/vww_96_int8.tflite"
    pixels = np.concatenate(photograph_crops(96, 6, seed=1)) - 128
    folder = tmp_path_factory.mktemp("vww")
    name = load_model(model).inputs[0]
    stored: dict[str, Any] = {name: pixels.astype(np.int8)}
    np.savez(folder / "calibration.npz", **stored)
    np.savez(folder / "one.npz", **{name: stored[name][:1]})
    return {
        "model": str(model),
        "calibration": str(folder / "calibration.npz"),
        "one": str(folder / "one.npz"),
    }


Capture = pytest.CaptureFixture[str]


def answer_of(capsys: Capture, *arguments: str) -> dict[str, Any]:
    code = run([*arguments, "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return dict(json.loads(printed.out))


def converted(capsys: Capture, files: dict[str, str], out: Path, *options: str) -> dict[str, Any]:
    given = ("convert", files["model"], "--calibration", files["calibration"], *BOARD)
    return answer_of(capsys, *given, "--out", str(out), *options)


@pytest.mark.parametrize("mode", ["widths", "static", "runtime"])
def test_fewer_bits_take_less_memory_and_fewer_bit_operations(
    visual_wake_words: dict[str, str], tmp_path: Path, capsys: Capture, mode: str
) -> None:
    bits = ("--mixed", mode, "--mixed-lambda", "0.6")
    plain = converted(capsys, visual_wake_words, tmp_path / "int8", "--dry-run")
    mixed = converted(capsys, visual_wake_words, tmp_path / "mixed", *bits)
    assert mixed["memories"][0]["peak_bytes"] < plain["memories"][0]["peak_bytes"]
    facts = mixed["accuracy"]["mixed"]
    assert facts["mode"] == mode
    assert set(facts["bits"].values()) <= {2, 4}
    assert facts["expected_bit_operations"] <= facts["bit_operations"]
    assert facts["expected_bit_operations"] < facts["int8_bit_operations"]
    assert 0 <= facts["agreement_with_int8"] <= 1


def test_a_choice_at_run_time_runs_on_an_emulated_board(
    visual_wake_words: dict[str, str], tmp_path: Path, capsys: Capture
) -> None:
    package = tmp_path / "vww.edgekit"
    converted(capsys, visual_wake_words, package, "--mixed", "runtime", "--mixed-weights", "4")
    answer = answer_of(capsys, "emulate", str(package), "--input", visual_wake_words["one"])
    assert len(answer["cases"]) == 6
    assert set(answer["cases"].values()) <= {0, 1}
    page = tmp_path / "report.html"
    example = ("--input", visual_wake_words["one"])
    answer_of(capsys, "report", str(package), *example, "--out", str(page))
    outliers = sum(answer["cases"].values())
    assert page.read_text().count('class="buffer wide"') == outliers
    answer_of(capsys, "report", str(package), "--out", str(page))
    assert "the first sample of the calibration data" in page.read_text()
    np.savez(tmp_path / "other.npz", other=np.zeros(3))
    assert run(["report", str(package), "--input", str(tmp_path / "other.npz")]) == 2
    assert "input" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--mixed", "runtime", "--patch", "off"), "between patches"),
        (("--mixed", "runtime", "--mixed-lambda", "1"), "smaller --mixed-lambda"),
        (("--mixed", "runtime", "--mixed-lambda", "1", "--patch", "2x2"), "smaller --mixed-lambda"),
        (("--mixed", "runtime", "--device", "pixel8", "--patch", "off"), "for firmware"),
        (("--mixed-lambda", "2"), "between 0 and 1"),
        (("--mixed-weights", "3"), "mixed_weights"),
        (("--mixed-phi", "0"), "above 0"),
    ],
)
def test_what_cannot_be_is_refused(
    visual_wake_words: dict[str, str], capsys: Capture, options: tuple[str, ...], problem: str
) -> None:
    files = visual_wake_words
    base = ("convert", files["model"], "--calibration", files["calibration"], "--dry-run")
    device = () if "--device" in options else ("--device", "stm32l4r5")
    assert run([*base, *device, *options]) == 2
    assert problem in capsys.readouterr().err


def test_it_needs_calibration_data(visual_wake_words: dict[str, str], capsys: Capture) -> None:
    options = ("--device", "stm32l4r5", "--mixed", "widths", "--dry-run")
    assert run(["convert", visual_wake_words["model"], *options]) == 2
    assert "--calibration" in capsys.readouterr().err


def test_a_gate_holds_without_labels(visual_wake_words: dict[str, str], capsys: Capture) -> None:
    files = visual_wake_words
    given = ("--calibration", files["calibration"], "--device", "stm32l4r5", "--dry-run")
    coarse = ("--mixed", "widths", "--mixed-lambda", "0")
    assert run(["convert", files["model"], *given, *coarse, "--min-sqnr-db", "60"]) == 4
    assert "fewer bits" in capsys.readouterr().err


def test_a_float_model_is_told_what_to_ask_for(tmp_path: Path, capsys: Capture) -> None:
    image = np.zeros((1, 3, 96, 96), np.float32)
    np.savez(tmp_path / "calibration.npz", image=image)
    given = ("--calibration", str(tmp_path / "calibration.npz"), "--device", "stm32h743")
    model = str(zoo.image_classifier_path("surfaces"))
    options = ("--precision", "float32", "--mixed", "widths", "--dry-run")
    assert run(["convert", model, *given, *options]) == 2
    assert "--precision int8" in capsys.readouterr().err


SMALL = """
inherits = "stm32l4r5"
name = "small"
[[memories]]
name = "{memory}"
[memories.available_bytes]
value = {room}
source = "assumed: for a test"
confidence = "low"
[memories.reserved_bytes]
value = {reserved}
source = "assumed: for a test"
confidence = "low"
"""


@pytest.mark.parametrize(
    ("memory", "capacity", "room", "narrow"),
    [("sram", 655360, 48000, "activations"), ("flash", 2097152, 180000, "weights")],
)
def test_a_refusal_says_what_fewer_bits_would_take_and_auto_takes_it(
    visual_wake_words: dict[str, str],
    tmp_path: Path,
    capsys: Capture,
    memory: str,
    capacity: int,
    room: int,
    narrow: str,
) -> None:
    device = tmp_path / "small.toml"
    device.write_text(SMALL.format(memory=memory, room=room, reserved=capacity - room))
    given = ("convert", visual_wake_words["model"], "--device", str(device), "--patch", "off")
    assert run([*given, "--dry-run"]) == 3
    refused = capsys.readouterr().err
    assert "--mixed auto --calibration" in refused
    assert narrow in refused
    data = ("--calibration", visual_wake_words["calibration"])
    answer = answer_of(capsys, *given, *data, "--mixed", "auto", "--dry-run")
    assert answer["fits"]
    facts = answer["accuracy"]["mixed"]
    rows = {row["form"]: row for row in facts["weighed"]}
    assert not rows["int8"]["fits"]
    assert rows[facts["chosen"]]["memories"][memory] <= room


def test_int8_stays_where_it_fits(visual_wake_words: dict[str, str], capsys: Capture) -> None:
    data = ("--calibration", visual_wake_words["calibration"])
    given = ("convert", visual_wake_words["model"], "--device", "stm32l4r5", *data)
    answer = answer_of(capsys, *given, "--mixed", "auto", "--dry-run")
    assert answer["accuracy"]["mixed"]["chosen"] == "int8"
    assert len(answer["accuracy"]["mixed"]["weighed"]) == 2
    assert all(row["instructions"] > 0 for row in answer["accuracy"]["mixed"]["weighed"])


def test_patches_of_two_precisions_are_searched(
    visual_wake_words: dict[str, str], capsys: Capture
) -> None:
    data = ("--calibration", visual_wake_words["calibration"])
    given = (
        "convert",
        visual_wake_words["model"],
        "--device",
        "nano33ble",
        *data,
        "--stream-input",
    )
    options = ("--mixed", "runtime", "--mixed-lambda", "0.6", "--dry-run")
    answer = answer_of(capsys, *given, *options)
    assert answer["fits"]
    assert answer["patches"]["rows"] * answer["patches"]["columns"] > 1
    assert answer["accuracy"]["mixed"]["tested"]
