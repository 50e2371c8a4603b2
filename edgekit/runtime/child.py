"""Interpreters of other projects, each in a process of its own.

Some models abort such an interpreter, and with it the process that holds it. Here that becomes an
:class:`~edgekit.errors.ExecutionError` that names the signal. Parent and child exchange
length-prefixed msgpack messages over the child's stdin and stdout; whatever the library prints goes
to stderr.

Run as ``python -m edgekit.runtime.child``: the first message names the interpreter and the model
file, every further one is a set of inputs.
"""

from __future__ import annotations

import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from edgekit.dtypes import Array
from edgekit.errors import ExecutionError, MissingDependencyError

_LENGTH = struct.Struct("<Q")
_STDERR_LINES = 3
_ERROR_CHARACTERS = 240


class ArrayMessage(msgspec.Struct, frozen=True):
    """An array: dtype name, shape, and its bytes in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, array: Array) -> ArrayMessage:
        """Pack an array."""
        return cls(array.dtype.name, tuple(array.shape), np.ascontiguousarray(array).tobytes())

    def array(self) -> Array:
        """Unpack the array."""
        unpacked: Array = np.frombuffer(self.data, np.dtype(self.dtype)).reshape(self.shape).copy()
        return unpacked


class TensorMessage(msgspec.Struct, frozen=True):
    """An input or output of the interpreter."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Answer(msgspec.Struct, frozen=True):
    """What the child sends back; ``missing`` names a library that is not installed."""

    arrays: list[ArrayMessage] = []
    inputs: list[TensorMessage] = []
    outputs: list[TensorMessage] = []
    seconds: float = 0.0
    error: str = ""
    missing: str = ""


class Request(msgspec.Struct, frozen=True):
    """What the parent asks: ``open`` with interpreter and model, ``run`` with inputs, ``reset``."""

    kind: str
    interpreter: str = ""
    model: str = ""
    threads: int = 1
    arrays: list[ArrayMessage] = []


class ChildInterpreter:
    """An interpreter in a child process.

    Parameters
    ----------
    interpreter : str
        ``litert``, ``tflite_runtime`` or ``tflite_micro``.
    model : Path
        A TensorFlow Lite file.
    threads : int
    timeout_s : float
        How long one request may take.

    Raises
    ------
    ExecutionError
        If the interpreter refuses the model, dies, or does not answer in time.
    MissingDependencyError
        If its library is not installed.
    """

    def __init__(
        self, interpreter: str, model: Path, *, threads: int = 1, timeout_s: float = 60.0
    ) -> None:
        self.interpreter = interpreter
        self.timeout_s = timeout_s
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgekit.runtime.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        self._answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._stderr: list[str] = []
        self._threads = [
            threading.Thread(target=self._read_answers, daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        try:
            opened = self._ask(Request("open", interpreter, str(model), threads))
        except BaseException:
            self.close()
            raise
        self.inputs: Sequence[TensorMessage] = opened.inputs
        self.outputs: Sequence[TensorMessage] = opened.outputs

    @property
    def process_id(self) -> int:
        """Process number of the child."""
        return self._process.pid

    def run(self, inputs: Sequence[Array]) -> tuple[list[Array], float]:
        """Return the outputs in order, and the seconds that the interpreter took."""
        answer = self._ask(Request("run", arrays=[ArrayMessage.of(array) for array in inputs]))
        return [message.array() for message in answer.arrays], answer.seconds

    def reset(self) -> None:
        """Set variable tensors to their initial values."""
        self._ask(Request("reset"))

    def finish(self) -> None:
        """Let the child end by itself, which fails where the interpreter spoiled its memory.

        Raises
        ------
        ExecutionError
            If it dies instead.
        """
        stdin = self._process.stdin
        assert stdin is not None
        stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=self.timeout_s)
        if self._process.returncode != 0:
            raise self._end()
        self.close()

    def close(self) -> None:
        """End the child."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join(timeout=5)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def __enter__(self) -> ChildInterpreter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, request: Request) -> Answer:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            write_message(stdin, msgspec.msgpack.encode(request))
            data = self._answers.get(timeout=self.timeout_s)
        except queue.Empty:
            self.close()
            raise ExecutionError(
                f"{self.interpreter} did not answer within {self.timeout_s:g} s"
            ) from None
        except (OSError, ValueError):
            data = None
        if data is None:
            raise self._death()
        answer = msgspec.msgpack.decode(data, type=Answer)
        if answer.missing:
            self.close()
            raise MissingDependencyError("tflite", library=answer.missing)
        if answer.error:
            raise ExecutionError(f"{self.interpreter}: {answer.error}")
        return answer

    def _death(self) -> ExecutionError:
        if not self._process.stdin or self._process.stdin.closed:
            return ExecutionError(f"{self.interpreter} is closed")
        return self._end()

    def _end(self) -> ExecutionError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=self.timeout_s)
        self.close()
        code = self._process.returncode
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        last = " | ".join(self._stderr[-_STDERR_LINES:])
        return ExecutionError(
            f"{self.interpreter} died ({how}){': ' + last if last else ''}", status=code
        )

    def _read_answers(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        try:
            while (data := read_message(stdout)) is not None:
                self._answers.put(data)
        except (OSError, ValueError):
            pass
        self._answers.put(None)

    def _read_stderr(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        for line in stderr:
            self._stderr = [*self._stderr[-20:], line.decode(errors="replace").strip()]


def read_message(stream: IO[bytes]) -> bytes | None:
    """Read one length-prefixed message; None at the end of the stream."""
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(header)
    data: bytes = stream.read(length)
    return data if len(data) == length else None


def write_message(stream: IO[bytes], data: bytes) -> None:
    """Write one length-prefixed message."""
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def main() -> None:
    """Serve requests until the parent goes away."""
    from edgekit.runtime.tflite_interpreters import TfliteInterpreter, open_interpreter

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not end up between messages
    model: TfliteInterpreter | None = None
    while (data := read_message(sys.stdin.buffer)) is not None:
        request = msgspec.msgpack.decode(data, type=Request)
        try:
            if request.kind == "open":
                model = open_interpreter(request.interpreter, request.model, request.threads)
                answer = Answer(inputs=model.inputs(), outputs=model.outputs())
            elif model is None:
                answer = Answer(error="no model is open")
            elif request.kind == "reset":
                model.reset()
                answer = Answer()
            else:
                arrays, seconds = model.run([message.array() for message in request.arrays])
                answer = Answer([ArrayMessage.of(array) for array in arrays], seconds=seconds)
        except MissingDependencyError as error:
            answer = Answer(missing=error.library)
        except Exception as error:
            answer = Answer(error=_first_line(error))
        write_message(answers, msgspec.msgpack.encode(answer))


def _first_line(error: Exception) -> str:
    text = (str(error).strip() or repr(error)).splitlines()[0]
    return text if len(text) <= _ERROR_CHARACTERS else f"{text[:_ERROR_CHARACTERS]} ..."


if __name__ == "__main__":
    main()
