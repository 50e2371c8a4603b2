"""``.npz`` files in and out of the command line; everything else is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.cli.arrays import read_arrays, write_arrays
from edgekit.dtypes import Array
from edgekit.errors import UsageError


def test_what_is_written_is_read(tmp_path: Path) -> None:
    arrays: dict[str, Array] = {
        "x": np.arange(6, dtype=np.int8).reshape(2, 3),
        "y": np.ones(1, np.float32),
    }
    write_arrays(tmp_path / "arrays.npz", arrays)
    found = read_arrays(tmp_path / "arrays.npz")
    assert list(found) == list(arrays)
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())


def test_one_array_without_a_name_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(UsageError, match="without a name"):
        read_arrays(tmp_path / "x.npy")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).integers(0, 9, 4000))
    whole = path.read_bytes()
    for begin in range(0, len(whole), 97):
        path.write_bytes(whole[:begin] + bytes(60) + whole[begin + 60 :])
        try:
            found = read_arrays(path)
        except UsageError:
            continue
        assert set(found) <= {"x"}  # bytes that nothing depends on


@pytest.mark.parametrize("content", [b"", b"text", b"PK"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        read_arrays(path)
