"""``unidirectional_lstm``: a long short-term memory layer over a sequence.

Inputs, in TensorFlow Lite's order: 0 x (N, T, C) or (T, N, C); 1-4 input weights (S, C) and 5-8
recurrent weights (S, S) of the gates input, forget, cell, output; 12-15 their biases (S,); 18
output state (N, S); 19 cell state (N, S). 9-11 (peephole), 16-17 (projection) and 20-23 (layer
normalization) must be absent. Attributes: ``activation`` (of the cell gate: ``tanh``),
``cell_clip``, ``projection_clip``, ``time_major``. Output (N, T, S) or (T, N, S); both states are
updated in place.

Int8: x, weights, output and output state int8, biases int32, cell state int16 with a power of two
as scale; gates are int16 (Q3.12 before, Q0.15 after their activation).

References
----------
Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997. TensorFlow Lite
Micro, ``kernels/lstm_eval.h``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.dtypes import Array, DType
from edgekit.errors import ModelError, UnsupportedOpError
from edgekit.graph import Attr, Quantization, Tensor, TensorKind
from edgekit.ops import cases, int8
from edgekit.ops.checks import require_dtype
from edgekit.ops.int16_tables import sigmoid_int16, tanh_int16
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpCall, OpCase, OpSpec, OpView, TensorType

_INPUTS = 24
_UNUSED = (9, 10, 11, 16, 17, 20, 21, 22, 23)
_GATES = ("input", "forget", "cell", "output")
_OUTPUT_STATE, _CELL_STATE = 18, 19
_GATE_SCALE = np.float32(2.0**-12)
_ACTIVATED_SCALE = 2.0**-15


def _infer(view: OpView) -> list[TensorType]:
    if len(view.inputs) != _INPUTS:
        raise ModelError(f"layer {view.node.where}: {len(view.inputs)} inputs, not {_INPUTS}")
    if any(view.inputs[index] is not None for index in _UNUSED):
        raise UnsupportedOpError(
            view.node.op,
            node=view.node.where,
            hint="peepholes, projection and layer normalization are not computed",
        )
    if view.str_attr("activation", "tanh") != "tanh":
        raise UnsupportedOpError(
            view.node.op, node=view.node.where, hint="the cell's activation must be tanh"
        )
    dtype = require_dtype(view, 0, (DType.FLOAT32, DType.INT8))
    x = view.input(0).static_shape
    if len(x) != 3:
        raise ModelError(f"layer {view.node.where}: x {list(x)} needs 3 axes")
    units = _checked_units(view, dtype, x)
    return [TensorType((x[0], x[1], units), dtype)]


def _checked_units(view: OpView, dtype: DType, x: tuple[int, ...]) -> int:
    """Return the number of units, after comparing all shapes and types with it."""
    units = view.input(5).static_shape[0] if view.input(5).shape else 0
    batch = x[1] if view.bool_attr("time_major", False) else x[0]
    expected = {
        **dict.fromkeys(range(1, 5), ((units, x[2]), dtype)),
        **dict.fromkeys(range(5, 9), ((units, units), dtype)),
        **dict.fromkeys(range(12, 16), ((units,), dtype if dtype.is_float else DType.INT32)),
        _OUTPUT_STATE: ((batch, units), dtype),
        _CELL_STATE: ((batch, units), dtype if dtype.is_float else DType.INT16),
    }
    for index, (shape, kind) in expected.items():
        require_dtype(view, index, (kind,))
        if view.input(index).static_shape != shape:
            raise ModelError(
                f"layer {view.node.where}: input {index} is {list(view.input(index).shape)}, "
                f"not {list(shape)}"
            )
    return units


def _reference(call: OpCall) -> list[Array]:
    view, x = call.view, call.array(0)
    time_major = view.bool_attr("time_major", False)
    steps = x if time_major else x.swapaxes(0, 1)
    cell = _Int8Cell.of(call) if x.dtype == np.int8 else _FloatCell(call)
    outputs = [cell.step(step) for step in steps]
    stacked = np.stack(outputs, axis=0 if time_major else 1)
    return [stacked.astype(x.dtype)]


@dataclass(frozen=True, slots=True, eq=False)
class _FloatCell:
    call: OpCall

    def step(self, x: Array) -> Array:
        """Advance the states by one step (N, C) and return the output (N, S)."""
        gates = [self.gate(x, index) for index in range(len(_GATES))]
        given, forget, cell, out = gates
        state = self.call.array(_CELL_STATE)
        clip = np.float32(self.call.view.float_attr("cell_clip", 0.0))
        memory = forget * state.astype(np.float32) + given * cell
        state[...] = np.clip(memory, -clip, clip) if clip > 0 else memory
        hidden = out * np.tanh(state.astype(np.float32))
        self.call.array(_OUTPUT_STATE)[...] = hidden
        return np.asarray(hidden)

    def gate(self, x: Array, index: int) -> npt.NDArray[np.float32]:
        weights, recurrent = self.call.array(1 + index), self.call.array(5 + index)
        state = self.call.array(_OUTPUT_STATE)
        total = (
            x.astype(np.float32) @ weights.astype(np.float32).T
            + self.call.array(12 + index).astype(np.float32)
            + state.astype(np.float32) @ recurrent.astype(np.float32).T
        )
        if _GATES[index] == "cell":
            return np.asarray(np.tanh(total), np.float32)
        return np.asarray(1 / (1 + np.exp(-total)), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Int8Cell:
    """Integer arithmetic of one layer; factors are computed once."""

    call: OpCall
    input_factors: tuple[int8.Multipliers, ...]
    recurrent_factors: tuple[int8.Multipliers, ...]
    forget_factor: int8.Multipliers
    input_factor: int8.Multipliers
    hidden_factor: int8.Multipliers
    cell_power: int
    cell_clip: int

    @classmethod
    def of(cls, call: OpCall) -> _Int8Cell:
        view = call.view
        cell_scale = int8.scale_of(view.input(_CELL_STATE))
        hidden_scale = int8.scale_of(view.input(_OUTPUT_STATE))
        product = _ACTIVATED_SCALE * _ACTIVATED_SCALE
        clip = view.float_attr("cell_clip", 0.0) / float(cell_scale)
        return cls(
            call,
            tuple(_gate_factor(view, 0, 1 + index) for index in range(len(_GATES))),
            tuple(_gate_factor(view, _OUTPUT_STATE, 5 + index) for index in range(len(_GATES))),
            int8.quantize_multipliers(_ACTIVATED_SCALE * float(cell_scale) / float(cell_scale)),
            int8.quantize_multipliers(product / float(cell_scale)),
            int8.quantize_multipliers(product / float(hidden_scale)),
            round(math.log2(float(cell_scale))),
            int(min(max(clip, -32768.0), 32767.0)),
        )

    def step(self, x: Array) -> Array:
        """Advance the states by one step (N, C) and return the output (N, S)."""
        given, forget, cell, out = (self.gate(x, index) for index in range(len(_GATES)))
        state = self.call.array(_CELL_STATE)
        kept = _to_int16(int8.multiply(forget * state.astype(np.int64), self.forget_factor))
        added = _to_int16(int8.multiply(given * cell, self.input_factor))
        memory = _to_int16(kept + added)
        if self.cell_clip > 0:
            memory = np.clip(memory, -self.cell_clip, self.cell_clip)
        state[...] = memory.astype(np.int16)
        hidden_state = self.call.view.input(_OUTPUT_STATE)
        product = tanh_int16(memory, self.cell_power) * out
        shifted = int8.multiply(product, self.hidden_factor) + int8.zero_point_of(hidden_state)
        hidden = int8.saturate(shifted, DType.INT8)
        self.call.array(_OUTPUT_STATE)[...] = hidden
        return hidden

    def gate(self, x: Array, index: int) -> int8.IntArray:
        """Return one activated gate as Q0.15."""
        from_input = self.dense(x, 0, 1 + index, self.input_factors[index], 12 + index)
        hidden = self.call.array(_OUTPUT_STATE)
        recurrent = self.recurrent_factors[index]
        from_state = self.dense(hidden, _OUTPUT_STATE, 5 + index, recurrent, None)
        total = _to_int16(from_input + from_state)
        return tanh_int16(total, -12) if _GATES[index] == "cell" else sigmoid_int16(total)

    def dense(
        self, x: Array, x_index: int, weights: int, factor: int8.Multipliers, bias: int | None
    ) -> int8.IntArray:
        """Return x times weights as Q3.12 in int16."""
        view = self.call.view
        matrix = int8.centred(self.call.array(weights), view.input(weights))
        acc = int8.exact_matmul(int8.centred(x, view.input(x_index)), matrix.T)
        if bias is not None:
            acc = acc + self.call.array(bias).astype(np.int32)
        return _to_int16(int8.multiply(acc, factor))


def _gate_factor(view: OpView, x_index: int, weights: int) -> int8.Multipliers:
    product = int8.scale_of(view.input(x_index)) * int8.scale_of(view.input(weights))
    return int8.quantize_multipliers(float(product) / float(_GATE_SCALE))


def _to_int16(x: int8.IntArray) -> int8.IntArray:
    return np.clip(x, -32768, 32767)


def _macs(view: OpView) -> int:
    batch, steps, units = view.outputs[0].static_shape
    return batch * steps * units * 4 * (view.input(0).static_shape[2] + units)


def _scratch_bytes(view: OpView, _: KernelSet) -> int:
    """Return the bytes of one new output state."""
    return view.input(5).static_shape[0] if view.input(0).dtype is DType.INT8 else 0


def _cases() -> Iterable[OpCase]:
    for name, shape, units, time_major in (
        ("batch", (2, 5, 4), 3, False),
        ("time_major", (6, 1, 3), 5, True),
    ):
        attrs: dict[str, Attr] = {"activation": "tanh", "cell_clip": 0.0, "time_major": time_major}
        batch, depth = shape[1 if time_major else 0], shape[2]
        floats: list[cases.Input | None] = [None] * _INPUTS
        stored: list[cases.Input | None] = [None] * _INPUTS
        floats[0], stored[0] = cases.float_input("x", shape), cases.int8_input("x", shape, 0.02, 5)
        for index, gate in enumerate(_GATES):
            for first, columns in ((1, depth), (5, units)):
                weights = f"{gate}{first}", (units, columns)
                floats[first + index] = cases.float_input(*weights, -1, 1, const=True)
                stored[first + index] = cases.int8_input(*weights, 0.008, const=True)
            floats[12 + index] = cases.float_input(f"bias_{gate}", (units,), -1, 1, const=True)
            stored[12 + index] = cases.int32_bias(f"bias_{gate}", units)
        for index, state in ((_OUTPUT_STATE, "hidden"), (_CELL_STATE, "cell")):
            zeros = np.zeros((batch, units), np.float32)
            floats[index] = (_state(state, zeros, None), zeros)
        hidden, cell = np.full((batch, units), -3, np.int8), np.zeros((batch, units), np.int16)
        stored[_OUTPUT_STATE] = (_state("hidden", hidden, (1 / 128, -3)), hidden)
        stored[_CELL_STATE] = (_state("cell", cell, (2.0**-11, 0)), cell)
        yield cases.case(f"float_{name}", _infer, floats, attrs, tolerance=1e-5)
        yield cases.case(f"int8_{name}", _infer, stored, attrs, scale=1 / 128, zero_point=-3)
        clipped: dict[str, Attr] = {**attrs, "cell_clip": 0.5}
        # States are updated in place: each case has its own.
        again = [given and (given[0], given[1].copy()) for given in stored]
        yield cases.case(f"int8_clip_{name}", _infer, again, clipped, scale=1 / 128, zero_point=-3)


def _state(name: str, data: Array, scale: tuple[float, int] | None) -> Tensor:
    quantization = None if scale is None else Quantization.per_tensor(*scale)
    dtype = DType.from_numpy(data.dtype)
    return Tensor(name, tuple(data.shape), dtype, TensorKind.STATE, quantization)


SPECS = (OpSpec("unidirectional_lstm", _infer, _reference, _macs, _scratch_bytes, cases=_cases),)
