"""Flash that computes, event by event: nothing is lost, reordered or in two places at once."""

from __future__ import annotations

import ctypes
import re
import shutil
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import native
from edgekit.converters.partitioning.flash_tiles import TileShape, tile_for
from edgekit.cost.nand import NandGeometry
from edgekit.cost.timeline import to_ns
from edgekit.emulators import nand_native
from edgekit.emulators.nand_events import (
    CHANNEL_KINDS,
    WHOLE_SHARE,
    EventKind,
    EventPolicy,
    EventResult,
    FlashProduct,
    NandEvent,
    read_pages,
    simulate_token,
)
from edgekit.errors import EmulatorError, UsageError
from tests.sanitized import run_sanitized, sanitized_library

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "edgekit" / "csrc" / "include" / "edgekit" / "nand.h"
FOREVER = (0, 1 << 62)

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(not native.has_library(), reason="libedgekit is not built"),
]


def geometry(**changes: float) -> NandGeometry:
    """Two channels of two chips; a page crosses a channel in 1024 ns and is read in 2 us."""
    values: dict[str, float] = {
        "channels": 2,
        "chips_per_channel": 2,
        "dies_per_chip": 1,
        "planes_per_die": 2,
        "cores_per_die": 1,
        "page_bytes": 1024,
        "spare_bytes_per_page": 64,
        "page_read_s": 2e-6,
        "channel_bytes_per_s": 1e9,
        "array_read_j_per_bit": 0.0,
        "channel_j_per_bit": 0.0,
    }
    return NandGeometry(**{**values, **changes})  # type: ignore[arg-type]


@st.composite
def geometries(draw: st.DrawFn) -> NandGeometry:
    cores = draw(st.integers(1, 2))
    return geometry(
        channels=draw(st.integers(1, 4)),
        chips_per_channel=draw(st.integers(1, 3)),
        dies_per_chip=draw(st.integers(1, 2)),
        cores_per_die=cores,
        planes_per_die=cores + draw(st.integers(1, 2)),
        page_bytes=draw(st.sampled_from([256, 1000, 1024])),
        page_read_s=draw(st.integers(0, 5000)) * 1e-9,
        channel_bytes_per_s=draw(st.sampled_from([3e8, 1e9, 2.4e9])),
    )


PRODUCTS = st.lists(
    st.builds(
        FlashProduct,
        rows=st.integers(1, 200),
        columns=st.integers(1, 200),
        weight_bits=st.sampled_from([4, 8, 16]),
        delay_s=st.sampled_from([0.0, 0.0, 3e-6]),
    ),
    min_size=1,
    max_size=6,
)
POLICIES = st.builds(
    EventPolicy,
    streaming=st.sampled_from(["sliced", "sliced", "unsliced", "flash-only"]),
    slice_bytes=st.integers(1, 1200),
    buffer_bytes=st.none() | st.integers(0, 20000),
    input_bytes=st.integers(1, 2),
    result_bytes=st.integers(1, 4),
    compute_s=st.sampled_from([0.0, 0.0, 1e-6, 4e-6]),
    stream_while_idle=st.booleans(),
)


# --- Plain page reads against their closed forms ---


@given(geometries(), st.integers(1, 40), st.integers(1, 2))
def test_one_page_at_a_time_takes_reading_plus_moving(
    flash: NandGeometry, pages: int, registers: int
) -> None:
    each_ns = to_ns(flash.page_read_s) + move_ns(flash)
    ends = read_pages(flash, pages, queue_depth=1, registers=registers)
    assert ends == tuple(each_ns * (page + 1) for page in range(pages))


@given(geometries(), st.integers(1, 60), st.integers(1, 40))
def test_depth_stays_between_pipelined_and_not_pipelined(
    flash: NandGeometry, pages: int, depth: int
) -> None:
    read, move = to_ns(flash.page_read_s), move_ns(flash)
    planes = flash.dies_per_channel * flash.planes_per_die
    ends = read_pages(flash, pages, queue_depth=depth)
    assert ends[-1] <= pages * (read + move)
    assert ends[-1] >= read + pages * move
    assert ends[-1] >= -(-pages // planes) * read + move
    assert all(after - before >= move for before, after in pairwise(ends))
    assert ends[-1] <= read_pages(flash, pages, queue_depth=depth, registers=1)[-1]
    assert read_pages(flash, pages, queue_depth=depth + 1)[-1] <= ends[-1]


@given(st.integers(0, 5000), st.sampled_from([3e8, 1e9]), st.integers(1, 50))
def test_two_registers_hide_the_shorter_of_reading_and_moving(
    read_ns: int, rate: float, pages: int
) -> None:
    one = geometry(chips_per_channel=1, planes_per_die=1, page_read_s=read_ns * 1e-9)
    flash = geometry(
        chips_per_channel=1,
        planes_per_die=1,
        page_read_s=one.page_read_s,
        channel_bytes_per_s=rate,
    )
    move = move_ns(flash)
    ends = read_pages(flash, pages, queue_depth=2)
    assert ends[-1] == read_ns + move + (pages - 1) * max(read_ns, move)
    alone = read_pages(flash, pages, queue_depth=8, registers=1)
    assert alone[-1] == pages * (read_ns + move)


def test_many_planes_saturate_the_channel() -> None:
    flash = geometry(chips_per_channel=8)
    ends = read_pages(flash, 500, queue_depth=64)
    assert ends[-1] == to_ns(flash.page_read_s) + 500 * move_ns(flash)


def move_ns(flash: NandGeometry) -> int:
    return -(-flash.page_bytes * 10**9 // round(flash.channel_bytes_per_s))


# --- Tokens ---


@settings(deadline=None, max_examples=50)
@given(geometries(), PRODUCTS, POLICIES)
def test_nothing_is_lost_reordered_or_in_two_places(
    flash: NandGeometry, products: list[FlashProduct], policy: EventPolicy
) -> None:
    result = simulate_token(products, flash, policy, window_ns=FOREVER)
    assert len(result.timeline) == result.events
    check_places(result.timeline)
    check_requests(result, policy)
    check_streaming(result, flash, policy)
    check_sums(result, products, flash, policy)


@pytest.mark.parametrize("slice_bytes", [1, 100, 256, 1024])
@pytest.mark.parametrize("rate", [3e8, 1e9])
def test_pages_are_cut_where_requests_come(slice_bytes: int, rate: float) -> None:
    """Long tokens in which most pages are cut, which random small ones seldom are."""
    flash = geometry(channel_bytes_per_s=rate, chips_per_channel=3)
    products = [FlashProduct(1000, 300), FlashProduct(300, 1000, weight_bits=4, delay_s=1e-6)]
    policy = EventPolicy(slice_bytes=slice_bytes, result_bytes=2)
    result = simulate_token(products, flash, policy, window_ns=FOREVER)
    moves = [event for event in result.timeline if event.kind is EventKind.PAGE_MOVE]
    assert (len(moves) > 1.2 * result.streamed_pages) == (slice_bytes < 1024)
    check_places(result.timeline)
    check_requests(result, policy)
    check_streaming(result, flash, policy)
    check_sums(result, products, flash, policy)


def check_places(events: Sequence[NandEvent]) -> None:
    """A channel carries one thing at a time; a plane reads, and a core multiplies, one page."""
    places: dict[tuple[object, ...], list[NandEvent]] = defaultdict(list)
    for event in events:
        assert event.start_ns <= event.end_ns
        if event.kind in CHANNEL_KINDS:
            places[("channel", event.channel)].append(event)
        else:
            places[(event.kind, event.channel, event.unit)].append(event)
    for place, found in places.items():
        ordered = sorted(found, key=lambda event: (event.start_ns, event.end_ns))
        for before, after in pairwise(ordered):
            assert before.end_ns <= after.start_ns
            if place[0] != "channel":
                key = (before.product, before.sequence), (after.product, after.sequence)
                if place[0] is EventKind.PAGE_READ:
                    assert before.sequence < after.sequence
                else:
                    assert key[0] < key[1]


def by_request(
    events: Sequence[NandEvent], kind: EventKind
) -> dict[tuple[int, int, int, int], NandEvent]:
    """Events of read-compute requests by product, round, channel and core: each once."""
    chosen = [event for event in events if event.kind is kind]
    found = {(e.product, e.sequence, e.channel, e.unit): e for e in chosen}
    assert len(found) == len(chosen)
    return found


def check_requests(result: EventResult, policy: EventPolicy) -> None:
    """Input before the read, results after the core is done, and each page has both."""
    inputs = by_request(result.timeline, EventKind.INPUT)
    reads = by_request(result.timeline, EventKind.COMPUTE_READ)
    results = by_request(result.timeline, EventKind.RESULT)
    assert reads.keys() == results.keys()
    assert len(reads) == result.flash_pages
    assert {key[:3] for key in reads} == {key[:3] for key in inputs}
    compute_ns = to_ns(policy.compute_s)
    done_ns: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    for key, read in sorted(reads.items()):
        done = done_ns[key[2:]]
        assert done[-2] <= read.start_ns
        done.append(max(read.end_ns, done[-1]) + compute_ns)
        assert inputs[(*key[:3], -1)].end_ns <= read.start_ns
        assert read.end_ns + compute_ns <= results[key].start_ns
    if policy.streaming == "unsliced":
        for key, read in reads.items():
            begin = inputs[(*key[:3], -1)].start_ns
            for event in result.timeline:
                if event.kind is EventKind.PAGE_MOVE and event.channel == read.channel:
                    assert event.end_ns <= begin or event.start_ns >= results[key].end_ns


def check_streaming(result: EventResult, flash: NandGeometry, policy: EventPolicy) -> None:
    """Each page crosses whole, in order, after it was read, in slices."""
    moves: dict[tuple[int, int], list[NandEvent]] = defaultdict(list)
    reads: dict[tuple[int, int], NandEvent] = {}
    for event in result.timeline:
        if event.kind is EventKind.PAGE_MOVE:
            moves[(event.channel, event.sequence)].append(event)
        elif event.kind is EventKind.PAGE_READ:
            reads[(event.channel, event.sequence)] = event
    assert moves.keys() == reads.keys()
    assert len(reads) == result.streamed_pages
    least_ns = flash.page_bytes / flash.channel_bytes_per_s * 1e9
    for key, parts in moves.items():
        assert reads[key].end_ns <= parts[0].start_ns
        moved_ns = sum(part.end_ns - part.start_ns for part in parts)
        assert least_ns - 1e-6 <= moved_ns < least_ns + len(parts)
        following = moves.get((key[0], key[1] + 1))
        assert following is None or parts[-1].end_ns <= following[0].start_ns
        if policy.streaming == "unsliced":
            assert len(parts) == 1
        for part in parts[:-1]:
            assert is_whole_slices(part.end_ns - part.start_ns, flash, policy.slice_bytes)
    # A plane holds two pages: the third is read when the first has left.
    units = flash.dies_per_channel * (flash.planes_per_die - flash.cores_per_die)
    for (channel, page), read in reads.items():
        first = moves.get((channel, page - 2 * units))
        assert first is None or first[-1].end_ns <= read.start_ns


def is_whole_slices(duration_ns: int, flash: NandGeometry, slice_bytes: int) -> bool:
    rate = round(flash.channel_bytes_per_s)
    slices = duration_ns * rate // (slice_bytes * 10**9)
    return duration_ns in {-(-n * slice_bytes * 10**9 // rate) for n in (slices, slices + 1)}


def check_sums(
    result: EventResult,
    products: Sequence[FlashProduct],
    flash: NandGeometry,
    policy: EventPolicy,
) -> None:
    """The figures of the result are those of the events, and every weight is used once."""
    weights = sum(tile_bytes(product, flash) for product in products)
    assert result.flash_bytes + result.streamed_bytes == weights
    assert result.streamed_pages * flash.page_bytes >= result.streamed_bytes
    assert result.rounds <= result.tiles
    if policy.streaming == "flash-only":
        assert result.streamed_bytes == 0
    idle_s = sum(product.delay_s for product in products)
    assert result.seconds >= idle_s
    last_ns = max((e.end_ns for e in result.timeline if e.kind in CHANNEL_KINDS), default=0)
    assert to_ns(result.seconds) >= last_ns
    uses = {
        EventKind.INPUT: result.channel_use.input,
        EventKind.RESULT: result.channel_use.result,
        EventKind.PAGE_MOVE: result.channel_use.page,
    }
    for kind, share in uses.items():
        busy_ns = sum(e.end_ns - e.start_ns for e in result.timeline if e.kind is kind)
        assert busy_ns == pytest.approx(share * result.seconds * 1e9 * flash.channels)
    assert 0 <= result.channel_use.total <= 1 + 1e-12
    if policy.buffer_bytes is not None:
        assert result.buffer_peak_bytes <= policy.buffer_bytes


def tile_bytes(product: FlashProduct, flash: NandGeometry) -> int:
    """Bytes of all tiles of a matrix: half bytes are rounded up in each."""
    tile = tile_for(product.rows, product.columns, flash, product.weight_bits)
    total = 0
    for row in range(0, product.rows, tile.rows):
        for column in range(0, product.columns, tile.columns):
            rows = min(tile.rows, product.rows - row)
            columns = min(tile.columns, product.columns - column)
            total += -(-rows * columns * product.weight_bits // 8)
    return total


@settings(deadline=None, max_examples=20)
@given(geometries(), PRODUCTS, POLICIES)
def test_equal_arguments_give_equal_events(
    flash: NandGeometry, products: list[FlashProduct], policy: EventPolicy
) -> None:
    first = simulate_token(products, flash, policy, window_ns=FOREVER)
    assert simulate_token(products, flash, policy, window_ns=FOREVER) == first


@settings(deadline=None, max_examples=20)
@given(geometries(), PRODUCTS, st.integers(0, 30000), st.integers(0, 30000))
def test_a_window_shows_what_begins_in_it(
    flash: NandGeometry, products: list[FlashProduct], begin_ns: int, length_ns: int
) -> None:
    window = (begin_ns, begin_ns + length_ns)
    everything = simulate_token(products, flash, window_ns=FOREVER).timeline
    part = simulate_token(products, flash, window_ns=window).timeline
    assert part == tuple(e for e in everything if window[0] <= e.start_ns < window[1])


@given(st.integers(1, 20), st.integers(0, 3000))
def test_rounds_alone_take_their_request_times(tiles: int, compute_ns: int) -> None:
    flash, tile = geometry(), TileShape(64, 64)
    product = FlashProduct(64 * tiles, 64, tile=tile)
    policy = EventPolicy("flash-only", compute_s=compute_ns * 1e-9)
    result = simulate_token([product], flash, policy)
    # A page needs its core, which may be slower than the array: then that is what repeats. Results
    # of a core leave in the shadow of the next page; the last one's are waited for.
    input_ns, result_ns = 32, 64
    round_ns = max(input_ns + 2000, compute_ns if tiles > 1 else 0)
    least = tiles * (input_ns + 2000) + compute_ns + result_ns
    assert to_ns(result.seconds) >= least
    assert to_ns(result.seconds) <= tiles * (round_ns + 2 * result_ns + input_ns) + 2 * compute_ns


@pytest.mark.parametrize("while_idle", [False, True])
def test_pages_stream_before_a_product_only_where_they_may(while_idle: bool) -> None:
    flash = geometry()
    products = [FlashProduct(512, 64), FlashProduct(512, 64, delay_s=1e-3)]
    policy = EventPolicy(buffer_bytes=1 << 20, stream_while_idle=while_idle)
    events = simulate_token(products, flash, policy, window_ns=FOREVER).timeline
    first = {kind: [e for e in events if e.kind is kind and e.product == 0] for kind in EventKind}
    done_ns = max(event.end_ns for event in first[EventKind.RESULT])
    begin_ns = min(e.start_ns for e in events if e.product == 1 and e.kind is EventKind.INPUT)
    assert begin_ns >= done_ns + 10**6
    moves = [event.start_ns for event in events if event.kind is EventKind.PAGE_MOVE]
    assert any(done_ns < start < begin_ns for start in moves) == while_idle


def test_smaller_slices_delay_requests_less() -> None:
    flash, products = geometry(chips_per_channel=4), [FlashProduct(4096, 512)]
    sliced = [
        simulate_token(products, flash, EventPolicy(slice_bytes=size)).seconds
        for size in (16, 128, 1024)
    ]
    assert sliced == sorted(sliced)
    held = simulate_token(products, flash, EventPolicy("unsliced")).seconds
    assert sliced[-1] < held


# --- What is refused ---


def test_nothing_streams_where_cores_use_all_planes() -> None:
    flash = geometry(planes_per_die=1)
    found = simulate_token([FlashProduct(64, 64)], flash)
    assert found == simulate_token([FlashProduct(64, 64)], flash, EventPolicy("flash-only"))
    assert found.flash_bytes == 64 * 64


@pytest.mark.parametrize(
    "values",
    [
        {"streaming": "sometimes"},
        {"slice_bytes": 0},
        {"input_bytes": 0},
        {"result_bytes": 9},
        {"compute_s": -1.0},
        {"compute_s": float("nan")},
        {"buffer_bytes": -1},
    ],
    ids=str,
)
def test_policies_that_make_no_sense_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        EventPolicy(**values)  # type: ignore[arg-type]


def test_tokens_beyond_the_simulation_are_refused() -> None:
    with pytest.raises(UsageError, match="without products"):
        simulate_token([], geometry())
    with pytest.raises(UsageError, match="no tiles"):
        simulate_token([FlashProduct(0, 64)], geometry())
    with pytest.raises(EmulatorError, match="beyond what is simulated"):
        simulate_token([FlashProduct(1 << 24, 1 << 24)], geometry())
    with pytest.raises(EmulatorError, match="beyond what is simulated"):
        simulate_token([FlashProduct(8, 8)], geometry(channels=1 << 20))
    with pytest.raises(EmulatorError, match="queue depth 0"):
        read_pages(geometry(), 4, queue_depth=0)
    with pytest.raises(EmulatorError, match="0 pages"):
        read_pages(geometry(), 0)


# --- The C interface ---


def struct_fields(name: str) -> list[str]:
    """Field names of a struct in nand.h, in order."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    found = re.search(rf"typedef struct {name} \{{(.*?)\}} {name};", text, flags=re.S)
    assert found is not None
    declared = re.findall(r"int(?:64|32)_t ([\w, ]+);", found.group(1))
    return [field.strip() for line in declared for field in line.split(",")]


@pytest.mark.parametrize("name", ["geometry", "product", "options", "event", "result"])
def test_records_have_the_fields_of_the_header(name: str) -> None:
    mirror = vars(nand_native)[f"C{name.capitalize()}"]
    assert [field[0] for field in mirror._fields_] == struct_fields(f"ek_nand_{name}")
    source = (ROOT / "edgekit" / "csrc" / "nand" / "events.c").read_text()
    size = re.search(rf"sizeof\(ek_nand_{name}\) == (\d+)", source)
    assert size is not None
    assert ctypes.sizeof(mirror) == int(size.group(1))


def test_kinds_and_shares_are_those_of_the_header() -> None:
    text = HEADER.read_text()
    for kind in EventKind:
        assert re.search(rf"EK_NAND_{kind.name} = {kind.value}\b", text)
    assert WHOLE_SHARE == 1 << 32
    assert "EK_NAND_WHOLE_SHARE ((int64_t)1 << 32)" in text


def simulate_status(
    *, shift: int = 0, spare_bytes: int = 0, products: int = 1, **changes: int
) -> int:
    """Status for a small token with some values of its records changed."""
    library = nand_native.declare(native.load_library())
    fields = {
        "geometry": nand_native.CGeometry(2, 2, 2, 1, 1024, 2000, 10**9),
        "product": nand_native.CProduct(64, 64, 64, 64, 8, 0, 1 << 31),
        "options": nand_native.COptions(64, 1, 1, 0, 4, 0, 0, 0, 0),
    }
    for name, value in changes.items():
        owner = next(item for item in fields.values() if hasattr(item, name))
        setattr(owner, name, value)
    size = library.ek_nand_workspace_bytes(nand_native.CGeometry(2, 2, 2, 1, 1024, 1, 10**9), 1)
    memory = ctypes.create_string_buffer(size + 32)
    place = (ctypes.addressof(memory) + 15) // 16 * 16 + shift
    result = nand_native.CResult(end_ns=-7)
    status = library.ek_nand_simulate(
        fields["geometry"],
        fields["product"],
        products,
        fields["options"],
        None,
        0,
        place,
        size - spare_bytes,
        result,
    )
    assert (result.end_ns == -7) == (status != 0)
    return int(status)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 0),
        ({"channels": 0}, 101),
        ({"planes_per_die": 0}, 101),
        ({"page_bytes": 1 << 21}, 101),
        ({"page_read_ns": -1}, 101),
        ({"channel_bytes_per_s": 10}, 101),
        ({"dies": 1 << 40}, 300),
        ({"rows": 0}, 101),
        ({"columns": (1 << 24) + 1}, 101),
        ({"tile_rows": 63}, 101),
        ({"tile_columns": 65}, 101),
        ({"tile_rows": 1 << 62}, 101),
        ({"tile_columns": 1 << 62}, 101),
        ({"weight_bits": 17}, 101),
        ({"delay_ns": -1}, 101),
        ({"streamed_share": (1 << 32) + 1}, 101),
        ({"planes_per_die": 1}, 101),
        ({"slice_bytes": 0}, 101),
        ({"slice_bytes": 1025}, 101),
        ({"compute_ns": 1 << 40}, 101),
        ({"buffer_pages": -1}, 101),
        ({"hold_channel": 2}, 101),
        ({"rows": 1 << 24, "columns": 1 << 24}, 300),
        ({"products": 0}, 101),
        ({"products": (1 << 20) + 1}, 300),
        ({"spare_bytes": 1}, 200),
        ({"shift": 8}, 201),
    ],
    ids=str,
)
def test_simulate_refuses_what_breaks_its_rules(changes: dict[str, int], status: int) -> None:
    assert simulate_status(**changes) == status


@pytest.mark.full
@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_events_are_clean_under_sanitizers(tmp_path: Path) -> None:
    tests = [Path(__file__), ROOT / "tests" / "emulated" / "test_nand_events.py"]
    run = run_sanitized(tests, library=sanitized_library(tmp_path))
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert "passed" in run.stdout


@pytest.mark.parametrize(
    "product",
    [
        FlashProduct(2**65 + 4096, 64),
        FlashProduct(64, 2**31),
        FlashProduct(64, 64, delay_s=1e300),
        FlashProduct(64, 64, delay_s=float("nan")),
    ],
)
def test_numbers_that_no_matrix_has_are_refused(product: FlashProduct) -> None:
    with pytest.raises(UsageError):
        simulate_token([product], geometry())


@pytest.mark.parametrize(("pages", "depth"), [(2**45, 1), (1, 2**64 + 1), (0, 1), (1, 0)])
def test_reads_that_no_host_makes_are_refused(pages: int, depth: int) -> None:
    with pytest.raises(EmulatorError):
        read_pages(geometry(), pages, queue_depth=depth)
