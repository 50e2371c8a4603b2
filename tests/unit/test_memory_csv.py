"""Buffers in CSV: read and written exactly, everything else refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.errors import UsageError
from edgekit.memory import Buffer
from edgekit.memory.csvfile import read_buffers, write_offsets

HEADER = "id,lower,upper,size\n"

HOSTILE = {
    "nothing": (b"", "line 1 must name"),
    "header only": (HEADER.encode(), "0 buffers"),
    "other header": (b"a,b,c\n1,2,3\n", "missing: id, lower, upper, size"),
    "negative start": (b"id,lower,upper,size\n0,-1,2,3\n", "line 2: lower is '-1'"),
    "negative size": (b"id,lower,upper,size\n0,0,2,-3\n", "line 2: size is '-3'"),
    "no size": (b"id,lower,upper,size\n0,0,2,0\n", "line 2: size is 0"),
    "empty lifetime": (b"id,lower,upper,size\n0,5,5,1\n", "line 2: buffer 0: lifetime"),
    "backwards": (b"id,lower,upper,size\n0,5,4,1\n", "line 2: buffer 0: lifetime"),
    "fraction": (b"id,lower,upper,size\n0,0,4,1.5\n", "size is '1.5'"),
    "hexadecimal": (b"id,lower,upper,size\n0,0,0x4,1\n", "upper is '0x4'"),
    "other digits": ("id,lower,upper,size\n0,0,٤,1\n".encode(), "upper is"),
    "not a number": (b"id,lower,upper,size\n0,0,nan,1\n", "upper is 'nan'"),
    "huge": (b"id,lower,upper,size\n0,0,1," + b"9" * 5000 + b"\n", "size is '9999"),
    "beyond the range": (b"id,lower,upper,size\n0,0,1,99999999999999999\n", "buffer 0: size"),
    "twice": (b"id,lower,upper,size\n7,0,1,1\n7,1,2,1\n", "id 7 is given to more"),
    "empty id": (b"id,lower,upper,size\n,0,1,1\n", "line 2: the id is empty"),
    "short row": (b"id,lower,upper,size\n0,0,1,1\n1,0,1\n", "line 3: 3 fields, 4 expected"),
    "long row": (b"id,lower,upper,size\n0,0,1,1,9\n", "line 2: 5 fields, 4 expected"),
    "binary": (b"\xff\xfe\x00\x81", "cannot be read as text"),
    "open quote": (b'id,lower,upper,size\n"0,0,1,1\n', "not a CSV file"),
}


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.replace(" ", "-"))
def test_read_buffers_refuses(case: str, tmp_path: Path) -> None:
    content, message = HOSTILE[case]
    path = tmp_path / "buffers.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_buffers(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_read_buffers_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_buffers(tmp_path / "missing.csv")


def test_read_buffers_takes_columns_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "buffers.csv"
    path.write_bytes(b"\xef\xbb\xbfsize, Upper,note,lower,id,alignment\r\n8,3,x,1,a,4\r\n\r\n")
    assert read_buffers(path) == [Buffer("a", 1, 3, 8, 4)]


@given(st.binary(max_size=300))
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_read_buffers_reads_or_refuses_any_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "buffers.csv"
    path.write_bytes(HEADER.encode() + content)
    message = ""
    try:
        buffers = read_buffers(path)
    except UsageError as error:
        buffers, message = [], str(error)
    assert (str(path) in message) if not buffers else len({b.id for b in buffers}) == len(buffers)


def test_write_offsets_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "offsets.csv"
    buffers = [Buffer('a,"b', 0, 2, 5), Buffer("c", 1, 3, 7)]
    write_offsets(path, buffers, {'a,"b': 7, "c": 0})
    assert read_buffers(path) == buffers
    assert path.read_text().splitlines()[0] == "id,lower,upper,size,offset"
    assert path.read_text().splitlines()[1].endswith(",7")
    assert list(tmp_path.iterdir()) == [path]


def test_write_offsets_refuses_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_offsets(tmp_path / "missing" / "x.csv", [], {})
