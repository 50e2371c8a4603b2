"""Which native kernels compute a plan: that decides scratch memory and the order of weights."""

from __future__ import annotations

from enum import Enum


class KernelSet(Enum):
    """A set of kernels; the value is its folder in ``csrc/kernels``, but for the portable ones.

    A file of the folder replaces the portable file of the same name. Every set compiles on every
    computer: without the core's instructions they are written out in C.
    """

    PORTABLE = "portable"
    """C11 without assumptions about the core; also for Cortex-M0+ and M3."""
    CORTEX_M_DSP = "cortex_m_dsp"
    """Two 16-bit products an instruction: Cortex-M4, M7 and M33."""
    CORTEX_M_MVE = "cortex_m_mve"
    """Helium, vectors of 16 bytes: Cortex-M55."""
