"""Blobs: what is written is read back, and damage is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.blobs import ALIGNMENT_BYTES, CHUNK_BYTES, blob_bytes, open_blob
from edgekit.errors import PackageDigestError, PackageError

SECTIONS = {"first": bytes(range(256)) * 3, "empty": b"", "large": b"\x07" * (CHUNK_BYTES + 5)}


def written(folder: Path, data: bytes) -> Path:
    path = folder / "layout.ekb"
    path.write_bytes(data)
    return path


def test_sections_come_back_aligned(tmp_path: Path) -> None:
    blob = open_blob(written(tmp_path, blob_bytes("test", SECTIONS, {"rows": 3})))
    blob.verify()
    assert {name: blob.read(name) for name in SECTIONS} == SECTIONS
    assert blob.payload_offset_bytes % ALIGNMENT_BYTES == 0
    assert all(s.offset_bytes % ALIGNMENT_BYTES == 0 for s in blob.description.sections)
    assert blob.description.facts == {"rows": 3}


def test_the_same_content_gives_the_same_bytes() -> None:
    assert blob_bytes("t", SECTIONS, {"a": 1, "b": 2}) == blob_bytes(
        "t", SECTIONS, {"b": 2, "a": 1}
    )


def test_a_changed_payload_is_found_with_its_chunk(tmp_path: Path) -> None:
    data = bytearray(blob_bytes("test", SECTIONS))
    data[-1] ^= 1
    with pytest.raises(PackageDigestError, match="chunk 1"):
        open_blob(written(tmp_path, bytes(data))).verify()


def test_an_unknown_section_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no section"):
        open_blob(written(tmp_path, blob_bytes("test", SECTIONS))).read("other")


@given(st.data())
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_header_is_refused_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    good = blob_bytes("test", {"a": b"abc", "b": b"defg"})
    spoilt = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        spoilt[data.draw(st.integers(0, 256))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from((0, 20, 4096, len(good))))
    found = read_all(written(tmp_path, bytes(spoilt[:cut])))
    assert found is None or sum(len(section) for section in found) <= len(good)


def read_all(path: Path) -> list[bytes] | None:
    """Return every section of a blob, or None where it is refused."""
    try:
        blob = open_blob(path)
        blob.verify()
        return [blob.read(section.name) for section in blob.description.sections]
    except PackageError:
        return None
