"""Dynamic int8 for encoders: weights are stored in 8 bits, activations are quantized as they come.

Encoders have activations whose range differs a lot from token to token and text to text, so a range
fixed at calibration costs accuracy. Here each matrix product measures the range of its input when
it runs (``DynamicQuantizeLinear``), multiplies in integers (``MatMulInteger``) and goes back to
float; everything between the products stays float. No calibration data are needed. The rewriting is
onnxruntime's quantizer; this module decides how it is used:

- **Weights are uint8 with a zero point of their own for each output channel.** Activations are
  uint8. Where a processor has no dot-product instruction that widens to 32 bits (x86 with AVX2
  only), products of uint8 with *int8* are summed in pairs in int16 and saturate: the same file
  then gives other results there than on a phone. Halving the weights' range (``reduce_range``)
  avoids that and costs a bit of every weight. Products of uint8 with uint8 are widened first, exact
  everywhere, no slower with AVX2, and native on ARM (``UDOT``). On all-MiniLM-L6-v2, mean cosine to
  the float model: int8 0.9907 (saturating), int8 with reduced range 0.9917, uint8 0.9933.
- **Embedding tables are quantized as a whole**, one scale a table: onnxruntime looks rows up in the
  8-bit table and widens those only.
- **Shape annotations of intermediate tensors are dropped.** With them onnxruntime fuses the
  residual addition into ``SkipLayerNormalization``, whose CPU kernel takes four times as long as
  the two operators that it replaces.

Source: Zafrir et al., "Q8BERT: Quantized 8Bit BERT", 2019, section 2 (8-bit weights and embeddings,
everything else in float); ONNX operator reference, ``DynamicQuantizeLinear``, ``MatMulInteger``.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import MissingDependencyError, ModelFormatError, UsageError

_OPERATORS = ("MatMul", "Gemm", "Gather")
"""Whose constant operands become 8-bit: products, and lookups in embedding tables."""


def quantize_dynamic_onnx(onnx_bytes: bytes, *, exclude: Sequence[str] = ()) -> bytes:
    """Store weights of an ONNX model in 8 bits and quantize activations at run time.

    Parameters
    ----------
    onnx_bytes : bytes
        A float32 model, as :func:`edgekit.converters.emitters.onnx.emit_onnx` writes it.
    exclude : sequence of str
        Layers that stay float: names of edgekit graph nodes, or of ONNX nodes.

    Returns
    -------
    bytes
        The same inputs and outputs; the same bytes for the same model and onnxruntime.

    Raises
    ------
    UsageError
        If ``exclude`` names a layer that does not exist, or that has nothing to quantize.
    ModelFormatError
        If the bytes are no ONNX model.
    MissingDependencyError
        If onnx or onnxruntime is not installed.
    """
    model = _parsed(onnx_bytes)
    excluded = _excluded_nodes(model, exclude)
    quantized = _quantized(model, excluded)
    del quantized.graph.value_info[:]
    data: bytes = quantized.SerializeToString(deterministic=True)
    return data


def _parsed(onnx_bytes: bytes) -> Any:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingDependencyError("onnx", library="onnx") from error
    try:
        model = onnx.load_model_from_string(onnx_bytes)
    except DecodeError as error:
        raise ModelFormatError(f"not an ONNX model: {error}") from error
    if not model.graph.node:
        raise ModelFormatError("not an ONNX model: it has no nodes")
    return model


def _excluded_nodes(model: Any, exclude: Sequence[str]) -> list[str]:
    """Return the ONNX nodes of layers: a layer becomes nodes called as it, or ``layer/...``."""
    names = [node.name for node in model.graph.node if node.op_type in _OPERATORS]
    found: list[str] = []
    for layer in exclude:
        nodes = [name for name in names if name == layer or name.startswith(f"{layer}/")]
        if not nodes:
            raise UsageError(f"layer {layer} cannot be kept float: nothing in it is quantized")
        found += nodes
    return found


def _quantized(model: Any, excluded: list[str]) -> Any:
    try:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise MissingDependencyError("onnx", library="onnxruntime") from error
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder, _without_advice():
        path = Path(folder) / "quantized.onnx"
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=list(_OPERATORS),
            per_channel=True,
            reduce_range=False,
            weight_type=QuantType.QUInt8,
            nodes_to_exclude=excluded,
        )
        return onnx.load_model(path)


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Silence the quantizer's advice on the root logger to preprocess, which emit_onnx has done."""
    previous = logging.root.manager.disable
    logging.disable(max(previous, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(previous)
