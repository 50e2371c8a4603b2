"""``python -m edgekit.zoo``: turn a sound into the input of the keyword spotter."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from edgekit.zoo import default_model
from edgekit.zoo.speech_features import features_from_wav


@click.command()
@click.argument("wav", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="NPZ")
def main(wav: Path | None, out: Path) -> None:
    """Write the features of WAV (one second, 16 kHz; by default a spoken "yes") as an .npz file."""
    source = wav or default_model().example_paths[0]
    np.savez(out, features=features_from_wav(source))
    click.echo(f"{out}: features of {source.name}")


main()
