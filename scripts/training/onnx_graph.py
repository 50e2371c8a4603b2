"""Write networks as ONNX, layer by layer, with batch normalization folded.

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

OPSET = 17
IR_VERSION = 8

FloatArray = npt.NDArray[np.float32]


def fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[FloatArray, FloatArray]:
    """Weights and bias of one convolution equal to convolution and normalization."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weights = convolution.weight.detach().double().numpy()
    deviation = np.sqrt(norm.running_var.double().numpy() + norm.eps)
    factor = norm.weight.detach().double().numpy() / deviation
    bias = norm.bias.detach().double().numpy() - norm.running_mean.double().numpy() * factor
    return (weights * factor[:, None, None, None]).astype(np.float32), bias.astype(np.float32)


class GraphWriter:
    """Nodes and weights of a graph whose input is an image or features, its output scores."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add_node(
        self, op: str, name: str, inputs: list[str], output: str, **attributes: object
    ) -> str:
        """Add a node of one output; its name."""
        self.nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def add_weight(self, name: str, values: npt.NDArray[np.generic]) -> str:
        """Add a constant; its name."""
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add_convolution(
        self, name: str, source: str, folded: tuple[FloatArray, FloatArray], **attributes: object
    ) -> str:
        """Add a convolution without activation; the name of its output."""
        weights, bias = folded
        inputs = [
            source,
            self.add_weight(f"{name}.weight", weights),
            self.add_weight(f"{name}.bias", bias),
        ]
        shape = list(weights.shape[2:])
        return self.add_node("Conv", name, inputs, f"{name}.sum", kernel_shape=shape, **attributes)

    def add_scores(self, source: str, scores: nn.Linear) -> None:
        """Add the average over all positions and the last layer, whose output is ``scores``."""
        x = self.add_node("GlobalAveragePool", "pool", [source], "pool.out")
        x = self.add_node("Flatten", "flatten", [x], "flatten.out", axis=1)
        weight = self.add_weight("scores.weight", scores.weight.detach().numpy())
        offset = self.add_weight("scores.bias", scores.bias.detach().numpy())
        self.add_node("Gemm", "scores", [x, weight, offset], "scores", transB=1)

    def save(
        self,
        path: Path,
        *,
        name: str,
        source: tuple[str, tuple[int, ...]],
        classes: int,
        description: str,
    ) -> None:
        """Check the model, then put it in place.

        Parameters
        ----------
        path : Path
        name : str
            Of the graph.
        source : (str, tuple of int)
            Name of the float32 input, and its shape without the batch.
        classes : int
        description : str
            Stored in the file.
        """
        shapes = (source[0], ["batch", *source[1]]), ("scores", ["batch", classes])
        inputs, outputs = (
            [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, shape)]
            for tensor, shape in shapes
        )
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.weights, description)
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
