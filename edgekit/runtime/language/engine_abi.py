"""``edgekit/llm.h`` in ctypes: records, prototypes, and the errors that statuses stand for.

A test compares the records with the header.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from edgekit.errors import (
    EdgekitError,
    ExecutionError,
    MemoryBudgetError,
    ModelFormatError,
    UsageError,
)
from edgekit.native import load_library

MESSAGE_BYTES = 512
"""``EK_LLM_MESSAGE_BYTES``."""

KV_TYPES = {"f16": 0, "q8": 1, "f32": 2}
"""``ek_llm_kv_type``."""

KERNELS = {"best": 0, "portable": 1}
"""``ek_llm_kernels``."""

ADD_SPECIAL, PARSE_SPECIAL = 1, 2
"""``ek_llm_tokenize_flags``."""

OUT_OF_RANGE = 102
TOO_LARGE = 300
FULL = 301
UNSUPPORTED = 400
IO = 500
CORRUPT = 501
BUDGET_TOO_SMALL = 601
CANCELLED = 700


class CFacts(ctypes.Structure):
    """``ek_llm_facts``."""

    _fields_ = (
        ("architecture", ctypes.c_char * 32),
        ("tensor_types", ctypes.c_uint64),
        ("fingerprint", ctypes.c_uint64),
        ("weights_bytes", ctypes.c_int64),
        ("parameters", ctypes.c_int64),
        ("vocabulary_size", ctypes.c_int32),
        ("layers", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("heads", ctypes.c_int32),
        ("kv_heads", ctypes.c_int32),
        ("head_width", ctypes.c_int32),
        ("feed_forward_width", ctypes.c_int32),
        ("context", ctypes.c_int32),
        ("experts", ctypes.c_int32),
        ("experts_used", ctypes.c_int32),
        ("tied_embeddings", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class COptions(ctypes.Structure):
    """``ek_llm_options``."""

    _fields_ = (
        ("memory_bytes", ctypes.c_int64),
        ("block_bytes", ctypes.c_int64),
        ("context", ctypes.c_int32),
        ("batch", ctypes.c_int32),
        ("sessions", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("kv_type", ctypes.c_int32),
        ("kernels", ctypes.c_int32),
        ("storage_timeout_ms", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class CBudget(ctypes.Structure):
    """``ek_llm_budget``."""

    _fields_ = (
        ("pinned_bytes", ctypes.c_int64),
        ("stream_bytes", ctypes.c_int64),
        ("kv_bytes", ctypes.c_int64),
        ("activation_bytes", ctypes.c_int64),
        ("table_bytes", ctypes.c_int64),
        ("total_bytes", ctypes.c_int64),
        ("touched_bytes_per_token", ctypes.c_int64),
        ("read_bytes_per_token", ctypes.c_int64),
        ("minimum_bytes", ctypes.c_int64),
    )


class CCounters(ctypes.Structure):
    """``ek_llm_counters``."""

    _fields_ = (
        ("tokens", ctypes.c_int64),
        ("read_bytes", ctypes.c_int64),
        ("wait_ns", ctypes.c_int64),
        ("compute_ns", ctypes.c_int64),
    )


class CSampling(ctypes.Structure):
    """``ek_llm_sampling``."""

    _fields_ = (
        ("seed", ctypes.c_uint64),
        ("temperature", ctypes.c_float),
        ("top_p", ctypes.c_float),
        ("min_p", ctypes.c_float),
        ("repetition_penalty", ctypes.c_float),
        ("top_k", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


_HANDLE = ctypes.c_void_p
_OUT = ctypes.POINTER(ctypes.c_void_p)
_MESSAGE = (ctypes.c_char_p, ctypes.c_size_t)
_INT = ctypes.c_int32
_TOKENS = ctypes.POINTER(ctypes.c_int32)

PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "ek_llm_open": (ctypes.c_char_p, _OUT, *_MESSAGE),
    "ek_llm_describe": (_HANDLE, ctypes.POINTER(CFacts)),
    "ek_llm_plan": (_HANDLE, ctypes.POINTER(COptions), ctypes.POINTER(CBudget), *_MESSAGE),
    "ek_llm_load": (_HANDLE, ctypes.POINTER(COptions), _OUT, *_MESSAGE),
    "ek_llm_session_open": (_HANDLE, _OUT),
    "ek_llm_eval": (_HANDLE, ctypes.c_void_p, _INT, _INT, ctypes.c_void_p, *_MESSAGE),
    "ek_llm_truncate": (_HANDLE, _INT),
    "ek_llm_read_counters": (_HANDLE, ctypes.POINTER(CCounters)),
    "ek_llm_save": (_HANDLE, ctypes.c_char_p, *_MESSAGE),
    "ek_llm_restore": (_HANDLE, ctypes.c_char_p, *_MESSAGE),
    "ek_llm_token_text": (
        _HANDLE,
        _INT,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_size_t),
    ),
    "ek_llm_tokenizer_open": (ctypes.c_char_p, _OUT, *_MESSAGE),
    "ek_llm_tokenize": (
        _HANDLE,
        ctypes.c_char_p,
        ctypes.c_size_t,
        _INT,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_size_t),
    ),
    "ek_llm_sampler_open": (_INT, ctypes.POINTER(CSampling), _OUT),
    "ek_llm_sample": (_HANDLE, ctypes.c_void_p, ctypes.c_void_p, _INT, _TOKENS),
}
"""Functions that return an ``ek_status``."""

CLOSERS = (
    "ek_llm_close",
    "ek_llm_unload",
    "ek_llm_session_close",
    "ek_llm_cancel",
    "ek_llm_sampler_close",
    "ek_llm_tokenizer_close",
)
"""Functions that take a handle and return nothing."""


@cache
def language_library() -> ctypes.CDLL:
    """Return the native core with the prototypes of ``llm.h`` declared.

    Raises
    ------
    MissingDependencyError
        If the native core is not built.
    """
    library = load_library()
    for name, arguments in PROTOTYPES.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = ctypes.c_int32
    for name in CLOSERS:
        function = getattr(library, name)  # indexing would make another function object
        function.argtypes = (_HANDLE,)
        function.restype = None
    library.ek_llm_position.argtypes = (_HANDLE,)
    library.ek_llm_position.restype = ctypes.c_int32
    library.ek_llm_is_end.argtypes = (_HANDLE, _INT)
    library.ek_llm_is_end.restype = _INT
    library.ek_llm_kernels_name.argtypes = (_HANDLE,)
    library.ek_llm_kernels_name.restype = ctypes.c_char_p
    return library


class EvaluationCancelledError(ExecutionError):
    """An evaluation was ended by ``cancel()``; the session is at its last complete position."""


class ContextFullError(ExecutionError):
    """A session's context ends before the last token; nothing was computed."""


def error_of(status: int, message: str, *, path: str = "") -> EdgekitError:
    """Return the exception for a status other than ``EK_STATUS_OK``.

    Parameters
    ----------
    status : int
        ``ek_status``.
    message : str
        What the engine said.
    path : str
        The file concerned.
    """
    text = message or f"the language-model engine returned status {status}"
    if status in (CORRUPT, UNSUPPORTED) or (status == IO and path):
        return ModelFormatError(text, path=path)
    if status in (100, 101, OUT_OF_RANGE, TOO_LARGE):
        return UsageError(text)
    if status == CANCELLED:
        return EvaluationCancelledError(text, status=status)
    if status == FULL:
        return ContextFullError(text, status=status)
    return ExecutionError(text, status=status)


def budget_error(required_bytes: int, available_bytes: int, message: str) -> MemoryBudgetError:
    """Return the exception for a budget below the smallest one.

    Parameters
    ----------
    required_bytes : int
        The smallest budget that works.
    available_bytes : int
        What was given.
    message : str
        What the engine said.
    """
    return MemoryBudgetError(
        required_bytes=required_bytes,
        available_bytes=available_bytes,
        memory="the memory budget",
        step="the smallest plan",
        hint=message,
    )
