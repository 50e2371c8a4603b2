"""One call of a kernel in generated C: what it is, and from what it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgekit.converters.emitters.c_weights import ConstantPool
from edgekit.errors import UnsupportedOpError
from edgekit.ops.spec import OpView

Place = Callable[[str], str]
"""From a tensor's name to the C expression of where it lies."""


@dataclass(frozen=True, slots=True)
class CCall:
    """One call of a kernel: ``function(&params, *arguments)``.

    Parameters
    ----------
    function, params_type : str
    params : mapping of field to C expression
    arguments : tuple of str
        C expressions.
    """

    function: str
    params_type: str
    params: Mapping[str, str]
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CallSite:
    """What a call may be made from.

    Parameters
    ----------
    view : OpView
    place : callable
    pool : ConstantPool
        For arrays that are computed from the model, such as multipliers.
    scratch : (str, int)
        C expression of the scratch memory, ``0`` where there is none, and its bytes.
    """

    view: OpView
    place: Place
    pool: ConstantPool
    scratch: tuple[str, int]

    def input(self, index: int) -> str:
        """Return where a required input lies."""
        return self.place(self.view.input(index).name)

    def output(self) -> str:
        """Return where the first output is to lie."""
        return self.place(self.view.outputs[0].name)


def no_kernel(view: OpView) -> UnsupportedOpError:
    """Return the error that names an operator without a kernel, its types and its layer."""
    types = "/".join(t.dtype.value for t in (*view.inputs[:1], *view.outputs[:1]) if t)
    return UnsupportedOpError(
        f"{view.node.op} ({types})", node=view.node.where, where="generated C: no kernel"
    )
