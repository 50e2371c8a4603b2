"""C source of a planned model: straight-line calls of kernels, one arena, constants in flash.

Four files. ``model.h`` is the interface: three functions. ``model.c`` holds the arena and the
calls in the order of the plan, each at the offsets of the plan. ``weights.c`` holds the constants.
``firmware_model.h`` gives the interface names that do not depend on the model, for programs that
run any model.

The same files are compiled for a board, for an emulated board and into applications.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edgekit.converters.emitters import c_select, c_stream
from edgekit.converters.emitters.c_weights import (
    ConstantPool,
    c_float,
    c_integer,
    c_type,
    comment_text,
    shape_text,
)
from edgekit.errors import InternalError, PlacementError
from edgekit.graph import Graph, Node, Tensor
from edgekit.lifetimes import scratch_name, view_pair
from edgekit.ops.evaluate import initial_state
from edgekit.ops.kernel_set import KernelSet
from edgekit.ops.spec import OpView
from edgekit.plan import Compute, Plan, PlannedBuffer, Select
from edgekit.runtime.lowering import SCRATCH, KernelCall, lower
from edgekit.runtime.lowering.call import Field
from edgekit.selects import cases_of

ARENA_ALIGNMENT = 16


@dataclass(frozen=True, slots=True)
class CModel:
    """Generated sources of one model.

    Parameters
    ----------
    prefix : str
        Begin of every public name.
    files : mapping of file name to bytes
    arena_bytes, weights_bytes : int
        RAM for activations, states and scratch; constants in flash.
    inputs, outputs : tuple of int
        Bytes of each.
    uses_float : bool
        Whether any tensor holds floats.
    kernels : KernelSet
        What the calls must be linked with; others do not link.
    """

    prefix: str
    files: Mapping[str, bytes]
    arena_bytes: int
    weights_bytes: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    uses_float: bool
    kernels: KernelSet


def emit_c(graph: Graph, plan: Plan, prefix: str = "model") -> CModel:
    """Return the C sources of a planned model.

    Parameters
    ----------
    graph : Graph
        With static shapes and the data of its constants.
    plan : Plan
        Of ``graph``; everything computes from one memory.
    prefix : str
        Begin of every public name, a C identifier (:func:`c_identifier` makes one).

    Raises
    ------
    UnsupportedOpError
        If there is no kernel for a node: operator and layer are named.
    PlacementError
        If the plan spreads over several memories.
    """
    return _Emitter(graph, plan, prefix).emit()


def c_identifier(name: str) -> str:
    """Return a C identifier that resembles a name, in lower case."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return plain if plain and not plain[0].isdigit() else f"model_{plain}".rstrip("_")


@dataclass(slots=True)
class _Emitter:
    graph: Graph
    plan: Plan
    prefix: str
    pool: ConstantPool = field(init=False)
    buffers: dict[str, PlannedBuffer] = field(init=False)

    def __post_init__(self) -> None:
        self.pool = ConstantPool(self.prefix)
        memories = {buffer.memory for buffer in self.plan.buffers}
        if len(memories) > 1 or any(
            not isinstance(step, Compute | Select) for step in self.plan.steps
        ):
            raise PlacementError("generated C computes from one memory; the plan uses several")
        self.buffers = {buffer.tensor: buffer for buffer in self.plan.buffers}

    def emit(self) -> CModel:
        nodes = {node.name: node for node in self.graph.nodes}
        calls = [
            self._call(nodes[step.node]) if view_pair(self.graph, nodes[step.node]) is None else ""
            for step in self.plan.steps
            if isinstance(step, Compute)
        ]
        calls = c_select.guarded(calls, cases_of(self.plan), self._offset)
        files = {
            "model.h": self._header(),
            "model.c": self._source(calls),
            "weights.c": self._weights(),
            "weights.h": self._weights_header(),
            "firmware_model.h": self._binding(),
        }
        return CModel(
            prefix=self.prefix,
            files={name: text.encode() for name, text in files.items()},
            arena_bytes=self.arena_bytes,
            weights_bytes=self.pool.size_bytes,
            inputs=tuple(self.graph.tensors[name].size_bytes for name in self.graph.inputs),
            outputs=tuple(self.graph.tensors[name].size_bytes for name in self.graph.outputs),
            uses_float=any(tensor.dtype.is_float for tensor in self.graph.tensors.values()),
            kernels=self.plan.kernels,
        )

    @property
    def arena_bytes(self) -> int:
        return max((use.arena_bytes for use in self.plan.memories), default=0)

    def place(self, name: str) -> str:
        """Return the C expression of where a tensor lies."""
        tensor = self.graph.tensors[name]
        if tensor.is_constant:
            return self.pool.tensor(tensor)
        element = c_type(tensor.dtype, where=name)
        return f"({element} *)AT({self._offset(name)})"

    def _offset(self, name: str) -> int:
        if name not in self.buffers:
            raise InternalError(f"the plan has no buffer for {name}")
        return self.buffers[name].offset_bytes

    def _call(self, node: Node) -> str:
        view = OpView.of(self.graph, node)
        if node.inputs and node.inputs[0] in self.plan.streamed:
            index = self.graph.inputs.index(node.inputs[0])
            return c_stream.read_call(view, self.prefix, index, self.place(node.outputs[0]))
        return "".join(self._call_text(call, view) for call in lower(view, self.plan.kernels))

    def _call_text(self, call: KernelCall, view: OpView) -> str:
        fields = "".join(
            f"            .{name} = {self._field(value, f'{name} of {view.node.name}')},\n"
            for name, value in call.fields.items()
        )
        places = (self._argument(name, view.node) for name in call.arguments)
        arguments = ", ".join(("&params", *places))
        return (
            f"    {{ /* {comment_text(view.node.where)} */\n"
            f"        static const {call.params_type} params = {{\n{fields}        }};\n"
            f"        status = {call.function}({arguments});\n"
            "        if (status != EK_STATUS_OK) {\n            return status;\n        }\n    }\n"
        )

    def _argument(self, name: str, node: Node) -> str:
        if name != SCRATCH:
            return self.place(name)
        scratch = self.buffers.get(scratch_name(node))
        return f"AT({scratch.offset_bytes})" if scratch else "0"

    def _field(self, value: Field, what: str) -> str:
        if isinstance(value, np.ndarray):
            element = "float" if value.dtype.kind == "f" else f"{value.dtype.name}_t"
            return self.pool.array(value, element, what)
        if isinstance(value, tuple):
            return "{" + ", ".join(map(c_integer, value)) + "}"
        return c_float(value) if isinstance(value, float) else c_integer(int(value))

    def _header(self) -> str:
        upper = self.prefix.upper()
        tensors = [(f"{upper}_INPUT_{i}", n) for i, n in enumerate(self.graph.inputs)]
        tensors += [(f"{upper}_OUTPUT_{i}", n) for i, n in enumerate(self.graph.outputs)]
        entries = "".join(
            f"    {label} = {index}, /* {_describe(self.graph.tensors[name])} */\n"
            for index, (label, name) in enumerate(tensors)
        )
        names = {"prefix": self.prefix, "upper": upper}
        return _HEADER.format(
            **names,
            title=comment_text(self.graph.name),
            entries=entries,
            arena_bytes=self.arena_bytes,
            weights_bytes=self.pool.size_bytes,
            give=(_GIVE_PARTS if self.plan.streamed else _GIVE_WHOLE).format(**names),
            status="stream" if self.plan.streamed else "status",
            stream=c_stream.interface(self.prefix) if self.plan.streamed else "",
        )

    def _source(self, calls: list[str]) -> str:
        names = (*self.graph.inputs, *self.graph.outputs)
        offsets = [
            "0" if name in self.plan.streamed else self._io_expression(name) for name in names
        ]
        states = [
            f"    memset(AT({buffer.offset_bytes}), {self._rest_byte(buffer.tensor)}, "
            f"{buffer.size_bytes});\n"
            for buffer in self.plan.buffers
            if buffer.kind == "state"
        ]
        return _SOURCE.format(
            prefix=self.prefix,
            kernels=self.plan.kernels.value,
            arena_bytes=max(self.arena_bytes, 1),
            alignment=ARENA_ALIGNMENT,
            states="".join(states),
            tensors="".join(
                f"    case {index}:\n        return {text};\n" for index, text in enumerate(offsets)
            ),
            declare="    ek_status status;\n" if any(calls) else "",
            calls="".join(calls),
        )

    def _rest_byte(self, name: str) -> int:
        """Return the byte that a state consists of before the first run."""
        values = set(initial_state(self.graph.tensors[name]).tobytes())
        if len(values) > 1:
            raise InternalError(f"the state {name} does not start as one repeated byte")
        return min(values, default=0)

    def _io_expression(self, name: str) -> str:
        if self.graph.tensors[name].is_constant:
            return f"(void *)(uintptr_t){self.place(name)}"
        return f"AT({self._offset(name)})"

    def _weights(self) -> str:
        return '#include "weights.h"\n\n' + "\n".join(self.pool.definitions)

    def _weights_header(self) -> str:
        guard = f"{self.prefix.upper()}_WEIGHTS_H"
        body = "\n".join(self.pool.declarations)
        return f"#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n{body}\n\n#endif\n"

    def _binding(self) -> str:
        names = (*self.graph.inputs, *self.graph.outputs)
        sizes = ", ".join(str(self.graph.tensors[name].size_bytes) for name in names)
        first = self.graph.tensors[self.graph.outputs[0]]
        return _BINDING.format(
            prefix=self.prefix,
            inputs=len(self.graph.inputs),
            outputs=len(self.graph.outputs),
            sizes=sizes,
            output_type=c_type(first.dtype, where=first.name),
            stream="".join(
                c_stream.binding(self.prefix, self.graph.tensors[name])
                for name in self.plan.streamed
            ),
        )


def _describe(tensor: Tensor) -> str:
    text = f"{comment_text(tensor.name)}: {tensor.dtype.value} {shape_text(tensor.static_shape)}"
    if tensor.quantization is not None and tensor.quantization.axis is None:
        scale = np.float32(tensor.quantization.scale[0])
        text += f", scale {float(scale)!r}, zero point {int(tensor.quantization.zero_point[0])}"
    return text


_GIVE_WHOLE = """\
 *     memcpy({prefix}_tensor({upper}_INPUT_0), ..., ...);   before every run
"""

_GIVE_PARTS = """\
 *     (your {prefix}_read_part hands over the input)      during every run
"""

_HEADER = """\
/* {title}
 *
 * RAM: one static arena of {arena_bytes} bytes. Flash: {weights_bytes} bytes of constants, code.
 * Nothing is allocated; not reentrant: one inference at a time.
 *
 *     {prefix}_init();                                   once, and to forget recurrent state
{give} *     {prefix}_run();
 *     ... = {prefix}_tensor({upper}_OUTPUT_0);              valid until inputs are written
 */
#ifndef {upper}_MODEL_H
#define {upper}_MODEL_H

#include <stdint.h>

#include "edgekit/{status}.h"

#ifdef __cplusplus
extern "C" {{
#endif

#define {upper}_ARENA_BYTES {arena_bytes}

/* real = scale * (stored - zero point) */
enum {prefix}_tensor_id {{
{entries}}};

/* Set recurrent state to zero. Returns EK_STATUS_OK. */
ek_status {prefix}_init(void);

/* Where an input is to be put or an output lies; NULL for another id. A run overwrites inputs. */
void *{prefix}_tensor(uint32_t id);

/* One inference. Returns EK_STATUS_OK, or what the first kernel that refused says. */
ek_status {prefix}_run(void);
{stream}
#ifdef __cplusplus
}}
#endif

#endif
"""

_SOURCE = """\
#include "model.h"

#include <string.h>

#include "edgekit/kernels.h"
#include "weights.h"

/* On a microcontroller the linker script gives the arena its memory; it is not zeroed at start. */
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
#define ARENA_SECTION __attribute__((section(".arena")))
#else
#define ARENA_SECTION
#endif

static uint8_t arena[{arena_bytes}] __attribute__((aligned({alignment}))) ARENA_SECTION;

#define AT(offset_bytes) ((void *)(arena + (offset_bytes)))

ek_status {prefix}_init(void) {{
{states}    return ek_kernels_{kernels}();
}}

void *{prefix}_tensor(uint32_t id) {{
    switch (id) {{
{tensors}    default:
        return 0;
    }}
}}

ek_status {prefix}_run(void) {{
{declare}{calls}    return EK_STATUS_OK;
}}
"""

_BINDING = """\
/* The model under names that do not depend on it, for programs that run any model. */
#ifndef EDGEKIT_FIRMWARE_MODEL_H
#define EDGEKIT_FIRMWARE_MODEL_H

#include "model.h"

#define EK_MODEL_INPUTS {inputs}u
#define EK_MODEL_OUTPUTS {outputs}u
#define EK_MODEL_INIT {prefix}_init
#define EK_MODEL_TENSOR {prefix}_tensor
#define EK_MODEL_RUN {prefix}_run
{stream}
/* Elements of the first output. */
#define EK_MODEL_OUTPUT_TYPE {output_type}

/* Bytes of the inputs, then of the outputs. */
static const uint32_t ek_model_tensor_bytes[] = {{{sizes}}};

#endif
"""
