"""Device profiles: every number has a source, inheritance merges, errors name the key."""

from __future__ import annotations

import contextlib
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import profiles
from edgekit.errors import ProfileError
from edgekit.profile_toml import to_toml
from edgekit.profiles import (
    OP_CLASSES,
    DeviceProfile,
    list_profiles,
    load_profile,
    quantities,
    to_json,
)
from edgekit.units import parse_bytes

REQUIRED = {
    *("pixel8", "oneplus12", "oneplus-ace2", "iphone15pro", "raspberrypi5", "jetson-orin-nano"),
    *("stm32f746", "stm32h743", "stm32h7a3", "stm32l4r5", "stm32u575", "stm32f405", "nano33ble"),
    *("nrf5340", "esp32s3", "rp2040", "rp2350", "corstone300", "laptop-rtx3050", "laptop-gtx1050"),
    *("server-rtx2080s", "server-rtx3090", "cambricon-llm-s", "cambricon-llm-m"),
    *("cambricon-llm-l", "cloud-generic"),
}

NAMES = [summary.name for summary in list_profiles()]
each_profile = pytest.mark.parametrize("name", NAMES)

SMALL = """
name = "small"
kind = "mcu"
title = "A board"
working_memory = "sram"

[capabilities]
estimate = true
emulate = false
build = false
flash = false

[[processors]]
name = "cpu"
kind = "mcu"
core = "cortex-m4"
memory = "sram"
cores = { value = 1, source = "data sheet", confidence = "high" }
clock_hz = { value = 64e6, source = "data sheet", confidence = "high" }
launch_overhead_s = { value = 1e-6, source = "assumed: one call", confidence = "low" }

[[memories]]
name = "sram"
kind = "ram"
capacity_bytes = { value = 65536, source = "data sheet", confidence = "high" }
available_bytes = { value = 49152, source = "derived: less the stack", confidence = "high" }
bandwidth_bytes_per_s = { value = 256e6, source = "derived: bus", confidence = "medium" }
"""

MEMORY = SMALL.partition("[[memories]]\n")[2]


def write(folder: Path, text: str) -> str:
    path = folder / "small.toml"
    path.write_text(text)
    return str(path)


def numbers_without_source(value: Any, inside: bool = False) -> list[str]:
    """Return every number of a JSON value that is not the value of a quantity with a source."""
    if isinstance(value, dict):
        whole = {"value", "source", "confidence"} <= value.keys() and bool(value["source"])
        return [
            f"{key}.{rest}" if rest else key
            for key, item in value.items()
            for rest in numbers_without_source(item, whole and key == "value")
        ]
    if isinstance(value, list):
        return [rest for item in value for rest in numbers_without_source(item)]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return [""] if is_number and not inside else []


def test_all_devices_are_listed() -> None:
    assert set(NAMES) >= REQUIRED
    assert not [name for name in NAMES if name.startswith("_")]


@each_profile
def test_every_number_has_a_source_and_a_confidence(name: str) -> None:
    profile = load_profile(name)
    assert numbers_without_source(to_json(profile)) == []
    found = dict(quantities(profile))
    assert len(found) > 10
    for key, quantity in found.items():
        assert len(quantity.source) > 5, key
        assert quantity.confidence in {"high", "medium", "low"}, key
        if quantity.source.startswith("assumed"):
            assert quantity.confidence != "high", key
            assert quantity.source.startswith("assumed: "), f"{key}: an assumption gives its reason"


@each_profile
def test_profile_is_consistent(name: str) -> None:
    profile = load_profile(name)
    assert profile.ram.kind in {"ram", "vram"}
    assert profile.flash is None or profile.flash.kind == "flash"
    assert (profile.flash is not None) == (profile.kind in {"mcu", "nand_chiplet"})
    for processor in profile.processors:
        assert processor.memory in {memory.name for memory in profile.memories}
        assert set(processor.made_of) <= {other.name for other in profile.processors}
        for key in (*processor.efficiency, *processor.instructions_per_mac):
            assert key.partition("/")[0] in OP_CLASSES, key
    for memory in profile.memories:
        assert memory.available_bytes.value <= memory.capacity_bytes.value
        if memory.reserved_bytes:
            left = memory.capacity_bytes.integer - memory.reserved_bytes.integer
            assert memory.available_bytes.integer == left, memory.name
    for read in profile.storage.reads if profile.storage else ():
        assert parse_bytes(read.block) > 0
        assert read.issuer in {"", *(processor.name for processor in profile.processors)}


def test_a_phone_profile_holds_what_one_app_may_use() -> None:
    phones = [load_profile(name) for name in NAMES if load_profile(name).kind == "phone"]
    assert phones
    for phone in phones:
        ram = phone.ram
        assert ram.available_bytes.value < ram.capacity_bytes.value, phone.name
        assert phone.flash is None


def test_firmware_leaves_room_for_stack_and_code() -> None:
    for name in ("nano33ble", "stm32h743", "stm32f405", "rp2040"):
        profile = load_profile(name)
        reserved = [m.reserved_bytes.value for m in profile.memories if m.reserved_bytes]
        assert max(reserved) >= 16 * 1024, name
        assert profile.flash is not None
        assert profile.flash.available_bytes.value < profile.flash.capacity_bytes.value


def test_esp32s3_says_why_it_cannot_be_built() -> None:
    capabilities = load_profile("esp32s3").capabilities
    assert capabilities.estimate
    assert not capabilities.build
    assert "compiler" in capabilities.note


@each_profile
def test_toml_round_trip(name: str, tmp_path: Path) -> None:
    profile = load_profile(name)
    path = tmp_path / f"{name}.toml"
    path.write_text(to_toml(profile))
    again = load_profile(str(path))
    assert to_json(again) == {k: v for k, v in to_json(profile).items() if k != "inherits"}


def test_unknown_device_names_the_nearest() -> None:
    with pytest.raises(ProfileError, match=r"did you mean .*pixel8"):
        load_profile("pixel-8")
    with pytest.raises(ProfileError, match=r"known devices: .*nano33ble"):
        load_profile("zzzzzz")
    with pytest.raises(ProfileError, match="no device '_phone'"):
        load_profile("_phone")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (("clock_hz = { value = 64e6,", 'clock_hz = { value = "fast",'), "clock_hz"),
        (("cores = { value = 1,", "cores = { value = -1,"), "cores"),
        (('source = "assumed: one call"', 'source = " "'), "launch_overhead_s"),
        (('kind = "ram"', 'kind = "cheese"'), "memories[0].kind"),
        (('name = "cpu"', 'name = "cpu"\nclock = 3'), "processors[0]"),
        (('"cortex-m4"\nmemory = "sram"', '"m4"\nmemory = "dram"'), "processors[cpu].memory"),
        (('working_memory = "sram"', 'working_memory = "dram"'), "working_memory"),
        (("value = 49152", "value = 99999"), "memories[sram].available_bytes"),
        (('working_memory = "sram"', 'inherits = "nothing"'), "inherits"),
        (('core = "cortex-m4"', 'core = "m4"\nmade_of = ["x"]'), "processors[cpu].made_of"),
        (("[[memories]]", "[[memories]]\n" + MEMORY + "[[memories]]\n"), "memories"),
    ],
)
def test_a_wrong_value_names_file_and_key(
    tmp_path: Path, change: tuple[str, str], key: str
) -> None:
    assert change[0] in SMALL
    with pytest.raises(ProfileError) as caught:
        load_profile(write(tmp_path, SMALL.replace(*change, 1)))
    assert caught.value.path.endswith("small.toml")
    assert key in caught.value.key
    assert str(caught.value).count("\n") <= 3


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="is not TOML"):
        load_profile(write(tmp_path, "name = [1,"))
    with pytest.raises(ProfileError, match="no such file"):
        load_profile(str(tmp_path / "missing.toml"))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_profile_is_an_error_and_never_a_traceback(data: st.DataObject) -> None:
    text = SMALL
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 30)))
        text = (
            text[:start] + data.draw(st.sampled_from(("", "=", "[", "9", '"', "{}"))) + text[end:]
        )
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), text)
        with contextlib.suppress(ProfileError):
            assert load_profile(path).processors


def test_inheritance_merges_arrays_by_name_and_replaces_quantities(tmp_path: Path) -> None:
    base = load_profile("nano33ble")
    text = """
name = "faster"
inherits = "nano33ble"
[[processors]]
name = "cpu"
clock_hz = { value = 128e6, source = "wishful thinking", confidence = "low" }
"""
    derived = load_profile(write(tmp_path, text))
    assert derived.name == "faster"
    assert derived.processor("cpu").clock_hz.value == 128e6
    assert derived.processor("cpu").clock_hz.confidence == "low"
    assert derived.processor("cpu").instructions_per_mac == (
        base.processor("cpu").instructions_per_mac
    )
    assert derived.memories == base.memories


def test_inheritance_in_a_circle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.toml").write_text(f'name = "{name}"\ninherits = "{other}"\n')
    files = {path.stem: path for path in tmp_path.glob("*.toml")}
    monkeypatch.setattr(profiles, "_files", lambda: files)
    with pytest.raises(ProfileError, match="circle: b -> a -> b"):
        load_profile(str(tmp_path / "a.toml"))


def test_a_link_that_became_a_text_file_prints_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "device_profiles").write_text("../device_profiles")
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)
    with pytest.raises(ProfileError, match=r"git config core\.symlinks true && git checkout"):
        list_profiles()


def test_links_work_both_ways_unless_said_otherwise() -> None:
    laptop, cloud = load_profile("laptop-gtx1050"), load_profile("cloud-generic")
    assert laptop.link_between("ram", "vram") is laptop.link_between("vram", "ram") is not None
    up, down = cloud.link_between("client", "ram"), cloud.link_between("ram", "client")
    assert up is not None
    assert down is not None
    assert up.name == "uplink"
    assert down.name == "downlink"
    assert laptop.link_between("ram", "nowhere") is None


def test_cambricon_has_the_published_number_of_cores() -> None:
    cores: dict[str, int] = {}
    for size in "sml":
        profile: DeviceProfile = load_profile(f"cambricon-llm-{size}")
        assert profile.nand is not None
        cores[size] = profile.nand.compute_cores
    assert cores == {"s": 32, "m": 128, "l": 512}


def test_the_documentation_lists_every_device() -> None:
    text = (Path(__file__).parents[2] / "docs" / "devices.md").read_text()
    assert [name for name in NAMES if f"| `{name}` |" not in text] == []


def test_the_board_of_the_documentation_is_a_valid_profile(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "devices.md").read_text()
    example = text.rpartition("```toml\n")[2].partition("```")[0]
    profile = load_profile(write(tmp_path, example))
    assert profile.name == "my-board"
    assert profile.capabilities.build
    assert profile.ram.available_bytes.integer == 114688
