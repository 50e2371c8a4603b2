"""Random voices for espeak-ng, so that training hears more vocal tracts than espeak-ng ships.

A voice variant of espeak-ng is a small text file: a factor for the frequency, height and width of
each formant, pitch, roughness, breath and so on. (Format: espeak-ng, ``docs/voices.md``.) Drawing
these numbers at random gives speakers that no list holds; real people differ in the same ways.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

FORMANTS = 9
TONE_KNOTS_HZ = (150, 900, 2000, 3200)


def describe_random_voice(generator: np.random.Generator, name: str) -> str:
    """Text of the variant file of one random speaker.

    Parameters
    ----------
    generator : numpy Generator
        Source of every random choice.
    name : str
        Name of the variant.

    Returns
    -------
    str
    """
    lowest_pitch_hz = generator.uniform(65.0, 210.0)
    lines = [
        "language variant",
        f"name {name}",
        f"pitch {lowest_pitch_hz:.0f} {lowest_pitch_hz * generator.uniform(1.15, 2.0):.0f}",
        f"roughness {generator.integers(0, 5)}",
        f"flutter {generator.integers(0, 6)}",
        f"voicing {generator.uniform(30.0, 150.0):.0f}",
        f"consonants {generator.uniform(50.0, 140.0):.0f} {generator.uniform(60.0, 140.0):.0f}",
    ]
    tract = generator.normal(104.0, 11.0)
    for formant in range(FORMANTS):
        frequency = np.clip(tract * generator.normal(1.0, 0.09), 60.0, 145.0)
        height, width = generator.uniform(50.0, 150.0), generator.uniform(70.0, 170.0)
        lines.append(f"formant {formant} {frequency:.0f} {height:.0f} {width:.0f}")
    if generator.random() < 0.3:
        breath = " ".join(str(value) for value in generator.integers(0, 6, 8))
        lines.append(f"breath {breath}")
    if generator.random() < 0.3:
        levels = generator.uniform(40.0, 250.0, len(TONE_KNOTS_HZ))
        pairs = zip(TONE_KNOTS_HZ, levels, strict=True)
        lines.append("tone " + " ".join(f"{knot} {level:.0f}" for knot, level in pairs))
    if generator.random() < 0.2:
        lines.append(f"echo {generator.integers(20, 150)} {generator.integers(5, 40)}")
    return "\n".join(lines) + "\n"


def add_random_voices(
    generator: np.random.Generator, folder: Path, count: int
) -> tuple[Path, tuple[str, ...]]:
    """Lay out a data folder for espeak-ng: the installed data by links, and random voices.

    Parameters
    ----------
    generator : numpy Generator
        Source of every random choice.
    folder : Path
        An empty folder.
    count : int
        Number of voices.

    Returns
    -------
    folder : Path
        For espeak-ng's option ``--path``.
    names : tuple of str
        The voices.
    """
    version = subprocess.run(
        ["espeak-ng", "--version"], capture_output=True, text=True, check=True
    ).stdout
    installed = Path(version.split("Data at:")[1].strip())
    data = folder / "espeak-ng-data"
    variants = data / "voices" / "!v"
    variants.mkdir(parents=True)
    # English and its relatives alone: espeak-ng lists at most some 350 languages and voices.
    (data / "lang").mkdir()
    (data / "lang" / "gmw").symlink_to(installed / "lang" / "gmw")
    for source, target in ((installed, data), (installed / "voices" / "!v", variants)):
        for item in sorted(source.iterdir()):
            if not (target / item.name).exists():
                (target / item.name).symlink_to(item)
    names = tuple(f"random{index}" for index in range(count))
    for name in names:
        (variants / name).write_text(describe_random_voice(generator, name))
    return folder, names
