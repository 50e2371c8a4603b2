"""The command line as docs/cli.md describes it: answers, exit codes, messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import Edgekit

CONVERT_KEYS = {
    *("package", "device", "fits", "memories", "estimates", "accuracy", "placement", "seconds"),
    *("schema", "edgekit_version"),
}


def test_convert_without_a_model_takes_the_one_that_ships(edgekit: Edgekit, tmp_path: Path) -> None:
    answer = edgekit("convert", "--device", "pixel8", cwd=tmp_path)
    assert answer.code == 0
    assert "ships with edgekit" in answer.out
    assert (tmp_path / "keyword_spotter.pixel8.edgekit" / "manifest.json").is_file()


def test_convert_json_has_the_documented_keys(edgekit: Edgekit, tmp_path: Path) -> None:
    answer = edgekit("convert", "--device", "pixel8", "--json", cwd=tmp_path)
    assert answer.json.keys() >= CONVERT_KEYS
    assert answer.json["fits"] is True
    for memory in answer.json["memories"]:
        assert memory["peak_bytes"] <= memory["available_bytes"]
    assert answer.json["estimates"]["kind"] == "modelled"
    assert answer.json["estimates"]["latency_s"] > 0
    assert all(place["reason"] for place in answer.json["placement"])


def test_converting_twice_gives_the_same_bytes(
    edgekit: Edgekit, phone_package: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again.edgekit"
    edgekit("convert", "--device", "pixel8", "--out", again, "--quiet")
    files = {path.name for path in again.iterdir()}
    assert files == {path.name for path in phone_package.iterdir()}
    for name in files:
        assert (again / name).read_bytes() == (phone_package / name).read_bytes(), name


def test_dry_run_writes_nothing(edgekit: Edgekit, tmp_path: Path) -> None:
    answer = edgekit("convert", "--device", "nano33ble", "--dry-run", "--json", cwd=tmp_path)
    assert answer.code == 0
    assert answer.json["package"] is None
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_refused_with_both_sizes(edgekit: Edgekit, tmp_path: Path) -> None:
    device = tmp_path / "tiny.toml"
    device.write_text(TINY)
    answer = edgekit("convert", "--device", device, "--json", cwd=tmp_path)
    assert answer.code == 3
    assert "does not fit" in answer.json["error"]["message"]
    assert "It would fit" in answer.json["error"]["message"]
    assert list(tmp_path.iterdir()) == [device]


TINY = """
inherits = "stm32l4r5"
name = "tiny"
[[memories]]
name = "sram"
[memories.available_bytes]
value = 4096
source = "assumed: for a test"
confidence = "low"
"""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("convrt",), "convert"),
        (("convert", "--devise", "pixel8"), "--device"),
        (("convert", "--device", "pixel9"), "pixel8"),
        (("convert",), "--device"),
        (("convert", "nothing.onnx", "--device", "pixel8"), "nothing.onnx"),
        (("plan",), "--buffers"),
        (("convert", "--device", "pixel8", "--dim", "sequence"), "NAME=N"),
    ],
)
def test_wrong_usage_is_explained(edgekit: Edgekit, arguments: tuple[str, ...], words: str) -> None:
    answer = edgekit(*arguments)
    assert answer.code == 2
    assert words in answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""


def test_calibration_data_that_cannot_be_used_is_no_reason_for_float(
    edgekit: Edgekit, tmp_path: Path
) -> None:
    answer = edgekit("convert", "--device", "pixel8", "--calibration", tmp_path / "none.npz")
    assert answer.code == 2
    assert "none.npz" in answer.err


def test_a_place_that_cannot_be_written_is_named_before_the_work(
    edgekit: Edgekit, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").touch()
    answer = edgekit("convert", "--device", "pixel8", "--out", tmp_path)
    assert answer.code == 2
    assert "choose another --out" in answer.err
    assert "choosing the precision" not in answer.err


def test_outputs_that_cannot_be_written_are_named(
    edgekit: Edgekit, phone_package: Path, one_input: Path, tmp_path: Path
) -> None:
    target = tmp_path / "missing" / "outputs.npz"
    answer = edgekit("run", phone_package, "--input", one_input, "--output", target)
    assert answer.code == 2
    assert f"{target}: cannot be written" in answer.err


def test_a_report_that_cannot_be_written_is_named(
    edgekit: Edgekit, phone_package: Path, tmp_path: Path
) -> None:
    answer = edgekit("report", phone_package, "--out", tmp_path)
    assert answer.code == 2
    assert f"{tmp_path}: cannot be written" in answer.err


def test_a_quantized_model_is_valid_onnx(edgekit: Edgekit, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    folder = tmp_path / "x"
    answer = edgekit("convert", "--device", "pixel8", "--precision", "int8", "--out", folder)
    assert answer.code == 0
    onnx.checker.check_model(onnx.load(folder / "model.onnx"))


def test_gate_that_cannot_hold_exits_4(edgekit: Edgekit, tmp_path: Path) -> None:
    answer = edgekit(
        *("convert", "--device", "pixel8", "--precision", "float16", "--min-sqnr-db", 190),
        *("--out", tmp_path / "x", "--json"),
    )
    assert answer.code == 4
    assert not (tmp_path / "x").exists()


def test_package_runs_and_answers_in_json(
    edgekit: Edgekit, phone_package: Path, one_input: Path, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs.npz"
    answer = edgekit("run", phone_package, "--input", one_input, "--output", outputs, "--json")
    assert answer.code == 0
    assert answer.json.keys() >= {"latency_s", "peak_bytes", "kind"}
    assert answer.json["kind"] == "measured"
    with np.load(outputs) as arrays:
        assert arrays["scores"].shape == (1, 12)


def test_emulator_gives_the_outputs_of_a_run(
    edgekit: Edgekit, phone_package: Path, one_input: Path, tmp_path: Path
) -> None:
    run, emulated = tmp_path / "run.npz", tmp_path / "emulated.npz"
    edgekit("run", phone_package, "--input", one_input, "--output", run)
    answer = edgekit("emulate", phone_package, "--input", one_input, "--output", emulated, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["kind"] == "modelled"
    assert answer.json["latency_s"] > 0
    with np.load(run) as one, np.load(emulated) as other:
        np.testing.assert_array_equal(one["scores"], other["scores"])


def test_observed_peak_is_the_planned_one(
    edgekit: Edgekit, board_package: Path, one_input: Path
) -> None:
    plan = edgekit("plan", board_package, "--json").json
    answer = edgekit("run", board_package, "--input", one_input, "--json")
    planned = {memory["name"]: memory["peak_bytes"] for memory in plan["memories"]}
    assert answer.json["peak_bytes"] == planned


@pytest.mark.native
def test_native_kernels_give_the_outputs_of_the_reference(
    edgekit: Edgekit, board_package: Path, one_input: Path, tmp_path: Path
) -> None:
    scores = []
    for executor in ("reference", "native"):
        path = tmp_path / f"{executor}.npz"
        answer = edgekit(
            *("run", board_package, "--input", one_input, "--output", path),
            *("--executor", executor),
        )
        assert answer.code == 0, answer.err
        with np.load(path) as arrays:
            scores.append(arrays["scores"])
    np.testing.assert_array_equal(*scores)


def test_bench_json_has_the_documented_keys(edgekit: Edgekit, phone_package: Path) -> None:
    answer = edgekit("bench", phone_package, "--runs", 5, "--json")
    latency = answer.json["latency_s"]
    assert answer.json["runs"] == 5
    assert 0 < latency["min"] <= latency["median"] <= latency["p90"]


def test_inspect_json_has_the_documented_keys(edgekit: Edgekit) -> None:
    from edgekit.zoo import default_model

    answer = edgekit("inspect", default_model().path, "--json")
    keys = {"format", "parameters", "macs", "inputs", "outputs", "operators", "weights_bytes"}
    assert answer.json.keys() >= keys | {"peak_activation_bytes"}


def test_every_number_of_a_device_has_a_source(edgekit: Edgekit) -> None:
    profile = edgekit("devices", "--show", "pixel8", "--json").json
    profile.pop("schema")
    numbers = list(bare_numbers(profile))
    assert numbers == []


def bare_numbers(value: Any, path: str = "") -> list[str]:
    """Return the keys of numbers that are not the value of a quantity with a source."""
    if isinstance(value, dict):
        if "value" in value and value.get("source") and value.get("confidence"):
            return []
        return [key for name, item in value.items() for key in bare_numbers(item, f"{path}.{name}")]
    if isinstance(value, list):
        return [key for item in value for key in bare_numbers(item, f"{path}[]")]
    return [path] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_report_is_one_self_contained_file(
    edgekit: Edgekit, phone_package: Path, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    answer = edgekit("report", phone_package, "--out", page)
    assert answer.code == 0
    html = page.read_text()
    assert "<svg" in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html
    assert "src=" not in html


def test_plan_places_buffers_of_a_csv(edgekit: Edgekit, tmp_path: Path) -> None:
    source, target = tmp_path / "buffers.csv", tmp_path / "offsets.csv"
    source.write_text("id,lower,upper,size\na,0,2,100\nb,1,3,50\nc,2,4,100\n")
    answer = edgekit("plan", "--buffers", source, "--out", target, "--json")
    assert answer.json["height_bytes"] == answer.json["lower_bound_bytes"] == 150
    assert answer.json["optimal"] is True
    assert target.read_text().splitlines()[0] == "id,lower,upper,size,offset"
    too_small = edgekit("plan", "--buffers", source, "--capacity", 149, "--json")
    assert (too_small.code, too_small.json["feasible"]) == (3, False)


def test_recipe_and_environment_set_what_the_command_line_does_not(
    edgekit: Edgekit, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("device: nano33ble\nprecision: float32\ndry_run: true\n")
    answer = edgekit("convert", "--recipe", recipe, "--json", EDGEKIT_DEVICE="stm32h743")
    assert answer.json["device"] == "stm32h743"
    assert answer.json["accuracy"]["precision"] == "float32"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(edgekit: Edgekit, shell: str) -> None:
    answer = edgekit("completion", shell)
    assert answer.code == 0
    assert "_EDGEKIT_COMPLETE" in answer.out


def test_doctor_finds_nothing_required_missing(edgekit: Edgekit) -> None:
    answer = edgekit("doctor", "--json")
    assert answer.code == 0, answer.out
    required = [check for check in answer.json["checks"] if check["required"]]
    assert all(check["ok"] for check in required)


def test_init_writes_a_recipe_and_prints_the_command(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from edgekit.cli.init import command
    from edgekit.converters.recipes import layered, load_recipe

    out = tmp_path / "recipe.yaml"
    answers = "\nnano33ble\n\nint8\n20\n"
    result = CliRunner().invoke(command, ["--out", str(out)], input=answers)
    assert result.exit_code == 0, result.output
    assert "edgekit convert --device nano33ble --precision int8 --min-sqnr-db 20.0" in result.stdout
    recipe = layered(load_recipe(out))
    assert (recipe.device, recipe.precision, recipe.min_sqnr_db) == ("nano33ble", "int8", 20.0)
