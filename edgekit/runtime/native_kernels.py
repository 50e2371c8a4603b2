"""Native kernels through ctypes: structures made from calls, pointers bound once."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from edgekit.dtypes import Array
from edgekit.errors import InternalError
from edgekit.native import load_library
from edgekit.runtime.lowering import KernelCall
from edgekit.runtime.lowering.call import Field

Address = Callable[[str], int]
"""From an argument of a call to the address of its bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class BoundCall:
    """A call that is ready to be made; it keeps its constants alive.

    Parameters
    ----------
    function : ctypes function
    params : ctypes.Structure
    pointers : tuple of int
        Addresses of the arguments.
    constants : tuple of arrays
        What the structure points to.
    """

    function: Callable[..., int]
    params: ctypes.Structure
    pointers: tuple[int, ...]
    constants: tuple[Array, ...]
    name: str

    def __call__(self) -> None:
        """Run the kernel.

        Raises
        ------
        InternalError
            If it reports anything but success.
        """
        pointers = (ctypes.c_void_p(pointer) for pointer in self.pointers)
        status = self.function(ctypes.byref(self.params), *pointers)
        if status:
            raise InternalError(f"{self.name} returned status {status}")


def bind(call: KernelCall, address: Address, library: ctypes.CDLL | None = None) -> BoundCall:
    """Return a call with its structure filled and its arguments placed.

    Parameters
    ----------
    call : KernelCall
    address : callable
    library : ctypes.CDLL, optional
        With other kernels than the portable ones of the native core.

    Raises
    ------
    MissingDependencyError
        If the native core is not built.
    """
    function = _function(library or load_library(), call.function, len(call.arguments))
    params, constants = structure(call.fields)
    pointers = tuple(address(name) for name in call.arguments)
    return BoundCall(function, params, pointers, constants, call.function)


def scratch_bytes(
    call: KernelCall, library: ctypes.CDLL | None = None, *, in_place: bool = False
) -> int:
    """Return what the kernel itself says of its scratch memory; 0 where it has none.

    Parameters
    ----------
    call : KernelCall
    library : ctypes.CDLL, optional
        As for :func:`bind`.
    in_place : bool
        Whether the output lies where the input does.
    """
    chosen = library or load_library()
    params, constants = structure(call.fields)
    needed = 0
    for kind in ("scratch", "in_place") if in_place else ("scratch",):
        function = getattr(chosen, f"{call.function}_{kind}_bytes", None)
        if function is not None:
            function.argtypes, function.restype = (ctypes.c_void_p,), ctypes.c_size_t
            needed += int(function(ctypes.byref(params)))
    del constants
    return needed


def structure(fields: Mapping[str, Field]) -> tuple[ctypes.Structure, tuple[Array, ...]]:
    """Return a filled structure and the arrays that it points to."""
    kinds: list[tuple[str, type]] = []
    values: dict[str, object] = {}
    constants: list[Array] = []
    for name, value in fields.items():
        if isinstance(value, np.ndarray):
            # A copy is aligned, and there is at least one byte to point to.
            constants.append(np.array(value, order="C"))
            kinds.append((name, ctypes.c_void_p))
            values[name] = constants[-1].ctypes.data
        elif isinstance(value, tuple):
            kind = ctypes.c_int32 * len(value)
            kinds.append((name, kind))
            values[name] = kind(*value)
        else:
            kinds.append((name, ctypes.c_float if isinstance(value, float) else ctypes.c_int32))
            values[name] = value
    return _structure_type(tuple(kinds))(**values), tuple(constants)


@cache
def _structure_type(kinds: tuple[tuple[str, type], ...]) -> type[ctypes.Structure]:
    return type("KernelParams", (ctypes.Structure,), {"_fields_": list(kinds)})


def _function(library: ctypes.CDLL, name: str, arguments: int) -> Callable[..., int]:
    try:
        function = getattr(library, name)
    except AttributeError:
        raise InternalError(f"the native core has no {name}; build it again") from None
    function.argtypes = (ctypes.c_void_p,) * (1 + arguments)
    function.restype = ctypes.c_int
    found: Callable[..., int] = function
    return found
