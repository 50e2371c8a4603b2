#!/usr/bin/env python3
"""Train the language model that ships in ``edgekit/zoo``, from nothing, on public-domain texts.

Needs the extras ``edgekit[torch,llm]``::

    python scripts/train_language_model.py --out DIR --minutes 40 --text FILE FILE ...

A text is a plain file, or a zip archive of plain files and of plays in XML, counted as one text.
The last 5 % of each are held back. Texts given by ``--evaluate`` are only ever measured on.
``--steps`` instead of ``--minutes`` gives the same files on every run with the same versions; with
``--minutes`` the learning rate follows the clock, so that a busy machine still ends on time. The
state is saved every minute: ``--resume`` goes on from there, and ends at once where the budget is
spent, so that a smaller one exports what there is.

Writes the model as F32, Q8_0 and Q4_0 GGUF, its tokenizer and ``report.json`` with every figure
that docs/tales.md states.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from training.language_corpus import (
    CorpusError,
    Source,
    encode,
    read_source,
    read_text,
    train_tokenizer,
)
from training.language_evaluation import combine, measure_activity, measure_quality, sample
from training.language_gguf import FILE_TYPES, read_network, write_gguf
from training.language_network import LanguageNetwork, Shape
from training.language_trainer import Budget, Settings, Trainer

PROMPTS = (
    "ROMEO:\n",
    "Once upon a time there was a",
    "Mr. Speaker, Mr. President, Members of the Congress:",
)


def main() -> int:
    """Run the whole recipe; the exit status."""
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    try:
        sources = [read_source(path) for path in arguments.text]
        others = {path.stem: read_text(path) for path in arguments.evaluate}
        trainer, tokenizer = _train(arguments, sources)
    except CorpusError as error:
        print(error, file=sys.stderr)
        return 1
    training_data = [item.name for item in sources]
    for quantization in FILE_TYPES:
        write_gguf(
            arguments.out / f"tales_{quantization}.gguf",
            trainer.network,
            tokenizer,
            quantization=quantization,
            training_data=training_data,
        )
    report = {
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "shape": trainer.network.shape.as_dict(),
        "steps": trainer.step,
        "seconds": round(trainer.elapsed_s),
        "tokens_seen": trainer.tokens_seen,
        "training_tokens": len(trainer.tokens),
        **_evaluate(arguments.out, tokenizer, sources, others),
    }
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (arguments.out / "report.json").write_text(text + "\n")
    print(text)
    return 0


def _train(arguments: argparse.Namespace, sources: Sequence[Source]) -> tuple[Trainer, Tokenizer]:
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(sources, arguments.vocabulary)
    tokenizer.save(str(arguments.out / "tokenizer.json"))
    training = encode(tokenizer, [text for item in sources for text in item.training])
    print(f"{len(training)} tokens to train on, {tokenizer.get_vocab_size()} in the vocabulary")
    shape = Shape(vocabulary_size=tokenizer.get_vocab_size(), layers=arguments.layers)
    trainer = Trainer(
        LanguageNetwork(shape), training, Settings(seed=arguments.seed), device=arguments.device
    )
    checkpoint = arguments.out / "checkpoint.pt"
    if arguments.resume and checkpoint.exists():
        trainer.restore(checkpoint)
    trainer.run(Budget(steps=arguments.steps, minutes=arguments.minutes), checkpoint)
    return trainer, tokenizer


def _evaluate(
    folder: Path, tokenizer: Tokenizer, sources: Sequence[Source], others: dict[str, str]
) -> dict[str, Any]:
    """Quality of each file that was written, activity and samples of the first."""
    report: dict[str, Any] = {"quality": {}}
    for quantization in FILE_TYPES:
        network = read_network(folder / f"tales_{quantization}.gguf")
        parts = {
            item.name: measure_quality(network, tokenizer, item.validation) for item in sources
        }
        found = {"validation": combine(list(parts.values())), **parts}
        found |= {
            name: measure_quality(network, tokenizer, [text]) for name, text in others.items()
        }
        report["quality"][quantization] = {name: asdict(value) for name, value in found.items()}
    network = read_network(folder / "tales_f32.gguf")
    held_back = [text for item in sources for text in item.validation]
    activity = measure_activity(network, tokenizer, held_back)
    report["activity"] = [asdict(layer) for layer in activity]
    report["samples"] = [sample(network, tokenizer, prompt) for prompt in PROMPTS]
    return report


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train edgekit's language model.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--text", type=Path, nargs="+", required=True, help="texts to learn")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--steps", type=int, help="train for so many steps of 2,048 tokens")
    budget.add_argument("--minutes", type=float, help="train for so long")
    parser.add_argument(
        "--evaluate",
        type=Path,
        nargs="*",
        default=[],
        help="more texts to judge the model by: the first 20 kB of each",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last state in --out")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--vocabulary", type=int, default=Shape().vocabulary_size)
    parser.add_argument("--layers", type=int, default=Shape().layers)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
