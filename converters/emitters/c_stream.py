"""C source of models whose input is handed over part by part (``edgekit/stream.h``)."""

from __future__ import annotations

from edgekit.converters.emitters.c_weights import comment_text
from edgekit.graph import Tensor
from edgekit.ops.spec import OpView


def read_call(view: OpView, prefix: str, index: int, place: str) -> str:
    """Return the statements that ask for the part that a ``slice`` cuts out of input ``index``.

    Parameters
    ----------
    view : OpView
    prefix : str
    index : int
    place : str
        Where the part is to go, as C.
    """
    begin, end = view.ints_attr("begin"), view.ints_attr("end")
    size = [stop - start for start, stop in zip(begin, end, strict=True)]
    return _READ.format(
        where=comment_text(view.node.where),
        index=index,
        begin=", ".join(map(str, begin)),
        size=", ".join(map(str, size)),
        place=place,
        prefix=prefix,
    )


def interface(prefix: str) -> str:
    """Return the declaration for ``model.h``."""
    return _INTERFACE.format(prefix=prefix)


def binding(prefix: str, tensor: Tensor) -> str:
    """Return the names that do not depend on the model, for an input of four axes."""
    shape = ", ".join(map(str, tensor.static_shape))
    return _BINDING.format(prefix=prefix, shape=shape, item_bytes=tensor.dtype.item_bytes)


_READ = """\
    {{ /* {where} */
        static const ek_input_part part = {{{index}, {{{begin}}}, {{{size}}}}};
        status = {prefix}_read_part(&part, {place});
        if (status != EK_STATUS_OK) {{
            return status;
        }}
    }}
"""

_INTERFACE = """
/* Yours to define: hand over a part of the input, whose tensor is NULL. Called during a run, for
 * one patch after the other: put the part at `to`, in the order of its axes, without gaps. Anything
 * but EK_STATUS_OK ends the run, which returns it. */
ek_status {prefix}_read_part(const ek_input_part *part, void *to);
"""

_BINDING = """\
#define EK_MODEL_READ_PART {prefix}_read_part

/* The only input, which is handed over part by part. */
#define EK_MODEL_STREAMED_SHAPE {{{shape}}}
#define EK_MODEL_STREAMED_ITEM_BYTES {item_bytes}u
"""
