"""``sweep``: an estimate for each combination of values, and which of them are worth having."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from edgekit.emulators.nand_chiplet import POLICIES
from edgekit.errors import MemoryBudgetError, UsageError
from edgekit.pipeline.estimate import ModelEstimate, Workload, estimate_model, shape_of
from edgekit.profiles import DeviceProfile, quantities, with_quantity
from edgekit.units import parse_bytes

MOST_ROWS = 10_000
WORKLOAD_FIELDS = ("model", "weights", "context", "policy", "weights_in")
_DIE_FIELDS = ("channels", "chips_per_channel", "dies_per_chip", "planes_per_die")
_TIME_SUFFIX = {"": 0, "s": 0, "ms": -3, "us": -6, "ns": -9}

Value = str | float


@dataclass(frozen=True, slots=True)
class Variation:
    """A field and its values.

    Parameters
    ----------
    name : str
        As it was given.
    key : str
        One of :data:`WORKLOAD_FIELDS`, or the dotted key of a number of the profile.
    values : tuple of str or float
    """

    name: str
    key: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One combination.

    Parameters
    ----------
    fields : mapping of field name to value
    estimate : ModelEstimate or None
        None where the weights fit nowhere.
    fits : bool
    refusal : str
        Why there is no estimate.
    pareto : bool
        No other row that fits is at least as good in speed, energy and price, and better in one.
    """

    fields: Mapping[str, Value]
    estimate: ModelEstimate | None
    fits: bool
    refusal: str = ""
    pareto: bool = False


def parse_variations(texts: Sequence[str], profile: DeviceProfile) -> list[Variation]:
    """Return the variations that ``FIELD=V1,V2,...`` say.

    A field is a number of the profile by its dotted key (``nand.channels``,
    ``memories[dram].bandwidth_bytes_per_s``) or by its last part, where that is unique or belongs
    to ``[nand]``; or one of :data:`WORKLOAD_FIELDS`. Times take ``us``, ``ms`` and so on, sizes
    ``KiB`` and so on.

    Raises
    ------
    UsageError
        If a field is not known (with the nearest), is given twice, or a value cannot be read.
    """
    found = [_variation(text, profile) for text in texts]
    keys = [item.key for item in found]
    twice = next((item.name for item in found if keys.count(item.key) > 1), None)
    if twice:
        raise UsageError(f"--vary {twice} is given twice")
    count = 1
    for item in found:
        count *= len(item.values)
    if count > MOST_ROWS:
        raise UsageError(f"that would be {count:,} rows, {MOST_ROWS:,} at most")
    return found


def sweep(
    work: Workload, profile: DeviceProfile, variations: Sequence[Variation]
) -> list[SweepRow]:
    """Estimate every combination of values, the last field varying fastest.

    The capacity of flash (and its price) follows the number of its planes, unless it is varied.

    Raises
    ------
    EdgekitError
        As :func:`edgekit.pipeline.estimate.estimate_model`; what does not fit becomes a row.
    """
    rows: list[SweepRow] = []
    for values in itertools.product(*(item.values for item in variations)):
        pairs = list(zip(variations, values, strict=True))
        fields = {item.name: value for item, value in pairs}
        changed, wanted = profile, work
        for item, value in pairs:
            if item.key in WORKLOAD_FIELDS:
                wanted = _with_field(wanted, item.key, value)
            else:
                changed = with_quantity(changed, item.key, float(value))
        changed = _with_capacity(profile, changed, {item.key for item in variations})
        try:
            estimate = estimate_model(wanted, changed, with_gains=False)
        except MemoryBudgetError as error:
            rows.append(SweepRow(fields, None, False, str(error)))
            continue
        rows.append(SweepRow(fields, estimate, estimate.fits))
    return mark_pareto(rows)


def mark_pareto(rows: Sequence[SweepRow]) -> list[SweepRow]:
    """Return the rows with those marked that no other row beats."""
    goals = [_goals(row.estimate) if row.fits and row.estimate else None for row in rows]
    best: set[tuple[float, ...]] = set()
    for goal in sorted({goal for goal in goals if goal is not None}):
        # Whoever beats it is smaller in this order, or is beaten itself by one that is.
        if not any(all(a <= b for a, b in zip(other, goal, strict=True)) for other in best):
            best.add(goal)
    return [replace(row, pareto=goal in best) for row, goal in zip(rows, goals, strict=True)]


def fields_without_effect(
    rows: Sequence[SweepRow], variations: Sequence[Variation]
) -> tuple[str, ...]:
    """Return the fields whose values change nothing in any row; none where nothing fits."""
    idle: list[str] = []
    if all(row.estimate is None for row in rows):
        return ()
    for item in variations:
        groups: dict[tuple[Value, ...], set[tuple[float, ...]]] = {}
        for row in rows:
            others = tuple(value for name, value in row.fields.items() if name != item.name)
            goals = _goals(row.estimate) if row.estimate else ()
            more = (row.estimate.prefill_s,) if row.estimate else ()
            groups.setdefault(others, set()).add((*goals, *more))
        if len(item.values) > 1 and all(len(group) == 1 for group in groups.values()):
            idle.append(item.name)
    return tuple(idle)


def _goals(estimate: ModelEstimate) -> tuple[float, ...]:
    """Return what should be small: time and joules of a token, and the price."""
    cost = estimate.cost_usd if estimate.cost_usd is not None else 0.0
    return (1 / estimate.tokens_per_s, estimate.energy_j_per_token, cost)


def _variation(text: str, profile: DeviceProfile) -> Variation:
    name, equals, list_of_values = text.partition("=")
    name = name.strip()
    words = [word.strip() for word in list_of_values.split(",") if word.strip()]
    if not equals or not name or not words:
        raise UsageError(
            f"--vary {text!r}: write FIELD=V1,V2,... for instance page_read_s=20us,30us"
        )
    key = _key(name, profile)
    return Variation(name, key, tuple(_value(key, word) for word in dict.fromkeys(words)))


def _key(name: str, profile: DeviceProfile) -> str:
    keys = [key for key, _ in quantities(profile)]
    if name in WORKLOAD_FIELDS or name in keys:
        return name
    if f"nand.{name}" in keys:
        return f"nand.{name}"
    ends = [key for key in keys if key.rpartition(".")[2] == name]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise UsageError(f"--vary {name}: {profile.name} has more than one: {', '.join(ends)}")
    shorts = [key.removeprefix("nand.") for key in keys if key.startswith("nand.")]
    known = [*WORKLOAD_FIELDS, *shorts, *keys]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "see edgekit devices --show NAME"
    raise UsageError(f"--vary {name}: {profile.name} has no such field; {hint}")


def _value(key: str, word: str) -> Value:
    if key == "context":
        return float(_number(key, word))
    if key == "policy" and word not in POLICIES:
        raise UsageError(f"--vary policy: {word!r} is none of {', '.join(POLICIES)}")
    if key in WORKLOAD_FIELDS:
        return word
    return _number(key, word)


def _number(key: str, word: str) -> float:
    leaf = key.rpartition(".")[2]
    if leaf.endswith("_bytes"):
        return float(parse_bytes(word))
    pattern = r"(\d+(?:\.\d*)?(?:e[-+]?\d+)?)\s*([a-z]*)"
    match = re.fullmatch(pattern, word.lower())
    suffixes = _TIME_SUFFIX if leaf.endswith("_s") and not leaf.endswith("_per_s") else {"": 0}
    if not match or match.group(2) not in suffixes:
        raise UsageError(f"--vary {key}: {word!r} is not a number >= 0")
    return float(Decimal(match.group(1)).scaleb(suffixes[match.group(2)]))


def _with_field(work: Workload, key: str, value: Value) -> Workload:
    if key == "model":
        return replace(work, shape=shape_of(str(value)))
    if key == "weights":
        return replace(work, weights=str(value))
    if key == "context":
        if float(value) != int(float(value)):
            raise UsageError(f"a context of {value} tokens; write whole numbers")
        return replace(work, context=int(float(value)))
    if key == "policy":
        policy = next(item for item in POLICIES if item == value)
        return replace(work, policy=policy)
    return replace(work, weights_in=str(value))


def _with_capacity(before: DeviceProfile, after: DeviceProfile, varied: set[str]) -> DeviceProfile:
    """Let the capacity of flash follow the number of planes."""
    if before.nand is None or after.nand is None or not before.constants_memory:
        return after
    prefix = f"memories[{before.constants_memory}]."
    if any(key.startswith(prefix) and key.endswith("_bytes") for key in varied):
        return after
    if not varied & {f"nand.{name}" for name in _DIE_FIELDS}:
        return after
    numbers, changed = dict(quantities(before)), dict(quantities(after))
    ratio = 1.0
    for name in _DIE_FIELDS:
        old = numbers[f"nand.{name}"].value
        ratio *= changed[f"nand.{name}"].value / old if old else 1.0
    for leaf in ("capacity_bytes", "available_bytes"):
        after = with_quantity(after, prefix + leaf, numbers[prefix + leaf].value * ratio)
    return after
