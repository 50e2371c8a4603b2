"""Write the keyword spotter as ONNX."""

from __future__ import annotations

from pathlib import Path

from torch import nn
from training.ds_cnn import BLOCKS, CHANNELS, FIRST_PADDING, DsCnn
from training.onnx_graph import GraphWriter, fold


def write_onnx(network: DsCnn, path: Path, *, description: str) -> None:
    """Write the network; the file is checked before it is put in place.

    Parameters
    ----------
    network : DsCnn
        In evaluation mode.
    path : Path
        Target; input ``features`` float32 (batch, 1, 49, 10), output ``scores`` (batch, classes).
    description : str
        Stored in the file.
    """
    writer = GraphWriter()
    left, right, top, bottom = FIRST_PADDING
    pads = [top, left, bottom, right]
    x = _add(writer, "first", "features", network.first, network.first_norm, pads, strides=[2, 2])
    for index in range(BLOCKS):
        block = network.blocks[index]
        name = f"block{index + 1}"
        x = _add(
            *(writer, f"{name}.depthwise", x, block.depthwise, block.depthwise_norm),
            [1, 1, 1, 1],
            group=CHANNELS,
        )
        x = _add(writer, f"{name}.pointwise", x, block.pointwise, block.pointwise_norm, None)
    writer.add_scores(x, network.scores)
    writer.save(
        path,
        name="keyword_spotter",
        source=("features", (1, 49, 10)),
        classes=network.scores.out_features,
        description=description,
    )


def _add(
    writer: GraphWriter,
    name: str,
    source: str,
    convolution: nn.Conv2d,
    norm: nn.BatchNorm2d,
    pads: list[int] | None,
    **attributes: object,
) -> str:
    if pads is not None:
        attributes["pads"] = pads
    result = writer.add_convolution(name, source, fold(convolution, norm), **attributes)
    return writer.add_node("Relu", f"{name}.relu", [result], f"{name}.out")
