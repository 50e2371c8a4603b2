"""The tokenizer of the native core (``edgekit/llm.h``), for programs without Python.

Its tokens are those of :mod:`edgekit.runtime.language.tokenizer`, which is what this package uses.
"""

from __future__ import annotations

import ctypes
import os

import numpy as np

from edgekit.runtime.language import engine_abi as abi
from edgekit.runtime.language.native_handle import NativeHandle


class NativeTokenizer(NativeHandle):
    """The vocabulary of a GGUF file, which need not have weights.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    ModelFormatError
        If the file cannot be read, or its vocabulary is damaged or of a kind that is not read.
    MissingDependencyError
        If the native core is not built.
    """

    _closer = "ek_llm_tokenizer_close"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        message = ctypes.create_string_buffer(abi.MESSAGE_BYTES)
        handle = ctypes.c_void_p()
        status = abi.language_library().ek_llm_tokenizer_open(
            os.fsencode(path), ctypes.byref(handle), message, abi.MESSAGE_BYTES
        )
        if status != 0 or handle.value is None:
            text = message.value.decode("utf-8", "replace")
            raise abi.error_of(status, text, path=os.fsdecode(path))
        super().__init__(handle.value)

    def encode(
        self, text: str | bytes, *, add_special: bool = True, parse_special: bool = False
    ) -> list[int]:
        """Return the tokens of a text.

        Parameters
        ----------
        text : str or bytes
            Bytes are UTF-8.
        add_special : bool
            Begin with BOS and end with EOS where the vocabulary says so.
        parse_special : bool
            Take the texts of control tokens for these tokens.

        Raises
        ------
        UsageError
            If the text is no UTF-8, or longer than 2**24 characters.
        """
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        flags = abi.ADD_SPECIAL * add_special + abi.PARSE_SPECIAL * parse_special
        capacity, count = len(data) + 16, ctypes.c_size_t()
        while True:
            tokens = np.empty(capacity, np.int32)
            status = abi.language_library().ek_llm_tokenize(
                self.handle, data, len(data), flags, tokens.ctypes.data, capacity, count
            )
            if status != 0:
                raise abi.error_of(status, f"a text of {len(data):,} bytes is no UTF-8 or too long")
            if count.value <= capacity:
                found: list[int] = tokens[: count.value].tolist()
                return found
            capacity = count.value

    def is_end(self, token: int) -> bool:
        """Whether a token ends a generation."""
        return bool(abi.language_library().ek_llm_is_end(self.handle, token))
