"""Calibration data: every form gives the same batches, and what does not fit is named."""

from __future__ import annotations

import io
import struct
import wave
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.converters.calibration.data import calibration_batches
from edgekit.converters.calibration.files import Preprocessing
from edgekit.dtypes import DType
from edgekit.errors import CalibrationError
from edgekit.graph import Dim, Graph, Tensor, TensorKind

Batch = dict[str, npt.NDArray[np.float32]]


def graph_with(**inputs: tuple[tuple[Dim, ...], DType]) -> Graph:
    tensors = {
        name: Tensor(name, shape, dtype, TensorKind.INPUT)
        for name, (shape, dtype) in inputs.items()
    }
    return Graph("model", tensors, (), tuple(inputs), tuple(inputs))


VECTOR = graph_with(x=((1, 4), DType.FLOAT32))
PAIR = graph_with(x=((1, 4), DType.FLOAT32), y=((1, 2), DType.INT32))
PICTURE = graph_with(image=((1, 3, 8, 6), DType.FLOAT32))
SOUND = graph_with(sound=((1, 100), DType.FLOAT32))


def data() -> list[Batch]:
    random = np.random.default_rng(0)
    return [{"x": random.standard_normal((1, 4)).astype(np.float32)} for _ in range(3)]


class Reader:
    """The interface of onnxruntime's CalibrationDataReader."""

    def __init__(self) -> None:
        self._left = iter(data())

    def get_next(self) -> Mapping[str, object] | None:
        return next(self._left, None)


class TransformedData:
    """The interface of nncf.Dataset."""

    def get_inference_data(self) -> Iterator[object]:
        return iter(data())


def folder_of_npy(folder: Path) -> Path:
    for index, batch in enumerate(data()):
        np.save(folder / f"{index}.npy", batch["x"])
    return folder


def list_of_npy(folder: Path) -> Path:
    folder_of_npy(folder)
    path = folder / "list.txt"
    path.write_text("# three samples\n0.npy\n1.npy\n\n2.npy\n")
    return path


def npz(folder: Path) -> Path:
    np.savez(folder / "data.npz", x=np.concatenate([batch["x"] for batch in data()]))
    return folder / "data.npz"


def collected(source: object, graph: Graph = VECTOR, **options: object) -> list[Batch]:
    return list(calibration_batches(source, graph, **options))  # type: ignore[arg-type]


def assert_same(got: list[Batch], expected: list[Batch]) -> None:
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name].dtype == other[name].dtype
            assert np.array_equal(one[name], other[name])


@pytest.mark.parametrize(
    "source",
    [
        data(),
        (batch for batch in data()),
        [batch["x"] for batch in data()],
        [[batch["x"]] for batch in data()],
        [batch["x"][0].astype(np.float64) for batch in data()],
        np.concatenate([batch["x"] for batch in data()]),
        Reader(),
        TransformedData(),
        ([batch["x"][0] for batch in data()], lambda row: {"x": row[None]}),
        data,
        lambda: Reader(),
    ],
    ids=[
        "list of dicts",
        "generator",
        "arrays",
        "positional lists",
        "without batch axis, float64",
        "stacked array",
        "get_next",
        "nncf.Dataset",
        "data and transform",
        "callable",
        "callable that returns a reader",
    ],
)
def test_every_form_in_memory_gives_the_same_batches(source: object) -> None:
    assert_same(collected(source), data())


@pytest.mark.parametrize("make", [folder_of_npy, list_of_npy, npz])
def test_every_form_on_disk_gives_the_same_batches(tmp_path: Path, make: object) -> None:
    assert callable(make)
    path = make(tmp_path)
    assert_same(collected(path), data())
    assert_same(collected(str(path)), data())


def test_npz_serves_several_inputs(tmp_path: Path) -> None:
    x, y = np.ones((5, 4), np.float32), np.arange(10).reshape(5, 2)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    batches = collected(tmp_path / "d.npz", PAIR)
    assert len(batches) == 5
    assert batches[3]["y"].tolist() == [[6, 7]]
    assert batches[3]["y"].dtype == np.int32


def test_limit_stops_reading() -> None:
    def endless() -> Iterator[Batch]:
        while True:
            yield data()[0]

    assert len(collected(endless, limit=7)) == 7


def test_named_dimensions_accept_any_size() -> None:
    graph = graph_with(x=(("batch", 4), DType.FLOAT32))
    (batch,) = collected([np.zeros((9, 4))], graph)
    assert batch["x"].shape == (9, 4)


def test_lines_of_text_go_through_the_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "sentences.txt"
    path.write_text("one two\nthree\n")
    graph = graph_with(ids=((1, "sequence"), DType.INT64))
    tokenizer = {"one two": [1, 2], "three": [3]}
    batches = collected(path, graph, tokenizer=lambda line: {"ids": np.array([tokenizer[line]])})
    assert [batch["ids"].tolist() for batch in batches] == [[[1, 2]], [[3]]]


def test_images_are_resized_and_ordered_as_the_input_wants(tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image")
    image_module.new("RGB", (60, 80), (10, 20, 30)).save(tmp_path / "a.png")
    (plain,) = collected(tmp_path, PICTURE)
    assert plain["image"].shape == (1, 3, 8, 6)
    assert plain["image"][0, :, 0, 0].tolist() == [10, 20, 30]
    preprocessing = Preprocessing("bgr", mean=(10.0,), std=(2.0,))
    (scaled,) = collected(tmp_path, PICTURE, preprocessing=preprocessing)
    assert scaled["image"][0, :, 5, 5].tolist() == [10.0, 5.0, 0.0]
    last = graph_with(image=((1, 8, 6, 1), DType.UINT8))
    (grey,) = collected(tmp_path, last)
    assert grey["image"].shape == (1, 8, 6, 1)
    assert grey["image"].dtype == np.uint8


@pytest.mark.parametrize("width_bytes", [1, 2, 3, 4])
def test_sounds_are_mono_floats_of_the_length_of_the_input(
    tmp_path: Path, width_bytes: int
) -> None:
    quarter = {1: b"\xa0", 2: b"\x00\x20", 3: b"\x00\x00\x20", 4: b"\x00\x00\x00\x20"}[width_bytes]
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setnchannels(2)
        sound.setsampwidth(width_bytes)
        sound.setframerate(16_000)
        sound.writeframes(quarter * 2 * 60)
    (batch,) = collected(tmp_path, SOUND)
    assert batch["sound"].shape == (1, 100)
    assert set(batch["sound"][0, :60]) == {0.25}
    assert not batch["sound"][0, 60:].any()


@pytest.mark.parametrize(
    ("sample", "graph", "message"),
    [
        ({"x": np.zeros((1, 5))}, VECTOR, r"input x: expected float32\[1, 4\], got float32\[1, 5"),
        ({"z": np.zeros((1, 4))}, VECTOR, "no input 'z'; the model takes: x"),
        ({"x": np.zeros((1, 4))}, PAIR, "input y is missing"),
        ([np.zeros((1, 4))], PAIR, "1 arrays for the 2 inputs"),
        ({"x": np.zeros((2, 4)), "y": np.zeros((1, 2), int)}, PAIR, "y has 1 samples, .*x has 2"),
        ({"x": np.zeros((1, 4)), "y": np.zeros((1, 2))}, PAIR, "expected int32, got float64"),
        ({"x": np.zeros((1, 4)), "y": np.full((1, 2), 2**40)}, PAIR, "do not fit int32"),
        ({"x": np.array([["a"] * 4])}, VECTOR, "not a number type"),
        ({"x": np.full((1, 4), np.nan)}, VECTOR, "not finite"),
        ({"x": np.full((1, 4), 1e300)}, VECTOR, "not finite"),
        ({"x": np.zeros((0, 4))}, VECTOR, r"got float32\[0, 4\]"),
        ({"x": [[1, 2], [3]]}, VECTOR, "not an array"),
        (object(), VECTOR, "not a number type"),
    ],
)
def test_samples_that_do_not_fit_are_named(sample: object, graph: Graph, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        collected([sample], graph)


@pytest.mark.parametrize(
    ("source", "message"),
    [(3, "cannot be a int"), ([], "no sample"), (None, "NoneType"), (lambda: print, "another")],
)
def test_sources_that_are_no_data_are_named(source: object, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        collected(source)


def header_only_npy() -> bytes:
    file = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 1 << 20)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def pickled_npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    return file.getvalue()


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content)
    return file.getvalue()


def png_of(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", zlib.crc32(b"IHDR" + header))


@pytest.mark.parametrize(
    ("name", "content", "graph", "message"),
    [
        ("a.npy", b"not an array", VECTOR, "not a readable .npy"),
        ("a.npy", header_only_npy(), VECTOR, "announces"),
        ("a.npy", pickled_npy(), VECTOR, "not numbers"),
        ("a.npz", b"PK\x03\x04", VECTOR, "not a readable .npz"),
        ("a.npz", zipped(header_only_npy()), VECTOR, "announces"),
        ("a.npz", zipped(pickled_npy()), VECTOR, "not numbers"),
        ("a.npz", zipped(b""), VECTOR, "not a readable .npz"),
        ("a.png", b"\x89PNG", PICTURE, "not a readable image"),
        ("a.png", png_of(60_000, 60_000), PICTURE, "a.png"),
        ("a.png", png_of(4, 4), VECTOR, "does not take a picture"),
        ("a.wav", b"RIFF\x00\x00\x00\x00WAVE", SOUND, "not a readable PCM"),
        ("a.bin", bytes(range(256)), VECTOR, "neither UTF-8 text nor"),
        ("a.txt", b"hello world\n", VECTOR, "no tokenizer"),
        ("a.txt", b"missing.npy\n", VECTOR, "missing.npy: no such file"),
        ("a.txt", b"", VECTOR, "no sample"),
        ("a.npy", b"", PAIR, "2 inputs"),
    ],
)
def test_hostile_files_are_refused_by_name(
    tmp_path: Path, name: str, content: bytes, graph: Graph, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=message):
        collected(path, graph)


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no such calibration file"):
        collected(tmp_path / "gone")
    with pytest.raises(CalibrationError, match="the folder holds no"):
        collected(tmp_path)


@given(damage=st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_files_never_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, damage: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    path = npz(folder) if damage.draw(st.booleans()) else folder_of_npy(folder) / "0.npy"
    content = bytearray(path.read_bytes())
    for _ in range(damage.draw(st.integers(1, 4))):
        content[damage.draw(st.integers(0, len(content) - 1))] = damage.draw(st.integers(0, 255))
    path.write_bytes(content[: damage.draw(st.integers(0, len(content)))])
    try:
        outcome = [str(batch["x"].shape) for batch in collected(path)]
    except CalibrationError as error:
        outcome = [str(error)]
    assert all(path.name in line or line == "(1, 4)" for line in outcome)
