"""The model that ships: its files, its front end, and what it achieves on held-back data."""

from __future__ import annotations

import csv
import math
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit import zoo
from edgekit.errors import UsageError
from edgekit.zoo import speech_features as front_end

SHIPPED_LIMIT_BYTES = 3_000_000


def write_wav(path: Path, samples: np.ndarray, *, channels: int = 1, rate_hz: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.asarray(samples, dtype="<i2").tobytes())
    return path


def predict(model: Path, features: np.ndarray) -> np.ndarray:
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (scores,) = session.run(["scores"], {"features": features})
    return scores.argmax(axis=1)


# --- the front end ------------------------------------------------------------------------------


def test_mfcc_equals_the_documented_formula() -> None:
    clip = np.random.default_rng(3).standard_normal(front_end.CLIP_SAMPLES)
    features = front_end.mfcc(clip)
    x = clip / np.abs(clip).max()
    edges_mel = np.linspace(
        1127 * math.log(1 + 20 / 700), 1127 * math.log(1 + 4000 / 700), 42, dtype=np.float64
    )
    for t in (0, 17, 48):
        frame = [x[320 * t + n] * (0.5 - 0.5 * math.cos(2 * math.pi * n / 480)) for n in range(480)]
        spectrum = np.abs(
            np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(480)) / 512) @ frame
        )
        log_bands = []
        for left, centre, right in zip(edges_mel, edges_mel[1:], edges_mel[2:], strict=False):
            band = 0.0
            for k in range(1, 257):
                mel = 1127 * math.log(1 + k * 31.25 / 700)
                weight = min((mel - left) / (centre - left), (right - mel) / (right - centre))
                band += max(0.0, weight) * spectrum[k]
            log_bands.append(math.log(band + 1e-6))
        for i in range(10):
            cosines = [math.cos(math.pi * i * (2 * b + 1) / 80) for b in range(40)]
            expected = math.sqrt(2 / 40) * float(np.dot(log_bands, cosines))
            assert features[t, i] == pytest.approx(expected, abs=1e-3)


@settings(max_examples=20, deadline=None)
@given(gain=st.floats(1e-3, 1e3), seed=st.integers(0, 2**32 - 1))
def test_mfcc_does_not_depend_on_the_volume(gain: float, seed: int) -> None:
    clip = np.random.default_rng(seed).standard_normal(front_end.CLIP_SAMPLES)
    quiet, loud = front_end.mfcc(clip), front_end.mfcc(gain * clip)
    assert quiet.shape == (49, 10)
    assert quiet.dtype == np.float32
    np.testing.assert_allclose(quiet, loud, atol=2e-3)


def test_mfcc_of_digital_silence_is_finite_and_flat() -> None:
    features = front_end.mfcc(np.zeros(front_end.CLIP_SAMPLES))
    assert np.isfinite(features).all()
    np.testing.assert_array_equal(features, np.broadcast_to(features[0], features.shape))


def test_mfcc_refuses_what_is_not_one_finite_second() -> None:
    with pytest.raises(ValueError, match="shape"):
        front_end.mfcc(np.zeros(15_999))
    with pytest.raises(ValueError, match="finite"):
        front_end.mfcc(np.full(front_end.CLIP_SAMPLES, np.nan))


@given(hnp.arrays(np.float32, (3, 10), elements=st.floats(-200, 200, width=32)))
def test_standardize_is_limited_and_inverts_within_the_limit(coefficients: np.ndarray) -> None:
    features = front_end.standardize(coefficients)
    assert features.dtype == np.float32
    assert np.abs(features).max() <= front_end.FEATURE_LIMIT
    inside = np.abs(features) < front_end.FEATURE_LIMIT
    restored = features * np.array(front_end.FEATURE_DEVIATION) + np.array(front_end.FEATURE_MEAN)
    np.testing.assert_allclose(restored[inside], coefficients[inside], atol=1e-3)


def test_mel_bands_share_each_frequency_between_two_neighbours() -> None:
    weights = front_end.mel_weights()
    sums = weights.sum(axis=1)
    assert (weights >= 0).all()
    assert weights[0].sum() == 0
    assert ((weights > 0).sum(axis=1) <= 2).all()
    # Between the first and the last centre the two sides that overlap add up to one.
    centres = np.flatnonzero(weights[:, 0]).max(), np.flatnonzero(weights[:, -1]).min()
    np.testing.assert_allclose(sums[centres[0] : centres[1]], 1.0, atol=1e-5)


@given(
    hnp.arrays(np.float32, st.integers(1, 400), elements=st.floats(-1, 1, width=32)),
    st.integers(0, 40_000),
)
@settings(max_examples=30, deadline=None)
def test_fit_clip_keeps_a_sound_shorter_than_a_second(sound: np.ndarray, silence: int) -> None:
    padded = np.pad(sound, (silence, silence // 3))
    clip = front_end.fit_clip(padded)
    assert clip.shape == (front_end.CLIP_SAMPLES,)
    assert np.sum(clip.astype(np.float64) ** 2) == pytest.approx(
        np.sum(sound.astype(np.float64) ** 2)
    )


@pytest.mark.parametrize("shape", [(0,), (100, 2)], ids=["empty", "stereo"])
def test_fit_clip_refuses_what_is_not_a_mono_sound(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="sound"):
        front_end.fit_clip(np.zeros(shape))


def test_read_wav_returns_the_samples_written(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 5_000)
    path = write_wav(tmp_path / "sound.wav", samples)
    np.testing.assert_array_equal(front_end.read_wav(path) * 32768, samples)
    assert front_end.features_from_wav(path).shape == (1, 1, 49, 10)


def test_read_wav_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    noise = tmp_path / "noise.wav"
    noise.write_bytes(bytes(range(256)))
    cases = {
        tmp_path / "absent.wav": "absent.wav",
        noise: "not a WAV file",
        write_wav(tmp_path / "stereo.wav", np.zeros(100), channels=2): "2 channel",
        write_wav(tmp_path / "slow.wav", np.zeros(100), rate_hz=8_000): "8000 Hz",
        write_wav(tmp_path / "empty.wav", np.zeros(0)): "no samples",
    }
    for path, message in cases.items():
        with pytest.raises(UsageError, match=message):
            front_end.read_wav(path)


@pytest.mark.parametrize("length", [0, 1, 11, 20, 43, 44, 45])
def test_read_wav_refuses_a_file_cut_before_its_first_sample(tmp_path: Path, length: int) -> None:
    whole = zoo.default_model().example_paths[0].read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[:length])
    with pytest.raises(UsageError, match=r"cut\.wav"):
        front_end.read_wav(tmp_path / "cut.wav")


def test_read_wav_reads_what_is_left_of_a_truncated_sound(tmp_path: Path) -> None:
    whole = zoo.default_model().example_paths[0]
    (tmp_path / "cut.wav").write_bytes(whole.read_bytes()[: 44 + 1_001])
    np.testing.assert_array_equal(
        front_end.read_wav(tmp_path / "cut.wav"), front_end.read_wav(whole)[:500]
    )


# --- the files ----------------------------------------------------------------------------------


def test_default_model_is_the_first_listed() -> None:
    assert zoo.default_model() == zoo.list_models()[0]


def test_shipped_files_are_small() -> None:
    files = zoo.default_model().path.parent.iterdir()
    total = sum(path.stat().st_size for path in files if path.is_file() and path.suffix != ".gguf")
    assert total < SHIPPED_LIMIT_BYTES


def test_data_files_hold_inputs_under_the_model_input_name() -> None:
    model = zoo.default_model()
    calibration = model.load_calibration()
    inputs, labels = model.load_test()
    for arrays in (calibration, inputs):
        assert list(arrays) == ["features"]
        assert arrays["features"].shape[1:] == (1, 49, 10)
        assert arrays["features"].dtype == np.float32
        assert np.abs(arrays["features"]).max() <= front_end.FEATURE_LIMIT
    assert len(labels) == len(inputs["features"])
    assert set(labels.tolist()) == set(range(len(model.labels)))


def test_no_calibration_sample_is_in_the_test() -> None:
    model = zoo.default_model()
    inputs, _ = model.load_test()
    seen = {sample.tobytes() for sample in model.load_calibration()["features"]}
    assert not [sample for sample in inputs["features"] if sample.tobytes() in seen]


def test_model_file_is_valid_onnx_that_old_runtimes_read() -> None:
    onnx = pytest.importorskip("onnx")
    model = zoo.default_model()
    proto = onnx.load(model.path)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.ir_version <= 10
    assert [(item.domain, item.version) for item in proto.opset_import] == [("", 17)]
    (source,), (scores,) = proto.graph.input, proto.graph.output
    assert [dim.dim_param or dim.dim_value for dim in source.type.tensor_type.shape.dim] == [
        "batch",
        1,
        49,
        10,
    ]
    assert (source.name, scores.name) == ("features", "scores")
    assert scores.type.tensor_type.shape.dim[1].dim_value == len(model.labels)
    assert sum(math.prod(item.dims) for item in proto.graph.initializer) < 60_000


# --- what it achieves ---------------------------------------------------------------------------


def test_float_model_is_right_on_held_back_speakers() -> None:
    model = zoo.default_model()
    inputs, labels = model.load_test()
    found = predict(model.path, inputs["features"])
    assert np.mean(found == labels) >= 0.85


def test_int8_quantization_keeps_the_accuracy(tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    model = zoo.default_model()
    inputs, labels = model.load_test()
    items = iter([{"features": item[None]} for item in model.load_calibration()["features"]])

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(items, None)

    quantization.quantize_static(
        str(model.path),
        str(tmp_path / "int8.onnx"),
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    exact = np.mean(predict(model.path, inputs["features"]) == labels)
    quantized = np.mean(predict(tmp_path / "int8.onnx", inputs["features"]) == labels)
    assert quantized >= exact - 0.01


def test_examples_are_recognized() -> None:
    model = zoo.default_model()
    features = np.concatenate([front_end.features_from_wav(path) for path in model.example_paths])
    found = [model.labels[index] for index in predict(model.path, features)]
    assert found == [path.stem for path in model.example_paths]


def test_human_speech_is_recognized_far_above_chance(assets: Path) -> None:
    """Coefficients of 400 recordings, quantized with the scale and zero point of their model."""
    folder = assets / "mcu" / "mlperf_tiny" / "kws" / "samples"
    with (folder / "y_labels.csv").open() as file:
        rows = list(csv.reader(file))
    raw = np.stack([np.fromfile(folder / name, dtype=np.int8) for name, _, _ in rows])
    coefficients = (raw.astype(np.float32) - 83) * 0.5847029
    features = front_end.standardize(coefficients.reshape(-1, 1, 49, 10))
    labels = np.array([int(label) for _, _, label in rows])
    assert np.mean(predict(zoo.default_model().path, features) == labels) >= 0.4
