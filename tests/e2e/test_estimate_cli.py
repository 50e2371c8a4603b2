"""``estimate``, ``sweep`` and ``validate nand_chiplet`` as docs/nand-chiplet.md shows them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Edgekit

ROOT = Path(__file__).parents[2]
CHIPLET = ("--model", "llama2-70b", "--device", "cambricon-llm-s")


def test_estimate_has_the_documented_keys(edgekit: Edgekit) -> None:
    answer = edgekit("estimate", *CHIPLET, "--weights", "w4a16", "--context", 2000, "--json")
    assert answer.code == 0, answer.err
    found = answer.json
    for key in ("tokens_per_s", "prefill_s", "bytes_moved_per_token", "energy_j_per_token"):
        assert found[key] > 0
    assert [part["name"] for part in found["breakdown"]] == [
        "qkv",
        "o",
        "up",
        "down",
        "keys and values",
    ]
    assert found["kind"] == "modelled"
    assert "published speeds" in found["stated_error"]
    assert {memory["name"] for memory in found["memories"]} == {"dram", "nand"}


def test_a_phone_is_estimated_from_the_way_of_its_weights(edgekit: Edgekit) -> None:
    plain = edgekit("estimate", "--model", "llama2-7b", "--device", "oneplus12", "--json")
    limited = edgekit(
        *("estimate", "--model", "llama2-7b", "--device", "oneplus12", "--memory", "4GiB", "--json")
    )
    assert plain.code == limited.code == 0
    assert limited.json["tokens_per_s"] < plain.json["tokens_per_s"]
    assert limited.json["breakdown"][0]["name"] == "storage to dram"


def test_estimate_writes_a_page_with_tiles_and_a_channel(edgekit: Edgekit, tmp_path: Path) -> None:
    page = tmp_path / "estimate.html"
    answer = edgekit("estimate", *CHIPLET, "--report", page)
    assert answer.code == 0, answer.err
    text = page.read_text()
    assert "tiles of qkv" in text
    assert "reads of one block" in text.lower()


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (("--model", "lama2-70b"), 2, "did you mean"),
        (("--device", "cambricon-lm-s"), 2, "did you mean"),
        (("--weights", "w5a8"), 2, "write w8a8"),
        (("--weights", "w16a16"), 3, "does not fit"),
        (("--weights-in", "dram"), 2, "weights-in"),
    ],
)
def test_wrong_estimates_end_with_the_documented_code(
    edgekit: Edgekit, change: tuple[str, str], code: int, message: str
) -> None:
    answer = edgekit("estimate", *CHIPLET, *change)
    assert answer.code == code
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_a_cache_that_does_not_fit_is_said_beside_the_figures(edgekit: Edgekit) -> None:
    answer = edgekit("estimate", *CHIPLET, "--context", 1_000_000)
    assert answer.code == 3
    assert "does not fit: dram" in answer.err
    assert "tokens/s" in answer.out


def test_sweep_marks_the_best(edgekit: Edgekit, tmp_path: Path) -> None:
    page = tmp_path / "sweep.html"
    answer = edgekit(
        *("sweep", *CHIPLET, "--vary", "channels=8,16", "--vary", "page_read_s=20us,30us"),
        *("--report", page, "--json"),
    )
    assert answer.code == 0, answer.err
    rows = answer.json["rows"]
    assert [row["fields"]["channels"] for row in rows] == [8, 8, 16, 16]
    assert [row["pareto"] for row in rows] == [True, False, True, False]
    assert page.stat().st_size > 1000


def test_an_unknown_field_ends_with_2_and_the_nearest(edgekit: Edgekit) -> None:
    answer = edgekit("sweep", *CHIPLET, "--vary", "page_read=20us")
    assert answer.code == 2
    assert "did you mean page_read_s" in answer.err


def test_validate_prints_every_published_row(edgekit: Edgekit) -> None:
    answer = edgekit("validate", "nand_chiplet", "--json")
    assert answer.code == 0, answer.err
    total = answer.json["summary"]["nand_chiplet"]
    assert total["rows"] == len([row for row in answer.json["rows"] if not row["fitted"]])
    decode = [row for row in answer.json["rows"] if "W8A8, tok/s" in row["quantity"]]
    errors = [abs(row["error_percent"]) for row in decode]
    assert sum(errors) / len(errors) <= 6
    assert max(errors) <= 14


def test_the_pictures_of_the_documentation_are_what_the_script_draws(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "draw_nand_plots.py"
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, script, tmp_path], check=True, env=environment)
    drawn = {path.name: path.read_text() for path in tmp_path.glob("*.svg")}
    kept = ROOT / "docs" / "pictures"
    assert len(drawn) == 5
    assert {name: (kept / name).read_text() for name in drawn} == drawn


def test_the_documentation_says_the_speeds_that_come_out(edgekit: Edgekit) -> None:
    text = (ROOT / "docs" / "nand-chiplet.md").read_text()
    small = edgekit("estimate", *CHIPLET, "--json").json["tokens_per_s"]
    large = edgekit("estimate", "--model", "llama2-70b", "--device", "cambricon-llm-l", "--json")
    assert f"S gives {small:.3f} tokens/s and L {large.json['tokens_per_s']:.2f}" in text
