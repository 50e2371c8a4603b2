"""From one second of sound to the 49 x 10 features that the keyword spotter reads.

Mel-frequency cepstral coefficients, in plain NumPy, so that training, calibration, the demo and an
app share one front end. With ``x`` the clip scaled to a peak of 1:

1. frames ``f[t, n] = x[320 t + n] * hann[n]``, ``n < 480``, ``t < 49`` (30 ms long, every 20 ms),
   with the periodic window ``hann[n] = 0.5 - 0.5 cos(2 pi n / 480)``;
2. magnitudes ``s[t, k] = |DFT_512(f[t])[k]|``, ``k <= 256`` (frames padded with zeros);
3. mel bands ``m[t, b] = sum_k s[t, k] W[k, b]``, ``b < 40``: triangles with equally spaced edges
   between 20 Hz and 4000 Hz on the scale ``mel(f) = 1127 ln(1 + f / 700)``, sides linear in mel;
4. ``l = ln(m + 1e-6)``;
5. ``c[t, i] = sqrt(2 / 40) sum_b l[t, b] cos(pi i (2 b + 1) / 80)``, ``i < 10``;
6. features ``(c[t, i] - mean[i]) / deviation[i]``, limited to [-4, 4], with the constants below.

Steps 1 to 5 (`mfcc`) are the front end of the keyword spotting benchmark of MLPerf Tiny (Banbury et
al., "MLPerf Tiny Benchmark", NeurIPS Datasets and Benchmarks 2021), except that the peak is the
largest magnitude, not the largest positive sample. Step 6 (`standardize`) is for 8 bit: the first
coefficient spans 145, the tenth 10, so one scale for all would leave the tenth four bits.
"""

from __future__ import annotations

import wave
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from edgekit.errors import UsageError

SAMPLE_RATE_HZ: Final = 16_000
CLIP_SAMPLES: Final = 16_000
FRAME_SAMPLES: Final = 480
HOP_SAMPLES: Final = 320
FFT_SAMPLES: Final = 512
FRAMES: Final = 1 + (CLIP_SAMPLES - FRAME_SAMPLES) // HOP_SAMPLES
MEL_BANDS: Final = 40
MEL_LOWEST_HZ: Final = 20.0
MEL_HIGHEST_HZ: Final = 4_000.0
COEFFICIENTS: Final = 10
LOG_OFFSET: Final = 1e-6

FloatArray = npt.NDArray[np.float32]

# Mean and standard deviation of each coefficient over clips of the training speakers.
FEATURE_MEAN: Final = (-9.2, 0.8, 0.4, -0.6, -0.4, -0.2, -0.2, 0.0, 0.0, -0.1)
FEATURE_DEVIATION: Final = (23.9, 3.5, 2.2, 2.0, 1.9, 1.5, 1.3, 1.0, 0.9, 0.9)
FEATURE_LIMIT: Final = 4.0


def _mel(frequency_hz: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(frequency_hz / 700.0), dtype=np.float64)


@cache
def mel_weights() -> FloatArray:
    """Weights that sum spectrum magnitudes into mel bands.

    Returns
    -------
    array of float32, shape (257, 40)
        ``W[k, b]`` of the module's formula; the row of the constant component is zero.
    """
    bins = _mel(np.arange(FFT_SAMPLES // 2 + 1) * (SAMPLE_RATE_HZ / FFT_SAMPLES))[:, None]
    lowest, highest = _mel(np.array([MEL_LOWEST_HZ, MEL_HIGHEST_HZ]))
    edges = np.linspace(lowest, highest, MEL_BANDS + 2)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0
    return np.asarray(weights, dtype=np.float32)


@cache
def _cosine_weights() -> FloatArray:
    band = np.arange(MEL_BANDS)[:, None]
    coefficient = np.arange(COEFFICIENTS)[None, :]
    angles = np.pi * coefficient * (2 * band + 1) / (2 * MEL_BANDS)
    return np.asarray(np.sqrt(2.0 / MEL_BANDS) * np.cos(angles), dtype=np.float32)


@cache
def _window() -> FloatArray:
    phase = 2.0 * np.pi * np.arange(FRAME_SAMPLES) / FRAME_SAMPLES
    return np.asarray(0.5 - 0.5 * np.cos(phase), dtype=np.float32)


def mfcc(clip: npt.ArrayLike) -> FloatArray:
    """Mel-frequency cepstral coefficients of one second of sound.

    Parameters
    ----------
    clip : array of real numbers, shape (16000,)
        Samples at 16 kHz, any scale: the peak is normalized away. Silence (all zeros) is allowed.

    Returns
    -------
    array of float32, shape (49, 10)
        Coefficient ``i`` of frame ``t`` at ``[t, i]``.

    Raises
    ------
    ValueError
        If the clip has another shape, or a sample is not finite.
    """
    samples = np.asarray(clip, dtype=np.float32)
    if samples.shape != (CLIP_SAMPLES,):
        raise ValueError(f"a clip has shape ({CLIP_SAMPLES},), got {samples.shape}; see fit_clip")
    if not np.isfinite(samples).all():
        raise ValueError("the clip holds a sample that is not finite")
    peak = np.abs(samples).max()
    if peak > 0.0:
        samples = samples / peak
    starts = HOP_SAMPLES * np.arange(FRAMES)
    frames = samples[starts[:, None] + np.arange(FRAME_SAMPLES)] * _window()
    magnitudes = np.abs(np.fft.rfft(frames, FFT_SAMPLES)).astype(np.float32)
    bands = np.log(magnitudes @ mel_weights() + np.float32(LOG_OFFSET))
    return np.ascontiguousarray(bands @ _cosine_weights(), dtype=np.float32)


def standardize(coefficients: npt.ArrayLike) -> FloatArray:
    """Model input from coefficients: mean 0 and deviation 1 each, limited to [-4, 4].

    Parameters
    ----------
    coefficients : array of real numbers, shape (..., 10)
        From `mfcc`.

    Returns
    -------
    array of float32, shape (..., 10)
    """
    values = np.asarray(coefficients, dtype=np.float32)
    mean = np.array(FEATURE_MEAN, dtype=np.float32)
    standardized = (values - mean) / np.array(FEATURE_DEVIATION, dtype=np.float32)
    return np.asarray(np.clip(standardized, -FEATURE_LIMIT, FEATURE_LIMIT), dtype=np.float32)


def fit_clip(waveform: npt.ArrayLike) -> FloatArray:
    """Exactly one second: the loudest second of a longer sound, a shorter one padded on both sides.

    Parameters
    ----------
    waveform : array of real numbers, shape (n,), n >= 1
        Samples at 16 kHz.

    Returns
    -------
    array of float32, shape (16000,)

    Raises
    ------
    ValueError
        If the sound is empty or has more than one channel.
    """
    samples = np.asarray(waveform, dtype=np.float32)
    if samples.ndim != 1 or not samples.size:
        raise ValueError(f"a sound has shape (n,) with n >= 1, got {samples.shape}")
    missing = CLIP_SAMPLES - samples.size
    if missing >= 0:
        return np.pad(samples, (missing // 2, missing - missing // 2))
    energy = np.concatenate(([0.0], np.cumsum(samples.astype(np.float64) ** 2)))
    start = int(np.argmax(energy[CLIP_SAMPLES:] - energy[:-CLIP_SAMPLES]))
    return samples[start : start + CLIP_SAMPLES].copy()


def read_wav(path: str | Path) -> FloatArray:
    """Read a sound file.

    Parameters
    ----------
    path : path
        A WAV file: 16 bit PCM, mono, 16 kHz.

    Returns
    -------
    array of float32, shape (n,)
        Samples in [-1, 1).

    Raises
    ------
    UsageError
        If the file cannot be read, or is of another kind.
    """
    try:
        with wave.open(str(path), "rb") as file:
            found = (file.getnchannels(), 8 * file.getsampwidth(), file.getframerate())
            data = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise UsageError(f"{path}: not a WAV file that can be read ({error})") from error
    if found != (1, 16, SAMPLE_RATE_HZ):
        raise UsageError(
            f"{path}: {found[0]} channel(s), {found[1]} bit, {found[2]} Hz; the keyword spotter "
            f"reads 1 channel, 16 bit, {SAMPLE_RATE_HZ} Hz\n"
            f"convert it, for instance: sox {path} -c 1 -b 16 -r {SAMPLE_RATE_HZ} out.wav"
        )
    if len(data) < 2:
        raise UsageError(f"{path}: the WAV file holds no samples")
    # A truncated file may end inside a sample.
    return np.frombuffer(data[: len(data) // 2 * 2], dtype="<i2").astype(np.float32) / 32768.0


def features_from_wav(path: str | Path) -> FloatArray:
    """Model input for a sound file: `read_wav`, `fit_clip`, `mfcc`, `standardize`.

    Parameters
    ----------
    path : path
        A WAV file: 16 bit PCM, mono, 16 kHz.

    Returns
    -------
    array of float32, shape (1, 1, 49, 10)
        One batch item, ``(N, C, H, W)``: frames along H, coefficients along W.

    Raises
    ------
    UsageError
        If the file cannot be read, or is of another kind.
    """
    return standardize(mfcc(fit_clip(read_wav(path))))[None, None]
