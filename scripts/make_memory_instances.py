#!/usr/bin/env python3
"""Makes memory-planning problems that have a plan at a known capacity, as CSV files.

Every problem is a rectangle, time to the right and bytes upwards, cut into buffers; a plan is known
because the pieces fitted together. Two kinds:

rectangle   150 to 450 pieces that fill the rectangle, so that the capacity is the optimum and not a
            byte may be wasted. Guillotine cuts, mixed with pinwheels, which no guillotine makes.
hard        Always the largest piece is cut, and some pieces are taken out again; the rectangle is
            as high as the capacity or a little lower. Number of buffers, slack, share of bytes in
            use, sizes and durations follow five published instances (C, D, G, J and K of
            MiniMalloc). Problems that any greedy plan
            solves are thrown away.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from edgekit.memory.bounds import lower_bound
from edgekit.memory.greedy import best_greedy
from edgekit.memory.problem import Buffer

GRAIN = 1024
SIDE = 1024
CAPACITY_BYTES = SIDE * GRAIN


@dataclass(frozen=True, slots=True)
class Piece:
    """A rectangle of the cut: [lower, upper) in time, ``height`` in bytes, both in grains."""

    lower: int
    upper: int
    height: int

    @property
    def width(self) -> int:
        return self.upper - self.lower

    @property
    def area(self) -> int:
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Family:
    """Statistics of a published instance.

    ``height`` is the largest sum of live bytes and ``fill`` the mean one, both as a share of the
    capacity. ``time_cuts`` is the share of cuts across time; None cuts the longer side of a piece
    more often, and near its middle. It was fitted to the quantiles of sizes and durations, to the
    mean number of live buffers and to the number of distinct times.
    """

    buffers: int
    height: float
    fill: float
    time_cuts: float | None


FAMILIES = {
    "C": Family(203, 0.991, 0.971, 0.50),
    "D": Family(213, 0.940, 0.887, 0.29),
    "G": Family(308, 1.000, 0.622, None),
    "J": Family(409, 0.943, 0.811, 0.40),
    "K": Family(454, 1.000, 0.944, 0.67),
}


def cut_anywhere(
    draw: random.Random, pieces: int, height: int, *, wide: float, pinwheels: float
) -> list[Piece]:
    """Cut a rectangle of full width; the largest of three random pieces is cut next."""
    result = [Piece(0, SIDE, height)]
    while len(result) < pieces:
        three = draw.sample(range(len(result)), min(3, len(result)))
        chosen = max(three, key=lambda i: result[i].area)
        piece = result[chosen]
        if draw.random() < pinwheels and min(piece.width, piece.height) >= 5:
            parts = pinwheel(draw, piece)
        elif draw.random() < piece.width / (piece.width + wide * piece.height):
            parts = split_time(draw, piece)
        else:
            parts = split_bytes(draw, piece)
        result[chosen : chosen + 1] = parts
    return result


def cut_largest(
    draw: random.Random, pieces: int, height: int, time_cuts: float | None
) -> list[Piece]:
    """Cut the largest piece of a rectangle of full width, again and again."""
    result = [Piece(0, SIDE, height)]
    margin = 0.35 if time_cuts is None else 0.0
    while len(result) < pieces:
        chosen = max(range(len(result)), key=lambda i: result[i].area)
        piece = result[chosen]
        share = time_cuts or piece.width / (piece.width + piece.height / 2)
        split = split_time if draw.random() < share else split_bytes
        result[chosen : chosen + 1] = split(draw, piece, margin)
    return result


def split_time(draw: random.Random, piece: Piece, margin: float = 0.0) -> list[Piece]:
    if piece.width < 2:
        return [piece]
    least = max(1, int(piece.width * margin))
    middle = draw.randint(piece.lower + least, piece.upper - least)
    return [
        Piece(piece.lower, middle, piece.height),
        Piece(middle, piece.upper, piece.height),
    ]


def split_bytes(draw: random.Random, piece: Piece, margin: float = 0.0) -> list[Piece]:
    if piece.height < 2:
        return [piece]
    least = max(1, int(piece.height * margin))
    below = draw.randint(least, piece.height - least)
    return [
        Piece(piece.lower, piece.upper, below),
        Piece(piece.lower, piece.upper, piece.height - below),
    ]


def pinwheel(draw: random.Random, piece: Piece) -> list[Piece]:
    """Four pieces around a fifth one, none of which any straight cut separates."""
    left = draw.randint(piece.lower + 1, piece.upper - 2)
    right = draw.randint(left + 1, piece.upper - 1)
    low = draw.randint(1, piece.height - 2)
    high = draw.randint(low + 1, piece.height - 1)
    return [
        Piece(piece.lower, right, low),
        Piece(right, piece.upper, high),
        Piece(left, piece.upper, piece.height - high),
        Piece(piece.lower, left, piece.height - low),
        Piece(left, right, high - low),
    ]


def take_out(draw: random.Random, pieces: list[Piece], area: int) -> list[Piece]:
    """Take random pieces out until no more than an area is left."""
    left = draw.sample(pieces, len(pieces))
    while sum(piece.area for piece in left) > area:
        left.pop()
    return left


def to_buffers(draw: random.Random, pieces: list[Piece]) -> list[Buffer]:
    shuffled = draw.sample(pieces, len(pieces))
    return [
        Buffer(str(i), piece.lower * GRAIN, piece.upper * GRAIN, piece.height * GRAIN)
        for i, piece in enumerate(shuffled)
    ]


def make_rectangle(seed: int) -> list[Buffer]:
    """Buffers that fill the capacity over all time."""
    draw = random.Random(f"rectangle {seed}")
    pieces = cut_anywhere(
        draw,
        draw.randint(150, 446),
        SIDE,
        wide=draw.choice([0.3, 1, 3, 10]),
        pinwheels=draw.choice([0, 0.1, 0.3]),
    )
    return to_buffers(draw, pieces)


def make_hard(seed: int) -> list[Buffer]:
    """Buffers like those of a published instance, which no greedy plan fits into the capacity."""
    name = list(FAMILIES)[seed % len(FAMILIES)]
    family = FAMILIES[name]
    for attempt in count():
        draw = random.Random(f"hard {name} {seed} {attempt}")
        height = round(family.height * SIDE)
        share = family.fill / family.height
        pieces = cut_largest(draw, round(family.buffers / share), height, family.time_cuts)
        buffers = to_buffers(draw, take_out(draw, pieces, round(share * SIDE * height)))
        if best_greedy(buffers, CAPACITY_BYTES)[0] > CAPACITY_BYTES:
            return buffers
    raise AssertionError("unreachable")


KINDS: dict[str, Callable[[int], list[Buffer]]] = {
    "rectangle": make_rectangle,
    "hard": make_hard,
}


def instances(kind: str, number: int, first_seed: int = 0) -> Iterator[tuple[str, list[Buffer]]]:
    """Yield names and buffers; the same seeds give the same problems."""
    for seed in range(first_seed, first_seed + number):
        yield f"{kind}-{seed:03d}", KINDS[kind](seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--number", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name, buffers in instances(arguments.kind, arguments.number, arguments.first_seed):
        rows = [f"{b.id},{b.first_step},{b.end_step},{b.size_bytes}" for b in buffers]
        path = arguments.folder / f"{name}.{CAPACITY_BYTES}.csv"
        path.write_text("\n".join(["id,lower,upper,size", *rows]) + "\n", encoding="utf-8")
        bound = lower_bound(buffers)
        print(f"{path}: {len(buffers)} buffers, lower bound {bound:,}, capacity {CAPACITY_BYTES:,}")


if __name__ == "__main__":
    main()
