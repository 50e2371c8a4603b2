"""Packages: complete or not there at all, the same bytes every time, and damage is found."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit import package_files
from edgekit.errors import (
    PackageDigestError,
    PackageError,
    PackageVersionError,
    UsageError,
)
from edgekit.package import Package, PackageContent, open_package, write_package
from edgekit.package_manifest import CHUNK_BYTES, Manifest, ModelFacts, manifest_to_json
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.runtime.session import load
from tests.small_graphs import chain

GRAPH = chain()
PLAN = build_plan(GRAPH, load_profile("stm32f746"), executor="reference")


def content(**changes: Any) -> PackageContent:
    settings: dict[str, Any] = {
        "model": ModelFacts.of(GRAPH, macs=7),
        "plan": PLAN,
        "profile": b'name = "stm32f746"\n',
        "graph": GRAPH,
        "files": {"labels.txt": b"yes\nno\n", "blobs/tables.ekb": b"\x01" * (CHUNK_BYTES + 1)},
        "recipe": {"precision": "float32"},
        "accuracy": {"sqnr_db": 40.5},
    }
    return PackageContent(**{**settings, **changes})


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return write_package(tmp_path / "model.edgekit", content())


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_what_is_written_is_read_back(package: Package) -> None:
    assert package.plan == PLAN
    assert package.manifest.model == ModelFacts.of(GRAPH, macs=7)
    assert package.manifest.recipe == {"precision": "float32"}
    assert package.manifest.accuracy == {"sqnr_db": 40.5}
    assert (package.manifest.device, package.manifest.executor) == ("stm32f746", "reference")
    assert package.path("labels.txt").read_text() == "yes\nno\n"
    assert [node.name for node in package.graph().nodes] == [node.name for node in GRAPH.nodes]


def test_every_file_is_in_the_manifest_with_its_digest(package: Package) -> None:
    files = tree(package.root)
    del files["manifest.json"]
    assert {part.path for part in package.manifest.parts} == set(files)
    for part in package.manifest.parts:
        assert part.size_bytes == len(files[part.path])
        assert part.sha256 == hashlib.sha256(files[part.path]).hexdigest()


def test_two_builds_are_byte_identical(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_package(tmp_path / name, content())
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_an_older_package_is_replaced(package: Package) -> None:
    write_package(package.root, content(files={}))
    assert "labels.txt" not in tree(package.root)
    assert [entry.name for entry in package.root.parent.iterdir()] == [package.root.name]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_package_is_never_replaced(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "mine"
    kept = target / "notes.txt" if kind == "folder" else target
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("precious")
    with pytest.raises(UsageError, match="not a package"):
        write_package(target, content())
    assert kept.read_text() == "precious"


def test_a_full_disk_leaves_nothing_behind(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(package.root)

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(package_files, "describe_part", full)
    with pytest.raises(PackageError, match="No space left"):
        write_package(package.root, content(files={}))
    assert tree(package.root) == before
    assert [entry.name for entry in package.root.parent.iterdir()] == [package.root.name]


@pytest.mark.parametrize(
    "name", ["../out", "/etc/x", "a/../b", "a//b", "manifest.json", "C:\\x", ""]
)
def test_a_part_cannot_leave_the_package(tmp_path: Path, name: str) -> None:
    with pytest.raises(PackageError, match="no name for a part"):
        write_package(tmp_path / "p", content(files={name: b"x"}))
    assert list(tmp_path.iterdir()) == []


def rewrite(package: Package, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and sign it again, as somebody hostile would."""
    manifest = msgspec.to_builtins(package.manifest)
    change(manifest)
    signed = manifest_to_json(msgspec.convert(manifest, Manifest))
    (package.root / "manifest.json").write_bytes(signed)


def rename_part(new: str) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: manifest["parts"][0].update(path=new)


HOSTILE: dict[str, Callable[[dict[str, Any]], object]] = {
    "outside": rename_part("../other"),
    "absolute": rename_part("/etc/hostname"),
    "itself": rename_part("manifest.json"),
    "missing": rename_part("nothing"),
    "twice": lambda m: m.update(parts=[*m["parts"], m["parts"][0]]),
    "size": lambda m: m["parts"][0].update(size_bytes=10**15),
    "digest": lambda m: m["parts"][0].update(sha256="0" * 64),
    "no plan": lambda m: m.update(parts=[p for p in m["parts"] if p["path"] != "plan.json"]),
    "device": lambda m: m.update(device="other"),
    "dtype": lambda m: m["model"]["inputs"][0].update(dtype="complex64"),
    "negative shape": lambda m: m["model"]["inputs"][0].update(shape=[-1, 16]),
    "huge shape": lambda m: m["model"]["outputs"][0].update(shape=[2**40]),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_manifest_is_refused(
    package: Package, change: Callable[[dict[str, Any]], object]
) -> None:
    rewrite(package, change)
    with pytest.raises(PackageError):
        open_package(package.root)


def test_inputs_of_another_model_are_refused(package: Package) -> None:
    rewrite(package, lambda m: m["model"]["inputs"][0].update(name="other"))
    with pytest.raises(PackageError, match="manifest and graph differ"):
        load(package.root)


def test_a_link_is_no_part(package: Package, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes((package.root / "labels.txt").read_bytes())
    (package.root / "labels.txt").unlink()
    (package.root / "labels.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PackageError, match="no plain file"):
        open_package(package.root)


def test_a_changed_manifest_is_refused(package: Package) -> None:
    path = package.root / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"macs": 7', b'"macs": 8'))
    with pytest.raises(PackageError, match="changed or damaged"):
        open_package(package.root)


def test_a_newer_format_is_named(package: Package) -> None:
    path = package.root / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"format_version": 1', b'"format_version": 9'))
    with pytest.raises(PackageVersionError) as caught:
        open_package(package.root)
    assert (caught.value.found, caught.value.supported) == (9, 1)


def test_fields_of_a_newer_writer_are_ignored(package: Package) -> None:
    path = package.root / "manifest.json"
    document = msgspec.json.decode(path.read_bytes())
    document.update(later="field", digest="")
    unsigned = msgspec.json.encode(document, order="deterministic")
    document["digest"] = hashlib.sha256(unsigned).hexdigest()
    path.write_bytes(msgspec.json.encode(document))
    assert open_package(package.root).plan == PLAN


def test_a_large_part_is_checked_when_asked(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.package.LARGE_PART_BYTES", 1 << 19)
    path = package.root / "blobs/tables.ekb"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    assert open_package(package.root).plan == PLAN
    with pytest.raises(PackageDigestError, match="chunk 1"):
        open_package(package.root, verify=True)


def test_no_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="is no package"):
        open_package(tmp_path / "nothing")


def test_absurd_offsets_are_refused_although_signed(package: Package) -> None:
    plan = package.root / "plan.json"
    document = msgspec.json.decode(plan.read_bytes())
    document["buffers"][0]["offset_bytes"] = 1 << 50
    plan.write_bytes(msgspec.json.encode(document))
    sha256 = hashlib.sha256(plan.read_bytes()).hexdigest()
    size_bytes = plan.stat().st_size

    def sign(manifest: dict[str, Any]) -> None:
        part = next(p for p in manifest["parts"] if p["path"] == "plan.json")
        part.update(sha256=sha256, size_bytes=size_bytes)

    rewrite(package, sign)
    with pytest.raises(PackageError, match="the plan is wrong"):
        load(package.root)


@given(st.data())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_damage_is_found(tmp_path: Path, data: st.DataObject) -> None:
    package = write_package(tmp_path / "model.edgekit", content(files={"labels.txt": b"yes"}))
    names = ["manifest.json", *(part.path for part in package.manifest.parts)]
    victim = package.root / data.draw(st.sampled_from(names))
    before = victim.read_bytes()
    changed = bytearray(before)
    changed[data.draw(st.integers(0, len(before) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.sampled_from((len(before), len(before) // 2, 0)))
    victim.write_bytes(bytes(changed[:cut]))
    with pytest.raises(PackageError):
        open_package(package.root)
