#!/usr/bin/env python3
"""Train the keyword spotter that ships in ``edgekit/zoo``, from nothing, on synthesized speech.

Needs espeak-ng (``apt-get install espeak-ng``; it runs as a separate process, only here), and the
extra ``edgekit[torch]``. Takes some ten minutes on one CPU core::

    python scripts/train_keyword_spotter.py --out DIR

and writes the model, its calibration and test data, two example sounds and ``report.json`` with
every accuracy that docs/keyword-spotter.md states. The same seed gives the same files on the same
versions of espeak-ng, NumPy and PyTorch.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from training import ds_cnn, evaluation
from training.acoustics import TESTING, TRAINING, Clips, make_clips, record_word
from training.onnx_export import write_onnx
from training.speech_corpus import (
    KEYWORDS,
    LABELS,
    SPEAKERS,
    Cast,
    SynthesizerError,
    Utterance,
    make_corpus,
    require_different_voices,
    require_synthesizer,
)
from training.voices import add_random_voices

from edgekit.zoo.speech_features import SAMPLE_RATE_HZ

# Features that ship are rounded to this step, half of the 8 bit step of 8 / 255, so that the files
# compress well.
FEATURE_STEP = 1.0 / 64.0
TAKES = 3
RANDOM_VOICES = 200
UTTERANCES = {  # for each split: of each keyword, of other words, clips of silence
    "train": (720, 1600, 640),
    "validation": (40, 80, 40),
    "test": (80, 160, 80),
}
CALIBRATION_PER_LABEL = 9
SHIPPED_TEST_PER_LABEL = 25
EXAMPLES = ("yes", "stop")


def main() -> int:
    """Run the whole recipe; the exit status."""
    parser = argparse.ArgumentParser(description="Train edgekit's keyword spotter.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--epochs", type=int, default=45)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the utterances to make")
    arguments = parser.parse_args()
    try:
        require_synthesizer()
    except SynthesizerError as error:
        print(error, file=sys.stderr)
        return 1
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    _train_and_write(arguments.out, arguments.epochs, arguments.seed, arguments.scale)
    return 0


def _train_and_write(folder: Path, epochs: int, seed: int, scale: float) -> None:
    start_s = time.monotonic()
    generators = {name: np.random.default_rng([seed, i]) for i, name in enumerate(UTTERANCES)}
    amounts = {
        split: tuple(max(1, round(amount * scale)) for amount in row)
        for split, row in UTTERANCES.items()
    }
    corpora = _make_corpora(generators, amounts)
    silence = {split: row[2] for split, row in amounts.items()}
    takes = [
        make_clips(generators["train"], corpora["train"], TRAINING, silence=silence["train"])
        for _ in range(TAKES)
    ]
    held_back = {
        split: make_clips(generators[split], corpora[split], TESTING, silence=silence[split])
        for split in ("validation", "test")
    }
    print(f"data made in {time.monotonic() - start_s:.0f} s", flush=True)
    network = ds_cnn.train(
        takes, held_back["validation"], classes=len(LABELS), epochs=epochs, seed=seed
    )
    print(f"trained in {time.monotonic() - start_s:.0f} s in total", flush=True)
    _write_files(folder, network, takes[0], held_back["test"])
    _write_examples(folder, corpora["test"], np.random.default_rng([seed, len(UTTERANCES)]))
    report = evaluation.evaluate(folder, held_back["test"])
    report["seconds"] = round(time.monotonic() - start_s)
    report["parameters"] = sum(p.numel() for p in network.parameters())
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    print(evaluation.describe(report))


def _make_corpora(
    generators: dict[str, np.random.Generator], amounts: dict[str, tuple[int, ...]]
) -> dict[str, list[Utterance]]:
    corpora: dict[str, list[Utterance]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder, names = add_random_voices(generators["train"], Path(scratch), RANDOM_VOICES)
        casts = {split: Cast((speakers,), folder) for split, speakers in SPEAKERS.items()}
        casts["train"] = Cast((SPEAKERS["train"], names), folder)
        everyone = tuple(speaker for speakers in SPEAKERS.values() for speaker in speakers)
        require_different_voices(Cast((everyone, names), folder))
        for split, (per_keyword, unknown, _) in amounts.items():
            corpora[split] = make_corpus(
                generators[split], split, casts[split], per_keyword=per_keyword, unknown=unknown
            )
            speakers = len({item.speaker for item in corpora[split]})
            print(f"{split}: {len(corpora[split])} utterances, {speakers} speakers", flush=True)
    return corpora


def _write_files(folder: Path, network: ds_cnn.DsCnn, training: Clips, test: Clips) -> None:
    description = (
        f"Keyword spotter: {', '.join(LABELS)}. DS-CNN on 49x10 mel-frequency cepstral "
        "coefficients, trained on speech synthesized with espeak-ng."
    )
    write_onnx(network, folder / "keyword_spotter.onnx", description=description)
    calibration = _first_of_each_label(training, CALIBRATION_PER_LABEL)
    chosen = _first_of_each_label(test, SHIPPED_TEST_PER_LABEL)
    _save_npz(folder / "keyword_calibration.npz", features=_rounded(training.features[calibration]))
    _save_npz(
        folder / "keyword_test.npz",
        features=_rounded(test.features[chosen]),
        labels=test.labels[chosen].astype(np.uint8),
    )


def _first_of_each_label(clips: Clips, count: int) -> npt.NDArray[np.int64]:
    rows = [np.flatnonzero(clips.labels == label)[:count] for label in range(len(LABELS))]
    # Labels in turn, so that any leading part of the data is balanced too.
    return np.array([row[i] for i in range(count) for row in rows if i < len(row)], np.int64)


def _rounded(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return (np.round(features / FEATURE_STEP) * FEATURE_STEP).astype(np.float32)


def _save_npz(path: Path, **arrays: npt.NDArray[np.generic]) -> None:
    temporary = path.with_suffix(".partial")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


def _write_examples(folder: Path, corpus: list[Utterance], generator: np.random.Generator) -> None:
    for word in EXAMPLES:
        utterance = next(item for item in corpus if item.label == KEYWORDS.index(word))
        clip, _ = record_word(generator, utterance, corpus, TESTING)
        with wave.open(str(folder / f"{word}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE_HZ)
            file.writeframes(np.round(clip * 32768.0).clip(-32768, 32767).astype("<i2").tobytes())


if __name__ == "__main__":
    sys.exit(main())
