"""Estimates elsewhere than on flash that computes, and sweeps over fields."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.cost.offload import offload_token
from edgekit.cost.price import price_usd
from edgekit.errors import EdgekitError, MemoryBudgetError, ProfileError, UsageError
from edgekit.model_shapes import SHAPES, find_shape
from edgekit.pipeline.estimate import (
    SHIPPED,
    Workload,
    estimate_model,
    parse_precision,
    shape_of,
    with_memory_limit,
)
from edgekit.pipeline.sweep import (
    SweepRow,
    fields_without_effect,
    mark_pareto,
    parse_variations,
    sweep,
)
from edgekit.profiles import list_profiles, load_profile, quantities, with_quantity
from edgekit.report.sweep import write_sweep_report
from edgekit.runtime.language.gguf_file import read_header
from edgekit.zoo import language_model_path

LLAMA = Workload(find_shape("llama2-7b"))
CHIPLET = load_profile("cambricon-llm-s")
SERVER = load_profile("server-a100")


def rows_of(*vary: str, device: str = "cambricon-llm-s", work: Workload = LLAMA) -> list[SweepRow]:
    profile = load_profile(device)
    return sweep(work, profile, parse_variations(vary, profile))


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("opt-6.7b", 6.442),
        ("opt-13b", 12.583),
        ("opt-30b", 29.595),
        ("opt-66b", 65.230),
        ("llama2-7b", 6.476),
        ("llama2-13b", 12.688),
        ("llama2-70b", 68.451),
        ("llama2-70b-mha", 77.846),
        ("mixtral-8x7b", 46.4),
        ("qwen2-7b", 6.525),
    ],
)
def test_published_shapes_have_the_published_weights(name: str, billions: float) -> None:
    assert find_shape(name.upper()).stored_weights / 1e9 == pytest.approx(billions, rel=1e-3)


def test_an_unknown_shape_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean llama2-7b"):
        find_shape("lama2-7b")


def test_the_shipped_model_has_a_shape() -> None:
    shape = shape_of(SHIPPED)
    header = read_header(language_model_path())
    layers = [item for item in header.tensors if item.name.startswith("blk.")]
    matrices = [item for item in layers if len(item.shape) == 2]
    assert shape.stored_weights == sum(item.elements for item in matrices)


def test_a_file_that_is_no_gguf_has_no_shape(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"no model at all")
    with pytest.raises(EdgekitError, match=r"model\.bin"):
        shape_of(str(path))


@pytest.mark.parametrize("text", ["w8", "w3a8", "w8a4", "int8", ""])
def test_widths_that_are_not_known_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write w8a8"):
        parse_precision(text)


@pytest.mark.parametrize("name", [item.name for item in list_profiles()])
def test_every_device_answers_or_says_why_not(name: str) -> None:
    work = replace(LLAMA, shape=shape_of(SHIPPED))
    profile = load_profile(name)
    if profile.kind == "mcu" or not any(item.reached_by for item in profile.processors):
        with pytest.raises((ProfileError, MemoryBudgetError), match=name):
            estimate_model(work, profile)
        return
    found = estimate_model(work, profile)
    assert found.tokens_per_s > 0
    assert found.prefill_s > 0
    assert found.energy_j_per_token >= 0
    assert found.limit


def test_weights_go_over_every_link_on_their_way() -> None:
    shape = find_shape("opt-13b")
    near, middle, far = (
        offload_token(shape, SERVER, weights_in=memory) for memory in ("vram", "dram", "ssd")
    )
    assert near.hops == ()
    assert [hop.name for hop in middle.hops] == ["pcie"]
    assert [hop.name for hop in far.hops] == ["nvme", "pcie"]
    assert near.seconds < middle.seconds < far.seconds
    assert far.moved_bytes - near.moved_bytes == pytest.approx(2 * shape.used_weights)
    assert far.seconds == pytest.approx(sum(hop.seconds for hop in far.hops))


def test_weights_lie_in_the_nearest_memory_that_holds_them() -> None:
    assert offload_token(find_shape("llama2-70b"), SERVER).weights_in == "vram"
    two_bytes = offload_token(find_shape("opt-30b"), SERVER, weight_bits=16, context=20_000)
    assert two_bytes.weights_in == "dram"


def test_what_ram_does_not_hold_is_read_from_storage_each_token() -> None:
    phone, shape = load_profile("oneplus12"), find_shape("llama2-70b")
    found = offload_token(shape, phone)
    room = phone.ram.available_bytes.integer - found.kv_bytes
    assert found.weights_in == "storage"
    assert found.hops[0].size_bytes == pytest.approx(found.stored_bytes - room)
    smaller = offload_token(shape, with_memory_limit(phone, 2**30))
    assert smaller.hops[0].size_bytes > found.hops[0].size_bytes


def test_the_processor_that_takes_the_least_time_is_taken() -> None:
    laptop, shape = load_profile("laptop-gtx1050"), find_shape("llama2-7b")
    assert offload_token(shape, laptop, weight_bits=4, context=100).processor == "gpu"
    assert offload_token(shape, laptop, weight_bits=8).processor == "cpu"


@pytest.mark.parametrize(
    ("device", "key", "memory"),
    [
        ("cambricon-llm-s", "memories[dram].bandwidth_bytes_per_s", ""),
        ("server-a100", "links[pcie].bandwidth_bytes_per_s", "dram"),
        ("server-a100", "memories[vram].bandwidth_bytes_per_s", ""),
    ],
)
def test_a_way_without_bandwidth_is_refused(device: str, key: str, memory: str) -> None:
    profile = with_quantity(load_profile(device), key, 0.0)
    with pytest.raises(ProfileError, match=r"is 0|at 0"):
        estimate_model(replace(LLAMA, weights_in=memory), profile)


def test_memories_that_do_not_hold_the_weights_are_refused() -> None:
    with pytest.raises(MemoryBudgetError, match="vram of server-a100"):
        offload_token(find_shape("llama2-70b"), SERVER, weight_bits=16, weights_in="vram")
    with pytest.raises(UsageError, match="it has dram, vram, ssd"):
        offload_token(find_shape("llama2-7b"), SERVER, weights_in="tape")
    with pytest.raises(UsageError, match="weights-in"):
        estimate_model(replace(LLAMA, weights_in="dram"), CHIPLET)
    with pytest.raises(UsageError, match="--policy"):
        estimate_model(replace(LLAMA, policy="flash-only"), SERVER)


def test_a_number_of_a_profile_changes_alone() -> None:
    changed = with_quantity(CHIPLET, "memories[dram].bandwidth_bytes_per_s", 80e9)
    before, after = dict(quantities(CHIPLET)), dict(quantities(changed))
    assert {key for key in before if before[key] != after[key]} == {
        "memories[dram].bandwidth_bytes_per_s"
    }
    with pytest.raises(ProfileError, match="did you mean"):
        with_quantity(CHIPLET, "nand.chanels", 1)
    with pytest.raises(ProfileError, match="finite"):
        with_quantity(CHIPLET, "nand.channels", -1)


def test_gains_are_those_of_the_changed_profile() -> None:
    found = estimate_model(LLAMA, CHIPLET)
    assert len(found.gains) == 5
    for gain in found.gains:
        value = dict(quantities(CHIPLET))[gain.key].value * gain.factor
        better = estimate_model(LLAMA, with_quantity(CHIPLET, gain.key, value))
        assert gain.speedup == pytest.approx(better.tokens_per_s / found.tokens_per_s)
        assert 1 <= gain.speedup <= 2 * (1 + 1e-9)


def test_the_price_is_that_of_the_published_table() -> None:
    assert price_usd(CHIPLET) == pytest.approx(43.67)
    assert price_usd(load_profile("pixel8")) is None


def test_a_sweep_has_every_combination_and_agrees_with_single_estimates() -> None:
    rows = rows_of("page_read_s=20us,30us", "weights=w8a8,w4a16")
    assert [tuple(row.fields.values()) for row in rows] == [
        (20e-6, "w8a8"),
        (20e-6, "w4a16"),
        (30e-6, "w8a8"),
        (30e-6, "w4a16"),
    ]
    plain = estimate_model(LLAMA, CHIPLET)
    assert rows[2].estimate is not None
    assert rows[2].estimate.tokens_per_s == plain.tokens_per_s


def test_capacity_and_price_follow_the_dies_unless_capacity_is_varied() -> None:
    one, two = (row.estimate for row in rows_of("dies_per_chip=2,4"))
    assert one is not None
    assert two is not None
    assert one.cost_usd == pytest.approx(43.67)
    assert two.cost_usd == pytest.approx(43.67 + 38.80)
    fixed = rows_of("dies_per_chip=4", "memories[nand].available_bytes=40GiB")
    assert fixed[0].estimate is not None
    assert fixed[0].estimate.cost_usd == pytest.approx(43.67)


def test_what_does_not_fit_is_a_row_and_never_among_the_best() -> None:
    work = Workload(find_shape("llama2-70b"))
    rows = rows_of("channels=4,8", work=work)
    assert [row.fits for row in rows] == [False, True]
    assert "too many" in rows[0].refusal
    assert [row.pareto for row in rows] == [False, True]


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_marked_rows_are_those_that_none_beats(points: list[tuple[int, int, int, bool]]) -> None:
    base = estimate_model(LLAMA, CHIPLET)
    rows = [
        SweepRow(
            {"n": float(index)},
            replace(base, tokens_per_s=1 / a, energy_j_per_token=b, cost_usd=c),
            fits,
        )
        for index, (a, b, c, fits) in enumerate(points)
    ]
    for (*goal, fits), row in zip(points, mark_pareto(rows), strict=True):
        rivals = [rival for *rival, rival_fits in points if rival_fits]
        beaten = any(
            rival != goal and all(x <= y for x, y in zip(rival, goal, strict=True))
            for rival in rivals
        )
        assert row.pareto == (fits and not beaten)


def test_a_field_that_changes_nothing_is_named() -> None:
    large = Workload(find_shape("llama2-70b"))
    refused = parse_variations(["channels=1,2"], CHIPLET)
    assert fields_without_effect(sweep(large, CHIPLET, refused), refused) == ()
    variations = parse_variations(["spare_bytes_per_page=0,1664", "channels=8,16"], CHIPLET)
    assert fields_without_effect(sweep(LLAMA, CHIPLET, variations), variations) == (
        "spare_bytes_per_page",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chanels=8", "did you mean channels"),
        ("nonsense_xyz=8", "no such field"),
        ("channels", "write FIELD="),
        ("channels=", "write FIELD="),
        ("channels=eight", "not a number"),
        ("channels=-1", "not a number"),
        ("page_bytes=big", "not a size"),
        ("policy=fast", "none of sliced"),
        ("capacity_bytes=1", "more than one"),
    ],
)
def test_variations_that_cannot_be_meant_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_variations([text], CHIPLET)


def test_too_many_or_repeated_variations_are_refused() -> None:
    many = ",".join(map(str, range(1, 200)))
    with pytest.raises(UsageError, match="rows"):
        parse_variations([f"channels={many}", f"page_bytes={many}"], CHIPLET)
    with pytest.raises(UsageError, match="twice"):
        parse_variations(["channels=8", "nand.channels=16"], CHIPLET)


def test_the_report_of_a_sweep_is_one_page_with_a_plot_for_each_field(tmp_path: Path) -> None:
    variations = parse_variations(["channels=8,16,32", "weights=w8a8,w4a16"], CHIPLET)
    rows = sweep(LLAMA, CHIPLET, variations)
    path = write_sweep_report(rows, variations, "A <sweep>", tmp_path / "sweep.html")
    text = path.read_text()
    assert "A &lt;sweep&gt;" in text
    assert text.count('class="plot"') == 4
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_every_shape_has_a_source() -> None:
    assert [name for name, shape in SHAPES.items() if len(shape.source) < 10] == []
