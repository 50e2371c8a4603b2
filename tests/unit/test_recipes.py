"""Recipes: layers, YAML form, and what is said about a wrong key or value."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from edgekit.converters.recipes import (
    KEYS,
    Recipe,
    command_of,
    dump_recipe,
    layered,
    load_recipe,
    recipe_from,
    recipe_from_environment,
)
from edgekit.errors import UsageError

FULL = Recipe(
    model="my model.onnx",
    device="pixel8",
    precision="int8",
    calibration="data/",
    observer="percentile",
    channel_order="bgr",
    pixel_mean=(127.5,),
    max_accuracy_drop=0.01,
    keep_float=("conv1", "fc"),
    dim={"batch": 1},
    dry_run=True,
)


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("recipe", [Recipe(), FULL], ids=["defaults", "full"])
def test_yaml_form_reads_back_equal(tmp_path: Path, recipe: Recipe) -> None:
    assert layered(load_recipe(written(tmp_path, dump_recipe(recipe)))) == recipe


def test_yaml_form_is_deterministic_and_holds_no_defaults() -> None:
    assert dump_recipe(FULL) == dump_recipe(FULL)
    assert yaml.safe_load(dump_recipe(Recipe(device="pixel8"))) == {"device": "pixel8"}


def test_later_layers_win_and_none_sets_nothing() -> None:
    recipe = layered({"device": "a", "observer": "mse"}, {"device": "b"}, {"device": None})
    assert (recipe.device, recipe.observer) == ("b", "mse")


def test_dashes_are_accepted_in_a_file(tmp_path: Path) -> None:
    values = load_recipe(written(tmp_path, "max-accuracy-drop: 0.02"))
    assert layered(values).max_accuracy_drop == 0.02


def test_command_says_the_same_as_the_recipe() -> None:
    words = shlex.split(command_of(FULL))
    assert words[:3] == ["edgekit", "convert", "my model.onnx"]
    assert words[words.index("--device") + 1] == "pixel8"
    assert [words[i + 1] for i, word in enumerate(words) if word == "--keep-float"] == [
        "conv1",
        "fc",
    ]
    assert "--dry-run" in words
    assert "batch=1" in words
    assert "--out" not in words


def test_environment_sets_keys_of_every_kind() -> None:
    values = recipe_from_environment(
        {
            "EDGEKIT_DEVICE": "pixel8",
            "EDGEKIT_DRY_RUN": "yes",
            "EDGEKIT_MIN_SQNR_DB": "20",
            "EDGEKIT_KEEP_FLOAT": "a, b",
            "EDGEKIT_PIXEL_STD": "2,3,4",
            "EDGEKIT_DIM": "batch=1,sequence=128",
            "EDGEKIT_CALIBRATION_LIMIT": "5",
            "EDGEKIT_ASSETS": "elsewhere",
        }
    )
    recipe = layered(values)
    assert recipe.device == "pixel8"
    assert recipe.dry_run
    assert recipe.min_sqnr_db == 20.0
    assert recipe.keep_float == ("a", "b")
    assert recipe.pixel_std == (2.0, 3.0, 4.0)
    assert recipe.dim == {"batch": 1, "sequence": 128}
    assert recipe.calibration_limit == 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"devise": "pixel8"}, "did you mean 'device'"),
        ({"zzz": 1}, "keys: model, device"),
        ({"precision": "int7"}, "int7.*precision"),
        ({"observer": "kl"}, "kl.*observer"),
        ({"device": 8}, "`str`.*device"),
        ({"max_accuracy_drop": 5}, "between 0 and 1"),
        ({"max_accuracy_drop": float("nan")}, "between 0 and 1"),
        ({"min_sqnr_db": 1e9}, "between -100 and 200"),
        ({"dim": {"n": 0}}, "at least 1"),
        ({"keep_float": "conv1"}, "array"),
        ({"calibration_limit": 0}, "at least 1"),
    ],
)
def test_wrong_keys_and_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipe_from(values)


@pytest.mark.parametrize("text", ["[1, 2]", "{", "just words", "a: b: c", "\x00", "!!python/x 1"])
def test_files_that_are_no_recipe_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"recipe\.yaml"):
        load_recipe(written(tmp_path, text))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.yaml"):
        load_recipe(tmp_path / "gone.yaml")


def test_environment_names_the_variable_that_is_wrong() -> None:
    with pytest.raises(UsageError, match="EDGEKIT_CALIBRATION_LIMIT"):
        recipe_from_environment({"EDGEKIT_CALIBRATION_LIMIT": "many"})


def test_every_key_has_a_default() -> None:
    assert recipe_from({}) == Recipe()
    assert set(KEYS) >= {"device", "precision", "observer", "calibration", "keep_float"}
