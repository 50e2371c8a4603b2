"""PyTorch programs and modules become graphs that compute the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.converters.importers import load_model
from edgekit.converters.importers.torch_export import load_torch
from edgekit.converters.passes import simplify
from edgekit.errors import ModelFormatError, UnsupportedOpError, UsageError
from edgekit.ops.evaluate import evaluate

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

pytestmark = [
    pytest.mark.full,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def _block(inputs: int, outputs: int, groups: int = 1) -> Any:
    return torch.nn.Sequential(
        torch.nn.Conv2d(inputs, outputs, 3, padding=1, groups=groups, bias=False),
        torch.nn.BatchNorm2d(outputs),
        torch.nn.ReLU6(),
    )


class _SmallNet(torch.nn.Module):  # type: ignore[misc]
    """Convolution, batch normalisation, depthwise convolution, residual sum, dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _block(3, 8)
        self.depthwise = _block(8, 8, groups=8)
        self.pointwise = torch.nn.Conv2d(8, 8, 1)
        self.pool = torch.nn.MaxPool2d(2)
        self.head = torch.nn.Linear(8, 5)

    def forward(self, image: Any) -> Any:
        x = self.stem(image)
        x = self.pool(x + self.pointwise(self.depthwise(x)))
        return torch.softmax(self.head(x.mean((2, 3))), dim=-1)


class _Eigenvalues(torch.nn.Module):  # type: ignore[misc]
    def forward(self, matrix: Any) -> Any:
        return torch.linalg.eigvals(matrix).real


class _NoOnnxForm(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.spectrum = _Eigenvalues()

    def forward(self, matrix: Any) -> Any:
        return self.spectrum(matrix) + 1


@pytest.fixture(scope="module")
def net() -> Any:
    torch.manual_seed(0)
    module = _SmallNet()
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.uniform_(-1, 1)
            layer.running_var.uniform_(0.5, 2)
    return module.train()


def _image(batch: int = 1) -> Any:
    return torch.rand(batch, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_module_computes_what_torch_computes_and_keeps_its_mode(net: Any) -> None:
    graph = load_torch(net, (_image(),))
    assert net.training
    net.eval()
    expected = net(_image()).detach().numpy()
    net.train()
    assert "pointwise" in " ".join(node.origin for node in graph.nodes)
    for variant in (graph, simplify(graph)):
        (found,) = evaluate(variant, {graph.inputs[0]: _image().numpy()}).values()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_saved_program_is_recognised_and_its_batch_becomes_1(net: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.bin"
    shapes = {"image": {0: torch.export.Dim("batch")}}
    program = torch.export.export(net.eval(), (_image(2),), dynamic_shapes=shapes)
    with path.open("wb") as file:
        torch.export.save(program, file)
    expected = net(_image()).detach().numpy()
    graph = load_model(path)
    assert graph.tensors[graph.inputs[0]].shape == (1, 3, 16, 16)
    (found,) = evaluate(graph, {graph.inputs[0]: _image().numpy()}).values()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_operator_without_onnx_form_is_named_with_its_module() -> None:
    with pytest.raises(UnsupportedOpError, match=r"linalg_eig.*layer spectrum"):
        load_torch(_NoOnnxForm(), (torch.eye(3),))


def test_checkpoint_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"w": torch.ones(2)}, path)
    with pytest.raises(ModelFormatError, match=r"torch\.export\.save"):
        load_model(path)


def test_module_without_example_inputs_is_a_usage_error(net: Any) -> None:
    with pytest.raises(UsageError, match="example inputs"):
        load_torch(net)
