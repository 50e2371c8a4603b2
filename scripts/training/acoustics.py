"""From clean synthesized words to one-second clips as a microphone would hear them.

Each clip gets, at random: a position in the second, a room (exponentially decaying noise as the
impulse response), a microphone (band limits and a smooth tilt of the spectrum), background noise of
some colour, hum or babble at a signal-to-noise ratio, and 16 bit quantization at some level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from training.speech_corpus import SILENCE_LABEL, Utterance

from edgekit.zoo.speech_features import CLIP_SAMPLES, SAMPLE_RATE_HZ, mfcc, standardize

FloatArray = npt.NDArray[np.float32]
# Room and microphone are applied by multiplying spectra; twice the clip keeps echoes from wrapping.
SPECTRUM_SAMPLES = 2 * CLIP_SAMPLES
BINS = SPECTRUM_SAMPLES // 2 + 1
BIN_HZ = np.arange(BINS) * (SAMPLE_RATE_HZ / SPECTRUM_SAMPLES)


@dataclass(frozen=True, slots=True)
class Conditions:
    """How adverse the recordings of a split are.

    Attributes
    ----------
    lowest_snr_db, highest_snr_db : float
        Range of the ratio of speech to noise, over the length of the word, in decibels.
    reverberant_share, noiseless_share : float
        Share of the clips recorded in a room with echo, and of clips without background noise.
    longest_decay_s : float
        Longest time for an echo to fall by 60 dB.
    """

    lowest_snr_db: float
    highest_snr_db: float
    reverberant_share: float
    noiseless_share: float
    longest_decay_s: float


TRAINING = Conditions(2.0, 40.0, 0.5, 0.15, 0.6)
TESTING = Conditions(5.0, 40.0, 0.5, 0.2, 0.5)


@dataclass(frozen=True, slots=True)
class Clips:
    """Labelled clips.

    Attributes
    ----------
    features : array of float32, shape (n, 1, 49, 10)
        Network inputs, ``(N, C, H, W)``.
    labels : array of int64, shape (n,)
        Index into ``LABELS``.
    snr_db : array of float32, shape (n,)
        Ratio of speech to noise; infinite without noise, NaN for silence.
    """

    features: FloatArray
    labels: npt.NDArray[np.int64]
    snr_db: FloatArray


def _room(generator: np.random.Generator, longest_decay_s: float) -> npt.NDArray[np.complex128]:
    decay_s = generator.uniform(0.08, longest_decay_s)
    times_s = np.arange(int(decay_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    # 60 dB over decay_s is a factor of exp(-6.9).
    tail = generator.standard_normal(times_s.size) * np.exp(-6.9 * times_s / decay_s)
    tail *= generator.uniform(0.1, 0.7) / np.linalg.norm(tail)
    tail[0] += 1.0
    return np.fft.rfft(tail, SPECTRUM_SAMPLES)


def _microphone(generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Gain for each spectral bin: high-pass, low-pass, and a curve of up to +-6 dB."""
    knots_hz = np.array([0.0, 300.0, 800.0, 1800.0, 3200.0, 8000.0])
    gain_db = np.interp(BIN_HZ, knots_hz, generator.uniform(-6.0, 6.0, knots_hz.size))
    low_cut_hz, high_cut_hz = generator.uniform(20.0, 250.0), generator.uniform(3400.0, 9000.0)
    ratio = np.maximum(BIN_HZ, 1.0) / low_cut_hz
    band = ratio**2 / (1.0 + ratio**2) / (1.0 + (BIN_HZ / high_cut_hz) ** 8)
    return np.asarray(10.0 ** (gain_db / 20.0) * band)


def _coloured_noise(generator: np.random.Generator) -> npt.NDArray[np.float64]:
    slope = generator.uniform(0.0, 1.2)
    shape = np.maximum(BIN_HZ, 30.0) ** -slope
    noise = np.fft.irfft(np.fft.rfft(generator.standard_normal(SPECTRUM_SAMPLES)) * shape)
    noise = noise[:CLIP_SAMPLES]
    # Slow changes of level, as wind and traffic have.
    knots = generator.uniform(0.3, 1.0, 5)
    return noise * np.interp(np.arange(CLIP_SAMPLES), np.linspace(0, CLIP_SAMPLES, 5), knots)


def _hum(generator: np.random.Generator) -> npt.NDArray[np.float64]:
    times_s = np.arange(CLIP_SAMPLES) / SAMPLE_RATE_HZ
    frequency_hz = generator.uniform(45.0, 400.0)
    harmonics = np.arange(1, generator.integers(2, 9))
    phases = generator.uniform(0.0, 2.0 * np.pi, harmonics.size)
    strengths = generator.uniform(0.2, 1.0, harmonics.size) / harmonics
    angles = 2.0 * np.pi * frequency_hz * times_s[:, None] * harmonics + phases
    return np.asarray(np.sin(angles) @ strengths)


def _clicks(generator: np.random.Generator) -> npt.NDArray[np.float64]:
    sound = np.zeros(CLIP_SAMPLES)
    for start in generator.integers(0, CLIP_SAMPLES - 400, generator.integers(1, 6)):
        burst = generator.standard_normal(400) * np.exp(-np.arange(400) / generator.uniform(5, 90))
        sound[start : start + 400] += burst * generator.uniform(0.3, 1.0)
    return sound + 0.02 * _coloured_noise(generator)


def background(generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """One second of background without speech.

    Parameters
    ----------
    generator : numpy Generator
        Source of every random choice.

    Returns
    -------
    array of float64, shape (16000,)
        Noise of a random colour, hum in noise, or clicks, with root mean square 1.
    """
    kind = generator.choice(["noise", "hum", "clicks"], p=[0.7, 0.2, 0.1])
    if kind == "noise":
        sound = _coloured_noise(generator)
    elif kind == "hum":
        sound = _hum(generator) / 2.0 + generator.uniform(0.05, 1.0) * _unit(
            _coloured_noise(generator)
        )
    else:
        sound = _clicks(generator)
    return _unit(sound)


def _unit(sound: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return sound / max(float(np.sqrt(np.mean(sound**2))), 1e-9)


def _babble(generator: np.random.Generator, utterances: list[Utterance]) -> npt.NDArray[np.float64]:
    """Several voices at once, backwards, so that no word can be understood."""
    sound = np.zeros(CLIP_SAMPLES)
    for index in generator.integers(0, len(utterances), 6):
        voice = utterances[index].samples[::-1][:CLIP_SAMPLES]
        sound += np.roll(np.pad(voice, (0, CLIP_SAMPLES - voice.size)), generator.integers(16_000))
    return _unit(sound)


def _place(generator: np.random.Generator, samples: FloatArray) -> npt.NDArray[np.float64]:
    """Put a word somewhere into the second, rather in the middle; cut what is longer."""
    if samples.size > CLIP_SAMPLES:
        start = int(generator.integers(0, samples.size - CLIP_SAMPLES + 1))
        return samples[start : start + CLIP_SAMPLES].astype(np.float64)
    room = CLIP_SAMPLES - samples.size
    start = int(np.clip(generator.normal(0.5, 0.22), 0.0, 1.0) * room)
    return np.pad(samples, (start, room - start)).astype(np.float64)


def _record(
    generator: np.random.Generator, sound: npt.NDArray[np.float64], level_db: float
) -> FloatArray:
    """Quantize to 16 bit with the peak at ``level_db`` below full scale."""
    peak = max(float(np.abs(sound).max()), 1e-9)
    scaled = sound / peak * 10.0 ** (-level_db / 20.0) * 32767.0
    dither = generator.uniform(-0.5, 0.5, sound.size)
    return np.asarray(np.round(scaled + dither) / 32768.0, dtype=np.float32)


def record_word(
    generator: np.random.Generator,
    utterance: Utterance,
    others: list[Utterance],
    conditions: Conditions,
) -> tuple[FloatArray, float]:
    """One recorded clip of an utterance.

    Parameters
    ----------
    generator : numpy Generator
        Source of every random choice.
    utterance : Utterance
        What is heard.
    others : list of Utterance
        Voices for babble in the background.
    conditions : Conditions
        Noise and rooms.

    Returns
    -------
    clip : array of float32, shape (16000,)
        Samples in [-1, 1).
    snr_db : float
        Ratio of speech to noise; infinite without noise.
    """
    spectrum = np.fft.rfft(_place(generator, utterance.samples), SPECTRUM_SAMPLES)
    spectrum = spectrum * _microphone(generator)
    if generator.random() < conditions.reverberant_share:
        spectrum = spectrum * _room(generator, conditions.longest_decay_s)
    sound = np.fft.irfft(spectrum)[:CLIP_SAMPLES]
    snr_db = np.inf
    if generator.random() >= conditions.noiseless_share:
        snr_db = generator.uniform(conditions.lowest_snr_db, conditions.highest_snr_db)
        is_babble = generator.random() < 0.2
        noise = _babble(generator, others) if is_babble else background(generator)
        spoken = max(min(utterance.samples.size, CLIP_SAMPLES), 1)
        speech_rms = np.sqrt(np.sum(sound**2) / spoken)
        sound = sound + noise * speech_rms * 10.0 ** (-snr_db / 20.0)
    return _record(generator, sound, generator.uniform(0.0, 30.0)), float(snr_db)


def record_silence(generator: np.random.Generator) -> FloatArray:
    """One clip without speech: background, or a very quiet input.

    Parameters
    ----------
    generator : numpy Generator
        Source of every random choice.

    Returns
    -------
    array of float32, shape (16000,)
    """
    if generator.random() < 0.05:
        return np.zeros(CLIP_SAMPLES, dtype=np.float32)
    spectrum = np.fft.rfft(background(generator), SPECTRUM_SAMPLES) * _microphone(generator)
    sound = np.fft.irfft(spectrum)[:CLIP_SAMPLES]
    return _record(generator, sound, generator.uniform(0.0, 75.0))


def make_clips(
    generator: np.random.Generator,
    utterances: list[Utterance],
    conditions: Conditions,
    *,
    silence: int,
) -> Clips:
    """Record every utterance once, and silence besides.

    Parameters
    ----------
    generator : numpy Generator
        Source of every random choice.
    utterances : list of Utterance
        Words of one split.
    conditions : Conditions
        Noise and rooms.
    silence : int
        Clips without speech.

    Returns
    -------
    Clips
        The utterances in order, then the silence.
    """
    recorded = [record_word(generator, item, utterances, conditions) for item in utterances]
    quiet = [record_silence(generator) for _ in range(silence)]
    sounds = [clip for clip, _ in recorded] + quiet
    return Clips(
        features=standardize(np.stack([mfcc(sound) for sound in sounds]))[:, None],
        labels=np.array([item.label for item in utterances] + [SILENCE_LABEL] * silence, np.int64),
        snr_db=np.array([snr for _, snr in recorded] + [np.nan] * silence, np.float32),
    )
