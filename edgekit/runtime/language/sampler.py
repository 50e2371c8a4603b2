"""Choosing the next token, by the native sampler (``ek_llm_sample``).

Order: repetition penalty, top-k, top-p, min-p, temperature, one draw. The same seed and the same
logits always give the same tokens, on every machine.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.runtime.language import engine_abi as abi
from edgekit.runtime.language.native_handle import NativeHandle

MOST_RECENT = 64
"""Tokens that the repetition penalty looks back at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a token is chosen.

    Parameters
    ----------
    temperature : float
        0: always the most likely token.
    top_k : int
        Only the k most likely; 0: all.
    top_p : float
        Only the most likely that together have this probability; 1: all.
    min_p : float
        Only those with at least this share of the best one's probability; 0: all.
    repetition_penalty : float
        Logits of recent tokens are made worse by this factor; 1: none.
    seed : int

    Raises
    ------
    UsageError
        If a number is out of its range.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "temperature": (self.temperature, 0.0, 100.0),
            "top_k": (self.top_k, 0, 2**31 - 1),
            "top_p": (self.top_p, 0.0, 1.0),
            "min_p": (self.min_p, 0.0, 1.0),
            "repetition_penalty": (self.repetition_penalty, 0.01, 100.0),
            "seed": (self.seed, 0, 2**64 - 1),
        }
        for name, (value, low, high) in ranges.items():
            if math.isnan(value) or not low <= value <= high:
                raise UsageError(f"{name} is {value:g}; it goes from {low:g} to {high:g}")


class Sampler(NativeHandle):
    """A stream of choices.

    Parameters
    ----------
    vocabulary_size : int
    sampling : Sampling
    """

    _closer = "ek_llm_sampler_close"

    def __init__(self, vocabulary_size: int, sampling: Sampling) -> None:
        self._vocabulary_size = vocabulary_size
        options = abi.CSampling(
            sampling.seed,
            sampling.temperature,
            sampling.top_p,
            sampling.min_p,
            sampling.repetition_penalty,
            sampling.top_k,
        )
        handle = ctypes.c_void_p()
        status = abi.language_library().ek_llm_sampler_open(
            vocabulary_size, ctypes.byref(options), ctypes.byref(handle)
        )
        if status != 0 or handle.value is None:
            raise abi.error_of(status, "the sampler refused its settings")
        super().__init__(handle.value)

    def choose(self, logits: NDArray[np.float32], recent: Sequence[int] = ()) -> int:
        """Return the next token.

        Parameters
        ----------
        logits : array of float32, shape (vocabulary,)
        recent : sequence of int
            Tokens so far; the last ``MOST_RECENT`` count for the repetition penalty.

        Raises
        ------
        ExecutionError
            If a logit is not a number.
        """
        values = np.ascontiguousarray(logits, np.float32)
        if values.shape != (self._vocabulary_size,):
            raise UsageError(f"logits have the shape {values.shape}, not one for each token")
        last = np.array(recent[-MOST_RECENT:], np.int32)
        token = ctypes.c_int32()
        status = abi.language_library().ek_llm_sample(
            self.handle, values.ctypes.data, last.ctypes.data, len(last), ctypes.byref(token)
        )
        if status != 0:
            raise abi.error_of(
                status, "logits that are no numbers: the model or its file is damaged"
            )
        return token.value
