"""What does not fit a board is refused, by the byte; what does fit converts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.deploy.cores import CORES
from edgekit.errors import MemoryBudgetError
from edgekit.pipeline.convert import Conversion, convert
from edgekit.profiles import load_profile
from tests.mcu_models import INT8_MODELS, KWS, LARGE_MODELS, planned

Find = Callable[[str], Path]

ROOM = """
inherits = "nano33ble"
name = "small"
[[memories]]
name = "sram"
[memories.available_bytes]
value = {bytes}
source = "assumed: for a test"
confidence = "low"
"""

FLASH = """
inherits = "nano33ble"
name = "small"
[[memories]]
name = "flash"
capacity_bytes = {{ value = {bytes}, source = "assumed: for a test", confidence = "low" }}
available_bytes = {{ value = {bytes}, source = "assumed: for a test", confidence = "low" }}
reserved_bytes = {{ value = 0, source = "assumed: for a test", confidence = "low" }}
"""


def converted(path: Path, device: str, patch: str = "auto") -> Conversion:
    return convert(path, device=device, dry_run=True, patch=patch)


@pytest.mark.parametrize("device", ["stm32l4r5", pytest.param("nano33ble", marks=pytest.mark.full)])
@pytest.mark.parametrize("name", LARGE_MODELS, ids=lambda name: Path(name).stem)
def test_large_models_are_refused_with_the_exact_shortfall(
    name: str, device: str, asset: Find
) -> None:
    path, profile = asset(f"mcu/{name}"), load_profile(device)
    with pytest.raises(MemoryBudgetError) as caught:
        converted(path, device, patch="off")
    error = caught.value
    with pytest.raises(MemoryBudgetError) as in_patches:
        converted(path, device)
    if in_patches.value.memory == error.memory:
        assert in_patches.value.required_bytes <= error.required_bytes
    _, plan = planned(path, device, CORES[profile.toolchain].kernels)
    needed = {use.name: use.peak_bytes for use in plan.memories}
    available = profile.memory(error.memory).available_bytes.integer
    assert error.exit_code == 3
    assert (error.required_bytes, error.available_bytes) == (needed[error.memory], available)
    assert f"{needed[error.memory] - available:,} too many" in str(error)


@pytest.mark.parametrize("name", INT8_MODELS, ids=lambda name: Path(name).stem)
def test_every_other_model_converts_for_its_board(name: str, asset: Find) -> None:
    conversion = converted(asset(f"mcu/{name}"), "stm32l4r5")
    profile = load_profile("stm32l4r5")
    for use in conversion.plan.memories:
        assert (
            use.peak_bytes
            <= use.available_bytes
            == profile.memory(use.name).available_bytes.integer
        )


def test_a_model_fits_what_it_needs_and_not_a_byte_less(asset: Find, tmp_path: Path) -> None:
    path, device = asset(f"mcu/{KWS}"), tmp_path / "small.toml"
    _, plan = planned(path, "nano33ble", CORES["cortex-m4"].kernels)
    needed = plan.memory("sram").peak_bytes
    device.write_text(ROOM.format(bytes=needed))
    assert converted(path, str(device)).plan.memory("sram").peak_bytes == needed
    device.write_text(ROOM.format(bytes=needed - 1))
    with pytest.raises(MemoryBudgetError, match=", 1 too many"):
        converted(path, str(device))


@pytest.mark.usefixtures("toolchain")
def test_code_and_constants_fit_the_flash_to_the_byte(asset: Find, tmp_path: Path) -> None:
    path, device = asset(f"mcu/{KWS}"), tmp_path / "small.toml"
    _, plan = planned(path, "nano33ble", CORES["cortex-m4"].kernels)
    constants_bytes = plan.memory("flash").peak_bytes
    device.write_text(FLASH.format(bytes=constants_bytes))
    with pytest.raises(MemoryBudgetError) as caught:
        converted(path, str(device))
    error = caught.value
    assert (error.memory, error.available_bytes) == ("flash", constants_bytes)
    assert error.exit_code == 3
    device.write_text(FLASH.format(bytes=error.required_bytes))
    (flash,) = (use for use in converted(path, str(device)).image if use.name == "flash")
    assert flash.free_bytes == 0
    device.write_text(FLASH.format(bytes=error.required_bytes - 1))
    with pytest.raises(MemoryBudgetError, match="too many"):
        converted(path, str(device))
