"""Frames on a serial line: lossless, self-synchronising, and silent about damage."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgekit.deploy.serial.framing import (
    MAX_BODY_BYTES,
    Frame,
    FrameReader,
    cobs_decode,
    cobs_encode,
)

frames = st.builds(
    Frame,
    kind=st.integers(0, 255),
    sequence=st.integers(0, 65535),
    body=st.binary(max_size=MAX_BODY_BYTES),
)


@given(st.binary(max_size=800))
def test_cobs_round_trip_without_zeros(data: bytes) -> None:
    code = cobs_encode(data)
    assert 0 not in code
    assert len(code) <= len(data) + len(data) // 254 + 1
    assert cobs_decode(code) == data


@given(st.integers(1, 800))
def test_cobs_long_runs(length: int) -> None:
    assert cobs_decode(cobs_encode(b"\x01" * length)) == b"\x01" * length


@given(st.binary(max_size=300))
def test_cobs_decoding_anything_is_safe(data: bytes) -> None:
    decoded = cobs_decode(data)
    assert decoded is None or len(decoded) <= len(data)


@given(st.lists(frames, max_size=5), st.integers(1, 40))
def test_frames_arrive_in_pieces_of_any_size(sent: list[Frame], step: int) -> None:
    wire = b"".join(frame.encode() for frame in sent)
    reader = FrameReader()
    pieces = [wire[i : i + step] for i in range(0, len(wire), step)]
    assert [frame for piece in pieces for frame in reader.feed(piece)] == sent


@given(st.binary(max_size=400), frames)
def test_reader_is_back_in_step_after_noise(noise: bytes, frame: Frame) -> None:
    assert list(FrameReader().feed(noise + frame.encode()))[-1] == frame


@given(frames, st.data())
def test_damaged_frames_are_never_taken_for_others(frame: Frame, data: st.DataObject) -> None:
    wire = bytearray(frame.encode())
    kind = data.draw(st.sampled_from(["change", "drop", "repeat"]))
    position = data.draw(st.integers(1, len(wire) - 2))
    if kind == "change":
        wire[position] ^= data.draw(st.integers(1, 255))
    elif kind == "drop":
        del wire[position]
    else:
        wire.insert(position, wire[position])
    received = list(FrameReader().feed(bytes(wire)))
    assert received in ([], [frame])
