"""Small trained models that ship with edgekit, with calibration and test data.

``edgekit convert --device NAME`` without a model converts `default_model`;
`language_model_path` is a small language model, `image_classifier_path` a network to try what is
done to images. How the models were made, on what data, and how good they are:
docs/keyword-spotter.md, docs/tales.md, docs/image-classifiers.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.errors import EdgekitError, UsageError

LANGUAGE_MODEL_QUANTIZATIONS = ("q8_0", "q4_0")
IMAGE_CLASSIFIERS = ("surfaces", "letters")

KEYWORD_LABELS = (
    *("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes"),
    *("silence", "unknown"),
)


@dataclass(frozen=True, slots=True)
class ZooModel:
    """One trained model and its data.

    Attributes
    ----------
    name : str
        Short name, as in file names.
    path : Path
        The ONNX file.
    calibration_path : Path
        An ``.npz``: one float32 array of shape (n, ...) for each model input, under its name.
    test_path : Path
        An ``.npz`` of held-back samples: the same, and ``labels`` uint8, shape (n,).
    labels : tuple of str
        Name of each class, in the order of the model's scores.
    description : str
        One sentence for a user.
    example_paths : tuple of Path
        Raw inputs to try, named after what is in them.
    """

    name: str
    path: Path
    calibration_path: Path
    test_path: Path
    labels: tuple[str, ...]
    description: str
    example_paths: tuple[Path, ...]

    def load_calibration(self) -> dict[str, npt.NDArray[np.float32]]:
        """Read the calibration inputs.

        Returns
        -------
        dict of array of float32, shape (n, ...)
            By name of the model input.
        """
        with np.load(self.calibration_path) as data:
            return dict(data)

    def load_test(self) -> tuple[dict[str, npt.NDArray[np.float32]], npt.NDArray[np.uint8]]:
        """Read the held-back samples.

        Returns
        -------
        inputs : dict of array of float32, shape (n, ...)
            By name of the model input.
        labels : array of uint8, shape (n,)
            Index into `labels` of each sample.
        """
        with np.load(self.test_path) as data:
            arrays = dict(data)
        labels = arrays.pop("labels")
        return arrays, labels


def list_models() -> tuple[ZooModel, ...]:
    """All models that ship, the default first.

    Returns
    -------
    tuple of ZooModel

    Raises
    ------
    EdgekitError
        If a file of the installation is missing.
    """
    return (_keyword_spotter(),)


def default_model() -> ZooModel:
    """Look up the model that is converted when a user names none.

    Returns
    -------
    ZooModel
        The keyword spotter.

    Raises
    ------
    EdgekitError
        If a file of the installation is missing.
    """
    return list_models()[0]


def language_model_path(quantization: str = "q8_0") -> Path:
    """Find the GGUF file of the language model that ships.

    Parameters
    ----------
    quantization : {"q8_0", "q4_0"}
        How its matrices are stored.

    Returns
    -------
    Path

    Raises
    ------
    UsageError
        If it does not ship with this quantization.
    EdgekitError
        If the file of the installation is missing.
    """
    if quantization not in LANGUAGE_MODEL_QUANTIZATIONS:
        raise UsageError(
            f"the language model does not ship as {quantization!r}; "
            f"choose from {', '.join(LANGUAGE_MODEL_QUANTIZATIONS)}"
        )
    return _find(f"tales_{quantization}.gguf")


def image_classifier_path(name: str = "surfaces") -> Path:
    """Find the ONNX file of an image classifier that ships.

    Input ``image`` float32 (batch, 3, 96, 96), ``pixels / 127.5 - 1``; output ``scores``.

    Parameters
    ----------
    name : {"surfaces", "letters"}

    Returns
    -------
    Path

    Raises
    ------
    UsageError
        If no such classifier ships.
    EdgekitError
        If the file of the installation is missing.
    """
    if name not in IMAGE_CLASSIFIERS:
        raise UsageError(
            f"no image classifier {name!r} ships; choose from {', '.join(IMAGE_CLASSIFIERS)}"
        )
    return _find(f"{name}.onnx")


def _keyword_spotter() -> ZooModel:
    return ZooModel(
        name="keyword_spotter",
        path=_find("keyword_spotter.onnx"),
        calibration_path=_find("keyword_calibration.npz"),
        test_path=_find("keyword_test.npz"),
        labels=KEYWORD_LABELS,
        description=(
            "Keyword spotter: ten spoken words, silence and unknown, from one second of sound "
            "(DS-CNN, 24 k parameters, trained on synthesized speech)."
        ),
        example_paths=(_find("yes.wav"), _find("stop.wav")),
    )


def _find(name: str) -> Path:
    resource = resources.files(__name__).joinpath(name)
    if not isinstance(resource, Path) or not resource.is_file():
        raise EdgekitError(
            f"{resource}: this file of the edgekit installation is missing\n"
            "install edgekit again, unpacked into a folder (not run from a zip file)"
        )
    return resource
