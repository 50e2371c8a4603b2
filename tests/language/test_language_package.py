"""Packages of language models: planned within the limit, linked and not copied, checked."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest

import edgekit
from edgekit.errors import (
    MemoryBudgetError,
    ModelFormatError,
    PackageDigestError,
    PackageError,
    ProfileError,
    UsageError,
)
from edgekit.language_package import is_language_package, open_language_package
from edgekit.package import open_package
from edgekit.pipeline.language_route import convert_language_model
from edgekit.pipeline.language_speed import storage_rate
from edgekit.profiles import load_profile

pytest.importorskip("gguf")
pytest.importorskip("tokenizers")

from tests.language.test_llama_folder import CONFIG, write_folder
from tests.tiny_language_models import write_language_model

pytestmark = pytest.mark.native


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("source") / "tiny.gguf")


DISK_BLOCK_BYTES = 4096


def convert(model: Path, out: Path, **options: object) -> Path:
    made = convert_language_model(model, device="oneplus12", out=str(out), **options)
    assert made.package is not None
    return made.package.root


def test_the_model_is_linked_not_copied(model: Path, tmp_path: Path) -> None:
    root = convert(model, tmp_path / "p.edgekit")
    package = open_language_package(root)
    assert os.path.samefile(package.model_path, model)
    assert is_language_package(root)
    package.verify()


@pytest.mark.parametrize("store", ["copy", "reference"])
def test_other_ways_to_keep_the_model(store: str, model: Path, tmp_path: Path) -> None:
    package = open_language_package(convert(model, tmp_path / "p.edgekit", store=store))
    package.verify()
    assert package.model_path.read_bytes() == model.read_bytes()
    assert os.path.samefile(package.model_path, model) == (store == "reference")
    assert (package.root / "model.gguf").exists() == (store == "copy")


def test_converting_twice_gives_the_same_bytes(model: Path, tmp_path: Path) -> None:
    one, other = (convert(model, tmp_path / name) for name in ("a.edgekit", "b.edgekit"))
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_a_model_that_changed_or_moved_is_noticed(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(model.read_bytes())
    package = open_language_package(convert(copy, tmp_path / "p.edgekit", store="reference"))
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    with pytest.raises(PackageDigestError):
        package.verify()
    copy.write_bytes(data[:-1])
    with pytest.raises(PackageError, match="bytes"):
        _ = package.model_path
    copy.unlink()
    with pytest.raises(PackageError, match="not there any more"):
        _ = package.model_path


def test_a_damaged_plan_is_refused(model: Path, tmp_path: Path) -> None:
    root = convert(model, tmp_path / "p.edgekit")
    plan = json.loads((root / "plan.json").read_text())
    plan["memory"]["limit_bytes"] = 1
    (root / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(PackageError):
        open_language_package(root)


def test_packages_of_both_kinds_are_told_apart(model: Path, tmp_path: Path) -> None:
    root = convert(model, tmp_path / "p.edgekit")
    with pytest.raises(UsageError, match="load_language_model"):
        open_package(root)
    with pytest.raises(UsageError, match="language model"):
        edgekit.load(root)


def test_the_smallest_limit_that_works_is_named_and_works(model: Path, tmp_path: Path) -> None:
    with pytest.raises(MemoryBudgetError, match="smallest limit that works") as caught:
        convert(model, tmp_path / "p.edgekit", memory="10000")
    smallest = caught.value.required_bytes
    assert caught.value.exit_code == 3
    package = open_language_package(convert(model, tmp_path / "p.edgekit", memory=str(smallest)))
    assert package.plan.memory.total_bytes <= smallest
    with pytest.raises(MemoryBudgetError):
        convert(model, tmp_path / "q.edgekit", memory=str(smallest - 1))


def test_parts_of_the_memory_add_up(model: Path, tmp_path: Path) -> None:
    memory = open_language_package(convert(model, tmp_path / "p.edgekit")).plan.memory
    parts = memory.pinned_bytes + memory.stream_bytes + memory.kv_bytes
    assert parts + memory.activation_bytes + memory.table_bytes == memory.total_bytes
    assert memory.minimum_bytes <= memory.total_bytes <= memory.limit_bytes
    assert memory.read_bytes_per_token <= memory.touched_bytes_per_token


def test_more_memory_never_reads_more_nor_is_slower(model: Path, tmp_path: Path) -> None:
    curve = open_language_package(convert(model, tmp_path / "p.edgekit")).plan.curve
    assert curve
    assert curve[-1].read_bytes_per_token == 0
    for less, more in itertools.pairwise(curve):
        assert less.memory_bytes < more.memory_bytes
        assert less.pinned_bytes <= more.pinned_bytes
        # Reads are rounded out to blocks of the disk, which weigh in a model as small as this.
        assert less.read_bytes_per_token >= more.read_bytes_per_token - 2 * DISK_BLOCK_BYTES
        assert less.tokens_per_s <= more.tokens_per_s * 1.05
    assert all(point.total_bytes <= point.memory_bytes for point in curve)


def test_context_and_cache_type_change_the_cache(model: Path, tmp_path: Path) -> None:
    def cache(**options: object) -> int:
        package = open_language_package(convert(model, tmp_path / "p.edgekit", **options))
        return package.plan.memory.kv_bytes

    assert cache(context=64) < cache(context=128)
    assert cache(kv="q8") < cache(kv="f16")
    assert cache(sessions=2) == 2 * cache(sessions=1)


def test_more_than_the_device_gives_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="more than"):
        convert(model, tmp_path / "p.edgekit", memory="900GiB")


def test_a_microcontroller_is_refused(model: Path) -> None:
    with pytest.raises(ProfileError, match="no language models"):
        convert_language_model(model, device="nano33ble")


def test_a_dry_run_writes_nothing(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.edgekit"
    made = convert_language_model(model, device="oneplus12", out=str(out), dry_run=True)
    assert made.package is None
    assert made.plan.estimate is not None
    assert not list(tmp_path.iterdir())


def test_a_folder_becomes_a_package_of_its_own(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "llama", CONFIG)
    root = convert(folder, tmp_path / "p.edgekit", weights="q8_0")
    package = open_language_package(root)
    assert "Q8_0" in package.plan.facts.tensor_types
    assert sorted(path.name for path in tmp_path.iterdir()) == ["llama", "p.edgekit"]
    with edgekit.load_language_model(root) as session:
        assert session.generate("the", max_tokens=3).tokens


def test_weights_of_a_gguf_file_are_what_they_are(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folders"):
        convert(model, tmp_path / "p.edgekit", weights="q4_0")


def test_what_is_no_language_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"hello")
    with pytest.raises(ModelFormatError, match="no language model"):
        convert(path, tmp_path / "p.edgekit")
    with pytest.raises(UsageError, match="no such file"):
        convert(tmp_path / "none.gguf", tmp_path / "p.edgekit")


def test_a_package_runs_under_its_own_plan(model: Path, tmp_path: Path) -> None:
    root = convert(model, tmp_path / "p.edgekit", context=64, kv="q8")
    plan = open_language_package(root).plan
    with edgekit.load_language_model(root) as session:
        assert session.executor.context == 64
        assert session.executor.budget is not None
        assert session.executor.budget.total_bytes == plan.memory.total_bytes


@pytest.mark.parametrize("device", ["oneplus12", "oneplus-ace2", "oneplus15r"])
def test_large_reads_are_as_fast_as_published_and_no_faster(device: str) -> None:
    profile = load_profile(device)
    assert profile.storage is not None
    rate = storage_rate(profile, 8 << 30)
    published = [read.rate_bytes_per_s.value for read in profile.storage.reads]
    assert min(published) <= rate
    assert rate <= profile.memory(profile.storage.memory).bandwidth_bytes_per_s.value
