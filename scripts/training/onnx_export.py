"""Write the trained network as ONNX, layer by layer, with batch normalization folded.

Written out instead of traced, so that every tensor has a name a reader understands, and the file
does not change with the version of an exporter.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from training.ds_cnn import BLOCKS, CHANNELS, FIRST_PADDING, DsCnn

OPSET = 17
IR_VERSION = 8

FloatArray = npt.NDArray[np.float32]


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[FloatArray, FloatArray]:
    """Weights and bias of one convolution equal to convolution and normalization."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weights = convolution.weight.detach().double().numpy()
    deviation = np.sqrt(norm.running_var.double().numpy() + norm.eps)
    factor = norm.weight.detach().double().numpy() / deviation
    bias = norm.bias.detach().double().numpy() - norm.running_mean.double().numpy() * factor
    return (weights * factor[:, None, None, None]).astype(np.float32), bias.astype(np.float32)


class _GraphWriter:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add_node(
        self, op: str, name: str, inputs: list[str], output: str, **attributes: object
    ) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def add_weight(self, name: str, values: npt.NDArray[np.generic]) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add_convolution(
        self, name: str, source: str, folded: tuple[FloatArray, FloatArray], **attributes: object
    ) -> str:
        weights, bias = folded
        inputs = [
            source,
            self.add_weight(f"{name}.weight", weights),
            self.add_weight(f"{name}.bias", bias),
        ]
        shape = list(weights.shape[2:])
        result = self.add_node(
            "Conv", name, inputs, f"{name}.sum", kernel_shape=shape, **attributes
        )
        return self.add_node("Relu", f"{name}.relu", [result], f"{name}.out")


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
    writer = _GraphWriter()
    left, right, top, bottom = FIRST_PADDING
    x = writer.add_convolution(
        "first",
        "features",
        _fold(network.first, network.first_norm),
        strides=[2, 2],
        pads=[top, left, bottom, right],
    )
    for index in range(BLOCKS):
        block = network.blocks[index]
        depthwise = _fold(block.depthwise, block.depthwise_norm)
        x = writer.add_convolution(
            f"block{index + 1}.depthwise", x, depthwise, pads=[1, 1, 1, 1], group=CHANNELS
        )
        pointwise = _fold(block.pointwise, block.pointwise_norm)
        x = writer.add_convolution(f"block{index + 1}.pointwise", x, pointwise)
    x = writer.add_node("GlobalAveragePool", "pool", [x], "pool.out")
    x = writer.add_node("Flatten", "flatten", [x], "flatten.out", axis=1)
    weight = writer.add_weight("scores.weight", network.scores.weight.detach().numpy())
    offset = writer.add_weight("scores.bias", network.scores.bias.detach().numpy())
    writer.add_node("Gemm", "scores", [x, weight, offset], "scores", transB=1)
    _save(writer, path, classes=network.scores.out_features, description=description)


def _save(writer: _GraphWriter, path: Path, *, classes: int, description: str) -> None:
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 1, 49, 10])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", classes])
    graph = helper.make_graph(
        writer.nodes, "keyword_spotter", [features], [scores], writer.weights, description
    )
    model = helper.make_model(
        graph,
        producer_name="edgekit",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    onnx.checker.check_model(model, full_check=True)
    temporary = path.with_suffix(".partial")
    onnx.save(model, str(temporary))
    temporary.replace(path)
