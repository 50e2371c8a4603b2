"""Write a network of inverted residuals as ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from training.mobile_net import Convolution, InvertedResidual, MobileNet
from training.onnx_graph import GraphWriter, fold
from training.scenes import SIZE

HIGHEST = 6.0
"""Of ReLU6."""


def write_mobile_net(network: MobileNet, path: Path, *, name: str, description: str) -> None:
    """Write the network; the file is checked before it is put in place.

    Parameters
    ----------
    network : MobileNet
        In evaluation mode.
    path : Path
        Target; input ``image`` float32 (batch, 3, 96, 96) in [-1, 1], output ``scores``
        (batch, classes).
    name, description : str
        Stored in the file.
    """
    writer = GraphWriter()
    writer.add_weight("lowest", np.array(0.0, np.float32))
    writer.add_weight("highest", np.array(HIGHEST, np.float32))
    x = _add(writer, "stem", "image", network.stem)
    for index, block in enumerate(network.blocks):
        x = _add_block(writer, f"block{index + 1}", x, block)
    writer.add_scores(_add(writer, "head", x, network.head), network.scores)
    writer.save(
        path,
        name=name,
        source=("image", (3, SIZE, SIZE)),
        classes=network.scores.out_features,
        description=description,
    )


def _add_block(writer: GraphWriter, name: str, source: str, block: InvertedResidual) -> str:
    names = ("expand", "depthwise", "project")[-len(block.layers) :]
    x = source
    for part, layer in zip(names, block.layers, strict=True):
        x = _add(writer, f"{name}.{part}", x, layer)
    if block.has_shortcut:
        x = writer.add_node("Add", f"{name}.add", [source, x], f"{name}.out")
    return x


def _add(writer: GraphWriter, name: str, source: str, layers: Convolution) -> str:
    convolution, norm = layers[0], layers[1]
    padding = convolution.padding[0]
    x = writer.add_convolution(
        name,
        source,
        fold(convolution, norm),
        strides=list(convolution.stride),
        pads=[padding] * 4,
        group=convolution.groups,
    )
    if len(layers) == 2:
        return x
    return writer.add_node("Clip", f"{name}.clip", [x, "lowest", "highest"], f"{name}.out")
