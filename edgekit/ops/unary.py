"""Element-wise functions of one floating-point tensor (``abs``, ``neg``, ``square`` also integers).

No attributes, but for ``gelu``: ``approximate`` is ``none`` (exact, by the error function) or
``tanh``. Domain errors give NaN or infinity as in IEEE 754.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError
from edgekit.graph import Attr, Tensor, TensorKind
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, TensorType

Floats = npt.NDArray[np.float32]

_SQRT_HALF = math.sqrt(0.5)
_SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)

_erf = np.vectorize(math.erf, otypes=[np.float64])


def erf(x: Floats) -> Floats:
    """Return the error function of each element."""
    return np.asarray(_erf(x), x.dtype) if x.size else x


def _softplus(x: Floats) -> Floats:
    return np.logaddexp(x, x.dtype.type(0))


def _rsqrt(x: Floats) -> Floats:
    return np.reciprocal(np.sqrt(x))


def _gelu(x: Floats, approximate: str) -> Floats:
    """Hendrycks and Gimpel, "Gaussian Error Linear Units", arXiv:1606.08415, section 2."""
    wide = x.astype(np.float64)
    if approximate == "tanh":
        cumulative = 0.5 * (1.0 + np.tanh(_SQRT_2_OVER_PI * (wide + 0.044715 * wide**3)))
    else:
        cumulative = 0.5 * (1.0 + _erf(wide * _SQRT_HALF))
    return np.asarray(wide * cumulative, x.dtype)


def _infer(view: OpView) -> list[TensorType]:
    x = view.input(0)
    return [TensorType(x.shape, x.dtype)]


def _infer_float(view: OpView) -> list[TensorType]:
    x = view.input(0)
    if not x.dtype.is_float:
        raise ModelError(
            f"layer {view.node.where}: {view.node.op} needs floats, not {x.dtype.value}"
        )
    return [TensorType(x.shape, x.dtype)]


def _infer_gelu(view: OpView) -> list[TensorType]:
    if view.str_attr("approximate", "none") not in {"none", "tanh"}:
        raise ModelError(f"layer {view.node.where}: gelu is exact ('none') or by 'tanh'")
    return _infer_float(view)


def _gelu_reference(call: OpCall) -> list[Array]:
    return [_gelu(call.array(0).astype(np.float32), call.view.str_attr("approximate", "none"))]


def _reference(function: Callable[..., Array]) -> Callable[[OpCall], list[Array]]:
    def run(call: OpCall) -> list[Array]:
        x = call.array(0)
        with np.errstate(all="ignore"):
            return [np.asarray(function(x), x.dtype)]

    return run


def _case(name: str, array: Array, attrs: dict[str, Attr] | None = None) -> OpCase:
    x = Tensor("x", array.shape, DType.FLOAT32, TensorKind.INPUT)
    return OpCase(name, ((x, array),), (Tensor("y", x.shape, x.dtype),), attrs or {}, 2e-6)


def _cases_between(low: float, high: float) -> Callable[[], Iterable[OpCase]]:
    def cases() -> Iterable[OpCase]:
        yield _case("range", np.linspace(low, high, 41, dtype=np.float32).reshape(1, 41))
        yield _case("image", np.linspace(low, high, 24, dtype=np.float32).reshape(1, 2, 3, 4))

    return cases


def _gelu_cases() -> Iterable[OpCase]:
    x = np.linspace(-6, 6, 49, dtype=np.float32)
    for approximate in ("none", "tanh"):
        yield _case(approximate, x, {"approximate": approximate})


def _spec(
    name: str, function: Callable[..., Array], low: float, high: float, *, floats_only: bool = True
) -> OpSpec:
    return OpSpec(
        name,
        _infer_float if floats_only else _infer,
        _reference(function),
        in_place=((0, 0),),
        cases=_cases_between(low, high),
    )


SPECS = (
    _spec("exp", np.exp, -4, 1),
    _spec("log", np.log, 0.01, 8),
    _spec("sqrt", np.sqrt, 0, 4),
    _spec("rsqrt", _rsqrt, 0.5, 9),
    _spec("erf", erf, -3, 3),
    _spec("floor", np.floor, -3.3, 3.3),
    _spec("softplus", _softplus, -10, 5),
    _spec("abs", np.abs, -3, 3, floats_only=False),
    _spec("neg", np.negative, -3, 3, floats_only=False),
    _spec("square", np.square, -1, 1, floats_only=False),
    OpSpec("gelu", _infer_gelu, _gelu_reference, in_place=((0, 0),), cases=_gelu_cases),
)
