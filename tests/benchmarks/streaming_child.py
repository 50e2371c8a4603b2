"""One arm of bench_streaming in a process of its own; prints one JSON object.

    python -m tests.benchmarks.streaming_child edgekit|llama_cpp|disk MODEL.gguf CAP_BYTES TOKENS

A cap of 0 is none. Bytes read and seconds are of the last TOKENS tokens, after a prompt and as many
tokens that warm up: storage that has rested often gives a burst first, which nobody can count on.
Bytes are what the kernel fetched from storage for this process.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PROMPT = [1, 310, 2000, 17, 451, 9000, 12, 640]
CONTEXT = 128
SLACK_BYTES = 6_000_000
"""Beside the plan: what the interpreter takes on while it runs."""
DISK_BLOCK = 1 << 20
DISK_LANES = 2
HUGE_PAGE = 1 << 21
MEMORY_BYTES = 200_000_000
DISK_S = 6.0
"""Of which the second half counts."""


def read_bytes() -> int:
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["read_bytes"])


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def decode(step: Callable[[int], NDArray[np.float32]], first: int, count: int) -> dict[str, object]:
    """Greedy tokens; the digest is of all logits."""
    digest = hashlib.sha256()
    token, tokens = first, []
    start_s, start_bytes = time.perf_counter(), read_bytes()
    for index in range(2 * count):
        if index == count:
            start_s, start_bytes = time.perf_counter(), read_bytes()
        logits = step(token)
        digest.update(logits.tobytes())
        token = int(logits.argmax())
        tokens.append(token)
    return {
        "tokens_per_s": count / (time.perf_counter() - start_s),
        "read_bytes_per_token": (read_bytes() - start_bytes) / count,
        "tokens": tokens,
        "digest": digest.hexdigest(),
    }


def run_edgekit(path: Path, cap_bytes: int, count: int) -> dict[str, object]:
    from edgekit.runtime.language.engine import open_model

    memory_bytes = cap_bytes - resident_bytes() - SLACK_BYTES if cap_bytes else None
    with (
        open_model(path) as model,
        model.load(memory_bytes=memory_bytes, context=CONTEXT, batch=8) as engine,
        engine.session() as session,
    ):
        first = int(session.eval(PROMPT).argmax())
        found = decode(lambda token: session.eval([token]), first, count)
        budget = engine.budget
        return {
            **found,
            "predicted_read_bytes_per_token": budget.read_bytes_per_token,
            "touched_bytes_per_token": budget.touched_bytes_per_token,
            "planned_bytes": budget.total_bytes,
            "peak_bytes": resident_bytes(),
        }


def run_llama(path: Path, _cap_bytes: int, count: int) -> dict[str, object]:
    from tests.benchmarks.bench_language_model import LlamaCpp

    llama = LlamaCpp(path, repack=False)
    llama.eval(PROMPT, 0)
    position = len(PROMPT)
    vocabulary = llama.api.llama_vocab_n_tokens(llama.api.llama_model_get_vocab(llama.model))

    def logits() -> NDArray[np.float32]:
        row = llama.api.llama_get_logits_ith(llama.context, -1)
        return np.ctypeslib.as_array(row, (vocabulary,)).copy()

    def step(token: int) -> NDArray[np.float32]:
        nonlocal position
        llama.eval([token], position)
        position += 1
        return logits()

    return decode(step, int(logits().argmax()), count)


def huge_buffer(size_bytes: int) -> NDArray[np.uint8]:
    """Return memory in one huge page, as the engine's: storage fills it far faster than small ones.

    The memory is touched, so that no page is made while it is filled.
    """
    area = mmap.mmap(-1, 2 * HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_HUGEPAGE)
    pages = np.frombuffer(area, np.uint8)
    first = -pages.ctypes.data % HUGE_PAGE
    pages[:] = 0
    return pages[first : first + size_bytes]


def run_disk(path: Path, _cap_bytes: int, _count: int) -> dict[str, object]:
    """Large reads past the page cache as the engine's, once bursts are over.

    One thread reads memory meanwhile, as the computation does: both share the way to memory.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    blocks = path.stat().st_size // DISK_BLOCK
    done = [0] * DISK_LANES
    count_from_s = time.perf_counter() + DISK_S / 2
    end_s = count_from_s + DISK_S / 2

    def read(lane: int) -> None:
        buffer = huge_buffer(DISK_BLOCK)
        block = lane
        while time.perf_counter() < end_s:
            size_bytes = os.preadv(descriptor, [buffer.data], block % blocks * DISK_BLOCK)
            if time.perf_counter() > count_from_s:
                done[lane] += size_bytes
            block += DISK_LANES

    def read_memory() -> None:
        memory = np.ones(MEMORY_BYTES // 4, np.float32)
        while time.perf_counter() < end_s:
            memory.max()

    lanes = [threading.Thread(target=read, args=(lane,)) for lane in range(DISK_LANES)]
    lanes.append(threading.Thread(target=read_memory))
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    return {"bytes_per_s": sum(done) / (time.perf_counter() - count_from_s)}


ARMS = {"edgekit": run_edgekit, "llama_cpp": run_llama, "disk": run_disk}


if __name__ == "__main__":
    arm, model, cap, wanted = sys.argv[1:]
    print(json.dumps(ARMS[arm](Path(model), int(cap), int(wanted))))
