"""Words, speakers and their synthesized utterances.

The speech is made by espeak-ng, run as a separate process. A *speaker* is one of espeak-ng's voice
variants (its own vocal tract, pitch and voice quality), which speaks English in one of eight
accents at a random speed and pitch. Speakers are split by family, so that close relatives
(``robosoft``, ``robosoft2``, ...) stay on one side: nobody heard in the test was heard in
training. Training also hears random voices.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit import zoo
from edgekit.zoo import speech_features

FloatArray = npt.NDArray[np.float32]

SYNTHESIZER_RATE_HZ = 22_050

LABELS = zoo.KEYWORD_LABELS
KEYWORDS = LABELS[:10]
SILENCE_LABEL = LABELS.index("silence")
UNKNOWN_LABEL = LABELS.index("unknown")

ACCENTS = (
    "en-us",
    "en-us-nyc",
    "en",  # British; with the name en-gb, espeak-ng 1.51 ignores the variant
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us",  # twice: the most common accent of its users
)

SPEAKERS: dict[str, tuple[str, ...]] = {
    "train": (
        *("m1", "m2", "m3", "m4", "m5", "f1", "f2", "f4", "Alex", "Alicia", "Andrea", "Andy"),
        *("AnxiousAndy", "Denis", "Diogo", "Hugo", "Jacky", "Lee", "Mario", "Michael", "Nguyen"),
        *("Storm", "Tweaky", "adam", "anika", "anikaRobot", "aunty", "benjamin", "boris", "croak"),
        *("david", "ed", "edward", "edward2", "grandma", "gustave", "iven", "iven2", "iven3"),
        *("iven4", "john", "klatt", "klatt2", "klatt3", "klatt4", "klatt5", "max"),
        *("michel", "norbert", "pablo", "pedro", "robosoft", "robosoft2", "robosoft3"),
        *("robosoft4", "robosoft5", "robosoft6", "robosoft7", "robosoft8", "sandro", "travis"),
        *("whisper", "zac"),
    ),
    "validation": ("m6", "f5", "Henrique", "belinda", "paul", "quincy", "antonio"),
    "test": (
        *("m7", "m8", "f3", "Annie", "Demonic", "Gene", "Gene2", "Marco", "RicishayMax"),
        *("RicishayMax2", "RicishayMax3", "UniRobot", "grandpa", "kaukovalta", "linda", "marcelo"),
        *("miguel", "rob", "robert", "shelby", "steph", "steph2", "steph3", "victor", "whisperf"),
    ),
}

# Words that are none of the keywords; the test's are never heard in training. Homophones of a
# keyword ("know", "write") appear nowhere.
UNKNOWN_WORDS: dict[str, tuple[str, ...]] = {
    "train": (
        *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "bed"),
        *("bird", "cat", "dog", "happy", "house", "tree", "wow", "backward", "forward", "follow"),
        *("learn", "visual", "marvin", "sheila", "yet", "yell", "yard", "guess", "less", "chess"),
        *("town", "brown", "doubt", "noun", "goat", "gold", "ghost", "goal", "low", "show", "toe"),
        *("lift", "laugh", "loft", "let", "nose", "note", "nod", "snow", "own", "cough", "often"),
        *("odd", "awful", "an", "in", "under", "dawn", "con", "light", "night", "ride", "rice"),
        *("bright", "try", "step", "shop", "spot", "store", "top", "stock", "cup", "pup", "us"),
        *("ugly", "apple", "music", "window", "water", "hello", "please", "table"),
        *("orange", "number", "computer", "morning", "people", "because", "around", "little"),
        *("question", "paper", "river", "summer", "garden", "money", "kitchen", "yesterday"),
        *("loss", "sort", "song", "along", "rose", "rope", "row", "slow", "blow", "grow", "joke"),
        *("coat", "over", "bone", "phone", "hope", "young", "yawn", "east", "test", "rest", "rust"),
        *("run", "fun", "of", "walk", "talk", "wipe", "white", "ripe", "drop", "shock", "adopt"),
        *("the", "and", "that", "with", "have", "this", "from", "they", "what", "about", "which"),
    ),
    "validation": (
        *("yellow", "gone", "drown", "loaf", "night time", "stood", "bus", "melon", "ladder"),
        *("camera", "planet", "winter", "doctor", "again", "bridge", "silver"),
    ),
    "test": (
        *("yoga", "best", "crown", "dust", "group", "glow", "lend", "soft", "nope", "north"),
        *("until", "wrong", "rise", "stamp", "shut", "puppy", "open", "close", "play", "pause"),
        *("volume", "red", "green", "blue", "flower", "elephant", "station", "market", "machine"),
        *("mother", "holiday", "pencil", "together", "city", "breakfast", "mountain", "ever"),
    ),
}

PUNCTUATION = ("", ".", "!", "?", ",")


class SynthesizerError(RuntimeError):
    """espeak-ng is missing, failed, or lacks a speaker."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One spoken word.

    Attributes
    ----------
    label : int
        Index into `LABELS`.
    word, speaker, accent : str
        What was said, and by whom.
    samples : array of float32, shape (n,)
        Sound at 16 kHz without leading and trailing silence, peak 1.
    """

    label: int
    word: str
    speaker: str
    accent: str
    samples: FloatArray


def require_synthesizer() -> None:
    """Check that espeak-ng is installed with every speaker of the split.

    Raises
    ------
    SynthesizerError
        Naming what is missing.
    """
    if shutil.which("espeak-ng") is None:
        raise SynthesizerError("espeak-ng not found; install it: apt-get install espeak-ng")
    listing = subprocess.run(
        ["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=True
    ).stdout
    installed = {part[3:] for part in listing.split() if part.startswith("!v/")}
    wanted = {speaker for speakers in SPEAKERS.values() for speaker in speakers}
    if missing := sorted(wanted - installed):
        raise SynthesizerError(f"espeak-ng lacks the voice variants {', '.join(missing)}")


def _speak(text: str, voice: str, data_folder: Path, manner: list[str]) -> FloatArray:
    """Run espeak-ng; samples at 22,050 Hz in [-1, 1)."""
    # Half the usual amplitude: loud voices would be clipped.
    command = ["espeak-ng", f"--path={data_folder}", "-v", voice, "-a", "50", *manner]
    finished = subprocess.run([*command, "--stdout", text], capture_output=True, check=False)
    if finished.returncode or len(finished.stdout) <= 44:
        raise SynthesizerError(f"espeak-ng failed for {text!r} with voice {voice}")
    # The header's sizes are placeholders on a pipe; its length is fixed.
    return np.frombuffer(finished.stdout[44:], dtype="<i2").astype(np.float32) / 32768.0


def _trim(samples: FloatArray) -> FloatArray:
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1]


def _resample(samples: FloatArray, length: int) -> FloatArray:
    """Band-limited change of length, by cutting or padding the spectrum."""
    spectrum = np.fft.rfft(samples)
    return np.fft.irfft(spectrum, length).astype(np.float32) * (length / samples.size)


def require_different_voices(cast: Cast) -> None:
    """Check that no two speakers sound the same, in any accent.

    espeak-ng speaks with its default voice, without an error, where it does not know a variant
    (or knows more than its list of some 350 voices holds): one voice would be on both sides of the
    split.

    Parameters
    ----------
    cast : Cast
        The speakers.

    Raises
    ------
    SynthesizerError
        Naming two speakers that cannot be told apart.
    """
    speakers = [speaker for group in cast.groups for speaker in group]
    for accent in dict.fromkeys(ACCENTS):
        heard: dict[bytes, str] = {}
        for speaker in ("no-such-variant", *speakers):
            sound = _speak("water", f"{accent}+{speaker}", cast.data_folder, []).tobytes()
            other = heard.setdefault(sound, speaker)
            if other != speaker:
                raise SynthesizerError(f"{accent}: {other} and {speaker} sound the same")


@dataclass(frozen=True, slots=True)
class Cast:
    """Who speaks.

    Attributes
    ----------
    groups : tuple of tuple of str
        Voice variants; each group speaks as often as each other.
    data_folder : Path
        Where espeak-ng finds the variants.
    """

    groups: tuple[tuple[str, ...], ...]
    data_folder: Path


def synthesize(generator: np.random.Generator, label: int, word: str, cast: Cast) -> Utterance:
    """One utterance by a random speaker.

    Parameters
    ----------
    generator : numpy Generator
        Source of every random choice.
    label : int
        Index into `LABELS`.
    word : str
        What to say.
    cast : Cast
        Who may say it.

    Returns
    -------
    Utterance

    Raises
    ------
    SynthesizerError
        If espeak-ng fails.
    """
    speaker = str(generator.choice(cast.groups[generator.integers(len(cast.groups))]))
    accent = str(generator.choice(ACCENTS))
    text = word + str(generator.choice(PUNCTUATION))
    manner = ["-s", str(generator.integers(100, 230)), "-p", str(generator.integers(100))]
    raw = _trim(_speak(text, f"{accent}+{speaker}", cast.data_folder, manner))
    # Stretching time also moves the formants: a longer or shorter vocal tract.
    stretch = generator.uniform(0.87, 1.15)
    rate = speech_features.SAMPLE_RATE_HZ / SYNTHESIZER_RATE_HZ
    samples = _resample(raw, int(raw.size * rate * stretch))
    return Utterance(label, word, speaker, accent, samples / np.abs(samples).max())


def make_corpus(
    generator: np.random.Generator, split: str, cast: Cast, *, per_keyword: int, unknown: int
) -> list[Utterance]:
    """All utterances of a split.

    Parameters
    ----------
    generator : numpy Generator
        Source of every random choice.
    split : str
        ``train``, ``validation`` or ``test``: which unknown words.
    cast : Cast
        Who speaks.
    per_keyword : int
        Utterances of each keyword.
    unknown : int
        Utterances of other words.

    Returns
    -------
    list of Utterance
        Keywords first, then the other words in turn.

    Raises
    ------
    SynthesizerError
        If espeak-ng fails.
    """
    others = UNKNOWN_WORDS[split]
    texts = [(label, word) for label, word in enumerate(KEYWORDS) for _ in range(per_keyword)]
    texts += [(UNKNOWN_LABEL, others[index % len(others)]) for index in range(unknown)]
    return [synthesize(generator, label, word, cast) for label, word in texts]
